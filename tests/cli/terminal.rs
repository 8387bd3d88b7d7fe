//! Colours, pipes, help and version.

use std::process::Stdio;

use crate::program::{BAD_INPUT, RUNNER, Ran, file, run, slipway};

#[test]
fn output_is_coloured_only_in_a_terminal_or_on_request() {
    let plain = run(&["explain", "-f", RUNNER]);
    assert!(!plain.out.contains('\x1b'));
    let asked = run(&["explain", "-f", RUNNER, "--color", "always"]);
    assert!(asked.out.contains("\x1b["));
    let off = slipway(&["explain", "-f", RUNNER, "--color", "auto"])
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(off.stdout).unwrap(), plain.out);
}

#[test]
fn a_closed_output_pipe_is_not_an_error() {
    let stream = "kind: ConfigMap\n---\n".repeat(20_000);
    let path = file("long.yaml", &stream);
    let mut child = slipway(&["inject", "-f", &path])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (0, "there are no pods in the input\n")
    );
}

#[test]
fn help_and_version_are_printed() {
    let version = run(&["--version"]);
    assert_eq!(
        version.out,
        format!("slipway {}\n", env!("CARGO_PKG_VERSION"))
    );
    for args in [
        &["--help"][..],
        &["inject", "--help"],
        &["explain", "--help"],
        &["policy", "check", "--help"],
        &["completion", "--help"],
        &["version", "--help"],
    ] {
        let ran = run(args);
        assert_eq!(ran.code, 0);
        assert!(ran.out.contains("Exit codes:"), "{args:?}");
        assert!(args.len() == 1 || ran.out.contains("Examples:"), "{args:?}");
    }
    assert_eq!(run(&["inject"]).code, BAD_INPUT);
}

#[test]
fn shells_complete_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(&["completion", shell]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        for word in ["inject", "explain", "log-level", "completion"] {
            assert!(ran.out.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(run(&["completion", "tcsh"]).code, BAD_INPUT);
}

#[test]
fn the_clients_version_needs_no_cluster() {
    let version = env!("CARGO_PKG_VERSION");
    let ran = run(&["version", "--client", "--kubeconfig", "no/such.yaml"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(ran.out, format!("client  {version}\n"));
    let ran = run(&["version", "--kubeconfig", "no/such.yaml"]);
    assert_eq!(ran.code, 0);
    assert_eq!(
        ran.out,
        format!("client   {version}\ncluster  unavailable\n")
    );
    assert!(ran.err.contains("no/such.yaml"), "{}", ran.err);
}
