//! Links and pipes that a job with root leaves in place of files and directories: removed, never followed or opened.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use serde_json::json;
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::{
    kubelet::{Container, Options, SLOTS, runner_pod},
    machine::{Machine, stdout, wait_for},
};

fn make_pipe(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    stdout(Command::new("mkfifo").arg(path));
}

/// Starts a dockerd on the only slot, which `spoil` has damaged.
fn starts_on_a_clean_slot(machine: &Machine, name: &str, spoil: impl Fn(&Path)) {
    let pod = runner_pod(&json!({"cache": {"type": "nodeSlots", "slots": 1}}));
    let dir = machine.node_path(SLOTS);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    spoil(&dir);
    let dockerd = Container::up(machine, name, &pod, Options::default());
    let root = dockerd.root();
    assert!(
        root.ends_with("/slot-0/docker"),
        "{name}: {root}\n{}",
        dockerd.log()
    );
    let is_dir = |path: &str| fs::symlink_metadata(dir.join(path)).unwrap().is_dir();
    assert!(is_dir("slot-0") && is_dir("slot-0/docker"), "{name}");
    let lock = fs::symlink_metadata(dir.join("lock-0")).unwrap();
    assert!(lock.is_file(), "{name}");
    wait_for("the mark and the trash to go", || {
        let left = ["slot-0/starting", "trash"];
        let gone = left.iter().all(|path| !dir.join(path).exists());
        gone.then_some(())
    });
}

fn pipes_are_not_opened() -> Outcome {
    let machine = Machine::ready()?;
    let pipes = [
        "lock-0",
        "trash",
        "slot-0",
        "slot-0/docker",
        "slot-0/starting",
        "slot-0/size",
        "slot-0/docker/containers/dead/hostconfig.json",
        "slot-0/docker/containers/dead/config.v2.json",
        "slot-0/docker/image/overlay2/repositories.json",
        "slot-0/docker/image/overlay2/imagedb/content/sha256/0a",
        "slot-0/docker/image/overlay2/layerdb/sha256/0a/diff",
        "slot-0/docker/engine-id",
        "slot-0/docker/containerd/daemon/io.containerd.metadata.v1.bolt/meta.db",
    ];
    for (n, pipe) in pipes.into_iter().enumerate() {
        starts_on_a_clean_slot(&machine, &format!("pod-{n}"), |dir| {
            make_pipe(&dir.join(pipe));
        });
    }
    Ok(())
}

fn links_are_not_followed() -> Outcome {
    let machine = Machine::ready()?;
    let links = ["lock-0", "trash", "slot-0", "slot-0/docker", "slot-0/size"];
    for (n, link) in links.into_iter().enumerate() {
        starts_on_a_clean_slot(&machine, &format!("pod-{n}"), |dir| {
            let other = dir.join("other");
            fs::create_dir_all(other.join("docker/volumes")).unwrap();
            fs::create_dir_all(dir.join(link).parent().unwrap()).unwrap();
            symlink("/opt/slipway/slots/other", dir.join(link)).unwrap();
        });
        let other = machine.node_path(SLOTS).join("other");
        assert!(other.join("docker/volumes").exists(), "{link}");
        assert_eq!(fs::read_dir(other).unwrap().count(), 1, "{link}");
    }
    Ok(())
}

fn two_slots_are_never_one_directory() -> Outcome {
    let machine = Machine::ready()?;
    let pod = runner_pod(&json!({"cache": {"type": "nodeSlots", "slots": 2}}));
    let dir = machine.node_path(SLOTS);
    fs::create_dir_all(&dir).unwrap();
    symlink("slot-0", dir.join("slot-1")).unwrap();
    let pods =
        ["first", "second"].map(|name| Container::up(&machine, name, &pod, Options::default()));
    for (n, pod) in pods.iter().enumerate() {
        assert!(pod.root().ends_with(&format!("/slot-{n}/docker")));
        let of_slot = fs::symlink_metadata(dir.join(format!("slot-{n}"))).unwrap();
        assert!(of_slot.is_dir());
    }
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        pipes_are_not_opened,
        links_are_not_followed,
        two_slots_are_never_one_directory,
    ]
}
