//! The metrics as text, in the format that the client asks for.
//!
//! OpenMetrics (<https://prometheus.io/docs/specs/om/open_metrics_spec/>) for clients that ask for it, as
//! Prometheus does; its predecessor (<https://prometheus.io/docs/instrumenting/exposition_formats/>) for
//! `promtool check metrics`, older scrapers, and people with a browser or curl.

use std::borrow::Cow;

use axum::http::{HeaderMap, header::ACCEPT};

const OPENMETRICS: &str = "application/openmetrics-text";

/// Returns the content type and the text for a client that sent these headers.
pub(super) fn negotiated(headers: &HeaderMap, openmetrics: String) -> (&'static str, String) {
    let mut accepted = headers.get_all(ACCEPT).iter();
    if accepted.any(|value| value.to_str().is_ok_and(|text| text.contains(OPENMETRICS))) {
        let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        (content_type, openmetrics)
    } else {
        (
            "text/plain; version=0.0.4; charset=utf-8",
            classic(&openmetrics),
        )
    }
}

/// Converts OpenMetrics to the older format: families are named like their samples, and there is no
/// end mark.
fn classic(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len() + 1024);
    let mut lines = openmetrics.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(comment) = line.strip_prefix("# ") else {
            text.extend([line, "\n"]);
            continue;
        };
        // HELP comes first, but its suffix depends on the TYPE in the next line.
        let next = lines.peek().and_then(|next| next.strip_prefix("# "));
        match comment.split_once(' ') {
            Some(("HELP", rest)) => {
                let kind =
                    next.and_then(|next| Some(next.strip_prefix("TYPE ")?.split_once(' ')?.1));
                let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
                let name = family(name, kind.unwrap_or_default());
                text.extend(["# HELP ", &*name, " ", help, "\n"]);
            }
            Some(("TYPE", rest)) => {
                let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
                let name = family(name, kind);
                let kind = if kind == "info" { "gauge" } else { kind };
                text.extend(["# TYPE ", &*name, " ", kind, "\n"]);
            }
            _ => {}
        }
    }
    text
}

/// Returns the name of a family's samples.
fn family<'n>(name: &'n str, kind: &str) -> Cow<'n, str> {
    match kind {
        "counter" => format!("{name}_total").into(),
        "info" => format!("{name}_info").into(),
        _ => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP slipway_admission_requests Answered requests.
# TYPE slipway_admission_requests counter
slipway_admission_requests_total{strategy=\"dind\"} 3
# HELP slipway_build The version.
# TYPE slipway_build info
slipway_build_info{version=\"1\"} 1
# HELP slipway_wait_seconds How long.
# TYPE slipway_wait_seconds histogram
# UNIT slipway_wait_seconds seconds
slipway_wait_seconds_sum 0.5
slipway_wait_seconds_count 1
slipway_wait_seconds_bucket{le=\"+Inf\"} 1
# EOF
";

    #[test]
    fn families_are_named_like_their_samples() {
        assert_eq!(
            classic(TEXT),
            "\
# HELP slipway_admission_requests_total Answered requests.
# TYPE slipway_admission_requests_total counter
slipway_admission_requests_total{strategy=\"dind\"} 3
# HELP slipway_build_info The version.
# TYPE slipway_build_info gauge
slipway_build_info{version=\"1\"} 1
# HELP slipway_wait_seconds How long.
# TYPE slipway_wait_seconds histogram
slipway_wait_seconds_sum 0.5
slipway_wait_seconds_count 1
slipway_wait_seconds_bucket{le=\"+Inf\"} 1
"
        );
    }

    #[test]
    fn openmetrics_is_sent_unchanged_to_clients_that_ask_for_it() {
        let mut headers = HeaderMap::new();
        assert!(
            negotiated(&headers, TEXT.to_owned())
                .0
                .starts_with("text/plain")
        );
        let prometheus =
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        headers.insert(ACCEPT, prometheus.parse().unwrap());
        let (content_type, text) = negotiated(&headers, TEXT.to_owned());
        assert!(content_type.starts_with("application/openmetrics-text"));
        assert_eq!(text, TEXT);
    }
}
