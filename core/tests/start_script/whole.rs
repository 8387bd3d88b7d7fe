//! Complete scripts, as pods get them, with a `dockerd` that prints its arguments.

use std::{os::unix::net::UnixListener, process::Output};

use slipway_core::dockerd::{KeptRoot, MtuScope, Slots, StartOptions, StartScript, StartWrapper};

use crate::{Sandbox, Test};

pub const TESTS: &[Test] = &[
    ("dockerd_is_started_as_it_was", dockerd_is_started_as_it_was),
    ("dockerd_gets_a_slot", dockerd_gets_a_slot),
    (
        "without_flock_dockerd_gets_no_slot",
        without_flock_dockerd_gets_no_slot,
    ),
    (
        "a_containerd_that_fails_is_left_to_dockerd",
        a_containerd_that_fails_is_left_to_dockerd,
    ),
];

const SLOTS: StartOptions<'_> = StartOptions {
    mtu: None,
    kept_root: Some(KeptRoot::Slots(Slots {
        count: 2,
        budget_mb: Some(100),
    })),
    containerd_first: false,
    builders: None,
};

/// A `containerd` that has its socket, and ends when `dockerd` has run: it would hold the output.
fn stub_containerd(sandbox: &Sandbox) -> UnixListener {
    let dir = sandbox.path("");
    let dir = dir.display();
    sandbox.write("run/containerd/directory", "");
    let socket = UnixListener::bind(sandbox.path("socket")).unwrap();
    let containerd = format!(
        "[ ! -e {dir}ended ] || exit 1\nln {dir}socket {dir}run/containerd/containerd.sock\ncat {dir}end\n: >{dir}ended"
    );
    sandbox.run(&format!("mkfifo {dir}end"), &[]);
    sandbox.stub("containerd", &containerd);
    sandbox.stub("dockerd", &format!("echo dockerd \"$@\"\n: >{dir}end"));
    socket
}

/// Runs the wrapper that these options make of a command.
fn start(sandbox: &Sandbox, options: &StartOptions<'static>, command: &[&str]) -> (String, String) {
    if !sandbox.path("socket").exists() {
        sandbox.stub("dockerd", "echo dockerd \"$@\"");
    }
    for quick in ["mount", "umount", "sleep"] {
        sandbox.stub(quick, "");
    }
    sandbox.stub("df", "echo; echo disk 100 50 50");
    let script = StartScript::for_options(options);
    let wrapper = StartWrapper::new(script, options.clone(), command.iter().copied());
    let words = wrapper.words();
    let arguments: Vec<&str> = words[3..].iter().map(AsRef::as_ref).collect();
    let Output { stdout, stderr, .. } = sandbox.run(script, &arguments);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(stdout), text(stderr))
}

fn dockerd_is_started_as_it_was(sandbox: &Sandbox) {
    let options = StartOptions {
        mtu: Some(MtuScope::Bridge),
        ..StartOptions::default()
    };
    // If the machine has an interface, a flag follows.
    for (command, started) in [
        (&["dockerd", "-D", "a b"][..], "dockerd -D a b"),
        (&["absent-entrypoint.sh", "-D"], "dockerd -D"),
        (&[], "dockerd"),
    ] {
        let (out, log) = start(sandbox, &options, command);
        assert!(out.starts_with(started), "{command:?}: {out}{log}");
    }
}

fn dockerd_gets_a_slot(sandbox: &Sandbox) {
    sandbox.write("run/docker.pid", "7");
    sandbox.write("slots/lock-1", "");
    sandbox.write("slots/slot-1/size", "7");
    sandbox.write("slots/slot-1/docker/volumes/of-a-job", "");
    sandbox.write("slots/slot-1/docker/image/kept", "");
    let _socket = stub_containerd(sandbox);
    let (out, log) = start(sandbox, &SLOTS, &["dockerd", "--host=tcp://127.0.0.1:1"]);
    let slot = sandbox.path("slots/slot-1");
    let root = slot.join("docker");
    assert_eq!(
        out,
        format!(
            "dockerd --host=tcp://127.0.0.1:1 --data-root={} --containerd={}\n",
            root.display(),
            sandbox.path("run/containerd/containerd.sock").display()
        ),
        "{log}"
    );
    assert!(log.contains("slipway-start: data-root "), "{log}");
    assert!(!sandbox.path("run/docker.pid").exists());
    // The background process has ended too, because it holds the output open.
    assert!(root.join("image/kept").exists() && !root.join("volumes").exists());
    let left = sandbox.run("ls -AR \"$0/slots\"", &[sandbox.path("").to_str().unwrap()]);
    let left = String::from_utf8_lossy(&left.stdout);
    assert!(
        !left.contains("starting") && !left.contains("trash"),
        "{left}{log}"
    );
    assert_ne!(std::fs::read_to_string(slot.join("size")).unwrap(), "7");
}

fn without_flock_dockerd_gets_no_slot(sandbox: &Sandbox) {
    sandbox.remove_program("flock");
    let (out, log) = start(sandbox, &SLOTS, &["dockerd", "--host=tcp://127.0.0.1:1"]);
    assert_eq!(out, "dockerd --host=tcp://127.0.0.1:1\n", "{log}");
    assert!(log.contains("no flock in this image"), "{log}");
}

fn a_containerd_that_fails_is_left_to_dockerd(sandbox: &Sandbox) {
    let options = StartOptions {
        containerd_first: true,
        ..StartOptions::default()
    };
    sandbox.stub("containerd", "exit 1");
    let (out, log) = start(sandbox, &options, &["dockerd"]);
    assert_eq!(out, "dockerd\n", "{log}");
    assert!(log.contains("left to dockerd"), "{log}");
}
