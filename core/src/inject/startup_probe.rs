//! The startup probe of a dockerd sidecar. The kubelet starts the runner when it succeeds.
//!
//! ARC's template probes every 5 seconds, and dockerd needs half a second: the first probe fails, and the runner starts
//! 5 seconds later than it could.

use super::builder::Builder;
use crate::{
    dockerd::Setting,
    patch::ProbeTiming,
    pod::{Container, ContainerRef, Probe, Str},
    policy::StartupProbe,
    reason::Reason,
};

/// The API server's defaults (<https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.34/#probe-v1-core>).
const DEFAULT_PERIOD: i64 = 10;
const DEFAULT_TIMEOUT: i64 = 1;
const DEFAULT_THRESHOLD: i64 = 3;

/// What a probe does, and when.
#[derive(PartialEq, Eq)]
struct Timing {
    initial_delay: i64,
    period: i64,
    timeout: i64,
    threshold: i64,
}

/// The values of ARC's template `gha-runner-scale-set`, whose command is `docker info`.
const OF_ARC: Timing = Timing {
    initial_delay: 0,
    period: 5,
    timeout: DEFAULT_TIMEOUT,
    threshold: 24,
};

impl Timing {
    fn of(probe: &Probe<'_>) -> Self {
        Self {
            initial_delay: probe.initial_delay_seconds.unwrap_or(0),
            period: probe.period_seconds.unwrap_or(DEFAULT_PERIOD),
            timeout: probe.timeout_seconds.unwrap_or(DEFAULT_TIMEOUT),
            threshold: probe.failure_threshold.unwrap_or(DEFAULT_THRESHOLD),
        }
    }
}

/// Lets the startup probe run every second, for as long as before.
pub(super) fn inject(builder: &mut Builder<'_, '_>, at: ContainerRef, container: &Container<'_>) {
    let Some(probe) = &container.startup_probe else {
        return;
    };
    if builder.plan.profile.dind.startup_probe == StartupProbe::Keep {
        return;
    }
    let timing = Timing::of(probe);
    let seconds = |n: i64| u32::try_from(n).ok().filter(|n| i32::try_from(*n).is_ok());
    let total = timing
        .period
        .checked_mul(timing.threshold)
        .and_then(seconds);
    // What the API server would refuse stays as it is.
    let (Some(period @ 2..), Some(total @ 1..)) = (seconds(timing.period), total) else {
        return;
    };
    let is_arcs = timing == OF_ARC && runs_docker_info(probe);
    if !is_arcs && !builder.overwrites() {
        builder.note(Reason::PodSets(Setting::StartupProbe));
        return;
    }
    builder.changes_to(at).startup_probe = Some(ProbeTiming {
        period: 1,
        failure_threshold: total,
    });
    builder.note(Reason::StartupProbeFaster { period, total });
}

fn runs_docker_info(probe: &Probe<'_>) -> bool {
    let command = probe.exec.iter().flat_map(|exec| &exec.command).flatten();
    command.map(Str::as_str).eq(["docker", "info"])
}
