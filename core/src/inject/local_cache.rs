//! The directory of the build client for `--cache-to type=local`.

use super::{builder::Builder, resources};
use crate::{
    decide::DockerdPlan,
    dockerd::{Image, Setting},
    patch::{EmptyDir, NewContainer, SecurityContext, VolumeMount, VolumeSource, Words},
    pod::{Container, ContainerRef},
    policy::{LocalCache, values::AbsolutePath},
    reason::Reason,
};

const VOLUME: &str = "slipway-buildkit-cache";
const PERMISSIONS_CONTAINER: &str = "slipway-cache-permissions";

/// Mounts the directory in every client.
pub(super) fn inject(builder: &mut Builder<'_, '_>) {
    let plan = builder.plan;
    let Some((path, source)) = volume(builder) else {
        return;
    };
    let is_on_host = matches!(source, VolumeSource::HostPath(_));
    for client in &plan.clients {
        let mounted = builder.mount(*client, path.as_str(), VOLUME, &source);
        if mounted && is_on_host {
            make_writable(builder, *client, path.as_str(), &source);
        }
    }
}

/// Returns where the directory is mounted, and its volume.
fn volume<'a>(builder: &mut Builder<'_, 'a>) -> Option<(&'a AbsolutePath, VolumeSource<'a>)> {
    let plan = builder.plan;
    match &plan.profile.buildkit.local_cache {
        LocalCache::None {} => None,
        LocalCache::Pvc { claim_name, path } => {
            Some((path, VolumeSource::claim(claim_name.as_str())))
        }
        LocalCache::EmptyDir { path, size_limit } => {
            let size_limit = size_limit.clone();
            Some((path, VolumeSource::EmptyDir(EmptyDir { size_limit })))
        }
        LocalCache::HostPath { path } => {
            let Some(directory) = plan.host_directory() else {
                let cache = Setting::BuildkitCache(path.to_string());
                builder.note(Reason::NoHostPath(cache));
                return None;
            };
            // One directory per namespace: no team writes what another one builds from.
            let root = path.as_str().trim_end_matches('/');
            let own = format!("{root}/{directory}");
            Some((path, VolumeSource::host_directory(own)))
        }
    }
}

/// Adds an init container that opens the directory to a runner that is not root: the kubelet makes
/// it `root:root 0755`, and `fsGroup` does not apply to host paths. It never fails the pod.
fn make_writable<'a>(
    builder: &mut Builder<'_, 'a>,
    client: ContainerRef,
    path: &'a str,
    source: &VolumeSource<'a>,
) {
    let Some(client) = builder.container(client) else {
        return;
    };
    if runs_as_root(builder, client) || builder.has_container(PERMISSIONS_CONTAINER) {
        return;
    }
    let Some(image) = image_with_shell(builder, client) else {
        builder.note(Reason::MayBeReadOnly(path.to_owned()));
        return;
    };
    let made_writable = Reason::MadeWritable(path.to_owned());
    if builder.has_note(&made_writable) {
        return;
    }
    let image = image.to_owned();
    let volume = builder.volume(VOLUME, source);
    let command = ["sh", "-c", "chmod 1777 \"$0\" || true", path];
    let resources = resources::of_init_container(builder);
    builder.add_container(NewContainer {
        init: true,
        name: PERMISSIONS_CONTAINER,
        image: image.into(),
        command: Words(command.map(Into::into).into()),
        resources,
        security_context: SecurityContext::ROOT,
        volume_mounts: vec![VolumeMount::whole(volume, path)],
        ..NewContainer::default()
    });
    builder.note(made_writable);
}

/// Returns an image of the pod that is known to contain a shell: a container that cannot start
/// would fail the pod.
fn image_with_shell<'b>(builder: &Builder<'b, '_>, client: &'b Container<'_>) -> Option<&'b str> {
    let dockerd = match builder.plan.dockerd {
        DockerdPlan::Sidecar(at) => builder.container(at)?.image.as_deref(),
        _ => None,
    };
    let stock = dockerd.filter(|image| Image::parse(image).is_dind());
    let is_arc = builder.plan.system.starts_with("arc-");
    stock.or(client.image.as_deref().filter(|_| is_arc))
}

fn runs_as_root(builder: &Builder<'_, '_>, container: &Container<'_>) -> bool {
    let own = container.security_context.as_ref();
    let of_pod = builder.pod.spec.security_context.as_ref();
    let user = own.and_then(|context| context.run_as_user);
    user.or_else(|| of_pod.and_then(|context| context.run_as_user)) == Some(0)
}
