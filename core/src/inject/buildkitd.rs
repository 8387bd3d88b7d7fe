//! The buildkitd sidecar beside a containerd socket.

use super::{
    builder::Builder,
    buildkitd_config, data_root, resources,
    sidecar::{SOCKET_GROUP, add, share_socket},
};
use crate::{
    patch::{NewContainer, Probe, SecurityContext, VolumeMount},
    policy::Buildkitd,
    reason::{AddedDaemon, Reason},
};

/// The container's name.
pub const BUILDKITD: &str = "slipway-buildkitd";
/// The directory of buildkitd's socket, in both containers.
const BUILDKIT_RUN: &str = "/opt/slipway/buildkit";
/// The address of its socket.
pub const ADDRESS: &str = "unix:///opt/slipway/buildkit/buildkitd.sock";
/// Annotation that delivers buildkitd.toml with the pod.
const BUILDKITD_TOML: &str = "slipway.io/buildkitd.toml";
const BUILDKITD_TOML_VOLUME: &str = "slipway-buildkitd-toml";

/// Adds buildkitd with its OCI worker and a cache of its own: it needs nothing of the node's runtime.
pub(super) fn add_buildkitd<'a>(builder: &mut Builder<'_, 'a>, settings: &'a Buildkitd) {
    if builder.has_container(BUILDKITD) {
        return;
    }
    let plan = builder.plan;
    if !builder.pod.spec.has_pod_level_resources()
        && let Some(resource) = settings
            .resources
            .missing_for_quota(plan.quotas, plan.limits)
    {
        builder.note(Reason::QuotaDemands {
            container: AddedDaemon::Buildkitd,
            resource: resource.to_owned(),
        });
        return;
    }
    let run = share_socket(
        builder,
        "slipway-buildkit-run",
        BUILDKIT_RUN,
        "BUILDKIT_HOST",
        ADDRESS,
    );
    let mut mounts = vec![run];
    if let Some(source) = data_root::source(builder, &settings.cache) {
        let volume = builder.new_volume("slipway-buildkitd-cache", &source);
        mounts.push(VolumeMount::whole(volume, "/var/lib/buildkit"));
        data_root::warn_of_sharing(builder, &settings.cache, &source);
    }
    mounts.extend(buildkitd_toml(builder));
    // The socket is open to root and one group, which a runner that is not root needs to be in.
    let groups = &plan.profile.containerd.supplemental_groups;
    let group = groups.first().copied().unwrap_or(SOCKET_GROUP);
    builder.supplemental_group(group);
    let group = group.to_string();
    let args = [
        "--addr",
        ADDRESS,
        "--oci-worker=true",
        "--containerd-worker=false",
        "--group",
        &group,
    ];
    let container = NewContainer {
        name: BUILDKITD,
        image: settings.image.as_str().into(),
        args: args.map(|word| word.to_owned().into()).into(),
        resources: resources::of_added(builder, &settings.resources),
        security_context: SecurityContext::PRIVILEGED,
        startup_probe: Some(Probe::exec([
            "buildctl", "--addr", ADDRESS, "debug", "workers",
        ])),
        volume_mounts: mounts,
        ..NewContainer::default()
    };
    add(builder, container);
}

/// Returns the mount of buildkitd.toml with the mirrors.
fn buildkitd_toml<'a>(builder: &mut Builder<'_, 'a>) -> Option<VolumeMount<'a>> {
    let toml = buildkitd_config::registries(builder);
    if toml.is_empty() {
        return None;
    }
    let volume = builder.file_volume(
        BUILDKITD_TOML,
        BUILDKITD_TOML_VOLUME,
        "buildkitd.toml",
        toml,
    )?;
    let path = "/etc/buildkit/buildkitd.toml";
    Some(VolumeMount::file(volume, path, "buildkitd.toml"))
}
