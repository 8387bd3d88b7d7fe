//! Trees without measure.

use std::{fs, path::Path, process::Command};

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use slipway_testkit::{harness::Test, tests, workspace::program};

use super::node::{Node, log};

/// Deeper than a path can name (4,096 bytes), and than a process may have open files.
const DEPTH: usize = 20_000;

fn make_deep(directory: &Path) {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = openat(CWD, directory, flags, Mode::empty()).unwrap();
    for _ in 0..DEPTH {
        mkdirat(&at, "deep", Mode::RWXU).unwrap();
        at = openat(&at, "deep", flags, Mode::empty()).unwrap();
    }
    openat(
        &at,
        "file",
        OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::RWXU,
    )
    .unwrap();
}

fn a_tree_deeper_than_a_path_and_than_the_limit_of_open_files_is_deleted() {
    let node = Node::new();
    let slot = node.slot("ci/arc-a", 0, 8);
    make_deep(&slot);
    let mut sweeper = Command::new("sh");
    sweeper.args(["-c", "ulimit -n 32 && exec \"$@\"", "sh"]);
    sweeper.arg(program());
    sweeper.args(node.sweeper().arg("--once").get_args());
    log(&sweeper.output().unwrap());
    assert!(!slot.exists() && node.is_clean());
}

fn wide_directories_are_deleted() {
    let node = Node::new();
    let slot = node.slot("ci/arc-a", 0, 8);
    let wide = slot.join("docker/network");
    fs::create_dir(&wide).unwrap();
    for number in 0..50_000 {
        fs::write(wide.join(format!("file-{number}")), "").unwrap();
    }
    for number in 0..2_000 {
        fs::create_dir_all(wide.join(format!("directory-{number}/below"))).unwrap();
    }
    node.sweep();
    assert!(!slot.exists() && node.is_clean());
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        a_tree_deeper_than_a_path_and_than_the_limit_of_open_files_is_deleted,
        wide_directories_are_deleted,
    ]
}
