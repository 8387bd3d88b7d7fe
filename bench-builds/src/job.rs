//! One CI job: a fresh dockerd or buildkitd as the pod gets it, a build by the client of its runner, the end of the pod.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    cgroup::Cgroup,
    image::{BASE, Order, write_project},
    kubelet::{Container, Surroundings, buildkitd_of, dockerd_of, patched, variables, volume},
    machine::{Machine, buildkit_programs, buildkitd, stdout, wait_for},
    network::{self, POD_NAMESPACE},
    progress,
    record::Record,
    site::{OPTIONS, Site},
    strategy::{Disk, Strategy, Task},
};

const POD: &str = include_str!("../../examples/pods/scale-set-dind.yaml");
const NODES: &str = include_str!("../../examples/nodes/aks.yaml");
/// Where the client finds the project.
const CONTEXT: &str = "/context";
/// What a client of gRPC says first: what every connection of HTTP/2 begins with, and empty settings.
const HTTP2_GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The daemon that builds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Daemon {
    Dockerd,
    Buildkitd,
}

impl Daemon {
    fn of(task: Task) -> Self {
        match task {
            Task::BuildWithBuildctl => Self::Buildkitd,
            Task::Build(_) | Task::BuildWithLocalCache | Task::Pull => Self::Dockerd,
        }
    }

    /// Its container in a pod.
    fn container(self, pod: &Value) -> &Value {
        let found = match self {
            Self::Dockerd => dockerd_of(pod),
            Self::Buildkitd => buildkitd_of(pod),
        };
        found.expect("the daemon's container")
    }

    /// Where it keeps its data; its image declares a volume there.
    fn root(self) -> &'static str {
        match self {
            Self::Dockerd => "/var/lib/docker",
            Self::Buildkitd => "/var/lib/buildkit",
        }
    }

    /// Whether it answers at its socket: both listen long before they do.
    fn answers(self, socket: &Path) -> Option<()> {
        let mut stream = UnixStream::connect(socket).ok()?;
        match self {
            Self::Dockerd => {
                stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n").ok()?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer).ok()?;
                answer.ends_with("OK").then_some(())
            }
            Self::Buildkitd => {
                stream.write_all(HTTP2_GREETING).ok()?;
                stream.read_exact(&mut [0]).ok()
            }
        }
    }

    /// What keeps its layers: dockerd's storage driver, or buildkitd's snapshotter.
    fn driver(self, container: &Container<'_>, runner: &Value) -> String {
        match self {
            Self::Dockerd => container.run(&["info", "--format", "{{.Driver}}"]),
            Self::Buildkitd => {
                let mut command = container.within(&["buildctl", "debug", "workers", "--verbose"]);
                let text = stdout(command.envs(variables(runner)));
                let found = text
                    .lines()
                    .find_map(|line| line.split_once("worker.snapshotter:"));
                found.unwrap_or_default().1.trim().to_owned()
            }
        }
    }
}

/// The pod of a job: ARC's, patched if the strategy has a profile, for the dockerd that is here.
pub fn pod(strategy: &Strategy, version: &str) -> Value {
    let mut pod: Value = serde_saphyr::from_str(POD).unwrap();
    for container in pod["spec"]["initContainers"].as_array_mut().unwrap() {
        if container["image"] == "docker:dind" {
            container["image"] = json!(format!("docker:{version}-dind"));
        }
    }
    match &strategy.profile {
        Some(profile) => {
            let policy = json!({"profiles": {"default": profile}});
            patched(&pod, &policy.to_string(), NODES)
        }
        None => pod,
    }
}

/// Runs the job `number` of a row, on the node `machine`.
pub fn run(
    site: &Site,
    machine: &Machine,
    strategy: &Strategy,
    round: usize,
    number: usize,
) -> Record {
    let pod = pod(strategy, site.version());
    let name = format!("job-{number}");
    let runner = &pod["spec"]["containers"][0];
    let daemon = Daemon::of(strategy.task);
    let builder = daemon.container(&pod);
    network::renew_pod();
    network::set_rate(strategy.rate);
    let cgroup = Cgroup::new();
    if let Some(cpu) = builder["resources"]["limits"]["cpu"].as_str() {
        cgroup.limit_daemon(millicores(cpu));
    }
    let mut mounts = site.mounts();
    mounts.extend(data_root(
        machine,
        &name,
        (builder, daemon.root()),
        strategy.disk,
    ));
    if daemon == Daemon::Buildkitd {
        mounts.extend(buildkit_programs(&buildkitd().expect("BUILDKITD")));
    }
    mounts.extend(project(
        machine,
        site,
        strategy,
        &format!("{round}-{number}"),
    ));
    mounts.extend(client_volumes(machine, &name, &pod, runner));
    let surroundings = Surroundings {
        within: within(&cgroup.of("daemon")),
        mounts,
        image: site.image(),
    };
    // What the last job left in memory is written before this one is measured.
    stdout(&mut Command::new("sync"));

    let before = site.network.traffic();
    let memory = cgroup.watch_memory();
    let start = Instant::now();
    let container = Container::start_one(machine, &name, (&pod, builder), OPTIONS, &surroundings);
    wait_for("the daemon", || daemon.answers(&container.socket_outside()));
    let ready = start.elapsed();
    let mut client = client(&container, &cgroup, runner, strategy);
    let output = client.output().unwrap();
    let wall = start.elapsed();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{name} of {}: {text}\n{}",
        strategy.name,
        container.log()
    );

    let driver = daemon.driver(&container, runner);
    let peak = memory.peak();
    container.terminate();
    if strategy.disk == Disk::Overlay {
        let root = machine.pod_dir(&name).join("data-root/root");
        stdout(Command::new("umount").arg(root));
    }
    let after = site.network.traffic();
    let steps = progress::read(&text);
    Record {
        strategy: strategy.name.to_owned(),
        round,
        job: number,
        ready: ready.as_secs_f64(),
        wall: wall.as_secs_f64(),
        cpu: cgroup.cpu().as_secs_f64(),
        peak_memory: peak,
        steps: steps.all,
        hits: steps.hits,
        can_hit: strategy.can_hit(),
        pull: match strategy.task {
            Task::Pull => Some(wall.saturating_sub(ready).as_secs_f64()),
            _ => steps.pull.as_ref().map(Duration::as_secs_f64),
        },
        upstream_to_pod: after.upstream_to_pod - before.upstream_to_pod,
        upstream_to_mirror: after.upstream_to_mirror - before.upstream_to_mirror,
        mirror_to_pod: after.mirror_to_pod - before.mirror_to_pod,
        disk: disk_use(machine),
        driver,
    }
}

/// What the start wrapper said in a job.
pub fn wrapper_log(machine: &Machine, number: usize) -> String {
    let log = fs::read_to_string(machine.pod_dir(&format!("job-{number}")).join("log")).unwrap();
    let lines = log.lines().filter(|line| line.starts_with("slipway-start"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The words that put a container into the network of the pod, and into a cgroup.
pub fn within(cgroups: &[String]) -> Vec<String> {
    let script = include_str!("within.sh");
    let head = ["sh", "-c", script, "within", POD_NAMESPACE].map(str::to_owned);
    let end = ["--".to_owned()];
    head.into_iter()
        .chain(cgroups.iter().cloned())
        .chain(end)
        .collect()
}

/// What the image, or the lack of a volume in it, puts below the data-root where the pod has no volume.
fn data_root(
    machine: &Machine,
    job: &str,
    (container, path): (&Value, &str),
    disk: Disk,
) -> Option<(PathBuf, String)> {
    let mut mounts = container["volumeMounts"].as_array().into_iter().flatten();
    if mounts.any(|mount| mount["mountPath"] == path) {
        return None;
    }
    let dir = machine.pod_dir(job).join("data-root");
    let sub = |name: &str| {
        let path = dir.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    };
    let root = sub("root");
    if disk == Disk::Overlay {
        let (lower, upper, work) = (sub("lower"), sub("upper"), sub("work"));
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            upper.display(),
            work.display()
        );
        let mount = ["-t", "overlay", "overlay", "-o", &options];
        stdout(Command::new("mount").args(mount).arg(&root));
    }
    Some((root, path.to_owned()))
}

/// The project, as it is checked out for this job.
fn project(
    machine: &Machine,
    site: &Site,
    strategy: &Strategy,
    edit: &str,
) -> Option<(PathBuf, String)> {
    let order = match strategy.task {
        Task::Build(order) => order,
        Task::BuildWithLocalCache | Task::BuildWithBuildctl => Order::SourcesLate,
        Task::Pull => return None,
    };
    let dir = machine.pod_dir("context");
    write_project(&dir, order, site.size, edit);
    Some((dir, CONTEXT.to_owned()))
}

/// What Slipway mounts into the runner container. The client runs in the daemon's mount namespace here, for its programs.
fn client_volumes(
    machine: &Machine,
    job: &str,
    pod: &Value,
    runner: &Value,
) -> Vec<(PathBuf, String)> {
    let mounts = runner["volumeMounts"].as_array().into_iter().flatten();
    let ours = mounts.filter(|mount| mount["name"].as_str().unwrap().starts_with("slipway-"));
    ours.map(|mount| {
        let source = volume(
            machine,
            &machine.pod_dir(job),
            pod,
            mount["name"].as_str().unwrap(),
        );
        (source, mount["mountPath"].as_str().unwrap().to_owned())
    })
    .collect()
}

/// The client's command: that of the runner container, in its cgroup, with its variables.
fn client(
    container: &Container<'_>,
    cgroup: &Cgroup,
    runner: &Value,
    strategy: &Strategy,
) -> Command {
    let mut command = Command::new("sh");
    let enter = "for dir; do [ \"$dir\" != -- ] || break; echo $$ >\"$dir/cgroup.procs\"; shift; done; shift; exec \"$@\"";
    command
        .args(["-c", enter, "client"])
        .args(cgroup.of("client"))
        .arg("--");
    let process = container.first_process();
    command.args(["nsenter", "--target", &process, "--mount", "--net"]);
    match strategy.task {
        Task::Build(_) => command.args(["docker", "build", "--tag=app", CONTEXT]),
        Task::BuildWithLocalCache => command.args([
            "docker",
            "buildx",
            "build",
            "--load",
            "--tag=app",
            "--cache-from=type=local,src=/tmp/buildkit-cache",
            "--cache-to=type=local,dest=/tmp/buildkit-cache,mode=max",
            CONTEXT,
        ]),
        Task::BuildWithBuildctl => command.args([
            "buildctl",
            "build",
            "--frontend=dockerfile.v0",
            "--local=context=/context",
            "--local=dockerfile=/context",
            "--output=type=image,name=docker.io/library/app:latest",
        ]),
        Task::Pull => command.args(["docker", "pull", BASE]),
    };
    command
        .env_clear()
        .env("PATH", Machine::container_path())
        .env("HOME", "/root")
        // Clients since 23.0 do so by default.
        .env("DOCKER_BUILDKIT", "1")
        .env("BUILDKIT_PROGRESS", "plain")
        .envs(variables(runner))
        .stdin(Stdio::null());
    command
}

/// A quantity of CPU in thousandths of a core.
fn millicores(cpu: &str) -> u64 {
    match cpu.strip_suffix('m') {
        Some(milli) => milli.parse().unwrap(),
        None => cpu.parse::<u64>().unwrap() * 1000,
    }
}

/// The bytes on disk of all that the node has of its pods.
fn disk_use(machine: &Machine) -> u64 {
    let pods = machine.pod_dir("");
    let text = stdout(
        Command::new("du")
            .args(["-sxc", "-B1"])
            .arg(machine.node_path("/"))
            .arg(pods),
    );
    let total = text.lines().last().unwrap();
    total.split_whitespace().next().unwrap().parse().unwrap()
}
