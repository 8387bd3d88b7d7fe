//! The status report: the JSON of `GET /status`, and what the overview shows.

use std::time::SystemTime;

use serde::Serialize;

use super::{
    attention::{self, Attention},
    sections::{
        CertificateStatus, ClaimStatus, DecisionStatus, MirrorStatus, NamespacesStatus,
        NodesStatus, PolicyStatus, WatchStatus, claims, mirrors, seconds,
    },
};
use crate::server::App;

/// The state of one replica. Keys may be added, but never renamed or removed; `docs/status.md`
/// documents them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) version: &'static str,
    pub(super) replica: Option<String>,
    pub(super) leader: bool,
    pub(super) time: String,
    pub(super) started: String,
    pub(super) ready: bool,
    pub(super) not_ready_because: Vec<&'static str>,
    pub(super) attention: Vec<Attention>,
    pub(super) policy: PolicyStatus,
    pub(super) mirrors: Vec<MirrorStatus>,
    pub(super) certificate: CertificateStatus,
    pub(super) watches: Vec<WatchStatus>,
    pub(super) nodes: Option<NodesStatus>,
    pub(super) namespaces: Option<NamespacesStatus>,
    pub(super) claims: Option<Vec<ClaimStatus>>,
    pub(super) decisions_since_start: u64,
    pub(super) decisions: Vec<DecisionStatus>,
}

impl Status {
    /// Takes a report of this moment.
    pub(super) fn of(app: &App) -> Self {
        let state = app.state.load();
        let now = SystemTime::now();
        let not_ready_because = app.not_ready_because();
        let policy = PolicyStatus::of(&state);
        let mirrors = mirrors(&state);
        let certificate = CertificateStatus::of(&app.certificate, now);
        let watches: Vec<_> = app.metrics.watches.ages().map(WatchStatus::of).collect();
        let nodes = state.nodes.as_deref().map(NodesStatus::of);
        let namespaces = NamespacesStatus::of(&state);
        let attention = attention::sorted([
            attention::readiness(&not_ready_because),
            attention::policy(&policy),
            attention::namespaces(namespaces.as_ref()),
            attention::certificate(&certificate),
            attention::watches(&watches),
            attention::mirrors(&mirrors),
            attention::nodes(nodes.as_ref()),
        ]);
        let decisions = app.status.decisions.latest().into_iter();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            replica: app.status.replica.clone(),
            leader: app.metrics.replica.is_leader(),
            time: seconds(now),
            started: seconds(app.status.started),
            ready: not_ready_because.is_empty(),
            not_ready_because,
            attention,
            policy,
            mirrors,
            certificate,
            watches,
            nodes,
            namespaces,
            claims: claims(&state),
            decisions_since_start: app.status.decisions.total(),
            decisions: decisions.map(DecisionStatus::of).collect(),
        }
    }
}
