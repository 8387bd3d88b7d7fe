//! What a job uses, as the kernel accounts it: a cgroup for the pod, with one for the daemon and one for the client in it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

const ROOT: &str = "/sys/fs/cgroup";
const NAME: &str = "slipway-builds";
/// The controllers of cgroup v1 that are used here.
const CONTROLLERS: [&str; 3] = ["cpu", "cpuacct", "memory"];
/// The length of the interval to which a CPU limit applies, in microseconds: the kubelet's.
const PERIOD: u64 = 100_000;
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The cgroup of a pod. Dropping it removes it: its processes must be gone.
pub struct Cgroup {
    dirs: Vec<PathBuf>,
}

impl Cgroup {
    /// Makes one, anew.
    pub fn new() -> Self {
        let dirs = if is_unified() {
            let root = Path::new(ROOT);
            enable_controllers(root);
            vec![root.join(NAME)]
        } else {
            // `cpu` and `cpuacct` are often two names of one directory.
            let mut dirs: Vec<PathBuf> = Vec::new();
            for controller in CONTROLLERS {
                let dir = fs::canonicalize(Path::new(ROOT).join(controller));
                let dir = dir.expect("a cgroup controller").join(NAME);
                if !dirs.contains(&dir) {
                    dirs.push(dir);
                }
            }
            dirs
        };
        let cgroup = Self { dirs };
        cgroup.remove();
        for dir in &cgroup.dirs {
            fs::create_dir(dir).unwrap();
            if is_unified() {
                enable_controllers(dir);
            }
            for child in ["daemon", "client"] {
                fs::create_dir(dir.join(child)).unwrap();
            }
        }
        cgroup
    }

    /// The directories of a container's cgroup.
    pub fn of(&self, container: &str) -> Vec<String> {
        let paths = self.dirs.iter().map(|dir| dir.join(container));
        paths.map(|path| path.display().to_string()).collect()
    }

    /// Limits the daemon's CPU, in thousandths of a core.
    pub fn limit_daemon(&self, millicores: u64) {
        let quota = millicores * PERIOD / 1000;
        if is_unified() {
            self.write("daemon/cpu.max", &format!("{quota} {PERIOD}"));
        } else {
            self.write("daemon/cpu.cfs_period_us", &PERIOD.to_string());
            self.write("daemon/cpu.cfs_quota_us", &quota.to_string());
        }
    }

    /// The CPU time of all that ever ran in it.
    pub fn cpu(&self) -> Duration {
        if is_unified() {
            let stat = fs::read_to_string(self.file("cpu.stat")).unwrap();
            Duration::from_micros(field(&stat, "usage_usec"))
        } else {
            let usage = fs::read_to_string(self.file("cpuacct.usage")).unwrap();
            Duration::from_nanos(usage.trim().parse().unwrap())
        }
    }

    /// Begins to look at its memory.
    pub fn watch_memory(&self) -> MemoryWatch {
        let (usage, inactive) = if is_unified() {
            ("memory.current", "inactive_file")
        } else {
            ("memory.usage_in_bytes", "total_inactive_file")
        };
        let (usage, stat) = (self.file(usage), self.file("memory.stat"));
        let peak = Arc::new(AtomicU64::new(0));
        let ended = Arc::new(AtomicBool::new(false));
        let watch = {
            let (peak, ended) = (Arc::clone(&peak), Arc::clone(&ended));
            move || {
                while !ended.load(Ordering::Relaxed) {
                    let (Ok(used), Ok(stat)) =
                        (fs::read_to_string(&usage), fs::read_to_string(&stat))
                    else {
                        return;
                    };
                    let used: u64 = used.trim().parse().unwrap();
                    let working_set = used.saturating_sub(field(&stat, inactive));
                    peak.fetch_max(working_set, Ordering::Relaxed);
                    thread::sleep(LOOK);
                }
            }
        };
        MemoryWatch {
            peak,
            ended,
            thread: Some(thread::spawn(watch)),
        }
    }

    /// The path of a file, in the hierarchy that has it.
    fn file(&self, name: &str) -> PathBuf {
        let mut paths = self.dirs.iter().map(|dir| dir.join(name));
        let found = paths.find(|path| path.exists());
        found.unwrap_or_else(|| panic!("no cgroup has {name}"))
    }

    fn write(&self, name: &str, value: &str) {
        fs::write(self.file(name), value).unwrap();
    }

    fn remove(&self) {
        for dir in &self.dirs {
            remove_tree(dir);
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Looks at a cgroup's memory until it is asked.
pub struct MemoryWatch {
    peak: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl MemoryWatch {
    /// The largest working set that was seen, in bytes: what is used without inactive files, as the kubelet counts it.
    pub fn peak(mut self) -> u64 {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        self.peak.load(Ordering::Relaxed)
    }
}

/// Which version of cgroups the machine has.
pub fn version() -> &'static str {
    if is_unified() { "v2" } else { "v1" }
}

fn is_unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

fn enable_controllers(dir: &Path) {
    fs::write(dir.join("cgroup.subtree_control"), "+cpu +memory +pids").unwrap();
}

/// Removes a cgroup and those below it. Processes that still end keep it for a moment.
fn remove_tree(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_tree(&entry.path());
        }
    }
    for _ in 0..100 {
        if fs::remove_dir(dir).is_ok() || !dir.exists() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The value of a line `name value`.
fn field(stat: &str, name: &str) -> u64 {
    let mut lines = stat.lines().filter_map(|line| line.split_once(' '));
    let value = lines.find_map(|(key, value)| (key == name).then_some(value));
    value.map_or(0, |value| value.parse().unwrap())
}
