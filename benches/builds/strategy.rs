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
    fn build(name: &'static str, about: &'static str, profile: Option<Value>) -> Self {
        Self {
            name,
            about,
            profile,
            task: Task::Build(Order::SourcesLate),
            jobs: 1,
            mirror: Mirror::Warm,
            disk: Disk::Volume,
            rate: 100,
            since: 0,
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
            ..Self::build(name, about, Some(profile))
        }
    }

    fn pull(name: &'static str, about: &'static str, profile: Option<Value>) -> Self {
        let task = Task::Pull;
        Self {
            task,
            ..Self::build(name, about, profile)
        }
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

/// All of them.
pub fn all() -> Vec<Strategy> {
    let none: [&str; 0] = [];
    let mirrors = [MIRROR_URL];
    let with = |mirrors: &[&str], cache: Value| {
        Some(json!({"dind": {"registryMirrors": mirrors, "cache": cache}}))
    };
    let empty_dir = || json!({"type": "emptyDir"});
    let slots = || json!({"type": "nodeSlots"});
    let claim =
        |name: &str| json!({"type": "pvc", "claimName": name, "accessMode": "ReadWriteOncePod"});
    let limited = |cpu: &str| {
        Some(
            json!({"dind": {"registryMirrors": none, "cache": empty_dir(), "resources": {"limits": {"cpu": cpu}}}}),
        )
    };
    vec![
        Strategy::build(PLAIN, "ARC's pod as it is", None),
        Strategy::build("mirror", "a warm pull-through mirror", with(&mirrors, empty_dir())),
        Strategy::build("mirror-cold", "a mirror that has nothing yet", with(&mirrors, empty_dir())).cold(),
        Strategy::build("slots", "node slots, no mirror", with(&none, slots())).in_a_row(5),
        Strategy::build(DEFAULT, "the default profile with a warm mirror", with(&mirrors, slots())).in_a_row(5),
        Strategy::build(
            "slots+mirror, containerd first",
            "the same with `startContainerd: true`",
            Some(json!({"dind": {"registryMirrors": mirrors, "startContainerd": true}})),
        )
        .in_a_row(3),
        Strategy::build(
            "slots+mirror, containerd store",
            "the same with dockerd's containerd image store",
            Some(json!({"dind": {"registryMirrors": mirrors,
                "daemonConfig": {"features": {"containerd-snapshotter": true}}}})),
        )
        .in_a_row(3)
        .since(23),
        Strategy::build("claim", "one claim kept on `/var/lib/docker`, no mirror", with(&none, claim("docker-cache"))).in_a_row(5),
        Strategy::buildkitd("buildkitd", "the strategy `containerd` with its buildkitd, a warm mirror", &empty_dir()),
        Strategy::buildkitd(BUILDKITD, "the same with a claim kept on `/var/lib/buildkit`", &claim("buildkit-cache"))
            .in_a_row(5),
        Strategy::build(
            "legacy-builder",
            "`DOCKER_BUILDKIT=0`",
            Some(json!({"dind": {"registryMirrors": none, "cache": empty_dir()},
                "buildkit": {"env": {"DOCKER_BUILDKIT": "0"}}})),
        ),
        Strategy {
            task: Task::BuildWithLocalCache,
            ..Strategy::build(
                "local-cache",
                "`type=local` cache in a host directory, containerd image store",
                Some(json!({
                    "dind": {"registryMirrors": none, "cache": empty_dir(),
                        "daemonConfig": {"features": {"containerd-snapshotter": true}}},
                    "buildkit": {"localCache": {"type": "hostPath", "path": "/tmp/buildkit-cache"}}})),
            )
        }
        .in_a_row(3)
        .since(23),
        Strategy::build("limit-1000m", "dockerd limited to one core", limited("1")),
        Strategy::build("limit-500m", "dockerd limited to half a core", limited("500m")),
        Strategy {
            disk: Disk::Overlay,
            ..Strategy::build(
                "no-volume",
                "nothing on `/var/lib/docker`, so the driver vfs",
                Some(json!({"dind": {"registryMirrors": none, "cache": {"type": "none"}}})),
            )
        },
        Strategy::build("plain, sources first", "a Dockerfile that copies its sources early", None).sources_first(),
        Strategy::build("slots, sources first", "the same with node slots", with(&none, slots()))
            .sources_first()
            .in_a_row(3),
        Strategy::pull(PLAIN_PULL, "`docker pull` at 100 Mbit/s", None),
        Strategy::pull("pull, mirror", "with a warm mirror", with(&mirrors, empty_dir())),
        Strategy::pull("pull, mirror-cold", "with a cold mirror", with(&mirrors, empty_dir())).cold(),
        Strategy::pull("pull at 1 Gbit/s", "`docker pull` at 1 Gbit/s", None).at(1000),
        Strategy::pull("pull at 1 Gbit/s, mirror", "with a warm mirror", with(&mirrors, empty_dir())).at(1000),
    ]
}
