//! A small stand-in for the kubelet: runs the dockerd or buildkitd container of a patched pod as a
//! process in new namespaces, with the pod's volumes as bind mounts.

mod pod;

use std::{
    collections::HashMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

pub use self::pod::{SLOTS, buildkitd_of, dockerd_of, patched, runner_pod, variables, volume};
use self::pod::{socket, words};
use super::machine::{Machine, Tools, stdout, wait_for};

/// How a container is created.
#[derive(Clone, Copy)]
pub struct Options {
    pub tools: Tools,
    /// The MTU of the pod's interface.
    pub mtu: u16,
    /// The file system behind host paths, as `container.sh` names it.
    pub disk: &'static str,
    /// Whether another process is PID 1, as with `shareProcessNamespace`.
    pub shared_pid_namespace: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tools: Tools::Busybox,
            mtu: 1500,
            disk: "plain",
            shared_pid_namespace: false,
        }
    }
}

/// The environment of a container, apart from its pod.
#[derive(Default)]
pub struct Surroundings {
    /// A command prefix that runs the container in a network namespace with `eth0`. Without it the
    /// container gets a new network without any route.
    pub within: Vec<String>,
    /// More bind mounts: the path on the machine, and the path in the container.
    pub mounts: Vec<(PathBuf, String)>,
    /// The container's image: a directory tree that is laid over the machine's root file system.
    pub image: Option<PathBuf>,
}

/// A running container of dockerd or buildkitd. Dropping it kills all its processes, as deleting a pod
/// does.
pub struct Container<'m> {
    machine: &'m Machine,
    process: Child,
    /// Its variables, which the commands of probes get too.
    variables: HashMap<String, String>,
    /// The daemon's socket, in the container.
    socket: String,
    log: PathBuf,
}

impl<'m> Container<'m> {
    /// Starts the dockerd container of `pod` with scratch directories named `name`: a second start with
    /// the same name is a restart in the same pod.
    pub fn start(machine: &'m Machine, name: &str, pod: &Value, options: Options) -> Self {
        Self::start_in(machine, name, pod, options, &Surroundings::default())
    }

    /// Starts the dockerd container in these surroundings.
    pub fn start_in(
        machine: &'m Machine,
        name: &str,
        pod: &Value,
        options: Options,
        surroundings: &Surroundings,
    ) -> Self {
        let dockerd = dockerd_of(pod).expect("a dockerd in the pod");
        Self::start_one(machine, name, (pod, dockerd), options, surroundings)
    }

    /// Starts a container of a pod.
    pub fn start_one(
        machine: &'m Machine,
        name: &str,
        (pod, container): (&Value, &Value),
        options: Options,
        surroundings: &Surroundings,
    ) -> Self {
        let dir = machine.pod_dir(name);
        let scratch = dir.join("scratch");
        fs::create_dir_all(&scratch).unwrap();
        let mounts = mount_table(machine, &dir, (pod, container), options, surroundings);
        fs::write(dir.join("mounts"), mounts).unwrap();
        fs::write(dir.join("container.sh"), include_str!("container.sh")).unwrap();
        let log = dir.join("log");
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();

        let own_network = surroundings.within.is_empty().then(|| "--net".to_owned());
        let namespaces = ["--mount", "--pid", "--fork", "--mount-proc", "--kill-child"];
        let unshare = ["unshare".to_owned()].into_iter();
        let mut words_before = surroundings.within.iter().cloned().chain(unshare);
        let mut command = Command::new(words_before.next().unwrap());
        command
            .args(words_before)
            .args(own_network)
            .args(namespaces)
            .arg("sh")
            .arg(dir.join("container.sh"))
            .arg(&scratch)
            .arg(dir.join("mounts"))
            .arg(options.mtu.to_string())
            .arg(surroundings.image.as_deref().unwrap_or(Path::new("")));
        if options.shared_pid_namespace {
            command.args([
                "sh",
                "-c",
                "\"$@\" & while :; do wait; sleep 1; done",
                "pause",
            ]);
        }
        let process = command
            .args(words(container))
            .env_clear()
            .envs(variables(container))
            .env("PATH", Machine::container_path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self {
            machine,
            process,
            variables: variables(container),
            socket: socket(container),
            log,
        }
    }

    /// Starts the dockerd container, and waits until dockerd answers.
    pub fn up(machine: &'m Machine, name: &str, pod: &Value, options: Options) -> Self {
        let mut container = Self::start(machine, name, pod, options);
        container.wait_until_up();
        container
    }

    /// Waits until dockerd answers. Panics with the log if it exits instead.
    pub fn wait_until_up(&mut self) {
        let log = self.log.clone();
        wait_for(&format!("dockerd; its log is {}", log.display()), || {
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none(), "dockerd exited: {ended:?}\n{}", self.log());
            let answer = self.docker(&["version"]).output().unwrap();
            answer.status.success().then_some(())
        });
    }

    /// Waits until the startup probe of the container succeeds. Panics with the log if the container
    /// exits instead.
    pub fn wait_for_probe(&mut self, container: &Value) {
        let probe = &container["startupProbe"]["exec"]["command"];
        let words: Vec<&str> = probe
            .as_array()
            .unwrap()
            .iter()
            .map(|word| word.as_str().unwrap())
            .collect();
        let log = self.log.clone();
        wait_for(&format!("the probe; the log is {}", log.display()), || {
            let ended = self.process.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "the container exited: {ended:?}\n{}",
                self.log()
            );
            let answer = self.within(&words).output().unwrap();
            answer.status.success().then_some(())
        });
    }

    /// Returns a command that runs in the container, with its variables.
    pub fn within(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.first_process(), "--mount", "--net"])
            .args(words)
            .env_clear()
            .envs(&self.variables)
            .env("PATH", Machine::container_path())
            .stdin(Stdio::null());
        command
    }

    /// Waits until the container exits by itself.
    pub fn wait_until_ended(&mut self) {
        wait_for("the end of the container", || {
            self.process.try_wait().unwrap()
        });
    }

    /// Returns everything that the container wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Returns a docker command for this dockerd.
    pub fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env(
                "DOCKER_HOST",
                format!("unix://{}", self.socket_outside().display()),
            )
            .env("DOCKER_BUILDKIT", "1")
            .env("BUILDKIT_PROGRESS", "plain")
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs a docker command, which must succeed. Returns its output.
    pub fn run(&self, arguments: &[&str]) -> String {
        stdout(&mut self.docker(arguments)).trim().to_owned()
    }

    /// Imports the image of the machine as `base`.
    pub fn import_image(&self) {
        let image = self.machine.image();
        self.run(&["import", image.to_str().unwrap(), "base"]);
    }

    /// Returns the directory of dockerd's data.
    pub fn root(&self) -> String {
        self.run(&["info", "--format", "{{.DockerRootDir}}"])
    }

    /// Returns the path of its socket outside the container.
    pub fn socket_outside(&self) -> PathBuf {
        // `/var/run` is an absolute link, which leads to the machine's outside the container.
        let path = self.socket.replace("/var/run/", "/run/");
        PathBuf::from(format!("/proc/{}/root{path}", self.first_process()))
    }

    /// Returns the PID of its first process outside the container; empty while it has none.
    pub fn first_process(&self) -> String {
        let parent = self.process.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        children.unwrap_or_default().trim().to_owned()
    }

    /// Stops it as the kubelet does, by SIGTERM to the first process. Waits until it has exited.
    pub fn terminate(mut self) {
        stdout(Command::new("kill").args(["-TERM", &self.first_process()]));
        self.wait_until_ended();
    }

    /// Kills all processes of the container that run this program.
    pub fn kill_program(&self, name: &str) {
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid_for_children")).ok();
        let own = namespace(&self.process.id().to_string());
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let pid = entry.file_name().to_string_lossy().into_owned();
            let comm = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            if comm.trim() == name && namespace(&pid) == own {
                stdout(Command::new("kill").args(["-9", &pid]));
            }
        }
    }

    /// Kills all its processes at once, as the kernel does when a PID namespace ends.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        // unshare kills its child, the first process of the namespace, and with it all others.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the mounts of a container as `container.sh` reads them: a line each with the source, the
/// target and the file system behind it.
fn mount_table(
    machine: &Machine,
    dir: &Path,
    (pod, container): (&Value, &Value),
    options: Options,
    surroundings: &Surroundings,
) -> String {
    let mut mounts = vec![(
        machine.tools(options.tools),
        "/opt/tools".to_owned(),
        "plain",
    )];
    for mount in container["volumeMounts"].as_array().into_iter().flatten() {
        let volume = volume(machine, dir, pod, mount["name"].as_str().unwrap());
        let source = match mount["subPath"].as_str() {
            Some(file) => volume.join(file),
            None => volume,
        };
        let target = mount["mountPath"].as_str().unwrap().to_owned();
        let on_host = source.starts_with(machine.node_path("/"));
        mounts.push((source, target, if on_host { options.disk } else { "plain" }));
    }
    for (source, target) in &surroundings.mounts {
        mounts.push((source.clone(), target.clone(), "plain"));
    }
    let lines = mounts
        .iter()
        .map(|(source, target, disk)| format!("{} {target} {disk}", source.display()));
    lines.collect::<Vec<_>>().join("\n") + "\n"
}
