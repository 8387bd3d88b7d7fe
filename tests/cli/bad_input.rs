//! Files that cannot be read or understood.

use std::{fs, path::Path};

use crate::program::{BAD_INPUT, RUNNER, file, run, run_with_stdin};

#[test]
fn errors_in_the_input_name_the_line_and_column() {
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
fn input_without_a_resource_is_an_error() {
    for text in ["", "\n", "# only a comment\n---\n---\n"] {
        let path = file("empty.yaml", text);
        for command in ["inject", "explain"] {
            let ran = run_with_stdin(&[command, "-f", "-"], text);
            assert_eq!(ran.code, BAD_INPUT, "{text:?}");
            let said = "<stdin>: expected a Kubernetes resource, found nothing";
            assert!(ran.err.contains(said), "{}", ran.err);
            assert_eq!(ran.out, "");
            assert_eq!(run(&[command, "-f", &path]).code, BAD_INPUT);
            assert_eq!(run(&[command, "-f", &path, "-f", RUNNER]).code, 0);
        }
    }
}

#[test]
fn an_unknown_log_level_is_refused() {
    for command in [&["serve"][..], &["slots", "sweep"]] {
        for level in ["verbose", "off", "slipway=debug", ""] {
            let level = format!("--log-level={level}");
            let ran = run(&[command, &[&level]].concat());
            assert_eq!(ran.code, BAD_INPUT, "{level}: {}", ran.err);
            let said = "[possible values: error, warn, info, debug, trace]";
            assert!(ran.err.contains(said), "{level}: {}", ran.err);
        }
    }
}

#[test]
fn errors_name_the_file_that_cannot_be_read() {
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
fn an_invalid_list_of_nodes_or_namespaces_is_bad_input() {
    for garbage in ["just text\n", "- [\n", "{\"items\": 5"] {
        let nodes = file("garbage.yaml", garbage);
        for option in ["--nodes", "--namespaces"] {
            let ran = run(&["inject", "-f", RUNNER, option, &nodes]);
            assert_eq!(ran.code, BAD_INPUT, "{garbage:?}: {}", ran.err);
            assert!(ran.err.contains("garbage.yaml"), "{}", ran.err);
        }
    }
}
