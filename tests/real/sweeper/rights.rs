//! What the sweeper may do in its container, and what nobody may: for these, the tests make files of other users, mounts and
//! immutable files, and need root.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use slipway_testkit::{
    harness::{Outcome, Skip, Test},
    tests, tools,
    workspace::program,
};

use super::node::{Node, exists, log, names, tree};

fn need_root() -> Outcome {
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        Ok(())
    } else {
        Err(Skip::lacking("this test needs root"))
    }
}

/// The sweeper behind another program and its arguments.
fn behind(node: &Node, program_and_arguments: &[&str]) -> Command {
    let mut command = Command::new(program_and_arguments[0]);
    command.args(&program_and_arguments[1..]);
    command.arg(program());
    command.args(node.sweeper().arg("--once").get_args());
    command
}

/// Files of another user, in directories that root may enter only by a capability.
fn leave_files_of_another_user(slot: &Path) {
    let closed = slot.join("docker/overlay2/diff");
    let sticky = closed.join("tmp");
    fs::create_dir_all(sticky.join("below")).unwrap();
    fs::write(sticky.join("file"), "").unwrap();
    fs::set_permissions(&sticky, fs::Permissions::from_mode(0o1777)).unwrap();
    for path in [
        &sticky.join("below"),
        &sticky.join("file"),
        &sticky,
        &closed,
    ] {
        chown(path, Some(4711), Some(4711)).unwrap();
    }
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
}

fn the_capabilities_of_the_chart_are_enough_and_none_is_too_much() -> Outcome {
    need_root()?;
    let setpriv = tools::need("setpriv")?;
    let setpriv = setpriv.to_str().unwrap();
    for (capabilities, is_enough) in [
        ("-all,+dac_override,+fowner", true),
        ("-all,+dac_override", false),
        ("-all,+fowner", false),
    ] {
        let node = Node::new();
        let slot = node.slot("ci/arc-a", 0, 8);
        leave_files_of_another_user(&slot);
        let bound = format!("--bounding-set={capabilities}");
        let arguments = [setpriv, "--no-new-privs", "--inh-caps=-all", &bound];
        log(&behind(&node, &arguments).output().unwrap());
        assert!(!exists(&slot));
        assert_eq!(node.is_clean(), is_enough, "{capabilities}");
    }
    Ok(())
}

fn mounts_are_not_crossed() -> Outcome {
    need_root()?;
    let unshare = tools::need("unshare")?;
    let node = Node::new();
    let slot = node.slot("ci/arc-a", 0, 8);
    let whole = node.slot("ci/arc-a", 1, 8);
    let other = node.root.join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("file"), "").unwrap();
    let before = tree(&other);
    let mounts = [
        slot.join("docker/bound"),
        slot.join("docker/disk"),
        whole.clone(),
    ];
    for mount in &mounts {
        fs::create_dir_all(mount).unwrap();
    }
    let [bound, disk, whole] = mounts.each_ref().map(|path| path.to_str().unwrap());
    let script = format!(
        "mount --bind {other} {bound} && mount --bind {other} {whole} &&
        mount -t tmpfs disk {disk} && cd {disk} && touch file && \"$@\" && test -e file",
        other = other.display(),
    );
    let unshare = [
        unshare.to_str().unwrap(),
        "--mount",
        "sh",
        "-ec",
        &script,
        "sh",
    ];
    let log = log(&behind(&node, &unshare).output().unwrap());
    assert_eq!(tree(&other), before);
    // A slot that is a mount itself stays where it is.
    assert!(Path::new(whole).join("docker/overlay2/layer").exists());
    let told: Vec<&Value> = log.iter().filter(|line| line["level"] == "WARN").collect();
    assert_eq!(told.len(), 2, "{log:#?}");
    // Without the mounts, the rest goes.
    assert!(!slot.exists());
    node.sweep();
    assert!(node.is_clean() && !Path::new(whole).exists());
    Ok(())
}

/// Makes all files of a node mutable again when it is dropped.
struct Thaw<'n>(&'n Node);

/// Makes a file immutable.
fn freeze(path: &Path) -> Outcome {
    let chattr = tools::need("chattr")?;
    let changed = Command::new(chattr).arg("+i").arg(path).output().unwrap();
    if changed.status.success() {
        Ok(())
    } else {
        Err(Skip::lacking("files cannot be made immutable here"))
    }
}

impl Drop for Thaw<'_> {
    fn drop(&mut self) {
        let mut chattr = Command::new("chattr");
        let _ = chattr.args(["-R", "-f", "-i"]).arg(&self.0.root).status();
    }
}

fn what_cannot_be_deleted_is_logged_once_and_holds_up_nothing_else() -> Outcome {
    need_root()?;
    let node = Node::new();
    let slot = node.slot("ci/arc-a", 0, 8);
    fs::create_dir_all(slot.join("docker/other/below")).unwrap();
    for number in 0..20 {
        fs::write(slot.join(format!("docker/overlay2/{number}")), "").unwrap();
    }
    let stuck = node.slot("ci/arc-a", 1, 8);
    let thaw = Thaw(&node);
    freeze(&slot.join("docker/overlay2/layer"))?;
    freeze(&stuck)?;
    let others = [node.slot("ci/arc-a", 2, 8), node.slot("web/arc-a", 0, 8)];
    let mut child = node
        .sweeper()
        .args(["--every=1ms", "--log-level=debug"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let lines = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let mut rounds = 0;
    let log: Vec<Value> = lines
        .take_while(|line| {
            rounds += usize::from(line["message"] == "round");
            rounds < 4
        })
        .collect();
    child.kill().unwrap();
    child.wait().unwrap();
    let told: Vec<&Value> = log.iter().filter(|line| line["level"] == "WARN").collect();
    assert_eq!(told.len(), 2, "{log:#?}");
    assert!(told.iter().any(|line| line["path"] == "ci/arc-a/slot-1"));
    assert!(told.iter().any(|line| line["entry"] == "\"layer\""));
    assert!(!others[0].exists() && !others[1].exists());
    // Of the slot, only that file is left, and the two directories around it.
    let left = names(&node.root.join(".gone"));
    assert_eq!(left.len(), 1, "{left:?}");
    let files = tree(&node.root.join(".gone").join(&left[0]));
    assert_eq!(files.len(), 3, "{files:#?}");
    drop(thaw);
    node.sweep();
    assert!(node.is_clean() && !stuck.exists());
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        the_capabilities_of_the_chart_are_enough_and_none_is_too_much,
        mounts_are_not_crossed,
        what_cannot_be_deleted_is_logged_once_and_holds_up_nothing_else,
    ]
}
