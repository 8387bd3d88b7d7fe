//! What a job can leave, and what it can do meanwhile: it has root in its key's directory, and no name for any other.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener},
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use rustix::{
    fd::OwnedFd,
    fs::{CWD, Mode, OFlags, RenameFlags, mkfifoat, openat, renameat_with},
};
use slipway_testkit::{harness::Test, tests};

use super::node::{Node, age, exists, hold, log, names, tree};

/// How many times a moving attacker tries.
const ROUNDS: usize = 40;

fn pipe(path: &Path) {
    mkfifoat(CWD, path, Mode::RWXU).unwrap();
}

/// A key of another namespace, with a slot that a dockerd has.
struct Victim {
    node: Node,
    _dockerd: fs::File,
}

impl Victim {
    const KEY: &str = "victim/arc-b";

    fn new() -> Self {
        let node = Node::new();
        node.slot(Self::KEY, 0, 8);
        let dockerd = hold(&node.key(Self::KEY).join("lock-0"));
        // Free, idle, and without a slot.
        fs::write(node.key(Self::KEY).join("lock-7"), "").unwrap();
        age(&node.key(Self::KEY).join("lock-7"), 8);
        Self {
            node,
            _dockerd: dockerd,
        }
    }
}

fn links_pipes_and_names_lead_nowhere() {
    let Victim { node, _dockerd } = Victim::new();
    let victim = node.key(Victim::KEY);
    let before = tree(&victim);
    let own = node.key("ci/arc-a");
    let theirs = |name: &str| Path::new("../../victim/arc-b").join(name);

    // As slots, each with an idle lock: all of them go.
    node.slot("ci/arc-a", 0, 8);
    for number in 1..5 {
        fs::remove_dir_all(node.slot("ci/arc-a", number, 8)).unwrap();
    }
    symlink(theirs("slot-0"), own.join("slot-1")).unwrap();
    symlink("nowhere", own.join("slot-2")).unwrap();
    pipe(&own.join("slot-3"));
    fs::write(own.join("slot-4"), "a file").unwrap();
    symlink("../../victim/arc-b", own.join("trash")).unwrap();
    age(&own.join("trash"), 8);

    // Below a slot.
    let below = own.join("slot-0/docker");
    symlink(node.root.join(Victim::KEY), below.join("link")).unwrap();
    pipe(&below.join("pipe"));
    let _socket = UnixListener::bind(below.join("s")).unwrap();
    for name in [
        &b"a\nb"[..],
        b"\xff\xfe",
        b"-rf",
        b"...",
        b"* $(id)",
        &[b'x'; 255],
    ] {
        let name = OsStr::from_bytes(name);
        fs::create_dir(below.join(name)).unwrap();
        fs::write(below.join(name).join(name), "").unwrap();
    }

    // As locks, with slots of their own: nobody knows whether those are idle, and they stay.
    for number in 10..15 {
        fs::create_dir(own.join(format!("slot-{number}"))).unwrap();
    }
    symlink(theirs("lock-0"), own.join("lock-10")).unwrap();
    symlink(theirs("lock-7"), own.join("lock-11")).unwrap();
    pipe(&own.join("lock-12"));
    fs::create_dir(own.join("lock-13")).unwrap();
    age(&own.join("lock-13"), 8);
    symlink(theirs("lock-9"), own.join("lock-14")).unwrap();

    // Names that are not those of slots.
    for name in ["slot-0\nslot-1", "slot-", "slot--1", "slot-01", "slot-100"] {
        fs::create_dir(own.join(name)).unwrap();
        fs::write(own.join(name.replace("slot", "lock")), "").unwrap();
        age(&own.join(name.replace("slot", "lock")), 8);
    }

    // As parents.
    symlink("../victim/arc-b", node.root.join("ci/arc-link")).unwrap();
    symlink("victim", node.root.join("link")).unwrap();
    let elsewhere = Node::new();
    let outside = elsewhere.slot("web/arc-c", 0, 8);
    symlink(elsewhere.root.join("web"), node.root.join("web")).unwrap();
    symlink(elsewhere.root.join("web/arc-c"), node.root.join("ci/arc-c")).unwrap();

    let log = node.sweep();

    for entry in ["slot-0", "slot-1", "slot-2", "slot-3", "slot-4", "trash"] {
        assert!(!exists(&own.join(entry)), "{entry}: {log:#?}");
    }
    for entry in [
        "slot-10",
        "slot-11",
        "slot-12",
        "slot-13",
        "slot-14",
        "slot-0\nslot-1",
        "slot-100",
    ] {
        assert!(exists(&own.join(entry)), "{entry}: {log:#?}");
    }
    assert!(node.is_clean() && exists(&outside));
    assert_eq!(tree(&victim), before);
}

/// Exchanges each of the pairs in a directory that it opened before, as fast as it can, while `sweep` runs. Returns how often.
fn while_swapping(directory: &OwnedFd, pairs: &[(String, String)], sweep: impl FnOnce()) -> usize {
    let (ends, swaps) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                for (one, other) in pairs {
                    let exchange = RenameFlags::EXCHANGE;
                    if renameat_with(directory, one, directory, other, exchange).is_ok() {
                        swaps.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        while swaps.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        let before = swaps.load(Ordering::Relaxed);
        sweep();
        ends.store(true, Ordering::Relaxed);
        swaps.load(Ordering::Relaxed) - before
    })
}

fn open(directory: &Path) -> OwnedFd {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, directory, flags, Mode::empty()).unwrap()
}

fn directories_that_become_links_while_their_slot_is_deleted_lead_nowhere() {
    let Victim { node, _dockerd } = Victim::new();
    let victim = node.key(Victim::KEY);
    let before = tree(&victim);
    let mut swaps = 0;
    for round in 0..ROUNDS {
        let slot = node.slot("ci/arc-a", 0, 8);
        let layers = slot.join("docker/overlay2");
        let pairs: Vec<_> = (0..50)
            .map(|n| (format!("d{n}"), format!("l{n}")))
            .collect();
        for (directory, link) in &pairs {
            fs::create_dir_all(layers.join(directory).join("diff")).unwrap();
            fs::write(layers.join(directory).join("diff/layer"), "").unwrap();
            symlink(&victim, layers.join(link)).unwrap();
        }
        swaps += while_swapping(&open(&layers), &pairs, || {
            node.sweep();
        });
        assert_eq!(tree(&victim), before, "round {round}");
        assert!(!slot.exists(), "round {round}");
    }
    assert!(swaps > ROUNDS, "only {swaps} swaps");
    node.sweep();
    assert!(node.is_clean());
}

fn slots_and_locks_that_become_something_else_meanwhile_lead_nowhere() {
    let Victim { node, _dockerd } = Victim::new();
    let victim = node.key(Victim::KEY);
    let before = tree(&victim);
    let own = node.key("ci/arc-a");
    let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
    let pairs = [
        pair("slot-0", "a"),
        pair("lock-0", "b"),
        pair("lock-1", "c"),
        pair("trash", "d"),
    ];
    let (mut swaps, mut taken) = (0, 0);
    for round in 0..ROUNDS {
        let _ = Command::new("rm").arg("-rf").arg(&own).status();
        node.slot("ci/arc-a", 0, 8);
        node.slot("ci/arc-a", 1, 8);
        fs::create_dir(own.join("trash")).unwrap();
        age(&own.join("trash"), 8);
        symlink("../../victim/arc-b/slot-0", own.join("a")).unwrap();
        symlink("../../victim/arc-b/lock-9", own.join("b")).unwrap();
        pipe(&own.join("c"));
        symlink("../../victim/arc-b", own.join("d")).unwrap();
        age(&own.join("d"), 8);
        swaps += while_swapping(&open(&own), &pairs, || {
            let log = node.sweep();
            taken += log
                .iter()
                .filter(|line| line["message"] == "deleted")
                .count();
        });
        assert_eq!(tree(&victim), before, "round {round}");
        assert!(node.is_clean(), "round {round}");
    }
    assert!(swaps > ROUNDS && taken > 0, "{swaps} swaps, {taken} taken");
}

fn what_comes_and_goes_in_a_slot_that_is_deleted_ends_with_it() {
    let node = Node::new();
    for _ in 0..ROUNDS / 4 {
        let layers = node.slot("ci/arc-a", 0, 8).join("docker/overlay2");
        let directory = open(&layers);
        let ends = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
                for number in 0..2000 {
                    // Fails when the directory is deleted.
                    let _ = openat(&directory, format!("f{number}"), flags, Mode::RWXU);
                }
                ends.store(true, Ordering::Relaxed);
            });
            while !ends.load(Ordering::Relaxed) {
                log(&node.sweeper().arg("--once").output().unwrap());
            }
        });
        node.sweep();
        assert!(node.is_clean(), "{:?}", names(&node.root.join(".gone")));
    }
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        links_pipes_and_names_lead_nowhere,
        directories_that_become_links_while_their_slot_is_deleted_lead_nowhere,
        slots_and_locks_that_become_something_else_meanwhile_lead_nowhere,
        what_comes_and_goes_in_a_slot_that_is_deleted_ends_with_it,
    ]
}
