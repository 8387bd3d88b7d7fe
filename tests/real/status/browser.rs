//! The pages in a browser: as they are shown, and as people without a mouse use them.
//!
//! `SLIPWAY_BLESS=1` retakes the pictures in `docs/`.

use std::{collections::BTreeSet, env, fs, path::Path};

use fantoccini::key::Key;
use serde_json::{Value, json};
use slipway_testkit::{
    harness::{Outcome, Skip, Test},
    tests,
};

use super::{
    replica::{Replica, example_pods, read},
    webdriver::Browser,
};

const FOCUSABLE: &str = "a[href], button, input, select, textarea, [tabindex='0']";

/// Starts a server that has decided on the example pods, and a browser.
async fn start() -> Result<(Replica, Browser, String), Skip> {
    let browser = Browser::start().await?;
    let replica = Replica::start();
    let namespaces = [
        "ci",
        "ci",
        "ci-limited",
        "ci",
        "ci-restricted",
        "ci-baseline",
        "ci",
    ];
    let pods: Vec<Value> = example_pods()
        .iter()
        .map(|file| serde_saphyr::from_str(&read(file)).unwrap())
        .collect();
    for (pod, namespace) in pods.iter().cycle().zip(namespaces.iter().cycle()).take(84) {
        replica.admit(namespace, pod).await;
    }
    let root = format!("http://{}", replica.page);
    Ok((replica, browser, root))
}

async fn the_pages_render_in_both_colour_schemes_and_on_a_phone_without_errors() -> Outcome {
    let (replica, browser, root) = start().await?;
    let mut backgrounds = BTreeSet::new();
    for scheme in ["light", "dark"] {
        browser.prefer(scheme).await;
        for path in ["/", "/explain?example=scale-set"] {
            browser.open(&format!("{root}{path}")).await;
            let background = browser
                .script("return getComputedStyle(document.body).backgroundColor")
                .await;
            backgrounds.insert(background.as_str().unwrap().to_owned());
            assert_eq!(browser.console().await, [json!(null); 0], "{scheme} {path}");
            browser.resize(360, 780).await;
            let too_wide = browser
                .script("return document.documentElement.scrollWidth - innerWidth")
                .await;
            assert!(
                too_wide.as_i64().unwrap() <= 0,
                "{path}: {too_wide} px too wide for a phone"
            );
            browser.resize(1280, 1000).await;
        }
    }
    // If the style were refused, both backgrounds would be white.
    assert_eq!(backgrounds.len(), 2, "{backgrounds:?}");
    browser.end().await;
    replica.end().await;
    Ok(())
}

async fn the_keyboard_reaches_every_element_in_order_and_each_has_a_name() -> Outcome {
    let (replica, browser, root) = start().await?;
    browser.open(&root).await;
    let mark = format!(
        "const all = [...document.querySelectorAll(\"{FOCUSABLE}\")]; all.forEach((e, i) => e.dataset.index = i); return all.length"
    );
    let count = browser.script(&mark).await.as_u64().unwrap();
    assert!(count > 15, "{count}");
    for index in 0..count {
        browser.press(Key::Tab).await;
        let at = browser
            .script("return document.activeElement.dataset.index")
            .await;
        assert_eq!(at, json!(index.to_string()));
        let (role, name) = browser.focus().await;
        assert!(
            !role.is_empty() && role != "generic" && !name.trim().is_empty(),
            "{index}: {role} `{name}`"
        );
        if index == 0 {
            assert_eq!(name, "Skip to the content");
            let left = browser
                .script("return document.activeElement.getBoundingClientRect().left")
                .await;
            assert!(
                left.as_f64().unwrap() >= 0.0,
                "the link is visible when it has the focus"
            );
        }
    }
    browser.open(&root).await;
    browser.press(Key::Tab).await;
    browser.press(Key::Enter).await;
    assert_eq!(
        browser.script("return document.activeElement.id").await,
        "main"
    );
    browser.end().await;
    replica.end().await;
    Ok(())
}

async fn a_screen_reader_can_follow_the_outline() -> Outcome {
    let (replica, browser, root) = start().await?;
    browser.open(&root).await;
    outline(&browser).await;
    browser
        .open(&format!("{root}/explain?example=scale-set"))
        .await;
    browser
        .script("document.querySelector('form.explain').submit()")
        .await;
    browser
        .open(&format!("{root}/explain?example=no-docker"))
        .await;
    outline(&browser).await;
    browser.end().await;
    replica.end().await;
    Ok(())
}

async fn outline(browser: &Browser) {
    let levels = browser
        .script(
            "return [...document.querySelectorAll('h1,h2,h3,h4')].map(e => Number(e.tagName[1]))",
        )
        .await;
    let levels: Vec<u64> = levels
        .as_array()
        .unwrap()
        .iter()
        .map(|level| level.as_u64().unwrap())
        .collect();
    assert_eq!(
        levels.iter().filter(|level| **level == 1).count(),
        1,
        "{levels:?}"
    );
    assert!(
        levels.windows(2).all(|pair| pair[1] <= pair[0] + 1),
        "{levels:?}"
    );
    for (what, script) in [
        (
            "duplicate ids",
            "const ids = [...document.querySelectorAll('[id]')].map(e => e.id); return ids.filter((id, i) => ids.indexOf(id) != i)",
        ),
        (
            "references to missing ids",
            "return [...document.querySelectorAll('[aria-labelledby],[aria-describedby],label[for],[list]')].flatMap(e => ['aria-labelledby', 'aria-describedby', 'for', 'list'].map(a => e.getAttribute(a))).filter(id => id && !document.getElementById(id))",
        ),
        (
            "links to missing ids",
            "return [...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.getAttribute('href').slice(1)).filter(id => !document.getElementById(id))",
        ),
        (
            "header cells without a scope",
            "return [...document.querySelectorAll('th:not([scope])')].map(e => e.innerText)",
        ),
        (
            "pictures without a name",
            "return [...document.querySelectorAll('svg:not([aria-hidden]):not([aria-label])')].map(e => e.outerHTML.slice(0, 80))",
        ),
    ] {
        assert_eq!(browser.script(script).await, json!([]), "{what}");
    }
}

async fn a_manifest_is_explained_without_a_mouse() -> Outcome {
    let (replica, browser, root) = start().await?;
    let manifest = "kind: Pod\napiVersion: v1\nmetadata:\n  name: build-1\n  labels: {actions-ephemeral-runner: \"True\"}\nspec:\n  containers:\n  - {name: runner, image: r}\n  - {name: dind, image: docker:dind}\n";
    browser.open(&root).await;
    browser
        .script("document.getElementById('manifest').focus()")
        .await;
    browser.keys(manifest).await;
    browser.press(Key::Tab).await;
    browser.keys("ci").await;
    browser.press(Key::Tab).await;
    assert_eq!(
        browser.focus().await,
        ("button".to_owned(), "Explain".to_owned())
    );
    browser.press(Key::Enter).await;
    browser.arrives_at("build-1: dind · Slipway").await;
    let text = browser.text().await;
    let answer = replica
        .post("/explain?namespace=ci", "application/yaml", manifest)
        .await
        .json();
    assert!(
        text.contains(answer["pods"][0]["reason"]["code"].as_str().unwrap()),
        "{text}"
    );
    for injection in answer["pods"][0]["injections"].as_array().unwrap() {
        assert!(
            text.contains(injection.as_str().unwrap()),
            "{injection}\n{text}"
        );
    }
    assert_eq!(browser.console().await, [json!(null); 0]);
    outline(&browser).await;
    browser.end().await;
    replica.end().await;
    Ok(())
}

async fn the_pictures_in_the_documents_exist_and_are_small() {
    let document = read("docs/status.md");
    let names: Vec<&str> = document
        .split("](images/")
        .skip(1)
        .map(|rest| rest.split(')').next().unwrap())
        .collect();
    assert_eq!(
        names,
        ["status-light.png", "status-dark.png", "explain-light.png"]
    );
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images");
    if env::var_os("SLIPWAY_BLESS").is_some()
        && let Ok((replica, browser, root)) = start().await
    {
        fs::create_dir_all(&directory).unwrap();
        for name in &names {
            let (page, scheme) = name.trim_end_matches(".png").split_once('-').unwrap();
            browser.prefer(scheme).await;
            if page == "status" {
                browser.open(&root).await;
            } else {
                browser
                    .open(&format!("{root}/explain?example=scale-set"))
                    .await;
                browser
                    .script("document.querySelector('form.explain button').click()")
                    .await;
                browser.arrives_at("dind").await;
            }
            let height = if page == "status" { 1100 } else { 1300 };
            fs::write(directory.join(name), browser.screenshot(1180, height).await).unwrap();
        }
        browser.end().await;
        replica.end().await;
    }
    for name in names {
        let picture = fs::read(directory.join(name)).unwrap();
        assert!(picture.starts_with(b"\x89PNG"), "{name}");
        assert!(picture.len() < 300 << 10, "{name}: {} bytes", picture.len());
    }
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        the_pages_render_in_both_colour_schemes_and_on_a_phone_without_errors,
        the_keyboard_reaches_every_element_in_order_and_each_has_a_name,
        a_screen_reader_can_follow_the_outline,
        a_manifest_is_explained_without_a_mouse,
        the_pictures_in_the_documents_exist_and_are_small,
    ]
}
