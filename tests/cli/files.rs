//! `inject` and `explain` on files and standard input.

use std::{fs, path::Path};

use serde_json::Value;

use crate::program::{RUNNER, UNTOUCHED, examples, run, run_with_stdin, slipway, yaml};

#[test]
fn inject_and_explain_accept_every_example() {
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
fn every_example_of_nodes_is_accepted() {
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
fn anything_but_a_runner_is_printed_byte_for_byte() {
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
fn the_unchanged_documents_of_a_stream_are_kept_byte_for_byte() {
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
fn several_files_become_one_stream() {
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
fn each_pod_gets_a_line_with_its_decision_and_assumptions_are_printed_once() {
    let ran = run(&["inject", "-f", RUNNER, "-f", UNTOUCHED]);
    assert!(ran.err.contains("examples/pods/scale-set-dind.yaml: Pod ci/build-7gk4d-runner-x5qzn: dind (profile default): "), "{}", ran.err);
    assert!(ran.err.contains("examples/pods/nginx.yaml: Pod ci/web-7c5ddbdf54-9xv2l: left alone: no recogniser in the policy matches the pod"), "{}", ran.err);
    assert_eq!(ran.err.matches("--nodes: deciding").count(), 1);
    assert_eq!(ran.err.matches("--namespaces: every").count(), 1);
}

#[test]
fn the_namespace_affects_the_decision_and_can_be_set() {
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
fn options_can_be_set_by_environment_variables() {
    let output = slipway(&["explain", "-f", RUNNER])
        .env("SLIPWAY_OUTPUT", "json")
        .env("SLIPWAY_NAMESPACE", "team-a")
        .output()
        .unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["pods"][0]["namespace"], "team-a");
}

#[test]
fn explain_shows_the_role_of_each_container_and_the_reasons_for_each_strategy() {
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
