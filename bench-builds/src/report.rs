//! The report: tables in Markdown, and the claims that the project was begun with, each held or not.

use std::fmt::Write as _;

use super::{
    strategy::DEFAULT,
    summary::{Figure, Jobs, Summary},
};

/// Everything in Markdown. `machine` says on what it was measured, `not_run` what was left out and why.
pub fn markdown(summaries: &[Summary], machine: &[String], not_run: &[String]) -> String {
    let mut text = String::new();
    for line in machine {
        let _ = writeln!(text, "- {line}");
    }
    let builds = |summary: &&Summary| summary.hits.is_some();
    text += "\n### Builds\n\n";
    text += &table(summaries.iter().filter(builds), &BUILD_COLUMNS);
    text += "\n### Pulls\n\n";
    text += &table(summaries.iter().filter(|s| !builds(s)), &PULL_COLUMNS);
    if !not_run.is_empty() {
        text += "\nNot run:\n\n";
        for line in not_run {
            let _ = writeln!(text, "- {line}");
        }
    }
    text += "\n### Claims\n\n";
    text += &claims(summaries);
    text
}

type Column = (&'static str, fn(&Summary) -> String);

const BUILD_COLUMNS: [Column; 12] = [
    ("strategy", name),
    ("jobs", |s| s.measured.to_string()),
    ("wall, s", |s| seconds(&s.wall)),
    ("CPU, s", |s| seconds(&s.cpu)),
    ("peak memory, MB", |s| size(&s.peak_memory)),
    ("hits, of all steps / of those that can", |s| {
        let (all, can) = s.hits.unwrap_or_default();
        format!("{all:.0} % / {can:.0} %")
    }),
    ("pull step, s", |s| {
        s.pull
            .as_ref()
            .map_or("not known".to_owned(), |pull| format!("{:.1}", pull.median))
    }),
    ("from upstream, MB", |s| {
        format!("{:.1}", s.from_upstream.median)
    }),
    ("from mirror, MB", |s| {
        format!("{:.1}", s.from_mirror.median)
    }),
    ("disk, MB", |s| size(&s.disk)),
    ("daemon ready, s", |s| format!("{:.2}", s.ready.median)),
    ("driver", |s| s.driver.clone()),
];

const PULL_COLUMNS: [Column; 7] = [
    ("pull", name),
    ("jobs", |s| s.measured.to_string()),
    ("pull, s", |s| {
        s.pull.as_ref().map_or_else(String::new, seconds)
    }),
    ("CPU, s", |s| seconds(&s.cpu)),
    ("peak memory, MB", |s| size(&s.peak_memory)),
    ("from upstream, MB", |s| {
        format!("{:.1}", s.from_upstream.median)
    }),
    ("from mirror, MB", |s| {
        format!("{:.1}", s.from_mirror.median)
    }),
];

fn table<'s>(rows: impl Iterator<Item = &'s Summary>, columns: &[Column]) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(columns.iter().map(|(name, _)| (*name).to_owned()).collect());
    text += &line(columns.iter().map(|_| "---".to_owned()).collect());
    for summary in rows {
        text += &line(columns.iter().map(|(_, cell)| cell(summary)).collect());
    }
    text
}

fn name(summary: &Summary) -> String {
    match summary.jobs {
        Jobs::Each => format!("{}: {}", summary.strategy, summary.about),
        Jobs::First => format!("{}: {}; first job", summary.strategy, summary.about),
        Jobs::Later => format!("{}; later jobs", summary.strategy),
    }
}

/// `20.1 (19.8–21.0), 0.65 ×`
fn seconds(figure: &Figure) -> String {
    let Figure {
        median, min, max, ..
    } = figure;
    format!("{median:.1} ({min:.1}–{max:.1}){}", ratio(figure))
}

fn size(figure: &Figure) -> String {
    format!("{:.0}{}", figure.median, ratio(figure))
}

fn ratio(figure: &Figure) -> String {
    figure
        .ratio
        .map_or_else(String::new, |ratio| format!(", {ratio:.2} ×"))
}

/// A claim: what is compared, and the largest ratio with which it holds.
struct Claim {
    about: &'static str,
    limit: f64,
    strategy: &'static str,
    jobs: Jobs,
    figure: fn(&Summary) -> Option<f64>,
}

const CLAIMS: [Claim; 5] = [
    Claim {
        about: "build time −40 to −60 %",
        limit: 0.6,
        strategy: DEFAULT,
        jobs: Jobs::Later,
        figure: |s| s.wall.ratio,
    },
    Claim {
        about: "build time −40 to −60 %",
        limit: 0.6,
        strategy: DEFAULT,
        jobs: Jobs::First,
        figure: |s| s.wall.ratio,
    },
    Claim {
        about: "CPU −30 to −50 %",
        limit: 0.7,
        strategy: DEFAULT,
        jobs: Jobs::Later,
        figure: |s| s.cpu.ratio,
    },
    Claim {
        about: "memory −20 to −40 %",
        limit: 0.8,
        strategy: DEFAULT,
        jobs: Jobs::Later,
        figure: |s| s.peak_memory.ratio,
    },
    Claim {
        about: "pull time −50 to −70 % with a mirror",
        limit: 0.5,
        strategy: "pull, mirror",
        jobs: Jobs::Each,
        figure: |s| s.pull?.ratio,
    },
];
/// More than this part of the steps of a recurring build are hits, in percent.
const HITS_CLAIM: f64 = 80.0;

fn claims(summaries: &[Summary]) -> String {
    let mut text = "| claim, against plain Docker-in-Docker | where | measured | |\n| --- | --- | --- | --- |\n".to_owned();
    let find = |strategy: &str, jobs: Jobs| {
        summaries
            .iter()
            .find(|s| s.strategy == strategy && s.jobs == jobs)
    };
    for claim in &CLAIMS {
        let found = find(claim.strategy, claim.jobs).and_then(claim.figure);
        let (measured, verdict) = match found {
            Some(ratio) => {
                let change = format!("{:+.0} %", (ratio - 1.0) * 100.0).replace('-', "−");
                (change, held(ratio <= claim.limit))
            }
            None => ("not measured".to_owned(), "open"),
        };
        let place = place(claim.strategy, claim.jobs);
        let _ = writeln!(
            text,
            "| {} | {place} | {measured} | {verdict} |",
            claim.about
        );
    }
    let found = find(DEFAULT, Jobs::Later).and_then(|s| s.hits);
    let place = place(DEFAULT, Jobs::Later);
    if let Some((all, can)) = found {
        for (of, hits) in [("all steps", all), ("the steps that can be hits", can)] {
            let _ = writeln!(
                text,
                "| more than 80 % cache hits on recurring builds, of {of} | {place} | {hits:.0} % | {} |",
                held(hits > HITS_CLAIM)
            );
        }
    }
    text
}

fn place(strategy: &str, jobs: Jobs) -> String {
    match jobs {
        Jobs::Each => strategy.to_owned(),
        Jobs::First => format!("{strategy}, first job"),
        Jobs::Later => format!("{strategy}, later jobs"),
    }
}

fn held(holds: bool) -> &'static str {
    if holds { "held" } else { "not held" }
}
