//! The buildkitd sidecar of the strategy `containerd`: a real buildkitd accepts the injected settings and builds.
//!
//! `BUILDKITD` names the program; without it, the tests are skipped with a message.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
};

use serde_json::{Value, json};
use slipway_testkit::{
    harness::{Outcome, Skip, Test},
    tests,
};

use super::{
    kubelet::{Container, Options, Surroundings, buildkitd_of, patched, variables},
    machine::{Machine, stdout, wait_for},
};

/// Returns a scale-set pod whose dockerd is replaced by a buildkitd with this cache.
fn pod(cache: &Value, mirrors: &[&str]) -> Value {
    let text = include_str!("../../../examples/pods/scale-set-dind.yaml");
    let pod: Value = serde_saphyr::from_str(text).unwrap();
    let policy = json!({"profiles": {"default": {
        "strategy": "containerd",
        "replaceDockerd": true,
        "containerd": {"buildkitd": {"cache": cache}},
        "dind": {"registryMirrors": mirrors},
    }}});
    let nodes = include_str!("../../../examples/nodes/aks.yaml");
    patched(&pod, &policy.to_string(), nodes)
}

/// Starts the pod's buildkitd.
fn start<'m>(
    machine: &'m Machine,
    name: &str,
    pod: &Value,
    programs: &[(PathBuf, String)],
) -> Container<'m> {
    let buildkitd = buildkitd_of(pod).expect("a buildkitd in the pod");
    let mut mounts = programs.to_vec();
    // The client's project, which in a real pod is in the runner.
    mounts.push((machine.pod_dir("context"), "/context".to_owned()));
    let surroundings = Surroundings {
        mounts,
        ..Surroundings::default()
    };
    Container::start_one(
        machine,
        name,
        (pod, buildkitd),
        Options::default(),
        &surroundings,
    )
}

/// Starts the pod's buildkitd, and waits for its startup probe.
fn up<'m>(
    machine: &'m Machine,
    name: &str,
    pod: &Value,
    programs: &[(PathBuf, String)],
) -> Container<'m> {
    let mut container = start(machine, name, pod, programs);
    container.wait_for_probe(buildkitd_of(pod).unwrap());
    container
}

/// Builds with the runner's `BUILDKIT_HOST`. Returns how many steps were cached.
fn build(buildkitd: &Container<'_>, pod: &Value) -> usize {
    let words = ["buildctl", "build", "--frontend=dockerfile.v0"];
    let context = ["--local=context=/context", "--local=dockerfile=/context"];
    let output = buildkitd
        .within(&[&words[..], &context].concat())
        .envs(variables(&pod["spec"]["containers"][0]))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}\n{}", buildkitd.log());
    text.matches(" CACHED").count()
}

/// Prepares a machine with a project for the client, and the programs of buildkitd.
fn ready() -> Result<(Machine, Vec<(PathBuf, String)>), Skip> {
    let machine = Machine::ready()?;
    let programs = Machine::buildkitd()?;
    check_out(&machine);
    Ok((machine, programs))
}

/// Writes the client's project.
fn check_out(machine: &Machine) {
    let project = machine.context("buildkitd", &["RUN echo built >/file"]);
    for entry in fs::read_dir(project).unwrap().flatten() {
        let target = machine.pod_dir("context").join(entry.file_name());
        fs::copy(entry.path(), target).unwrap();
    }
}

fn the_next_job_reuses_the_cache_on_a_claim() -> Outcome {
    let (machine, programs) = ready()?;
    let claim = json!({"type": "pvc", "claimName": "buildkit", "accessMode": "ReadWriteOncePod"});
    let pod = pod(&claim, &["https://mirror.gcr.io"]);
    let first = up(&machine, "first", &pod, &programs);
    assert_eq!(build(&first, &pod), 0);
    assert_eq!(build(&first, &pod), 2);
    first.terminate();
    let second = up(&machine, "second", &pod, &programs);
    assert_eq!(build(&second, &pod), 2);
    // Killed, as when a node dies or runs out of memory: the next one starts, and its cache is intact.
    second.kill();
    let third = up(&machine, "third", &pod, &programs);
    assert_eq!(build(&third, &pod), 2);
    Ok(())
}

fn a_killed_buildkitd_restarts_in_the_same_pod() -> Outcome {
    let (machine, programs) = ready()?;
    let pod = pod(&json!({"type": "emptyDir"}), &[]);
    let first = up(&machine, "pod", &pod, &programs);
    assert_eq!(build(&first, &pod), 0);
    // Its socket and its lock stay in the pod's volumes.
    first.kill();
    assert_eq!(build(&up(&machine, "pod", &pod, &programs), &pod), 2);
    Ok(())
}

fn buildkitd_starts_with_every_cache_and_every_kind_of_mirror() -> Outcome {
    let (machine, programs) = ready()?;
    let caches = [
        json!({"type": "none"}),
        json!({"type": "emptyDir", "sizeLimit": "10Gi"}),
        json!({"type": "ephemeral", "size": "10Gi"}),
    ];
    let mirrors: [&[&str]; 3] = [
        &[],
        &["http://mirror.ci:5000"],
        &["https://mirror.ci", "http://other.ci:5000"],
    ];
    for (n, (cache, mirrors)) in caches.iter().zip(mirrors).enumerate() {
        let pod = pod(cache, mirrors);
        let buildkitd = up(&machine, &format!("pod-{n}"), &pod, &programs);
        assert_eq!(build(&buildkitd, &pod), 0, "{cache} {mirrors:?}");
    }
    Ok(())
}

fn the_socket_belongs_to_a_group_of_the_runner() -> Outcome {
    let (machine, programs) = ready()?;
    let pod = pod(&json!({"type": "emptyDir"}), &[]);
    let buildkitd = up(&machine, "pod", &pod, &programs);
    let socket = fs::metadata(buildkitd.socket_outside()).unwrap();
    let groups = &pod["spec"]["securityContext"]["supplementalGroups"];
    assert_eq!(*groups, json!([socket.gid()]));
    assert_eq!(socket.permissions().mode() & 0o060, 0o060);
    // A runner that is not root, with only the groups of the pod.
    let client = ["setpriv", "--reuid=1001", "--regid=1001", "--groups=0"];
    let command = ["buildctl", "debug", "workers"];
    let mut command = buildkitd.within(&[&client[..], &command].concat());
    stdout(command.envs(variables(&pod["spec"]["containers"][0])));
    Ok(())
}

fn a_second_buildkitd_on_the_same_claim_is_refused_and_does_no_harm() -> Outcome {
    let (machine, programs) = ready()?;
    let pod = pod(&json!({"type": "pvc", "claimName": "buildkit"}), &[]);
    let first = up(&machine, "first", &pod, &programs);
    let mut second = start(&machine, "second", &pod, &programs);
    second.wait_until_ended();
    let log = second.log();
    assert!(log.contains("another instance running"), "{log}");
    assert_eq!(build(&first, &pod), 0);
    assert_eq!(build(&first, &pod), 2);
    Ok(())
}

/// Returns the directories that hold states of buildkitd in the slots of the node, one for each version.
fn states(machine: &Machine, slot: u8) -> Vec<PathBuf> {
    let slots = machine.node_path("/var/lib/slipway/ci/arc-build");
    let builders = slots.join(format!("slot-{slot}/builders"));
    let entries = fs::read_dir(builders).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Waits until the start wrapper has seen that buildkitd is up.
fn wait_until_noted(machine: &Machine, slot: u8) {
    wait_for("the note that buildkitd started", || {
        let states = states(machine, slot);
        let noted = |state: &PathBuf| !state.join("starting").exists();
        (!states.is_empty() && states.iter().all(noted)).then_some(())
    });
}

fn the_next_job_reuses_the_cache_in_a_slot() -> Outcome {
    let (machine, programs) = ready()?;
    let pod = pod(&json!({"type": "nodeSlots"}), &["https://mirror.gcr.io"]);
    let first = up(&machine, "first", &pod, &programs);
    assert!(
        first.log().contains("slipway-start: cold"),
        "{}",
        first.log()
    );
    assert_eq!(build(&first, &pod), 0);
    wait_until_noted(&machine, 0);
    // At the same time, another job has a state of its own.
    let second = up(&machine, "second", &pod, &programs);
    assert_eq!(build(&second, &pod), 0);
    wait_until_noted(&machine, 1);
    second.kill();
    first.terminate();
    let third = up(&machine, "third", &pod, &programs);
    assert!(
        third.log().contains("slipway-start: warm"),
        "{}",
        third.log()
    );
    assert_eq!(build(&third, &pod), 2);
    // Killed, as when a node dies or runs out of memory.
    wait_until_noted(&machine, 1);
    third.kill();
    assert_eq!(build(&up(&machine, "fourth", &pod, &programs), &pod), 2);
    Ok(())
}

fn a_damaged_state_costs_one_restart_and_the_cache() -> Outcome {
    let (machine, programs) = ready()?;
    let pod = pod(&json!({"type": "nodeSlots"}), &[]);
    let first = up(&machine, "first", &pod, &programs);
    assert_eq!(build(&first, &pod), 0);
    wait_until_noted(&machine, 0);
    first.terminate();
    let state = states(&machine, 0).remove(0).join("state");
    // BuildKit replaces some of its databases when they are damaged, but not this one.
    fs::write(state.join("runc-overlayfs/containerdmeta.db"), "damaged").unwrap();
    let mut second = start(&machine, "second", &pod, &programs);
    second.wait_until_ended();
    // The kubelet starts the container again.
    let again = up(&machine, "second", &pod, &programs);
    assert!(again.log().contains("set aside"), "{}", again.log());
    assert_eq!(build(&again, &pod), 0);
    assert_eq!(build(&again, &pod), 2);
    Ok(())
}

fn without_room_for_a_slot_the_state_is_temporary() -> Outcome {
    let (machine, programs) = ready()?;
    let pod = pod(&json!({"type": "nodeSlots", "slots": 1}), &[]);
    let first = up(&machine, "first", &pod, &programs);
    let second = up(&machine, "second", &pod, &programs);
    assert!(
        second.log().contains("data-root: temporary"),
        "{}",
        second.log()
    );
    assert_eq!(build(&first, &pod), 0);
    assert_eq!(build(&second, &pod), 0);
    assert_eq!(build(&second, &pod), 2);
    Ok(())
}

fn buildx_in_the_runner_finds_a_builder() -> Outcome {
    let (machine, programs) = ready()?;
    let pod = pod(&json!({"type": "nodeSlots"}), &[]);
    let buildkitd = up(&machine, "pod", &pod, &programs);
    let runner = variables(&pod["spec"]["containers"][0]);
    let instance = format!(
        "{}/instances/{}",
        runner["BUILDX_CONFIG"], runner["BUILDX_BUILDER"]
    );
    let text = stdout(&mut buildkitd.within(&["cat", &instance]));
    let instance: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(instance["Driver"], "remote");
    assert_eq!(instance["Nodes"][0]["Endpoint"], *runner["BUILDKIT_HOST"]);
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        the_next_job_reuses_the_cache_on_a_claim,
        the_next_job_reuses_the_cache_in_a_slot,
        a_damaged_state_costs_one_restart_and_the_cache,
        without_room_for_a_slot_the_state_is_temporary,
        buildx_in_the_runner_finds_a_builder,
        a_killed_buildkitd_restarts_in_the_same_pod,
        buildkitd_starts_with_every_cache_and_every_kind_of_mirror,
        the_socket_belongs_to_a_group_of_the_runner,
        a_second_buildkitd_on_the_same_claim_is_refused_and_does_no_harm,
    ]
}
