//! All that stands around the jobs: network, registries, the base image.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::{
    cgroup::Cgroup,
    image::{BASE, write_base},
    job,
    kubelet::{Container, Options, Surroundings},
    machine::{Machine, Tools, stdout, write_program},
    network::{self, Network},
    registry::{Identities, Registry},
    size::Size,
    strategy::{self, Mirror, PLAIN},
};

/// The wrapper runs in the machine's shell: busybox's would run its own `df`, whatever stands in its place.
pub const OPTIONS: Options = Options {
    tools: Tools::System,
    mtu: 1500,
    disk: "plain",
    shared_pid_namespace: false,
};

/// The site of the benchmark.
pub struct Site {
    pub network: Network,
    pub size: Size,
    dir: PathBuf,
    /// docker's programs, where they are not the machine's.
    tree: Option<PathBuf>,
    version: String,
    identities: Identities,
    mirror: Option<(Mirror, Registry)>,
    _upstream: Registry,
}

impl Site {
    /// Makes it below `dir`; what takes long is kept there for the next time.
    pub fn new(dir: &Path, tree: Option<&Path>, version: String, size: Size) -> Self {
        let network = Network::new();
        network::set_rate(1000);
        let identities = Identities::new(&dir.join("identities"));
        stdout(
            Command::new("mount")
                .arg("--bind")
                .arg(identities.hosts())
                .arg("/etc/hosts"),
        );
        let upstream = identities.upstream(&dir.join("upstream"));
        let this = Self {
            network,
            size,
            dir: dir.to_owned(),
            tree: tree.map(|tree| in_memory(dir, tree)),
            version,
            identities,
            mirror: None,
            _upstream: upstream,
        };
        this.push_base();
        this
    }

    /// The major version of dockerd.
    pub fn version(&self) -> &str {
        self.version.split('.').next().unwrap()
    }

    /// The tree that is laid over the machine's files.
    pub fn image(&self) -> Option<PathBuf> {
        self.tree.clone()
    }

    /// What every container mounts.
    pub fn mounts(&self) -> Vec<(PathBuf, String)> {
        self.identities.mounts()
    }

    /// A node on which no job has run.
    pub fn fresh_node(&self) -> Machine {
        let dir = self.dir.join("node");
        let _ = fs::remove_dir_all(&dir);
        let machine = Machine::at(dir);
        let df = machine.tools(OPTIONS.tools).join("df");
        write_program(&df, include_str!("df.sh"));
        machine
    }

    /// Sees to what the mirror has.
    pub fn set_mirror(&mut self, state: Mirror) {
        if state == Mirror::Warm && matches!(self.mirror, Some((Mirror::Warm, _))) {
            return;
        }
        self.mirror = None;
        let storage = match state {
            Mirror::Warm => self.dir.join("mirror-warm"),
            Mirror::Cold => self.dir.join("mirror-cold"),
        };
        if state == Mirror::Cold {
            let _ = fs::remove_dir_all(&storage);
        }
        let is_new = !storage.exists();
        self.mirror = Some((state, self.identities.mirror(&storage)));
        if state == Mirror::Warm && is_new {
            eprintln!("warming the mirror");
            let strategies = strategy::all();
            let pull = strategies
                .iter()
                .find(|s| s.name == "pull, mirror")
                .unwrap();
            job::run(self, &self.fresh_node(), pull, 0, 0);
        }
    }

    /// Builds the base image and pushes it to the upstream registry, unless it is there.
    fn push_base(&self) {
        let pushed = self.dir.join("pushed");
        if pushed.exists() {
            return;
        }
        eprintln!("making the base image");
        let context = self.dir.join("base");
        let _ = fs::remove_dir_all(&context);
        write_base(&context, self.size);
        let machine = self.fresh_node();
        let strategies = strategy::all();
        let plain = strategies.iter().find(|s| s.name == PLAIN).unwrap();
        let pod: Value = job::pod(plain, self.version());
        network::renew_pod();
        let cgroup = Cgroup::new();
        let mut mounts = self.mounts();
        mounts.push((machine.pod_dir("root"), "/var/lib/docker".to_owned()));
        let surroundings = Surroundings {
            within: job::within(&cgroup.of("daemon")),
            mounts,
            image: self.image(),
        };
        let mut dockerd = Container::start_in(&machine, "base", &pod, OPTIONS, &surroundings);
        dockerd.wait_until_up();
        dockerd.run(&["build", "--tag", BASE, context.to_str().unwrap()]);
        dockerd.run(&["push", BASE]);
        dockerd.terminate();
        fs::remove_dir_all(&context).unwrap();
        fs::write(pushed, "").unwrap();
    }
}

/// Copies a tree to a file system of its own, because an overlay cannot be laid over what is a part of it.
fn in_memory(dir: &Path, tree: &Path) -> PathBuf {
    let copy = dir.join("tree");
    fs::create_dir_all(&copy).unwrap();
    stdout(
        Command::new("mount")
            .args(["-t", "tmpfs", "tree"])
            .arg(&copy),
    );
    stdout(
        Command::new("cp")
            .arg("--archive")
            .arg(tree.join("."))
            .arg(&copy),
    );
    copy
}
