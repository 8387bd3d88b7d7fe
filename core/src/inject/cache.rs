//! Volumes that keep layers: dockerd's data-root and the client's BuildKit cache.

use serde_json::{Value, json};

use super::{Injection, builder::Builder, pool, resources};
use crate::{
    decide::DockerdPlan,
    dockerd::{Image, Setting},
    k8s::names::is_dns_label,
    pod::{Container, ContainerRef},
    policy::{AccessMode, CacheVolume, EmptyDir, EphemeralClaim, LocalCache, NamedClaim},
    reason::Reason,
};

const CACHE_VOLUME: &str = "slipway-docker-cache";
const LOCAL_CACHE_VOLUME: &str = "slipway-buildkit-cache";
const PERMISSIONS_CONTAINER: &str = "slipway-cache-permissions";

/// The volume on dockerd's data-root. Without one, on a node whose file system is an overlay,
/// dockerd falls back to the driver `vfs`, which copies every layer. Says whether it is Slipway's.
pub(super) fn data_root(builder: &mut Builder<'_>, place: ContainerRef, path: &str) -> bool {
    let cache = builder.plan.profile.dind.cache.volume();
    let claim = builder
        .is_unoccupied(place, path)
        .then(|| pool::claim(builder))
        .flatten();
    let Some(source) = claim.or_else(|| source(builder, &cache)) else {
        return false;
    };
    let mounted = builder.mount(place, path, CACHE_VOLUME, &source);
    if mounted {
        warn_of_sharing(builder, &cache);
    }
    mounted || builder.is_ours(place, path, CACHE_VOLUME)
}

/// The volume source for a cache; `None` for no volume.
pub(super) fn source(builder: &mut Builder<'_>, cache: &CacheVolume) -> Option<Value> {
    match cache {
        CacheVolume::Pvc(NamedClaim { claim_name, .. }) => {
            Some(json!({"persistentVolumeClaim": {"claimName": claim_name}}))
        }
        CacheVolume::Ephemeral(EphemeralClaim {
            storage_class,
            size,
        }) => {
            let size = resources::claim_size(builder, size);
            let mut spec = json!({
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": size}}
            });
            if let (Some(class), Some(spec)) = (storage_class, spec.as_object_mut()) {
                spec.insert("storageClassName".to_owned(), json!(class));
            }
            Some(json!({"ephemeral": {"volumeClaimTemplate": {"spec": spec}}}))
        }
        CacheVolume::EmptyDir(EmptyDir { size_limit: None }) => Some(json!({"emptyDir": {}})),
        CacheVolume::EmptyDir(EmptyDir {
            size_limit: Some(size),
        }) => Some(json!({"emptyDir": {"sizeLimit": size}})),
        CacheVolume::None(_) => None,
    }
}

/// Two dockerds on one data-root: the second is refused, and its job is lost.
pub(super) fn warn_of_sharing(builder: &mut Builder<'_>, cache: &CacheVolume) {
    if let CacheVolume::Pvc(NamedClaim {
        claim_name,
        access_mode,
    }) = cache
        && *access_mode != AccessMode::ReadWriteOncePod
    {
        builder.note(Reason::ClaimMayBeShared(claim_name.to_string()));
    }
}

/// The directory for `--cache-to type=local` on the clients.
pub(super) fn local(builder: &mut Builder<'_>) {
    let plan = builder.plan;
    let (path, source) = match &plan.profile.buildkit.local_cache {
        LocalCache::None {} => return,
        LocalCache::Pvc { claim_name, path } => (
            path,
            json!({"persistentVolumeClaim": {"claimName": claim_name}}),
        ),
        LocalCache::EmptyDir { path, size_limit } => {
            let cache = CacheVolume::EmptyDir(EmptyDir {
                size_limit: size_limit.clone(),
            });
            (path, self::source(builder, &cache).unwrap_or_default())
        }
        LocalCache::HostPath { path } => {
            if !plan.host_access || !is_dns_label(plan.namespace) {
                builder.note(Reason::NoHostPath(Setting::BuildkitCache(path.to_string())));
                return;
            }
            // One directory a namespace, so that no team writes what another one builds from.
            let own = format!("{}/{}", path.as_str().trim_end_matches('/'), plan.namespace);
            (
                path,
                json!({"hostPath": {"path": own, "type": "DirectoryOrCreate"}}),
            )
        }
    };
    let on_host = source.get("hostPath").is_some();
    for place in &plan.clients {
        let mounted = builder.mount(*place, path.as_str(), LOCAL_CACHE_VOLUME, &source);
        if mounted && on_host {
            make_writable(builder, *place, path.as_str(), &source);
        }
    }
}

/// The kubelet makes the directory `root:root 0755`, and `fsGroup` does not apply to host paths:
/// an init container opens it to a runner that is not root. It never fails the pod.
fn make_writable(builder: &mut Builder<'_>, place: ContainerRef, path: &str, source: &Value) {
    let Some(client) = builder.container(place) else {
        return;
    };
    if runs_as_root(builder, client) || builder.has_container(PERMISSIONS_CONTAINER) {
        return;
    }
    let Some(image) = image_with_shell(builder, client) else {
        builder.note(Reason::MayBeReadOnly(path.to_owned()));
        return;
    };
    let already = Reason::MadeWritable(path.to_owned());
    if builder.has_note(&already) {
        return;
    }
    let volume = builder.volume(LOCAL_CACHE_VOLUME, source);
    let container = json!({
        "name": PERMISSIONS_CONTAINER,
        "image": image,
        "command": ["sh", "-c", "chmod 1777 \"$0\" || true", path],
        "securityContext": {"runAsUser": 0, "runAsNonRoot": false},
        "resources": resources::of_helper(builder),
        "volumeMounts": [{"name": volume, "mountPath": path}],
    });
    builder.push(Injection::AddContainer {
        init: true,
        container,
    });
    builder.note(already);
}

/// An image of the pod that is known to hold a shell: a container that cannot start fails the pod.
fn image_with_shell<'b>(builder: &Builder<'b>, client: &'b Container<'b>) -> Option<&'b str> {
    let dockerd = match builder.plan.dockerd {
        DockerdPlan::Sidecar(place) => builder.container(place)?.image.as_deref(),
        _ => None,
    };
    let stock = dockerd.filter(|image| Image::parse(image).is_dind());
    let of_arc = builder.plan.system.starts_with("arc-");
    stock.or(client.image.as_deref().filter(|_| of_arc))
}

fn runs_as_root(builder: &Builder<'_>, container: &Container<'_>) -> bool {
    let own = container
        .security_context
        .as_ref()
        .and_then(|c| c.run_as_user);
    let of_pod = builder.pod.spec.security_context.as_ref();
    own.or_else(|| of_pod.and_then(|c| c.run_as_user)) == Some(0)
}
