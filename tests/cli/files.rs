//! The program as people run it: files in, text and exit codes out.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

const BAD_INPUT: i32 = 2;

/// The program, in the repository, without the caller's settings.
fn slipway(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR"));
    for name in ["NODES", "NAMESPACES", "POLICY", "NAMESPACE", "OUTPUT"] {
        command.env_remove(format!("SLIPWAY_{name}"));
    }
    command.env_remove("NO_COLOR");
    command
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn run(args: &[&str]) -> Ran {
    slipway(args).stdin(Stdio::null()).output().unwrap().into()
}

fn run_with_stdin(args: &[&str], stdin: &str) -> Ran {
    let mut child = slipway(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program may end without reading it all.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap().into()
}

/// A file with this text, whose name ends in `name`.
fn file(name: &str, text: &str) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn examples(folder: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(folder);
    let paths = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
        .iter()
        .map(|path| path.to_str().unwrap().to_owned())
        .collect()
}

fn yaml(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

/// An example of which the webhook changes nothing and whose pod is in the file.
const UNTOUCHED: &str = "examples/pods/nginx.yaml";
const RUNNER: &str = "examples/pods/scale-set-dind.yaml";

#[test]
fn every_example_goes_through_inject_and_explain() {
    for folder in ["arc", "pods", "nodes", "namespaces"] {
        for path in examples(folder) {
            for args in [
                vec!["inject", "-f", &path],
                vec!["inject", "-f", &path, "-o", "json"],
                vec!["inject", "-f", &path, "-o", "patch"],
                vec!["inject", "-f", &path, "-o", "diff"],
                vec!["explain", "-f", &path],
                vec!["explain", "-f", &path, "-o", "json"],
            ] {
                let ran = run(&args);
                assert_eq!(ran.code, 0, "{args:?}: {}", ran.err);
                match args.get(4) {
                    None if args[0] == "inject" => drop(yaml(&ran.out)),
                    Some(&"json") => drop(serde_json::from_str::<Value>(&ran.out).unwrap()),
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn every_example_of_nodes_can_be_decided_by() {
    for nodes in examples("nodes") {
        let ran = run(&[
            "explain",
            "-f",
            "examples/pods/no-docker.yaml",
            "--nodes",
            &nodes,
        ]);
        assert_eq!(ran.code, 0, "{nodes}: {}", ran.err);
        assert!(!ran.err.contains("--nodes: deciding"), "{}", ran.err);
    }
}

#[test]
fn what_is_no_runner_comes_out_byte_for_byte() {
    for path in [
        UNTOUCHED,
        "examples/arc/docker-cache-pvc.yaml",
        "examples/nodes/aks.yaml",
    ] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        assert_eq!(run(&["inject", "-f", path]).out, text, "{path}");
        assert_eq!(
            run_with_stdin(&["inject", "-f", "-"], &text).out,
            text,
            "{path}"
        );
    }
}

#[test]
fn a_stream_keeps_what_it_does_not_change() {
    let runner = "apiVersion: actions.summerwind.dev/v1alpha1\nkind: Runner\nmetadata: {name: r, namespace: ci}\nspec: {organization: acme}\n";
    let stream = format!(
        "# first\nkind:  ConfigMap\napiVersion: v1\ndata: {{mode: 0644}} # odd\n---\n# nothing here\n---\n{runner}---\nkind: Secret\napiVersion: v1\n"
    );
    let ran = run_with_stdin(&["inject", "-f", "-"], &stream);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let (before, after) = stream.split_once(runner).unwrap();
    assert!(ran.out.starts_with(before), "{}", ran.out);
    assert!(ran.out.ends_with(after), "{}", ran.out);
    assert!(
        ran.out.contains(
            "# The pod that the controller creates from Runner r.\napiVersion: v1\nkind: Pod\n"
        ),
        "{}",
        ran.out
    );
    assert!(
        ran.err.contains(
            "<stdin>: Runner ci/r: shown as the pod that its controller creates from it\n"
        ),
        "{}",
        ran.err
    );
}

#[test]
fn several_files_are_one_stream() {
    let ran = run(&[
        "inject",
        "-f",
        UNTOUCHED,
        "-f",
        "examples/arc/docker-cache-pvc.yaml",
    ]);
    let kinds: Vec<_> = yaml(&ran.out).iter().map(|d| d["kind"].clone()).collect();
    assert_eq!(kinds, ["Pod", "PersistentVolumeClaim"]);
    let ran = run(&[
        "inject",
        "-o",
        "json",
        "-f",
        UNTOUCHED,
        "-f",
        "examples/arc/docker-cache-pvc.yaml",
    ]);
    let list: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (
            list["kind"].as_str(),
            list["items"].as_array().map(Vec::len)
        ),
        (Some("List"), Some(2))
    );
}

#[test]
fn a_line_a_pod_says_what_was_decided_and_assumptions_are_said_once() {
    let ran = run(&["inject", "-f", RUNNER, "-f", UNTOUCHED]);
    assert!(ran.err.contains("examples/pods/scale-set-dind.yaml: Pod ci/build-7gk4d-runner-x5qzn: dind (profile default): "), "{}", ran.err);
    assert!(ran.err.contains("examples/pods/nginx.yaml: Pod ci/web-7c5ddbdf54-9xv2l: left alone: it is not a runner pod"), "{}", ran.err);
    assert_eq!(ran.err.matches("--nodes: deciding").count(), 1);
    assert_eq!(ran.err.matches("--namespaces: every").count(), 1);
}

#[test]
fn the_namespace_decides_and_can_be_chosen() {
    let strategy = |args: &[&str]| {
        let mut all = vec![
            "explain",
            "-o",
            "json",
            "-f",
            "examples/pods/no-docker.yaml",
        ];
        all.extend(args);
        let ran = run(&all);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let json: Value = serde_json::from_str(&ran.out).unwrap();
        let pod = &json["pods"][0];
        (
            pod["namespace"].as_str().unwrap().to_owned(),
            pod["strategy"].as_str().unwrap().to_owned(),
            ran.err,
        )
    };
    let known = ["--namespaces", "examples/namespaces/ci.yaml"];
    let (namespace, chosen, _) = strategy(&known);
    assert_eq!((namespace.as_str(), chosen.as_str()), ("ci", "containerd"));
    let (namespace, chosen, _) = strategy(&[known[0], known[1], "-n", "ci-baseline"]);
    assert_eq!(
        (namespace.as_str(), chosen.as_str()),
        ("ci-baseline", "none")
    );
    let (.., err) = strategy(&[known[0], known[1], "-n", "elsewhere"]);
    assert!(err.contains("it has no namespace `elsewhere`"), "{err}");
}

#[test]
fn settings_come_from_the_environment_too() {
    let output = slipway(&["explain", "-f", RUNNER])
        .env("SLIPWAY_OUTPUT", "json")
        .env("SLIPWAY_NAMESPACE", "team-a")
        .output()
        .unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["pods"][0]["namespace"], "team-a");
}

#[test]
fn explain_says_what_each_container_is_and_what_speaks_for_each_strategy() {
    let ran = run(&["explain", "-f", RUNNER]);
    for line in [
        "Pod ci/build-7gk4d-runner-x5qzn  examples/pods/scale-set-dind.yaml",
        "  CI system   arc-scale-set",
        "dind                 dockerd  sidecar    docker:dind",
        "runner               runner   container  ghcr.io/actions/actions-runner:2.328.0",
        "  profile     default",
        "  decision    dind: the pod has its own dockerd, so its jobs use the Docker API",
        "containerd     against  pod-brings-dockerd",
        "dind           for      pod-brings-dockerd",
    ] {
        assert!(ran.out.contains(line), "{line}\n{}", ran.out);
    }
}

#[test]
fn bad_input_is_named_with_its_place() {
    for (name, text, said) in [
        (
            "open.yaml",
            "kind: Pod\n---\nkind: Pod\nspec: [1\n",
            "open.yaml: line 4, column 7: expected YAML",
        ),
        (
            "tabs.yaml",
            "kind: Pod\nspec:\n\tcontainers: []\n",
            "tabs.yaml: line 3, column 2: expected YAML: tabs",
        ),
        (
            "twice.yaml",
            "kind: Pod\nkind: Pod\n",
            "twice.yaml: line 2, column 1: expected YAML: duplicate mapping key: kind\n",
        ),
        (
            "text.yaml",
            "---\njust text\n",
            "text.yaml: line 2, column 1: expected a Kubernetes resource (a mapping with apiVersion and kind), found text",
        ),
        (
            "nokind.yaml",
            "a: 1\n",
            "nokind.yaml: line 1, column 1: expected a Kubernetes resource, found a mapping without `kind`",
        ),
        (
            "type.yaml",
            "kind: ConfigMap\n---\nkind: Pod\nspec:\n  containers:\n  - name: c\n    env:\n    - {name: A, value: 5}\n",
            "type.yaml: line 8, column 24: spec.containers[0].env[0].value: expected text (in quotes if it looks like a number or a truth), found a number",
        ),
        (
            "template.yaml",
            "apiVersion: apps/v1\nkind: Deployment\nspec:\n  replicas: 1\n",
            "template.yaml: line 4, column 3: spec.template: expected a mapping, as every Deployment has there, found nothing",
        ),
        (
            "template-type.yaml",
            "apiVersion: apps/v1\nkind: Deployment\nspec:\n  template:\n    spec:\n      containers: {}\n",
            "template-type.yaml: line 6, column 19: spec.containers: expected a list, found a mapping",
        ),
        (
            "bad.json",
            "{\"kind\": \"Pod\",\n \"spec\": [}",
            "bad.json: line 2, column ",
        ),
        (
            "arc.yaml",
            "apiVersion: actions.summerwind.dev/v1alpha1\nkind: Runner\nmetadata: {name: r}\nspec:\n  env: 5\n",
            "arc.yaml: line 5, column 8: spec.env",
        ),
    ] {
        let path = file(name, text);
        for command in ["inject", "explain"] {
            let ran = run(&[command, "-f", &path]);
            assert_eq!(ran.code, BAD_INPUT, "{name}: {}", ran.err);
            assert!(ran.err.contains(said), "{name}: {}", ran.err);
            assert_eq!(ran.out, "", "{name}");
        }
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bytes.yaml");
    fs::write(&path, b"a: 1\nb: \xff\xfe\n").unwrap();
    for (args, said) in [
        (
            ["-f", "no/such.yaml", "-o", "yaml"],
            "no/such.yaml: failed to read it",
        ),
        (["-f", "src", "-o", "yaml"], "src: failed to read it"),
        (
            ["-f", path.to_str().unwrap(), "-o", "yaml"],
            "bytes.yaml: line 2: expected UTF-8 text",
        ),
        (
            ["-f", RUNNER, "--nodes", "no/nodes.yaml"],
            "no/nodes.yaml: failed to read it",
        ),
        (
            ["-f", RUNNER, "--namespaces", "no/ns.yaml"],
            "no/ns.yaml: failed to read it",
        ),
        (
            ["-f", RUNNER, "--policy", "no/policy.yaml"],
            "no/policy.yaml: failed to read it",
        ),
    ] {
        let ran = run(&[&["inject"], args.as_slice()].concat());
        assert_eq!(ran.code, BAD_INPUT, "{args:?}: {}", ran.err);
        assert!(ran.err.contains(said), "{args:?}: {}", ran.err);
    }
}

#[test]
fn a_list_of_nodes_that_is_none_is_bad_input() {
    for garbage in ["just text\n", "- [\n", "{\"items\": 5"] {
        let nodes = file("garbage.yaml", garbage);
        for option in ["--nodes", "--namespaces"] {
            let ran = run(&["inject", "-f", RUNNER, option, &nodes]);
            assert_eq!(ran.code, BAD_INPUT, "{garbage:?}: {}", ran.err);
            assert!(ran.err.contains("garbage.yaml"), "{}", ran.err);
        }
    }
}

#[test]
fn a_policy_is_checked_with_suggestions_and_places() {
    let good = file("good.yaml", "profiles:\n  default: {}\n  fast: {}\n");
    let ran = run(&["policy", "check", &good]);
    assert_eq!(
        (ran.code, ran.out),
        (0, format!("{good}: ok, 2 profiles\n"))
    );

    let typo = "profiles:\n  default:\n    dind:\n      mtuu: 1400\n";
    let ran = run_with_stdin(&["policy", "check", "-"], typo);
    assert_eq!(ran.code, BAD_INPUT);
    assert_eq!(
        ran.err,
        "error: <stdin>: line 4, column 7: unknown key `mtuu`; did you mean `mtu`?\n"
    );
    let ran = run(&["inject", "-f", RUNNER, "--policy", &file("typo.yaml", typo)]);
    assert_eq!(ran.code, BAD_INPUT);
    assert!(
        ran.err
            .contains("typo.yaml: line 4, column 7: unknown key `mtuu`"),
        "{}",
        ran.err
    );

    let contradiction = file(
        "contradiction.yaml",
        "profiles:\n  default:\n    dind:\n      daemonConfig:\n        mtu: 5\n",
    );
    let ran = run(&["policy", "check", &contradiction]);
    assert_eq!(ran.code, BAD_INPUT);
    assert!(ran.err.contains("contradiction.yaml: line 5, column 14: profiles.default.dind.daemonConfig.mtu: use dind.mtu"), "{}", ran.err);
}

#[test]
fn five_mistakes_in_a_policy_are_five_lines() {
    let text = "\
profiles:
  fast:
    strategy: fastest
    dind:
      mtuu: 1400
      registryMirrors: ['https://mirror.gcr.io', mirror.ci]
      daemonConfig: {mtu: 1400}
namespaces:
- {names: [ci-*], profile: fsat}
";
    let ran = run_with_stdin(&["policy", "check", "-"], text);
    assert_eq!(ran.code, BAD_INPUT);
    let lines: Vec<&str> = ran.err.lines().collect();
    let places = [
        "error: <stdin>: line 3, column 15: profiles.fast.strategy: ",
        "<stdin>: line 5, column 7: unknown key `mtuu`; did you mean `mtu`?",
        "<stdin>: line 6, column 50: profiles.fast.dind.registryMirrors[1]: ",
        "<stdin>: line 7, column 27: profiles.fast.dind.daemonConfig.mtu: ",
        "<stdin>: line 9, column 28: namespaces[0].profile: ",
    ];
    assert_eq!(lines.len(), places.len(), "{}", ran.err);
    for (line, place) in lines.iter().zip(places) {
        assert!(line.starts_with(place), "{line}\n{place}");
    }
}

#[test]
fn warnings_about_a_policy_are_printed_and_do_not_fail_it() {
    let path = file(
        "warned.yaml",
        "profiles:\n  default:\n    dind:\n      env:\n        DOCKER_STORAGE_DRIVER: overlay2\n",
    );
    let ran = run(&["policy", "check", &path]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("warned.yaml: warning: "), "{}", ran.out);
}

#[test]
fn the_schema_is_json() {
    let schema: Value = serde_json::from_str(&run(&["policy", "schema"]).out).unwrap();
    assert_eq!(schema["title"], "Slipway policy");
}

#[test]
fn colours_are_for_terminals_and_for_those_who_ask() {
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
fn a_reader_that_has_seen_enough_is_no_error() {
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
fn help_and_version_are_there() {
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
    ] {
        let ran = run(args);
        assert_eq!(ran.code, 0);
        assert!(ran.out.contains("Exit codes:"), "{args:?}");
        assert!(args.len() == 1 || ran.out.contains("Examples:"), "{args:?}");
    }
    assert_eq!(run(&["inject"]).code, BAD_INPUT);
}
