//! `policy check` and `policy schema`.

use serde_json::Value;

use crate::program::{BAD_INPUT, RUNNER, file, run, run_with_stdin};

#[test]
fn errors_in_a_policy_name_the_place_and_suggest_a_key() {
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
    // The namespaces are checked last and come first in the file: errors are sorted by their places.
    let text = "\
namespaces:
- {names: [ci-*], profile: fsat}
profiles:
  fast:
    strategy: fastest
    dind:
      mtuu: 1400
      registryMirrors: ['https://mirror.gcr.io', mirror.ci]
      daemonConfig: {mtu: 1400}
";
    let ran = run_with_stdin(&["policy", "check", "-"], text);
    assert_eq!(ran.code, BAD_INPUT);
    let lines: Vec<&str> = ran.err.lines().collect();
    let places = [
        "error: <stdin>: line 2, column 28: namespaces[0].profile: ",
        "<stdin>: line 5, column 15: profiles.fast.strategy: ",
        "<stdin>: line 7, column 7: unknown key `mtuu`; did you mean `mtu`?",
        "<stdin>: line 8, column 50: profiles.fast.dind.registryMirrors[1]: ",
        "<stdin>: line 9, column 27: profiles.fast.dind.daemonConfig.mtu: ",
    ];
    assert_eq!(lines.len(), places.len(), "{}", ran.err);
    for (line, place) in lines.iter().zip(places) {
        assert!(line.starts_with(place), "{line}\n{place}");
    }
}

#[test]
fn warnings_about_a_policy_are_printed_without_an_error() {
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
