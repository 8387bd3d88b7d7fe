//! Real dockerds and buildkitds, started with what Slipway injects: the container's command, arguments, variables and volumes
//! come from the patched pod, and a small stand-in for the kubelet makes a container of them.
//!
//! They need Linux, root, and dockerd with its docker client, runc, containerd, iptables, iproute2 and busybox on the
//! PATH of the system (on Debian: docker.io, iproute2, busybox-static). Where something lacks, every test says so and
//! passes; with `SLIPWAY_REQUIRE_TOOLS=1` it fails. The tests of the buildkitd sidecar run where `BUILDKITD` names a
//! buildkitd with its buildctl beside it: Debian has none.

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
