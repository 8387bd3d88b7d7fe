//! What is idle, and what is not.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use serde_json::Value;
use slipway_testkit::{harness::Test, tests};

use super::node::{Node, age, exists, hold, log, names};

fn slots_that_nobody_took_for_a_week_are_deleted_and_others_are_not() {
    let node = Node::new();
    let idle = node.slot("ci/arc-a", 0, 8);
    let fresh = node.slot("ci/arc-a", 1, 5);
    let held = node.slot("ci/arc-a", 63, 8);
    let other = node.slot("web/arc-a", 3, 30);
    let without_lock = node.key("ci/arc-a").join("slot-5");
    fs::create_dir(&without_lock).unwrap();
    let _dockerd = hold(&node.key("ci/arc-a").join("lock-63"));
    // A namespace without keys, and a file where namespaces are.
    fs::create_dir(node.root.join("empty")).unwrap();
    fs::write(node.root.join("note"), "").unwrap();

    let log = node.sweep();

    assert!(!idle.exists() && !other.exists(), "{log:#?}");
    assert!(fresh.join("docker/overlay2/layer").exists(), "{log:#?}");
    assert!(held.join("docker/overlay2/layer").exists(), "{log:#?}");
    assert!(without_lock.exists(), "{log:#?}");
    assert!(node.is_clean());
    // Locks stay: one that is deleted while a pod opens it would be held by two.
    let key = ["lock-0", "lock-1", "lock-63", "slot-1", "slot-5", "slot-63"];
    assert_eq!(names(&node.key("ci/arc-a")), key);
    assert_eq!(names(&node.root), [".gone", "ci", "empty", "note", "web"]);

    let deleted: Vec<&Value> = log.iter().filter(|l| l["message"] == "deleted").collect();
    assert_eq!(deleted.len(), 2, "{log:#?}");
    let line = deleted.iter().find(|l| l["namespace"] == "web").unwrap();
    assert_eq!(line["key"], "arc-a");
    assert_eq!(line["slot"], "slot-3");
    assert_eq!(line["idle_days"], 30);
    assert!(line["bytes"].as_u64().unwrap() >= 512, "{line}");
    assert!(node.sweep().is_empty(), "there is nothing more to delete");
}

fn trash_is_deleted_when_nobody_touched_it_for_a_week() {
    let node = Node::new();
    for (key, days) in [("ci/old", 8), ("ci/new", 1)] {
        let trash = node.key(key).join("trash");
        fs::create_dir_all(trash.join("a1b2c3/slot-0/docker")).unwrap();
        age(&trash, days);
    }
    node.sweep();
    assert!(names(&node.key("ci/old")).is_empty());
    assert!(node.key("ci/new").join("trash/a1b2c3/slot-0").exists());
}

fn a_time_in_the_future_does_not_keep_a_slot() {
    let node = Node::new();
    let slot = node.slot("ci/arc-a", 0, 0);
    age(&node.key("ci/arc-a").join("lock-0"), -1000);
    log(&node
        .sweeper()
        .args(["--once", "--idle=0s"])
        .output()
        .unwrap());
    assert!(!slot.exists());
}

fn what_an_earlier_sweeper_left_is_deleted() {
    let node = Node::new();
    let left = node.root.join(".gone/17f3-0/17f3-0");
    fs::create_dir_all(left.join("docker/overlay2")).unwrap();
    fs::write(left.join("docker/overlay2/layer"), "").unwrap();
    fs::create_dir_all(node.root.join(".gone/17f3-1")).unwrap();
    node.sweep();
    assert!(node.is_clean());
}

fn two_sweepers_do_not_work_at_once() {
    let node = Node::new();
    let slot = node.slot("ci/arc-a", 0, 8);
    let gone = node.root.join(".gone");
    fs::create_dir(&gone).unwrap();
    let other = hold(&gone);
    let log = node.sweep();
    assert_eq!(log[0]["message"], "another sweeper is at work");
    assert!(exists(&slot));
    drop(other);
    node.sweep();
    assert!(!exists(&slot));
}

fn a_root_that_is_not_there_is_an_error_when_it_sweeps_once() {
    let node = Node::new();
    let (slot, missing) = (node.slot("ci/arc-a", 0, 8), node.root.join("missing"));
    let mut sweeper = node.sweeper();
    let output = sweeper.arg("--once").arg("--root").arg(&missing).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = str::from_utf8(&output.stderr).unwrap();
    assert!(said.contains(missing.to_str().unwrap()), "{said}");
    assert!(!slot.exists(), "the other root is swept all the same");
}

fn it_sweeps_again_and_again_until_it_is_told_to_stop() {
    let node = Node::new();
    node.slot("ci/arc-a", 0, 8);
    let mut child = node
        .sweeper()
        .args(["--every=1ms", "--log-level=debug"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut next = |message: &str| {
        let lines = lines.by_ref().map(|line| line.unwrap());
        let mut lines = lines.map(|line| serde_json::from_str::<Value>(&line).unwrap());
        lines.find(|line| line["message"] == message).unwrap()
    };
    next("deleted");
    next("round");
    node.slot("ci/arc-a", 1, 8);
    next("deleted");
    let pid = child.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    assert_eq!(next("stopped")["signal"], "SIGTERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        slots_that_nobody_took_for_a_week_are_deleted_and_others_are_not,
        trash_is_deleted_when_nobody_touched_it_for_a_week,
        a_time_in_the_future_does_not_keep_a_slot,
        what_an_earlier_sweeper_left_is_deleted,
        two_sweepers_do_not_work_at_once,
        a_root_that_is_not_there_is_an_error_when_it_sweeps_once,
        it_sweeps_again_and_again_until_it_is_told_to_stop,
    ]
}
