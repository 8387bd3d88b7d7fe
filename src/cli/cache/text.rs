//! The report on caches as text.

use k8s_openapi::jiff::Timestamp;

use super::report::{ClaimLine, Hits, PoolLine, Report, SlotsLine};
use crate::cli::{
    output::{Paint, table},
    problem,
};

/// The content of an empty cell.
const NOTHING: &str = "-";

/// Renders the tables and the problems.
pub(super) fn text(report: &Report, now: Timestamp, paint: Paint) -> String {
    let mut text = String::new();
    if !report.pools.is_empty() {
        text += &pools(&report.pools, paint);
        text.push('\n');
    }
    if !report.claims.is_empty() {
        text += &claims(&report.claims, now, paint);
        text.push('\n');
    }
    if !report.node_slots.is_empty() {
        text += &slots(&report.node_slots, paint);
        text.push('\n');
    }
    if text.is_empty() {
        text += "there are no caches that outlive a pod\n\n";
    }
    text + &problem::text(&report.problems, paint)
}

fn pools(pools: &[PoolLine], paint: Paint) -> String {
    let header = [
        "NAMESPACE",
        "POOL",
        "CLAIMS",
        "OF",
        "LEASED",
        "FREE",
        "BLANK",
        "LEASES",
        "WARM",
    ];
    let rows = pools.iter().map(|pool| {
        [
            pool.namespace.clone(),
            pool.profile.clone(),
            pool.claims.to_string(),
            pool.size.map_or_else(nothing, |size| size.to_string()),
            pool.leased.to_string(),
            pool.free.to_string(),
            pool.blank.to_string(),
            pool.hits.leases.to_string(),
            percent(pool.hits),
        ]
    });
    table(header, rows, paint)
}

fn claims(claims: &[ClaimLine], now: Timestamp, paint: Paint) -> String {
    let header = [
        "NAMESPACE",
        "CLAIM",
        "STATE",
        "POD",
        "CACHE KEY",
        "LAST USED",
        "LEASES",
        "WARM",
        "SIZE",
    ];
    let rows = claims.iter().map(|claim| {
        [
            claim.namespace.clone(),
            claim.name.clone(),
            claim.state.to_owned(),
            pod(claim),
            claim.cache_key.clone().unwrap_or_else(nothing),
            claim.last_used.map_or_else(nothing, |time| age(time, now)),
            claim.hits.leases.to_string(),
            percent(claim.hits),
            claim.size.clone().unwrap_or_else(nothing),
        ]
    });
    table(header, rows, paint)
}

fn slots(slots: &[SlotsLine], paint: Paint) -> String {
    let header = [
        "NAMESPACE",
        "PROFILE",
        "NODE SLOTS BELOW",
        "A KEY",
        "BUDGET",
        "PODS",
        "KEYS",
    ];
    let rows = slots.iter().map(|line| {
        let pods = line.pods.as_ref();
        let count = pods.map(|keys| keys.values().map(Vec::len).sum::<usize>());
        let keys = pods.map(|keys| {
            keys.keys()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(", ")
        });
        [
            line.namespace.clone().unwrap_or_else(nothing),
            line.profile.clone(),
            line.root.clone(),
            line.slots.to_string(),
            line.budget
                .as_ref()
                .map_or_else(nothing, ToString::to_string),
            count.map_or_else(nothing, |count| count.to_string()),
            keys.filter(|keys| !keys.is_empty()).unwrap_or_else(nothing),
        ]
    });
    table(header, rows, paint)
}

/// Returns the pods that use the claim; in brackets the pod that it was leased to, when no live pod uses it.
fn pod(claim: &ClaimLine) -> String {
    let pods = claim.pods.as_deref().unwrap_or_default();
    match (pods, &claim.leased_to) {
        ([], None) => nothing(),
        ([], Some(leased_to)) => format!("({leased_to})"),
        (pods, _) => pods.join(", "),
    }
}

fn nothing() -> String {
    NOTHING.to_owned()
}

fn percent(hits: Hits) -> String {
    hits.ratio
        .map_or_else(nothing, |ratio| format!("{:.0} %", ratio * 100.0))
}

/// Returns how long ago `time` was, in the largest unit that fits, as kubectl does.
fn age(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(time).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}
