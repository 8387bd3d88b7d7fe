//! Documents that must match another document or the source.

use std::collections::BTreeSet;

use slipway_testkit::{harness::Test, tests};

use super::{
    commands::{bare_commands, documents},
    read, reason_codes, root,
};

/// Returns the titles of the sections of one level, such as `##`.
fn titles(document: &str, level: &str) -> Vec<String> {
    let text = read(document);
    let mut fenced = false;
    let lines = text.lines().filter(|line| {
        fenced ^= line.starts_with("```");
        !fenced
    });
    let prefix = format!("{level} ");
    lines
        .filter_map(|line| line.strip_prefix(&prefix).map(str::to_owned))
        .collect()
}

/// Returns the sections of the second level, with title and text.
fn sections(document: &str) -> Vec<(String, String)> {
    let text = read(document);
    let sections = text.split("\n## ").skip(1);
    sections
        .map(|section| {
            let (title, text) = section.split_once('\n').unwrap();
            (title.to_owned(), text.to_owned())
        })
        .collect()
}

/// Returns the link targets in a document.
fn links(document: &str) -> BTreeSet<String> {
    let text = read(document);
    let links = text.split("](").skip(1);
    links
        .map(|rest| rest.split(')').next().unwrap().to_owned())
        .collect()
}

fn the_portuguese_readme_has_the_sections_and_commands_of_the_english_one() {
    let (english, portuguese) = ("README.md", "README.pt-BR.md");
    assert_eq!(
        titles(english, "##").len(),
        titles(portuguese, "##").len(),
        "{:?} and {:?}",
        titles(english, "##"),
        titles(portuguese, "##")
    );
    assert_eq!(bare_commands(english), bare_commands(portuguese));
    let strategies = |document: &str| -> Vec<String> {
        let text = read(document);
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.map(|row| row.split('`').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(strategies(english), strategies(portuguese));
    assert!(links(english).contains(portuguese) && links(portuguese).contains(english));
}

fn every_runbook_belongs_to_an_alert_and_every_alert_has_one() {
    let rules = read("charts/slipway/files/rules.yaml");
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() >= 11, "{alerts:?}");
    let sections = sections("docs/runbooks.md");
    let titles: Vec<&str> = sections.iter().map(|(title, _)| title.as_str()).collect();
    assert_eq!(titles, alerts);
    for (title, text) in &sections {
        for part in ["**What it means.**", "**Look at**", "**Cure"] {
            assert!(text.contains(part), "{title}: no {part}");
        }
    }
}

fn every_runbook_that_the_status_page_names_exists() {
    let source = read("src/server/status/attention.rs");
    let runbooks = titles("docs/runbooks.md", "##");
    let mut count = 0;
    for rest in source.split("see Slipway").skip(1) {
        let (name, rest) = rest.split_once(' ').unwrap();
        assert!(rest.starts_with("in docs/runbooks.md"), "{name}");
        assert!(runbooks.contains(&format!("Slipway{name}")), "{name}");
        count += 1;
    }
    assert!(count >= 4, "only {count}");
}

fn every_symptom_has_a_command_and_a_fix() {
    let sections = sections("docs/troubleshooting.md");
    assert!(sections.len() >= 12);
    for (title, text) in sections {
        assert!(text.contains("```sh\n"), "{title}: no command");
        let (before, _) = text
            .split_once("**Cure")
            .unwrap_or_else(|| panic!("{title}: no cure"));
        assert!(
            before.contains("```sh\n"),
            "{title}: the command comes first"
        );
    }
}

fn every_reason_named_in_troubleshooting_exists() {
    let codes: BTreeSet<String> = reason_codes().into_values().collect();
    let text = read("docs/troubleshooting.md");
    let named: Vec<&str> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|span| codes.contains(*span))
        .collect();
    assert!(named.len() >= 12, "{named:?}");
}

fn every_link_within_the_repository_is_valid() {
    let mut count = 0;
    for document in documents() {
        let directory = root().join(&document).parent().unwrap().to_owned();
        for link in links(&document) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() {
                root().join(&document)
            } else {
                directory.join(file)
            };
            assert!(target.exists(), "{document}: {link}");
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&target).unwrap();
                let anchors = text
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .map(|line| {
                        let title = line.trim_start_matches('#').trim().to_lowercase();
                        let kept = title
                            .chars()
                            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
                        kept.collect::<String>().replace(' ', "-")
                    });
                assert!(
                    anchors.into_iter().any(|known| known == anchor),
                    "{document}: {link}"
                );
            }
            count += 1;
        }
    }
    assert!(count > 40, "only {count} links");
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        the_portuguese_readme_has_the_sections_and_commands_of_the_english_one,
        every_runbook_belongs_to_an_alert_and_every_alert_has_one,
        every_runbook_that_the_status_page_names_exists,
        every_symptom_has_a_command_and_a_fix,
        every_reason_named_in_troubleshooting_exists,
        every_link_within_the_repository_is_valid,
    ]
}
