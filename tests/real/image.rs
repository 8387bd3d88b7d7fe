//! The image, built from a static binary by a separate real dockerd, without a network.
//!
//! Needs root, dockerd, and the binary that `SLIPWAY_STATIC_BINARY` names; without that variable it
//! is skipped. `.ci/run` shows how the binary is built.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
};

use serde_json::{Value, json};
use slipway_testkit::{
    harness::{Outcome, Skip, Test},
    tests, workspace,
};

const IMAGE: &str = "slipway:test";
/// The maximum size that the project promises, in bytes.
const MAX_SIZE: u64 = 20_000_000;

/// A dockerd for this test only: its state, its socket and its containerd are in one directory.
struct Dockerd {
    process: Child,
    directory: PathBuf,
    client: PathBuf,
}

impl Dockerd {
    fn start() -> Self {
        // Not in the target directory: the path of a socket must be short.
        let directory = env::temp_dir().join(format!("slipway-image-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let at = |name: &str| directory.join(name).into_os_string();
        let mut process = Command::new("dockerd")
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
            .arg(format!("--host=unix://{}/socket", directory.display()))
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .arg("--storage-driver=vfs")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("dockerd is needed: unset SLIPWAY_STATIC_BINARY to skip this test");
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut seen = String::new();
        loop {
            let line = log
                .next()
                .unwrap_or_else(|| panic!("dockerd ended:\n{seen}"));
            let line = line.unwrap();
            if line.contains("API listen on") {
                break;
            }
            seen.push_str(&line);
            seen.push('\n');
        }
        thread::spawn(move || log.count());
        let client = client_with_buildkit();
        Self {
            process,
            directory,
            client,
        }
    }

    fn docker(&self, arguments: &[&str]) -> Output {
        let host = format!("unix://{}/socket", self.directory.display());
        let mut command = Command::new(&self.client);
        command.args(arguments).env("DOCKER_HOST", host);
        command.env("DOCKER_BUILDKIT", "1").output().unwrap()
    }

    /// Runs a command, which must succeed. Returns its standard output.
    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.docker(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // SIGTERM, so that it stops its containerd and unmounts its mounts.
        let pid = self.process.id().to_string();
        let _ = Command::new("kill").arg(pid).status();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Finds the first docker client on the path that can build with BuildKit: by its plugin, or by itself
/// before version 23.
fn client_with_buildkit() -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut clients = env::split_paths(&path).map(|directory| directory.join("docker"));
    let can_build = |client: &PathBuf| {
        let run = |arguments: &[&str]| Command::new(client).args(arguments).output();
        let has_plugin = run(&["buildx", "version"]).is_ok_and(|o| o.status.success());
        has_plugin || run(&["--version"]).is_ok_and(|o| is_before_23(&o.stdout))
    };
    clients
        .find(|client| client.is_file() && can_build(client))
        .expect("a docker client with BuildKit is needed")
}

/// Parses `Docker version 20.10.24+dfsg1, build 5d6db84`.
fn is_before_23(version: &[u8]) -> bool {
    let text = String::from_utf8_lossy(version);
    let number = text.trim_start_matches("Docker version ").split('.').next();
    number.is_some_and(|major| major.parse::<u32>().is_ok_and(|major| major < 23))
}

/// Builds the image from the binary, in a context that contains nothing else.
fn build(dockerd: &Dockerd, binary: &Path) {
    let context = dockerd.directory.join("context");
    fs::create_dir_all(context.join("dist")).unwrap();
    fs::copy(binary, context.join("dist/slipway")).unwrap();
    let dockerfile = concat!(env!("CARGO_MANIFEST_DIR"), "/Dockerfile");
    dockerd.succeed(&[
        "build",
        "--tag",
        IMAGE,
        "--file",
        dockerfile,
        "--network",
        "none",
        "--build-arg",
        "SOURCE=prebuilt",
        context.to_str().unwrap(),
    ]);
}

fn the_image_is_small_runs_as_nobody_and_contains_one_static_binary() -> Outcome {
    let binary = env::var_os("SLIPWAY_STATIC_BINARY").ok_or_else(|| {
        Skip::because("SLIPWAY_STATIC_BINARY names no static binary; .ci/run builds one")
    })?;
    let dockerd = Dockerd::start();
    build(&dockerd, Path::new(&binary));

    let inspected: Value =
        serde_json::from_str(&dockerd.succeed(&["image", "inspect", IMAGE])).unwrap();
    let image = &inspected[0];
    let size = image["Size"].as_u64().unwrap();
    assert!(size < MAX_SIZE, "{size} bytes");
    assert_eq!(image["Config"]["User"], "65532:65532");
    assert_eq!(image["Config"]["Entrypoint"], json!(["/slipway"]));
    assert_eq!(image["RootFS"]["Layers"].as_array().unwrap().len(), 1);
    let labels = &image["Config"]["Labels"];
    assert_eq!(
        labels["org.opencontainers.image.version"],
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(labels["org.opencontainers.image.licenses"], "Apache-2.0");

    // As the chart runs it. The image has no loader, so a binary that runs in it is static.
    let hardened = [
        "run",
        "--rm",
        "--network=none",
        "--read-only",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        IMAGE,
    ];
    let run = |arguments: &[&str]| dockerd.succeed(&[&hardened[..], arguments].concat());
    assert_eq!(
        run(&["--version"]),
        concat!("slipway ", env!("CARGO_PKG_VERSION"), "\n")
    );
    let schema = run(&["policy", "schema"]);
    assert!(serde_json::from_str::<Value>(&schema).is_ok(), "{schema}");
    Ok(())
}

/// An image that is compiled from source cannot be built without a network, but its files can be checked.
fn everything_that_the_dockerfile_copies_is_in_the_context() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    let ignore = read(".dockerignore");
    let mut patterns = ignore.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(patterns.next(), Some("*"), "everything else is left out");
    let sent: Vec<&str> = patterns
        .map(|line| line.strip_prefix('!').unwrap())
        .collect();
    let dockerfile = read("Dockerfile");
    let copies = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|copy| !copy.starts_with("--from"));
    let mut sources = 0;
    for copy in copies {
        let words: Vec<&str> = copy
            .split(' ')
            .filter(|word| !word.starts_with("--"))
            .collect();
        for source in &words[..words.len() - 1] {
            // A build argument, for the prebuilt image.
            let source = source.replace("${BINARY}", "dist");
            assert!(sent.contains(&&*source), "{source} is not sent");
            assert!(source == "dist" || root.join(&source).exists(), "{source}");
            sources += 1;
        }
    }
    assert!(sources > 5, "{sources}");
}

/// cargo builds nothing if a member of the workspace or a file in a Cargo.toml is missing.
fn the_context_contains_the_whole_workspace() {
    let context = workspace::scratch().join("context");
    let _ = fs::remove_dir_all(&context);
    fs::create_dir_all(&context).unwrap();
    let ignore = workspace::read(".dockerignore");
    for name in ignore.lines().filter_map(|line| line.strip_prefix('!')) {
        symlink(workspace::path(name), context.join(name)).unwrap();
    }
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .current_dir(&context)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        the_image_is_small_runs_as_nobody_and_contains_one_static_binary,
        everything_that_the_dockerfile_copies_is_in_the_context,
        the_context_contains_the_whole_workspace,
    ]
}
