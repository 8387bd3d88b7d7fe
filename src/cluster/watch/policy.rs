//! Reloads the policy file when it changes.
//!
//! The file is polled: a kubelet updates a mounted ConfigMap by swapping a symbolic link, which file events do not
//! report reliably.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use slipway_core::policy::Policy;
use tokio::{fs, time};
use tracing::{error, info, warn};

use crate::{cluster::state::LiveState, metrics::Metrics};

/// How often the file is read. A kubelet takes up to a minute to deliver a changed ConfigMap anyway.
pub const EVERY: Duration = Duration::from_secs(2);

/// Follows the policy file at `path`, forever: reads it at the interval `every`. `in_force` is the text of the
/// policy in force.
///
/// If the file cannot be used, the last good policy stays in force; the log, a metric and the readiness probe's
/// answer say so until the file is fixed.
pub async fn follow(
    path: &Path,
    in_force: String,
    every: Duration,
    state: &LiveState,
    metrics: &Metrics,
) {
    let mut file = PolicyFile::new(in_force);
    let mut ticks = time::interval(every);
    loop {
        ticks.tick().await;
        let text = fs::read_to_string(path).await;
        let text = text.map_err(|error| format!("failed to read it: {error}"));
        if let Some(news) = file.read(text) {
            metrics.policy.count_reload(news.is_ok());
            publish(path, news, state);
        }
    }
}

fn publish(path: &Path, news: Result<Policy, String>, state: &LiveState) {
    let now = SystemTime::now();
    match news {
        Ok(policy) => {
            for warning in policy.warnings() {
                warn!(warning, "policy");
            }
            info!(path = %path.display(), "a changed policy is in force");
            let policy = Arc::new(policy);
            state.update(|state| {
                state.set_policy(Arc::clone(&policy));
                state.policy_error = None;
                state.policy_load.in_force_since = Some(now);
            });
        }
        Err(problem) => {
            let problem = format!("{}: {problem}", path.display());
            error!(
                problem,
                "the changed policy cannot be used; the last good one stays in force"
            );
            let problem: Arc<str> = problem.into();
            state.update(|state| {
                state.policy_error = Some(Arc::clone(&problem));
                state.policy_load.refused_at = Some(now);
            });
        }
    }
}

/// What was last read from the file, and what of that has been reported.
struct PolicyFile {
    /// The last text, or why it could not be read.
    last: Result<String, String>,
    /// What was last reported.
    reported: Result<String, String>,
}

impl PolicyFile {
    fn new(in_force: String) -> Self {
        Self {
            last: Ok(in_force.clone()),
            reported: Ok(in_force),
        }
    }

    /// Takes the result of a read, and returns what is new. A change counts only once the next read has seen it
    /// again: a file that is being written may be read half.
    fn read(&mut self, text: Result<String, String>) -> Option<Result<Policy, String>> {
        let settled = text == self.last;
        self.last = text;
        if !settled || self.last == self.reported {
            return None;
        }
        self.reported.clone_from(&self.last);
        Some(
            self.reported
                .clone()
                .and_then(|text| Policy::parse(&text).map_err(|errors| errors.to_string())),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: &str = "profiles: {fast: {}}";

    fn twice(file: &mut PolicyFile, text: &str) -> Option<Result<Policy, String>> {
        assert!(
            file.read(Ok(text.to_owned())).is_none(),
            "a change must be seen twice"
        );
        file.read(Ok(text.to_owned()))
    }

    #[test]
    fn a_change_is_reported_once_and_only_after_it_was_seen_twice() {
        let mut file = PolicyFile::new("{}".to_owned());
        assert!(file.read(Ok("{}".to_owned())).is_none());
        let policy = twice(&mut file, FAST).unwrap().unwrap();
        assert!(policy.profile("fast").is_some());
        assert!(file.read(Ok(FAST.to_owned())).is_none());
    }

    #[test]
    fn a_policy_with_several_errors_is_reported_with_their_number_and_the_first() {
        let mut file = PolicyFile::new(FAST.to_owned());
        let error = twice(&mut file, "profiles: {fast: {mtuu: 1, strategy: best}}").unwrap();
        let error = error.unwrap_err();
        assert!(
            error.starts_with("2 errors, the first: line 1, column 19: unknown key `mtuu`"),
            "{error}"
        );
    }

    #[test]
    fn a_bad_policy_and_the_good_one_after_it_are_reported_once_each() {
        let mut file = PolicyFile::new(FAST.to_owned());
        let error = twice(&mut file, "profiles: {fast: {mtuu: 1}}").unwrap();
        assert!(error.unwrap_err().contains("mtuu"));
        assert!(
            file.read(Ok("profiles: {fast: {mtuu: 1}}".to_owned()))
                .is_none()
        );
        assert!(twice(&mut file, FAST).unwrap().is_ok());
    }

    #[test]
    fn an_empty_or_missing_file_does_not_mean_the_built_in_policy() {
        let mut file = PolicyFile::new(FAST.to_owned());
        assert!(
            twice(&mut file, " \n")
                .unwrap()
                .unwrap_err()
                .contains("empty")
        );
        assert!(file.read(Err("gone".to_owned())).is_none());
        assert_eq!(
            file.read(Err("gone".to_owned())).unwrap().unwrap_err(),
            "gone"
        );
    }
}
