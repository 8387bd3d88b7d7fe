//! The sweeper of `examples/slots`: one run of its script over the slots of two namespaces, one of them hostile.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::machine::{Machine, PATH, Tools, age};

const MANIFEST: &str = include_str!("../../../examples/slots/slots-sweeper.yaml");

/// Returns the manifest's script for one run over the slots below `root`.
fn script(root: &Path) -> String {
    let manifest: Value = serde_saphyr::from_str(MANIFEST).unwrap();
    let container = &manifest["spec"]["template"]["spec"]["containers"][0];
    let script = container["command"][2].as_str().unwrap();
    let replaced = [
        ("/slots", root.to_str().unwrap()),
        ("sleep 3600 & wait", "break"),
    ];
    replaced
        .into_iter()
        .fold(script.to_owned(), |script, (from, to)| {
            assert!(script.contains(from), "{from}: {script}");
            script.replace(from, to)
        })
}

/// Creates a slot and its lock, last taken `days` days ago.
fn slot(directory: &Path, number: u8, days: u32) -> (PathBuf, PathBuf) {
    let slot = directory.join(format!("slot-{number}"));
    let lock = directory.join(format!("lock-{number}"));
    fs::create_dir_all(slot.join("docker")).unwrap();
    fs::write(&lock, "").unwrap();
    age(&lock, &format!("{days} days ago"));
    (slot, lock)
}

fn slots_unused_for_a_week_are_deleted_in_their_namespace_only() -> Outcome {
    let machine = Machine::ready()?;
    for tools in [Tools::System, Tools::Busybox] {
        let path = format!("{}:{PATH}", machine.tools(tools).display());
        let root = machine.node_path("/slots");
        let (own, victim) = (root.join("ci/arc-a"), root.join("victim/arc-b"));
        let (idle, _) = slot(&own, 0, 8);
        let (fresh, _) = slot(&own, 1, 5);
        let (held, held_lock) = slot(&own, 2, 8);
        let (victims, _) = slot(&victim, 0, 1);
        // The path to which an earlier sweeper moved slots, now a link into the other namespace.
        let (poisoned, _) = slot(&own, 3, 8);
        symlink("../../victim/arc-b", own.join("slot-3.gone")).unwrap();
        // A link as slot, a link as lock, and an invalid name of a lock.
        symlink("../../victim/arc-b/slot-0", own.join("slot-4")).unwrap();
        fs::write(own.join("lock-4"), "").unwrap();
        age(&own.join("lock-4"), "8 days ago");
        symlink("../../victim/arc-b/lock-0", own.join("lock-5")).unwrap();
        fs::write(own.join("lock-0\nlock-1"), "").unwrap();
        age(&own.join("lock-0\nlock-1"), "8 days ago");

        let mut holder = Command::new("flock")
            .arg(&held_lock)
            .args(["sh", "-c", "echo; read -r end"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It holds the lock once it prints something.
        let mut said = [0];
        std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut said).unwrap();
        let swept = Command::new("sh")
            .args(["-c", &script(&root)])
            .env("PATH", &path)
            .output()
            .unwrap();
        drop(holder.stdin.take());
        holder.wait().unwrap();

        assert!(!idle.exists() && !poisoned.exists(), "{path}: {swept:?}");
        assert!(fresh.exists() && held.exists(), "{path}: {swept:?}");
        assert!(
            fs::symlink_metadata(own.join("slot-4")).is_err(),
            "{path}: {swept:?}"
        );
        assert!(victims.join("docker").exists(), "{path}: {swept:?}");
        let mut names: Vec<_> = fs::read_dir(&victim)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["lock-0", "slot-0"], "{path}");
        let left = fs::read_dir(&root).unwrap().count();
        assert_eq!(left, 2, "{path}: only the two namespaces are left");
        fs::remove_dir_all(&root).unwrap();
    }
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![slots_unused_for_a_week_are_deleted_in_their_namespace_only,]
}
