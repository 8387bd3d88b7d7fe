//! A small stand-in for the kubelet: runs the dockerd or buildkitd container of a patched pod as a process in namespaces
//! of its own, with the pod's volumes as bind mounts.

use std::{
    collections::HashMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use slipway_core::{
    admission::evaluate,
    decide::Cluster,
    k8s::namespace::{Namespace, Namespaces},
    nodes::Snapshot,
    pod::Pod,
    policy::Policy,
};

use super::machine::{Machine, Tools, stdout, wait_for};

/// How a container is made.
#[derive(Clone, Copy)]
pub struct Options {
    pub tools: Tools,
    /// Of the pod's interface.
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

/// What stands around a container, beside what its pod says.
#[derive(Default)]
pub struct Surroundings {
    /// The words before the command that makes the container. They execute it in a network namespace that has
    /// `eth0`. Without them the container gets a network of its own, which leads nowhere.
    pub within: Vec<String>,
    /// More bind mounts: what of the machine, and where in the container.
    pub mounts: Vec<(PathBuf, String)>,
    /// A directory tree that is laid over the machine's root file system: the container's image.
    pub image: Option<PathBuf>,
}

/// A running container of dockerd or buildkitd. Dropping it kills all its processes, as the end of a pod does.
pub struct Container<'m> {
    machine: &'m Machine,
    process: Child,
    /// Its variables, which the commands of probes get too.
    variables: HashMap<String, String>,
    /// The daemon's socket, in the container.
    socket: String,
    log: PathBuf,
}

/// What Slipway makes of a pod: the patched pod.
pub fn patched(pod: &Value, policy: &str, nodes: &str) -> Value {
    let policy = Policy::parse(policy).unwrap();
    let nodes: Value = serde_saphyr::from_str(nodes).unwrap();
    let nodes = nodes["items"].as_array().unwrap().clone();
    let snapshot = Snapshot::new(
        nodes
            .into_iter()
            .map(|node| serde_json::from_value(node).unwrap()),
    );
    let namespaces = Namespaces::new([Namespace {
        name: "ci".to_owned(),
        labels: [("slipway.io/inject".to_owned(), "enabled".to_owned())].into(),
        ..Namespace::default()
    }]);
    let cluster = Cluster {
        nodes: Some(&snapshot),
        namespaces: &namespaces,
        policy: &policy,
        dead_mirrors: &[],
        claims: None,
    };
    let text = pod.to_string();
    let patch = evaluate(&Pod::parse(text.as_bytes()).unwrap(), "ci", cluster).patch;
    let patch = patch.to_patch().unwrap();
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, &patch).unwrap();
    patched
}

/// A pod of a scale set with a dockerd, as Slipway patches it under the `dind` settings.
pub fn runner_pod(dind: &Value) -> Value {
    let pod = json!({
        "metadata": {"name": "p", "labels": {
            "actions-ephemeral-runner": "True", "actions.github.com/scale-set-name": "build"}},
        "spec": {
            "initContainers": [{
                "name": "dind", "image": "docker:20.10-dind", "restartPolicy": "Always",
                "args": ["dockerd", "--host=unix:///var/run/docker.sock", "--group=$(DOCKER_GROUP_GID)"],
                "env": [{"name": "DOCKER_GROUP_GID", "value": "0"}],
                "securityContext": {"privileged": true},
                "volumeMounts": [{"name": "dind-sock", "mountPath": "/var/run"}],
            }],
            "containers": [{"name": "runner", "image": "ghcr.io/actions/actions-runner:latest"}],
            "volumes": [{"name": "dind-sock", "emptyDir": {}}],
        },
    });
    let policy = json!({"profiles": {"default": {"dind": dind}}});
    let nodes = include_str!("../../../examples/nodes/aks.yaml");
    patched(&pod, &policy.to_string(), nodes)
}

/// The directory of the node that such a pod's slots are in.
pub const SLOTS: &str = "/var/lib/slipway/ci/arc-build";

/// The container of a pod that runs dockerd.
pub fn dockerd_of(pod: &Value) -> Option<&Value> {
    let list = |key: &str| pod["spec"][key].as_array().into_iter().flatten();
    let is_privileged = |c: &&Value| c["securityContext"]["privileged"] == json!(true);
    let is_dind = |c: &&Value| {
        c["image"]
            .as_str()
            .is_some_and(|image| image.contains("dind"))
    };
    list("initContainers")
        .chain(list("containers"))
        .filter(is_privileged)
        .find(is_dind)
}

/// The container of a pod that runs the buildkitd that Slipway adds.
pub fn buildkitd_of(pod: &Value) -> Option<&Value> {
    let list = |key: &str| pod["spec"][key].as_array().into_iter().flatten();
    list("initContainers")
        .chain(list("containers"))
        .find(|c| c["name"] == "slipway-buildkitd")
}

impl<'m> Container<'m> {
    /// Starts the dockerd container of `pod`, whose scratch directories have the name `name`: a
    /// second start under one name is a restart in the same pod.
    pub fn start(machine: &'m Machine, name: &str, pod: &Value, options: Options) -> Self {
        Self::start_in(machine, name, pod, options, &Surroundings::default())
    }

    /// Starts it in surroundings of the caller's choice.
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
        let mut mounts = vec![(
            machine.tools(options.tools),
            "/opt/tools".to_owned(),
            "plain",
        )];
        for mount in container["volumeMounts"].as_array().into_iter().flatten() {
            let volume = volume(machine, &dir, pod, mount["name"].as_str().unwrap());
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
        let lines: Vec<String> = mounts
            .iter()
            .map(|(source, target, disk)| format!("{} {target} {disk}", source.display()))
            .collect();
        fs::write(dir.join("mounts"), lines.join("\n") + "\n").unwrap();
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

    /// Starts it, and waits until dockerd answers.
    pub fn up(machine: &'m Machine, name: &str, pod: &Value, options: Options) -> Self {
        let mut container = Self::start(machine, name, pod, options);
        container.wait_until_up();
        container
    }

    /// Waits until dockerd answers; panics with the log when it ends instead.
    pub fn wait_until_up(&mut self) {
        let log = self.log.clone();
        wait_for(&format!("dockerd; its log is {}", log.display()), || {
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none(), "dockerd ended: {ended:?}\n{}", self.log());
            let answer = self.docker(&["version"]).output().unwrap();
            answer.status.success().then_some(())
        });
    }

    /// Waits until the command of the container's startup probe succeeds in it; panics with the log when it ends instead.
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
                "the container ended: {ended:?}\n{}",
                self.log()
            );
            let answer = self.within(&words).output().unwrap();
            answer.status.success().then_some(())
        });
    }

    /// A command in the container, with its variables.
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

    /// Waits until the container ends by itself.
    pub fn wait_until_ended(&mut self) {
        wait_for("the end of the container", || {
            self.process.try_wait().unwrap()
        });
    }

    /// All that the container wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// A docker command against this dockerd.
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

    /// The output of a docker command that must succeed.
    pub fn run(&self, arguments: &[&str]) -> String {
        stdout(&mut self.docker(arguments)).trim().to_owned()
    }

    /// Imports the image of the machine as `base`.
    pub fn import_image(&self) {
        let image = self.machine.image();
        self.run(&["import", image.to_str().unwrap(), "base"]);
    }

    /// Where dockerd keeps its data.
    pub fn root(&self) -> String {
        self.run(&["info", "--format", "{{.DockerRootDir}}"])
    }

    /// Its socket, as seen from outside.
    pub fn socket_outside(&self) -> PathBuf {
        // `/var/run` is an absolute link: outside, it would lead to the machine's.
        let path = self.socket.replace("/var/run/", "/run/");
        PathBuf::from(format!("/proc/{}/root{path}", self.first_process()))
    }

    /// The number of its first process, as seen from outside; empty while there is none.
    pub fn first_process(&self) -> String {
        let parent = self.process.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        children.unwrap_or_default().trim().to_owned()
    }

    /// Ends it as the kubelet does: SIGTERM to the first process, and SIGKILL to all when its end is long in coming.
    pub fn terminate(mut self) {
        stdout(Command::new("kill").args(["-TERM", &self.first_process()]));
        self.wait_until_ended();
    }

    /// Kills a program of the container by its name, all of its processes.
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

    /// Kills all its processes at once, as the end of a pod's PID namespace does.
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

/// The directory behind a volume of the pod, made if need be. A claim is a directory of the node.
pub fn volume(machine: &Machine, dir: &Path, pod: &Value, name: &str) -> PathBuf {
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    let volume = volumes
        .iter()
        .find(|volume| volume["name"] == name)
        .unwrap();
    let claim = &volume["persistentVolumeClaim"]["claimName"];
    let path = match (volume["hostPath"]["path"].as_str(), claim.as_str()) {
        (Some(path), _) => machine.node_path(path),
        (None, Some(claim)) => machine.node_path("claims").join(claim),
        (None, None) => dir.join("volumes").join(name),
    };
    fs::create_dir_all(&path).unwrap();
    for item in volume["downwardAPI"]["items"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let field = item["fieldRef"]["fieldPath"].as_str().unwrap();
        let key = field.split('\'').nth(1).expect("an annotation");
        let text = pod["metadata"]["annotations"][key].as_str().unwrap();
        fs::write(path.join(item["path"].as_str().unwrap()), text).unwrap();
    }
    path
}

/// Where the daemon listens, by its arguments: `--host=` of dockerd, `--addr` of buildkitd.
fn socket(container: &Value) -> String {
    let words = words(container);
    let mut paths = words.iter().filter_map(|word| {
        word.strip_prefix("--host=")
            .unwrap_or(word)
            .strip_prefix("unix://")
    });
    paths.next().unwrap_or("/var/run/docker.sock").to_owned()
}

/// The literal variables of a container.
pub fn variables(container: &Value) -> HashMap<String, String> {
    let all = container["env"].as_array().into_iter().flatten();
    all.filter_map(|var| {
        Some((
            var["name"].as_str()?.to_owned(),
            var["value"].as_str()?.to_owned(),
        ))
    })
    .collect()
}

/// The command line: `command`, or the image's entrypoint, and `args`, expanded as the kubelet does.
fn words(container: &Value) -> Vec<String> {
    let list = |key: &str| container[key].as_array().into_iter().flatten();
    let variables = variables(container);
    let mut words: Vec<String> = list("command")
        .chain(list("args"))
        .map(|word| expand(word.as_str().unwrap(), &variables))
        .collect();
    if list("command").next().is_none() {
        let image = container["image"].as_str().unwrap();
        let entrypoint = if image.starts_with("moby/buildkit") {
            "buildkitd"
        } else {
            "dockerd-entrypoint.sh"
        };
        words.insert(0, entrypoint.to_owned());
    }
    words
}

/// `$(NAME)` becomes the variable's value where there is one, and `$$` becomes `$`.
fn expand(word: &str, variables: &HashMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let name = after
            .strip_prefix('(')
            .and_then(|name| name.split_once(')'));
        rest = if let Some(escaped) = after.strip_prefix('$') {
            expanded.push('$');
            escaped
        } else if let Some((value, after)) = name.and_then(|(n, a)| Some((variables.get(n)?, a))) {
            expanded.push_str(value);
            after
        } else {
            expanded.push('$');
            after
        };
    }
    expanded + rest
}
