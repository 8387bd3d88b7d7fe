//! Text is readable in both colour schemes: a contrast of at least 4.5 to 1, as in WCAG 2.2
//! (<https://www.w3.org/TR/WCAG22/#contrast-minimum>).

use std::collections::BTreeMap;

use slipway_testkit::{harness::Test, tests};

use super::replica::read;

/// Text colours, each with a background that it is used on.
const PAIRS: [(&str, &str); 25] = [
    ("ink", "bg"),
    ("ink", "card"),
    ("ink", "soft"),
    ("ink", "warning-bg"),
    ("ink", "error-bg"),
    ("dim", "bg"),
    ("dim", "card"),
    ("dim", "soft"),
    ("accent", "bg"),
    ("accent", "card"),
    ("accent", "soft"),
    ("accent-ink", "accent"),
    ("ok", "bg"),
    ("ok", "card"),
    ("ok", "ok-bg"),
    ("warning", "warning-bg"),
    ("error", "card"),
    ("error", "error-bg"),
    ("blue", "card"),
    ("violet", "card"),
    ("teal", "card"),
    ("grey", "card"),
    ("orange", "card"),
    ("teal", "soft"),
    ("blue", "soft"),
];

type Colours = BTreeMap<String, [f64; 3]>;

fn colours(block: &str) -> Colours {
    let lines = block
        .lines()
        .filter_map(|line| line.trim().strip_prefix("--"));
    lines
        .map(|line| {
            let (name, value) = line.trim_end_matches(';').split_once(": #").unwrap();
            let channel = |i: usize| {
                let byte = u8::from_str_radix(&value[2 * i..2 * i + 2], 16).unwrap();
                let part = f64::from(byte) / 255.0;
                if part <= 0.04045 {
                    part / 12.92
                } else {
                    ((part + 0.055) / 1.055).powf(2.4)
                }
            };
            (name.to_owned(), [channel(0), channel(1), channel(2)])
        })
        .collect()
}

fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
    let luminance = |[r, g, b]: [f64; 3]| 0.2126 * r + 0.7152 * g + 0.0722 * b;
    let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
    a.max(b) / a.min(b)
}

fn text_has_enough_contrast_in_both_colour_schemes() {
    let style = read("src/server/status/style.css");
    let (light, rest) = style
        .split_once("@media (prefers-color-scheme: dark)")
        .unwrap();
    let (dark, _) = rest.split_once("\n}\n").unwrap();
    let (light, dark) = (colours(light), colours(dark));
    assert!(light.len() > 15);
    assert_eq!(
        light.keys().collect::<Vec<_>>(),
        dark.keys().collect::<Vec<_>>()
    );
    for (scheme, colours) in [("light", light), ("dark", dark)] {
        for (text, background) in PAIRS {
            let contrast = contrast(colours[text], colours[background]);
            assert!(
                contrast >= 4.5,
                "{scheme}: {text} on {background}: {contrast:.2}"
            );
        }
    }
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![text_has_enough_contrast_in_both_colour_schemes,]
}
