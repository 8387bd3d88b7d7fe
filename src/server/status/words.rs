//! What the overview shows of the report: formatted values, and as many rows as a page can hold.

use std::{collections::BTreeMap, time::Duration};

use super::{
    report::Status,
    sections::{
        CertificateStatus, ClaimStatus, DecisionStatus, NamespaceStatus, NamespacesStatus,
        NodesStatus, PoolStatus,
    },
};

/// The most rows of a table; the rest are counted, and the JSON has them all.
const MAX_ROWS: usize = 200;
const HOUR: i64 = 60 * 60;
const DAY: i64 = 24 * HOUR;

impl Status {
    pub(super) fn name(&self) -> &str {
        self.replica.as_deref().unwrap_or("standalone")
    }

    /// Formats a time as `2026-01-02 03:04:05 UTC`.
    #[allow(clippy::unused_self, reason = "templates call methods")]
    pub(super) fn long(&self, at: &str) -> String {
        at.replace('T', " ").replace('Z', " UTC")
    }

    pub(super) fn short(&self, at: &str) -> String {
        short(at, &self.time)
    }

    pub(super) fn claims_by_state(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for claim in self.claims.iter().flatten() {
            *counts.entry(claim.state).or_default() += 1;
        }
        counts
    }

    pub(super) fn shown_claims(&self) -> &[ClaimStatus] {
        shown(self.claims.as_deref().unwrap_or_default())
    }

    pub(super) fn more_claims(&self) -> Option<usize> {
        more(self.claims.as_deref().unwrap_or_default())
    }

    pub(super) fn decided_in(&self, namespace: &str) -> usize {
        let decisions = self.decisions.iter();
        decisions
            .filter(|decision| decision.namespace == namespace)
            .count()
    }
}

impl NodesStatus {
    pub(super) fn shown(&self) -> &[PoolStatus] {
        shown(&self.pools)
    }

    pub(super) fn more(&self) -> Option<usize> {
        more(&self.pools)
    }
}

impl NamespacesStatus {
    pub(super) fn shown(&self) -> &[NamespaceStatus] {
        shown(&self.opted_in)
    }

    pub(super) fn more(&self) -> Option<usize> {
        more(&self.opted_in)
    }

    pub(super) fn with_host_access(&self) -> usize {
        let opted_in = self.opted_in.iter();
        opted_in.filter(|namespace| namespace.host_access).count()
    }
}

impl CertificateStatus {
    /// Returns the time until it expires, in the unit of [`Self::left_unit`].
    pub(super) fn left(&self) -> String {
        match self.expires_in_seconds {
            None => "–".to_owned(),
            Some(left) if left < DAY => (left / HOUR).to_string(),
            Some(left) => (left / DAY).to_string(),
        }
    }

    pub(super) fn left_unit(&self) -> &'static str {
        match self.expires_in_seconds {
            None => "",
            Some(left) if left < DAY => "hours left",
            Some(_) => "days left",
        }
    }
}

impl DecisionStatus {
    pub(super) fn took(&self) -> String {
        duration(self.duration_microseconds)
    }
}

/// Returns the rows of a table that are shown.
fn shown<T>(rows: &[T]) -> &[T] {
    rows.get(..MAX_ROWS).unwrap_or(rows)
}

/// Returns how many rows are not shown.
fn more<T>(rows: &[T]) -> Option<usize> {
    rows.len().checked_sub(MAX_ROWS).filter(|more| *more > 0)
}

/// Formats a duration as `85 µs`, `1.2 ms` or `3.4 s`.
pub(super) fn duration(microseconds: u64) -> String {
    let seconds = Duration::from_micros(microseconds).as_secs_f64();
    match microseconds {
        0..1_000 => format!("{microseconds} µs"),
        1_000..1_000_000 => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{seconds:.1} s"),
    }
}

/// Returns the time of an RFC 3339 timestamp; on another day than `now`, the date and the time in minutes.
fn short(at: &str, now: &str) -> String {
    let part = if at.get(..10) == now.get(..10) {
        at.get(11..19)
    } else {
        at.get(..16)
    };
    part.unwrap_or(at).replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_fitting_unit() {
        for (microseconds, words) in [
            (0, "0 µs"),
            (85, "85 µs"),
            (1_240, "1.2 ms"),
            (3_400_000, "3.4 s"),
        ] {
            assert_eq!(duration(microseconds), words);
        }
    }

    #[test]
    fn times_on_another_day_include_the_date() {
        let now = "2026-01-02T03:04:05Z";
        assert_eq!(short("2026-01-02T01:00:00.123Z", now), "01:00:00");
        assert_eq!(short("2026-01-01T23:00:00Z", now), "2026-01-01 23:00");
        assert_eq!(short("x", now), "x");
    }
}
