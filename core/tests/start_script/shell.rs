//! The shells of pods, each with only the programs of its image.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

/// What the script and its tests call.
const PROGRAMS: [&str; 32] = [
    "awk", "cat", "chmod", "cut", "date", "env", "df", "du", "find", "flock", "grep", "head", "ln",
    "ls", "mkdir", "mkfifo", "md5sum", "mktemp", "mv", "nice", "rm", "rmdir", "sed", "seq", "sh",
    "sleep", "stat", "tail", "timeout", "touch", "tr", "wc",
];
/// The applets of Alpine's busybox that Debian's lacks; the system's programs replace them.
const NOT_IN_DEBIANS_BUSYBOX: [&str; 2] = ["flock", "nice"];
/// What tests put beside the programs, and no busybox has.
const NO_APPLETS: [&str; 7] = [
    "buildctl",
    "buildkitd",
    "buildkitd-entrypoint",
    "containerd",
    "docker",
    "dockerd",
    "runc",
];
const SYSTEM: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// dash with the system's programs, as in Debian's images.
    Dash,
    /// busybox with applets that are programs, as in Alpine's images.
    Busybox,
}

/// A directory with the shell's programs and a test's files, deleted when this is dropped.
pub struct Sandbox {
    shell: Shell,
    dir: PathBuf,
}

impl Shell {
    pub const ALL: [Self; 2] = [Self::Dash, Self::Busybox];

    pub fn name(self) -> &'static str {
        match self {
            Self::Dash => "dash",
            Self::Busybox => "busybox",
        }
    }

    /// Returns what the machine lacks to run this shell, if anything.
    pub fn lacks(self) -> Option<String> {
        let needed: &[&str] = match self {
            Self::Dash => &PROGRAMS,
            Self::Busybox => &NOT_IN_DEBIANS_BUSYBOX,
        };
        let needed = [self.name()].into_iter().chain(needed.iter().copied());
        let mut missing = needed.filter(|program| find(program).is_none());
        missing
            .next()
            .map(|name| format!("{name} is not installed"))
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let candidates = SYSTEM.iter().map(|dir| Path::new(dir).join(program));
    candidates.into_iter().find(|path| path.exists())
}

impl Sandbox {
    pub fn new(shell: Shell) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("slipway-script-{}-{number}", std::process::id());
        let sandbox = Self {
            shell,
            dir: std::env::temp_dir().join(name),
        };
        fs::create_dir_all(sandbox.dir.join("bin")).unwrap();
        fs::create_dir_all(sandbox.dir.join("slots")).unwrap();
        for program in PROGRAMS {
            let target = match shell {
                Shell::Busybox if !NOT_IN_DEBIANS_BUSYBOX.contains(&program) => find("busybox"),
                _ => find(program),
            };
            symlink(target.unwrap(), sandbox.program(program)).unwrap();
        }
        sandbox
    }

    /// Returns whether the programs are the system's.
    pub fn has_system_programs(&self) -> bool {
        self.shell == Shell::Dash
    }

    /// A file of the test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes a file of the test, and creates the directories above it.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Replaces a program by a script of the test.
    pub fn stub(&self, name: &str, script: &str) {
        let path = self.program(name);
        self.remove_program(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn remove_program(&self, name: &str) {
        let _ = fs::remove_file(self.program(name));
    }

    fn program(&self, name: &str) -> PathBuf {
        self.dir.join("bin").join(name)
    }

    /// Runs shell text in the sandbox's directory. The machine's files that the text names are replaced with
    /// files of the sandbox.
    pub fn run(&self, text: &str, arguments: &[&str]) -> Output {
        let dir = self.dir.to_str().unwrap();
        let text = text
            .replace("/opt/slipway/slots", &format!("{dir}/slots"))
            .replace("/opt/slipway/buildx", &format!("{dir}/buildx"))
            .replace("/opt/slipway/claim", &format!("{dir}/claim"))
            .replace("/var/lib/docker", &format!("{dir}/claim"))
            .replace("/tmp/slipway.", &format!("{dir}/slipway."))
            .replace("/var/run/docker/", &format!("{dir}/run/"))
            .replace("/var/run/docker.pid", &format!("{dir}/run/docker.pid"))
            .replace("/sys/fs/cgroup/init", &format!("{dir}/cgroup"));
        let (program, applet) = match self.shell {
            Shell::Dash => ("dash", None),
            Shell::Busybox => ("busybox", Some("sh")),
        };
        Command::new(find(program).unwrap())
            .args(applet)
            .arg("-c")
            .arg(self.programs_as_functions() + &text)
            .args(arguments)
            .current_dir(&self.dir)
            .env_clear()
            .env("PATH", self.dir.join("bin"))
            .output()
            .unwrap()
    }

    /// Defines each program as a function. Debian's busybox runs applets inside the shell and ignores the
    /// PATH; a function precedes an applet, and a name with a slash is always a program, as in Alpine's.
    fn programs_as_functions(&self) -> String {
        if self.shell == Shell::Dash {
            return String::new();
        }
        let programs = fs::read_dir(self.dir.join("bin")).unwrap();
        let names = programs.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        // What busybox does not have, it looks for on the PATH.
        let applets = names.filter(|name| !NO_APPLETS.contains(&name.as_str()));
        applets.fold(String::new(), |functions, name| {
            let path = self.program(&name);
            functions + &format!("{name}() {{ {} \"$@\"; }}\n", path.display())
        })
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}
