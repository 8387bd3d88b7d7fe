//! What a builder's plain output says of its steps.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// The steps of a build.
#[derive(Debug, Default, PartialEq)]
pub struct Steps {
    /// How many there are.
    pub all: usize,
    /// Of how many the result was there already.
    pub hits: usize,
    /// How long the first step took, which pulls and unpacks the base image. Only BuildKit says it.
    pub pull: Option<Duration>,
}

/// Reads the output of BuildKit or of the legacy builder.
pub fn read(text: &str) -> Steps {
    if text.lines().any(|line| line.starts_with("#1 ")) {
        of_buildkit(text)
    } else {
        of_legacy_builder(text)
    }
}

/// Lines are `#7 [3/8] RUN …`, then `#7 CACHED` or `#7 DONE 1.5s`. The step that pulls is a hit when it extracts
/// nothing: not every version says `CACHED` then, some name the manifests that they look at, and some say `DONE` before
/// they extract and after it.
fn of_buildkit(text: &str) -> Steps {
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    let mut cached: BTreeSet<&str> = BTreeSet::new();
    let mut pulled: BTreeSet<&str> = BTreeSet::new();
    let mut steps = Steps::default();
    for line in text.lines() {
        let Some((vertex, said)) = line.split_once(' ') else {
            continue;
        };
        // Also `[stage-0 3/8]`, never `[internal]`.
        let step = said
            .strip_prefix('[')
            .and_then(|rest| rest.split(']').next());
        if let Some(step) = step.filter(|step| step.contains('/')) {
            names.entry(vertex).or_insert(step);
        }
        let Some(name) = names.get(vertex) else {
            continue;
        };
        let place = name.trim().rsplit(' ').next().unwrap_or_default();
        let is_first = place.starts_with("1/");
        if said == "CACHED" {
            cached.insert(vertex);
        } else if is_first {
            if said.starts_with("extracting ") {
                pulled.insert(vertex);
            }
            if let Some(seconds) = said.strip_prefix("DONE ") {
                let seconds: f64 = seconds.trim_end_matches('s').parse().unwrap();
                let pull = Duration::from_secs_f64(seconds);
                steps.pull = Some(steps.pull.unwrap_or_default().max(pull));
                cached.insert(vertex);
            }
        }
    }
    let is_hit = |vertex: &&&str| cached.contains(**vertex) && !pulled.contains(**vertex);
    steps.all = names.len();
    steps.hits = names.keys().filter(is_hit).count();
    if steps.hits > 0 && pulled.is_empty() {
        steps.pull = Some(Duration::ZERO);
    }
    steps
}

/// Lines are `Step 3/8 : RUN …`, then ` ---> Using cache` or ` ---> Running in …`.
fn of_legacy_builder(text: &str) -> Steps {
    let all = text
        .lines()
        .filter(|line| line.starts_with("Step "))
        .count();
    let hits = text
        .lines()
        .filter(|line| line.trim() == "---> Using cache")
        .count();
    // The first step never says so: its image is there, or it is pulled.
    let has_base = all > 0 && !text.contains("Pulling from");
    Steps {
        all,
        hits: hits + usize::from(has_base),
        pull: None,
    }
}
