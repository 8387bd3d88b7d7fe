//! What a reason says beyond its code, where no other module has a type for it.

use crate::k8s::{quantity::Quantity, resource_field::ResourceField};

/// A daemon that Slipway adds in a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum AddedDaemon {
    /// dockerd, with the strategy `dind`.
    Dockerd,
    /// buildkitd, beside a containerd socket.
    Buildkitd,
}

/// A quantity of the profile that the API server would refuse, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Clamp {
    /// A container gets another request or limit.
    #[error(
        "{field}: {effective} instead of {wanted}, to fit a LimitRange or the container's own values"
    )]
    Changed {
        /// What the quantity is for.
        field: ResourceField,
        /// What the profile sets.
        wanted: Quantity,
        /// What the container gets.
        effective: Quantity,
    },
    /// A container does not get this request or limit, because no quantity fits the LimitRanges.
    #[error("{field}: {wanted} left out, no value fits the LimitRange")]
    LeftOut {
        /// What the quantity is for.
        field: ResourceField,
        /// What the profile sets.
        wanted: Quantity,
    },
    /// A container does not get this request or limit, because the sum of the pod would be too high.
    #[error("{field}: {wanted} left out, the pod would exceed the LimitRange maximum of {max}")]
    PodExceeded {
        /// What the quantity is for.
        field: ResourceField,
        /// What the container would have got.
        wanted: Quantity,
        /// The maximum for the sum of the pod's containers.
        max: Quantity,
    },
    /// The claim of a cache gets another size.
    #[error("cache volume: {effective} instead of {wanted}, to fit a LimitRange")]
    Claim {
        /// What the profile sets.
        wanted: Quantity,
        /// What the claim gets.
        effective: Quantity,
    },
}

/// Why no claim of the pool could be leased, although one may be free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PoolFailure {
    /// The list of claims has not arrived yet.
    #[error("the claims are not known yet")]
    NotSynced,
    /// The time ran out.
    #[error("the API server did not respond in time")]
    Timeout,
    /// The API server could not be reached, or answered with an error.
    #[error("the API server refused, or could not be reached")]
    ApiServer,
    /// No pods appeared for earlier leases of the same client.
    #[error("no pods appeared for the client's last leases")]
    Suspended,
    /// Every claim that was tried had been leased to another pod in the meantime.
    #[error("other pods took every claim that was tried")]
    Contended,
}
