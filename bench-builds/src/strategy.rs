//! What is compared: policies, each with what its jobs do.

use serde_json::{Value, json};

use super::{image::Order, registry::MIRROR_URL};

/// One column of the comparison.
pub struct Strategy {
    /// A short name, also that of its results.
    pub name: &'static str,
    /// What it is, for the report.
    pub about: &'static str,
    /// The profile's settings; `None` leaves the pod as ARC makes it.
    pub profile: Option<Value>,
    /// What a job does.
    pub task: Task,
    /// How many jobs run in a row on one node. One is enough where nothing outlives a job.
    pub jobs: usize,
    /// What the mirror has when the first job starts.
    pub mirror: Mirror,
    /// What is below dockerd's data-root where the pod has no volume for it.
    pub disk: Disk,
    /// The rate of the way to the upstream registry, in Mbit/s.
    pub rate: u32,
    /// The oldest dockerd that can do it.
    pub since: u32,
}

/// What a job does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Builds the project.
    Build(Order),
    /// Builds it with `--cache-from` and `--cache-to` of `type=local` in the directory that the profile mounts.
    BuildWithLocalCache,
    /// Builds it with buildctl, by the buildkitd that the profile adds.
    BuildWithBuildctl,
    /// Pulls the base image.
    Pull,
}

/// What the mirror has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mirror {
    /// The base image.
    Warm,
    /// Nothing.
    Cold,
}

/// What dockerd's data-root is on where no volume of the pod is there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// A directory of the node: docker's image declares a volume there.
    Volume,
    /// An overlay, as in an image that declares none, or on a node that is itself a container: dockerd falls back to
    /// the driver vfs.
    Overlay,
}

/// Plain Docker-in-Docker, to which all others are compared.
pub const PLAIN: &str = "plain";
/// A pull by plain Docker-in-Docker.
pub const PLAIN_PULL: &str = "pull";
/// The profile whose results say whether the mission's claims hold.
pub const DEFAULT: &str = "slots+mirror";
/// A buildkitd whose cache outlives its pod.
pub const BUILDKITD: &str = "buildkitd, claim";

impl Strategy {
    /// A build in the pod as ARC makes it.
    fn unpatched(name: &'static str, about: &'static str) -> Self {
        Self {
            name,
            about,
            profile: None,
            task: Task::Build(Order::SourcesLate),
            jobs: 1,
            mirror: Mirror::Warm,
            disk: Disk::Volume,
            rate: 100,
            since: 0,
        }
    }

    fn build(name: &'static str, about: &'static str, profile: Value) -> Self {
        Self {
            profile: Some(profile),
            ..Self::unpatched(name, about)
        }
    }

    fn buildkitd(name: &'static str, about: &'static str, cache: &Value) -> Self {
        let profile = json!({
            "strategy": "containerd",
            "replaceDockerd": true,
            "containerd": {"buildkitd": {"cache": cache}},
            "dind": {"registryMirrors": [MIRROR_URL]},
        });
        Self {
            task: Task::BuildWithBuildctl,
            ..Self::build(name, about, profile)
        }
    }

    fn pull(name: &'static str, about: &'static str, profile: Value) -> Self {
        Self::build(name, about, profile).pulls()
    }

    fn pulls(self) -> Self {
        let task = Task::Pull;
        Self { task, ..self }
    }

    fn in_a_row(self, jobs: usize) -> Self {
        Self { jobs, ..self }
    }

    fn sources_first(self) -> Self {
        let task = Task::Build(Order::SourcesFirst);
        Self { task, ..self }
    }

    fn cold(self) -> Self {
        let mirror = Mirror::Cold;
        Self { mirror, ..self }
    }

    fn at(self, rate: u32) -> Self {
        Self { rate, ..self }
    }

    fn since(self, since: u32) -> Self {
        Self { since, ..self }
    }

    /// How many steps of its build do not depend on the sources.
    pub fn can_hit(&self) -> usize {
        match self.task {
            Task::Build(order) => order.can_hit(),
            Task::BuildWithLocalCache | Task::BuildWithBuildctl => Order::SourcesLate.can_hit(),
            Task::Pull => 0,
        }
    }
}

/// All of them, in the order of the report.
pub fn all() -> Vec<Strategy> {
    [caches(), settings(), pulls()]
        .into_iter()
        .flatten()
        .collect()
}

const NO_MIRROR: [&str; 0] = [];
const MIRROR: [&str; 1] = [MIRROR_URL];

fn empty_dir() -> Value {
    json!({"type": "emptyDir"})
}

fn slots() -> Value {
    json!({"type": "nodeSlots"})
}

fn claim(name: &str) -> Value {
    json!({"type": "pvc", "claimName": name, "accessMode": "ReadWriteOncePod"})
}

/// A profile with these mirrors and this cache.
fn with(mirrors: &[&str], cache: &Value) -> Value {
    json!({"dind": {"registryMirrors": mirrors, "cache": cache}})
}

/// A profile without a cache, with one more setting of `dind`.
fn with_setting(mirrors: &[&str], key: &str, value: &Value) -> Value {
    json!({"dind": {"registryMirrors": mirrors, "cache": empty_dir(), key: value}})
}

/// A profile whose dockerd downloads one layer at a time.
fn one_download(mirrors: &[&str]) -> Value {
    with_setting(
        mirrors,
        "daemonConfig",
        &json!({"max-concurrent-downloads": 1}),
    )
}

/// The default profile with a warm mirror and these further keys of daemon.json.
fn default_with(config: &Value) -> Value {
    json!({"dind": {"registryMirrors": MIRROR, "daemonConfig": config}})
}

/// What is kept between jobs, and where.
fn caches() -> Vec<Strategy> {
    let build = Strategy::build;
    let own_buildkitd = "the strategy `containerd` with its buildkitd, a warm mirror";
    vec![
        Strategy::unpatched(PLAIN, "ARC's pod as it is"),
        build(
            "mirror",
            "a warm pull-through mirror",
            with(&MIRROR, &empty_dir()),
        ),
        build(
            "mirror-cold",
            "a mirror that has nothing yet",
            with(&MIRROR, &empty_dir()),
        )
        .cold(),
        build("slots", "node slots, no mirror", with(&NO_MIRROR, &slots())).in_a_row(5),
        build(
            DEFAULT,
            "the default profile with a warm mirror",
            with(&MIRROR, &slots()),
        )
        .in_a_row(5),
        build(
            "claim",
            "one claim kept on `/var/lib/docker`, no mirror",
            with(&NO_MIRROR, &claim("docker-cache")),
        )
        .in_a_row(5),
        Strategy::buildkitd("buildkitd", own_buildkitd, &empty_dir()),
        Strategy::buildkitd(
            BUILDKITD,
            "the same with a claim kept on `/var/lib/buildkit`",
            &claim("buildkit-cache"),
        )
        .in_a_row(5),
        Strategy::unpatched(
            "plain, sources first",
            "a Dockerfile that copies its sources early",
        )
        .sources_first(),
        build(
            "slots, sources first",
            "the same with node slots",
            with(&NO_MIRROR, &slots()),
        )
        .sources_first()
        .in_a_row(3),
    ]
}

/// What the daemon and the client are told.
fn settings() -> Vec<Strategy> {
    let build = Strategy::build;
    let containerd_store = json!({"features": {"containerd-snapshotter": true}});
    let limited =
        |cpu: &str| with_setting(&NO_MIRROR, "resources", &json!({"limits": {"cpu": cpu}}));
    vec![
        build(
            "slots+mirror, containerd first",
            "the default profile with `startContainerd: true`",
            json!({"dind": {"registryMirrors": MIRROR, "startContainerd": true}}),
        )
        .in_a_row(3),
        build("slots+mirror, containerd store", "with dockerd's containerd image store", default_with(&containerd_store))
            .in_a_row(3)
            .since(23),
        build(
            "slots+mirror, lean",
            "with `userland-proxy` and `ip6tables` off",
            default_with(&json!({"userland-proxy": false, "ip6tables": false})),
        )
        .in_a_row(3),
        build("one-download", "`max-concurrent-downloads: 1`, no mirror", one_download(&NO_MIRROR)),
        build(
            "legacy-builder",
            "`DOCKER_BUILDKIT=0`",
            json!({"dind": {"registryMirrors": NO_MIRROR, "cache": empty_dir()},
                "buildkit": {"env": {"DOCKER_BUILDKIT": "0"}}}),
        ),
        Strategy {
            task: Task::BuildWithLocalCache,
            ..build(
                "local-cache",
                "`type=local` cache in a host directory, containerd image store",
                json!({
                    "dind": {"registryMirrors": NO_MIRROR, "cache": empty_dir(), "daemonConfig": containerd_store},
                    "buildkit": {"localCache": {"type": "hostPath", "path": "/tmp/buildkit-cache"}}}),
            )
        }
        .in_a_row(3)
        .since(23),
        build("limit-1000m", "dockerd limited to one core", limited("1")),
        build("limit-500m", "dockerd limited to half a core", limited("500m")),
        Strategy {
            disk: Disk::Overlay,
            ..build(
                "no-volume",
                "nothing on `/var/lib/docker`, so the driver vfs",
                with(&NO_MIRROR, &json!({"type": "none"})),
            )
        },
    ]
}

/// Pulls of the base image.
fn pulls() -> Vec<Strategy> {
    let pull = Strategy::pull;
    let one_at_a_time = "one layer at a time";
    let no_pigz = with_setting(&MIRROR, "env", &json!({"MOBY_DISABLE_PIGZ": "1"}));
    vec![
        Strategy::unpatched(PLAIN_PULL, "`docker pull` at 100 Mbit/s").pulls(),
        pull(
            "pull, one-download",
            one_at_a_time,
            one_download(&NO_MIRROR),
        ),
        pull(
            "pull, mirror",
            "with a warm mirror",
            with(&MIRROR, &empty_dir()),
        ),
        pull(
            "pull, mirror, one-download",
            one_at_a_time,
            one_download(&MIRROR),
        ),
        pull(
            "pull, mirror, no pigz",
            "unpacked by dockerd itself",
            no_pigz,
        ),
        pull(
            "pull, mirror-cold",
            "with a cold mirror",
            with(&MIRROR, &empty_dir()),
        )
        .cold(),
        Strategy::unpatched("pull at 1 Gbit/s", "`docker pull` at 1 Gbit/s")
            .pulls()
            .at(1000),
        pull(
            "pull at 1 Gbit/s, one-download",
            one_at_a_time,
            one_download(&NO_MIRROR),
        )
        .at(1000),
        pull(
            "pull at 1 Gbit/s, mirror",
            "with a warm mirror",
            with(&MIRROR, &empty_dir()),
        )
        .at(1000),
    ]
}
