//! What the tests need from the machine, and what they create on it: tools, a node's directories, an image.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::harness::Skip;

/// The path on which programs are found: the distribution's, so that client and daemon match.
pub const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
const NEEDED: [&str; 9] = [
    "dockerd",
    "docker",
    "containerd",
    "runc",
    "iptables",
    "ip",
    "busybox",
    "unshare",
    "pivot_root",
];
/// How many tests may run dockerd at once; each starts up to four.
const AT_ONCE: u32 = 2;

static NUMBER: AtomicU32 = AtomicU32::new(0);
static RUNNING: (Mutex<u32>, Condvar) = (Mutex::new(0), Condvar::new());

/// A node: a directory with everything that its pods leave, deleted when this is dropped.
pub struct Machine {
    dir: PathBuf,
}

/// The programs of the container's image, apart from docker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tools {
    /// The machine's: dash and GNU's on Debian.
    System,
    /// busybox, as in docker's image. Debian's has no applet `flock`: the system's program is used.
    Busybox,
    /// busybox without `flock`.
    BusyboxWithoutFlock,
}

impl Machine {
    /// Creates a node on a machine that can run dockerd.
    pub fn ready() -> Result<Self, Skip> {
        check().map_err(Skip::lacking)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Not below $TMPDIR: the path of a socket has at most 107 bytes.
        let dir = PathBuf::from(format!("/tmp/slipway-{}-{number}", std::process::id()));
        let machine = Self::at(dir);
        // A disk that is not full, even if the machine's is.
        let disk = ["-t", "tmpfs", "-o", "size=4g", "node"];
        stdout(Command::new("mount").args(disk).arg(machine.node_path("/")));
        Ok(machine)
    }

    /// Creates a node with its files in `dir`, on the machine's own disk. Waits while too many tests run.
    pub fn at(dir: PathBuf) -> Self {
        let (count, changed) = &RUNNING;
        let mut running = count.lock().unwrap_or_else(PoisonError::into_inner);
        while *running >= AT_ONCE {
            running = changed
                .wait(running)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *running += 1;
        drop(running);
        let machine = Self { dir };
        fs::create_dir_all(machine.dir.join("pods")).unwrap();
        fs::create_dir_all(machine.node_path("/")).unwrap();
        machine.make_tools();
        machine
    }

    /// Returns the path of a file or directory of the node.
    pub fn node_path(&self, path: &str) -> PathBuf {
        self.dir.join("node").join(path.trim_start_matches('/'))
    }

    /// Creates a directory for a pod if there is none, and returns its path.
    pub fn pod_dir(&self, name: &str) -> PathBuf {
        let dir = self.dir.join("pods").join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Returns the directory with the programs of an image, which precedes the system's on the path.
    pub fn tools(&self, tools: Tools) -> PathBuf {
        self.dir.join(match tools {
            Tools::System => "system",
            Tools::Busybox => "busybox",
            Tools::BusyboxWithoutFlock => "no-flock",
        })
    }

    /// The programs of a newer docker, on this node's disk, if `SLIPWAY_DOCKER_TREE` names a directory with them, as
    /// `.ci/unpack-docker` makes one.
    pub fn newer_docker(&self) -> Result<PathBuf, Skip> {
        let tree = std::env::var_os("SLIPWAY_DOCKER_TREE").ok_or_else(|| {
            Skip::because(
                "SLIPWAY_DOCKER_TREE names no newer docker; .ci/unpack-docker fetches one",
            )
        })?;
        // An overlay cannot be laid over what is a part of it.
        let copy = self.node_path("tree");
        let mut source = tree;
        source.push("/.");
        fs::create_dir_all(&copy).unwrap();
        stdout(Command::new("cp").arg("--archive").arg(source).arg(&copy));
        Ok(copy)
    }

    /// buildkitd and buildctl as mounts of a container, if `BUILDKITD` names a buildkitd.
    pub fn buildkitd() -> Result<Vec<(PathBuf, String)>, Skip> {
        let buildkitd = buildkitd().ok_or_else(|| Skip::because("BUILDKITD names no buildkitd"))?;
        Ok(buildkit_programs(&buildkitd))
    }

    /// Deletes everything that the node kept from its jobs.
    pub fn forget_jobs(&self) {
        for kept in ["var", "claims"] {
            let _ = fs::remove_dir_all(self.node_path(kept));
        }
    }

    /// Returns the PATH in the container, whose tools are in `/opt/tools`.
    pub fn container_path() -> String {
        format!("/opt/tools:{PATH}")
    }

    fn make_tools(&self) {
        let applets = stdout(Command::new("busybox").arg("--list"));
        for tools in [Tools::System, Tools::Busybox, Tools::BusyboxWithoutFlock] {
            let dir = self.tools(tools);
            fs::create_dir_all(&dir).unwrap();
            write_program(
                &dir.join("dockerd-entrypoint.sh"),
                include_str!("entrypoint.sh"),
            );
            if tools == Tools::System {
                continue;
            }
            // dockerd needs the machine's modprobe and ip, not busybox's.
            let ours = |name: &&str| !["modprobe", "ip", "dpkg", "rpm"].contains(name);
            for applet in applets.lines().filter(ours) {
                symlink("/usr/bin/busybox", dir.join(applet)).unwrap();
            }
            if tools == Tools::BusyboxWithoutFlock {
                fs::write(dir.join("absent"), "/usr/bin/flock").unwrap();
            }
        }
        let image = self.dir.join("image");
        fs::create_dir_all(image.join("bin")).unwrap();
        fs::copy("/usr/bin/busybox", image.join("bin/busybox")).unwrap();
        for applet in ["sh", "cp", "dd", "sleep", "echo"] {
            symlink("busybox", image.join("bin").join(applet)).unwrap();
        }
        stdout(
            Command::new("tar")
                .arg("-C")
                .arg(&image)
                .arg("-cf")
                .arg(self.image())
                .arg("."),
        );
    }

    /// Returns a tar file of an image with busybox.
    pub fn image(&self) -> PathBuf {
        self.dir.join("image.tar")
    }

    /// Returns a build context whose Dockerfile starts from that image, without a registry.
    pub fn context(&self, name: &str, steps: &[&str]) -> PathBuf {
        let dir = self.dir.join("contexts").join(name);
        fs::create_dir_all(&dir).unwrap();
        fs::copy(self.image(), dir.join("image.tar")).unwrap();
        let lines = ["FROM scratch", "ADD image.tar /"].iter().chain(steps);
        let lines: Vec<&str> = lines.copied().collect();
        fs::write(dir.join("Dockerfile"), lines.join("\n") + "\n").unwrap();
        dir
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .args(["--lazy", "--quiet"])
            .arg(self.node_path("/"))
            .status();
        // Dead dockerds may leave much. A mount that remains is not deleted, and is noticed.
        let _ = fs::remove_dir_all(&self.dir);
        let (count, changed) = &RUNNING;
        *count.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        changed.notify_one();
    }
}

/// Returns the buildkitd that the variable `BUILDKITD` names.
pub fn buildkitd() -> Option<PathBuf> {
    std::env::var_os("BUILDKITD").map(PathBuf::from)
}

/// What a container mounts to have a buildkitd, and the buildctl beside it, where docker's image of buildkitd has them.
pub fn buildkit_programs(buildkitd: &Path) -> Vec<(PathBuf, String)> {
    let programs = [
        (buildkitd.to_owned(), "/usr/bin/buildkitd"),
        (buildkitd.with_file_name("buildctl"), "/usr/bin/buildctl"),
    ];
    programs
        .into_iter()
        .map(|(path, target)| {
            let path = fs::canonicalize(&path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path, target.to_owned())
        })
        .collect()
}

/// Checks that the machine can run dockerd. The error says what it lacks.
pub fn check() -> Result<(), String> {
    let is_root = stdout(Command::new("id").arg("-u")).trim() == "0";
    if !is_root {
        return Err("the docker tests need root".to_owned());
    }
    let on_path = |name: &&str| {
        PATH.split(':')
            .any(|dir| Path::new(dir).join(name).exists())
    };
    match NEEDED.iter().find(|name| !on_path(name)) {
        Some(name) => Err(format!("the docker tests need `{name}` in {PATH}")),
        None => Ok(()),
    }
}

/// Writes a program of the container, in place of an existing one.
pub fn write_program(path: &Path, text: &str) {
    // The existing one may be a link to a program that others use.
    let _ = fs::remove_file(path);
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs a program, which must succeed. Returns its standard output.
pub fn stdout(command: &mut Command) -> String {
    let output = command.env("PATH", PATH).output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Sets the modification time of a file, such as `8 days ago`.
pub fn age(file: &Path, when: &str) {
    stdout(
        Command::new("touch")
            .arg(format!("--date={when}"))
            .arg(file),
    );
}

/// Polls every few milliseconds until `look` returns a value. Panics with `what` after a minute.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
