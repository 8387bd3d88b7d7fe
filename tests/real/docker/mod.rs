//! Real dockerds and buildkitds, started with what Slipway injects: the container's command, arguments,
//! variables and volumes come from the patched pod, and a small stand-in for the kubelet runs it.
//!
//! They need Linux, root, and dockerd with its client, runc, containerd, iptables, iproute2 and busybox on the
//! system's PATH (on Debian: docker.io, iproute2, busybox-static). If one is missing, the tests are skipped with
//! a message; with `SLIPWAY_REQUIRE_TOOLS=1` they fail. The tests of the buildkitd sidecar need `BUILDKITD` to
//! name a buildkitd with its buildctl beside it: Debian has none.

mod builders;
mod buildkitd;
mod cgroup;
mod examples;
mod faults;
mod leftovers;
mod oddities;
mod slots;
mod start_containerd;

use slipway_testkit::{harness::Test, kubelet, machine};

/// Lists the tests of all modules.
pub fn tests() -> Vec<Test> {
    [
        builders::tests(),
        buildkitd::tests(),
        cgroup::tests(),
        examples::tests(),
        faults::tests(),
        leftovers::tests(),
        oddities::tests(),
        slots::tests(),
        start_containerd::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
