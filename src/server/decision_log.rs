//! The line that the log has for each decision.

use slipway_core::admission::Record;
use tokio::time::Instant;
use tracing::info;

/// Logs one line per decision, if the level is on.
pub(super) fn write(record: &Record, start: Instant) {
    info!(
        uid = record.uid,
        namespace = record.namespace,
        pod = record.pod,
        system = record.system,
        profile = record.profile,
        strategy = record.strategy.as_str(),
        reason = record.reason,
        operations = record.operations,
        dry_run = record.dry_run,
        duration_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX),
        "decided"
    );
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use serde_json::{Value, json};
    use slipway_core::{admission::admit, k8s::cluster_file};
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;
    use crate::cluster::state::ClusterState;

    const REVIEW: &str = include_str!("../../examples/reviews/scale-set-dind.json");
    /// The longest line of the log, in bytes.
    const MAX_LINE: usize = 4096;
    /// Places of text in a review, also of text that reasons repeat.
    const TEXTS: [&str; 16] = [
        "/request/uid",
        "/request/namespace",
        "/request/operation",
        "/request/subResource",
        "/request/kind/kind",
        "/request/kind/group",
        "/request/userInfo/username",
        "/request/object/metadata/name",
        "/request/object/metadata/generateName",
        "/request/object/metadata/namespace",
        "/request/object/metadata/labels/actions.github.com~1scale-set-name",
        "/request/object/metadata/annotations/slipway.io~1strategy",
        "/request/object/metadata/annotations/slipway.io~1runner-container",
        "/request/object/metadata/annotations/slipway.io~1cache-key",
        "/request/object/spec/runtimeClassName",
        "/request/object/spec/containers/0/name",
    ];

    /// What is logged while it is a subscriber's writer.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'w> MakeWriter<'w> for Log {
        type Writer = Self;

        fn make_writer(&'w self) -> Self {
            self.clone()
        }
    }

    /// Returns the longest line that is logged, in both formats.
    fn longest_line(logging: impl Fn()) -> usize {
        let log = Log::default();
        let json = tracing_subscriber::fmt().json().with_writer(log.clone());
        tracing::subscriber::with_default(json.finish(), &logging);
        let text = tracing_subscriber::fmt().with_writer(log.clone());
        tracing::subscriber::with_default(text.finish(), &logging);
        let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(logged.lines().count() >= 2, "nothing was logged");
        logged.lines().map(str::len).max().unwrap_or_default()
    }

    /// Returns a review with this text in these places.
    fn forged(places: &[&str], text: &str) -> Vec<u8> {
        let mut review: Value = serde_json::from_str(REVIEW).unwrap();
        review["request"]["subResource"] = Value::Null;
        let metadata = &mut review["request"]["object"]["metadata"];
        for annotation in ["strategy", "runner-container", "cache-key"] {
            metadata["annotations"][format!("slipway.io/{annotation}")] = json!("");
        }
        for field in ["name", "generateName", "namespace"] {
            metadata[field] = Value::Null;
        }
        review["request"]["object"]["spec"]["runtimeClassName"] = Value::Null;
        for place in places {
            *review
                .pointer_mut(place)
                .unwrap_or_else(|| panic!("no {place}")) = json!(text);
        }
        review.to_string().into_bytes()
    }

    #[test]
    fn no_text_of_a_request_makes_a_long_line_in_the_log() {
        let nodes = cluster_file::example_nodes().unwrap();
        let namespaces = cluster_file::example_namespaces().unwrap();
        let state = ClusterState {
            nodes: Some(nodes.into()),
            namespaces: Some(namespaces.into()),
            ..ClusterState::default()
        };
        // What grows most when it is escaped: quotes, control characters, invisible characters.
        for nasty in ["x", "\"", "\\", "\u{1}", "\u{ad}", "\u{200b}", "\u{e0001}"] {
            for bytes in [253, 64 << 10] {
                let text = nasty.repeat(bytes / nasty.len());
                let single = TEXTS.iter().map(std::slice::from_ref);
                let all: [&[&str]; 2] = [&TEXTS[..2], &TEXTS];
                for places in single.chain(all) {
                    let body = forged(places, &text);
                    let Ok(admission) = admit(&body, state.cluster()) else {
                        continue;
                    };
                    let answer = admission.without_lease();
                    let longest = longest_line(|| write(&answer.record, Instant::now()));
                    assert!(longest <= MAX_LINE, "{longest}: {nasty:?} in {places:?}");
                    let left = answer.left_alone.as_ref();
                    let in_event = left.map_or(0, |left| left.namespace.len() + left.why.len());
                    assert!(in_event <= MAX_LINE, "{nasty:?} in {places:?}");
                }
            }
        }
    }
}
