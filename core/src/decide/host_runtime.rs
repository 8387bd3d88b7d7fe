//! The runtimes of nodes whose sockets the strategies `containerd` and `docker-socket` mount.

use super::Strategy;
use crate::nodes::RuntimeKind;

/// A container runtime whose socket can be mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostRuntime {
    Containerd,
    DockerEngine,
}

impl HostRuntime {
    /// Returns the strategy that mounts this runtime's socket.
    pub(super) fn strategy(self) -> Strategy {
        match self {
            Self::Containerd => Strategy::Containerd,
            Self::DockerEngine => Strategy::DockerSocket,
        }
    }

    /// Returns the kind of runtime that a node must have.
    pub(super) fn kind(self) -> RuntimeKind {
        match self {
            Self::Containerd => RuntimeKind::Containerd,
            Self::DockerEngine => RuntimeKind::Docker,
        }
    }
}
