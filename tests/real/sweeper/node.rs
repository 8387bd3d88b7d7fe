//! A node's directory of slots, and the sweeper on it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{self, Command, Output},
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::fs::{AtFlags, CWD, FlockOperation, Timespec, Timestamps, flock, utimensat};
use serde_json::Value;
use slipway_testkit::workspace::{program, scratch};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A root of slots, deleted in the end.
pub struct Node {
    pub root: PathBuf,
}

impl Node {
    pub fn new() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let root = scratch().join(format!("slots-{}-{number}", process::id()));
        fs::create_dir_all(&root).unwrap();
        Self { root }
    }

    /// The directory of a key, such as `ci/arc-a`.
    pub fn key(&self, key: &str) -> PathBuf {
        let directory = self.root.join(key);
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    /// A slot of a key with a file in it, taken so many days ago.
    pub fn slot(&self, key: &str, number: u8, days: i64) -> PathBuf {
        let key = self.key(key);
        let slot = key.join(format!("slot-{number}"));
        fs::create_dir_all(slot.join("docker/overlay2")).unwrap();
        fs::write(slot.join("docker/overlay2/layer"), "a layer").unwrap();
        let lock = key.join(format!("lock-{number}"));
        fs::write(&lock, "").unwrap();
        age(&lock, days);
        slot
    }

    /// The sweeper of this node, which logs JSON.
    pub fn sweeper(&self) -> Command {
        let mut command = Command::new(program());
        command.args(["slots", "sweep", "--log-format=json", "--root"]);
        command.arg(&self.root);
        command
    }

    /// Sweeps once. Returns the log.
    pub fn sweep(&self) -> Vec<Value> {
        log(&self.sweeper().arg("--once").output().unwrap())
    }

    /// Whether nothing that was taken away is left.
    pub fn is_clean(&self) -> bool {
        names(&self.root.join(".gone")).is_empty()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = Command::new("rm").arg("-rf").arg(&self.root).status();
    }
}

/// The lines that a successful sweeper logged.
pub fn log(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{output:?}");
    let text = str::from_utf8(&output.stderr).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// Sets when a file was last modified; that of a link, not of what it leads to.
pub fn age(path: &Path, days: i64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let then = Timespec {
        tv_sec: i64::try_from(now.as_secs()).unwrap() - days * 24 * 60 * 60,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: then,
        last_modification: then,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Locks a file as a dockerd does, until the file is dropped.
pub fn hold(lock: &Path) -> File {
    let file = File::open(lock).unwrap();
    flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    file
}

/// Whether something has this name, be it a link that leads nowhere.
pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// The sorted names in a directory.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// What is seen of a file: inode, mode, time of modification, and what a plain file holds.
pub type State = (u64, u32, SystemTime, Option<Vec<u8>>);

/// Returns what a tree holds, in enough detail to see any change.
pub fn tree(path: &Path) -> BTreeMap<PathBuf, State> {
    let found = fs::symlink_metadata(path).unwrap();
    let content = found.is_file().then(|| fs::read(path).unwrap());
    let state = (
        found.ino(),
        found.mode(),
        found.modified().unwrap(),
        content,
    );
    let mut tree = BTreeMap::from([(path.to_owned(), state)]);
    if found.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            tree.extend(self::tree(&entry.unwrap().path()));
        }
    }
    tree
}
