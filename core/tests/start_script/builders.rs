//! The runtime wrapper, before a runtime that prints its arguments.

use std::fs;

use crate::{Sandbox, Test};

pub const TESTS: &[Test] = &[
    (
        "a_builder_gets_the_state_of_the_last_one",
        a_builder_gets_the_state_of_the_last_one,
    ),
    (
        "another_builder_has_a_state_of_another_version",
        another_builder_has_a_state_of_another_version,
    ),
    (
        "of_two_builders_one_gets_the_state",
        of_two_builders_one_gets_the_state,
    ),
    (
        "a_builder_that_crashes_gets_a_fresh_state_and_then_its_own",
        a_builder_that_crashes_gets_a_fresh_state_and_then_its_own,
    ),
    ("a_linked_state_is_not_used", a_linked_state_is_not_used),
    (
        "a_configuration_of_the_jobs_own_stays",
        a_configuration_of_the_jobs_own_stays,
    ),
    (
        "without_a_kept_data_root_builders_get_mirrors",
        without_a_kept_data_root_builders_get_mirrors,
    ),
    (
        "other_containers_are_left_alone",
        other_containers_are_left_alone,
    ),
    (
        "what_the_runtime_prints_and_returns_is_passed_on",
        what_the_runtime_prints_and_returns_is_passed_on,
    ),
    (
        "a_container_that_is_not_created_does_not_keep_the_state",
        a_container_that_is_not_created_does_not_keep_the_state,
    ),
    (
        "without_a_place_for_the_wrapper_nothing_is_removed",
        without_a_place_for_the_wrapper_nothing_is_removed,
    ),
    (
        "a_wrapper_that_does_not_run_is_taken_away",
        a_wrapper_that_does_not_run_is_taken_away,
    ),
];

const MIRRORS: &str = "[registry.\"docker.io\"]\n  mirrors = [\"mirror\"]\n";

/// A pod with a runtime, in which builders can be created.
struct Pod<'s> {
    sandbox: &'s Sandbox,
}

impl<'s> Pod<'s> {
    fn new(sandbox: &'s Sandbox) -> Self {
        sandbox.stub(
            "runc",
            "case $1 in --version) echo version 1; exit ;; esac; echo \"$@\"; echo failed >&2; exit \"${CODE:-0}\"",
        );
        Self { sandbox }
    }

    /// Writes the bundle of a builder whose image has this buildkitd.
    fn builder(&self, id: &str, buildkitd: &str) {
        let source = format!("/var/lib/docker/volumes/buildx_buildkit_{id}0_state/_data");
        self.container(id, "/var/lib/buildkit", &source);
        self.sandbox
            .write(&format!("{id}/rootfs/usr/bin/buildkitd"), buildkitd);
        let time = fs::metadata("/").unwrap().modified().unwrap();
        let buildkitd = self.sandbox.path(&format!("{id}/rootfs/usr/bin/buildkitd"));
        let buildkitd = fs::File::open(buildkitd).unwrap();
        buildkitd.set_modified(time).unwrap();
    }

    /// Writes the bundle of a container with one volume, as dockerd writes it.
    fn container(&self, id: &str, destination: &str, source: &str) {
        let rootfs = self.sandbox.path(&format!("{id}/rootfs"));
        let spec = format!(
            r#"{{"ociVersion":"1.2.0","root":{{"path":"{}"}},"mounts":[{{"destination":"/proc","type":"proc","source":"proc"}},{{"destination":"{destination}","type":"bind","source":"{source}","options":["rbind"]}}],"linux":{{}}}}"#,
            rootfs.display()
        );
        self.sandbox.write(&format!("{id}/config.json"), &spec);
    }

    /// Runs `body` in the pod's shell, where `create` and `delete` call the runtime. Returns its output.
    fn run(&self, own: &str, body: &str) -> (String, String) {
        let script = include_str!("../../src/dockerd/start_script/builders.sh").replace(
            "# insert: runc.sh",
            include_str!("../../src/dockerd/start_script/runc.sh"),
        );
        let dir = self.sandbox.path("");
        let text = format!(
            "log() {{ echo \"$*\" >&2; }}; budget=100 bin='' own={own}
            builders='{MIRRORS}'
            {script}
            find_runtime; add_builders
            create() {{ \"$bin/runc\" --root / create --bundle \"{}$1\" \"$1\"; }}
            delete() {{ \"$bin/runc\" delete \"$1\"; }}
            {body}",
            dir.display()
        );
        let output = self.sandbox.run(&text, &["test"]);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    }

    fn run_kept(&self, body: &str) -> (String, String) {
        self.run("\"/opt/slipway/slots/slot-0\"", body)
    }

    /// Returns the sources of a container's mounts, without the pod's paths.
    fn sources(&self, id: &str) -> Vec<String> {
        let spec = fs::read(self.sandbox.path(&format!("{id}/config.json"))).unwrap();
        let spec: serde_json::Value = serde_json::from_slice(&spec).unwrap();
        let mounts = spec["mounts"].as_array().unwrap();
        let mounts = mounts.iter().filter(|mount| mount["type"] == "bind");
        let sources = mounts.map(|mount| mount["source"].as_str().unwrap());
        sources
            .map(|source| {
                let (_, name) = source.rsplit_once("builders/").unwrap_or(("", source));
                name.rsplit_once("slipway.")
                    .map_or(name, |(_, name)| &name[7..])
                    .to_owned()
            })
            .collect()
    }
}

fn a_builder_gets_the_state_of_the_last_one(sandbox: &Sandbox) {
    let pod = Pod::new(sandbox);
    pod.builder("first", "v1");
    pod.builder("second", "v1");
    let (_, log) = pod.run_kept("create first; delete first; create second");
    assert!(log.contains("builder first: cold"), "{log}");
    assert!(log.contains("builder second: warm"), "{log}");
    let (first, second) = (pod.sources("first"), pod.sources("second"));
    assert_eq!(first, second);
    assert_eq!(first[0], "buildkitd.toml");
    assert!(first[1].ends_with("/state"), "{first:?}");
    // The next pod on the slot.
    pod.builder("third", "v1");
    let (_, log) = pod.run_kept("create third; cat \"$bin/buildkitd.toml\" >&2");
    assert!(log.contains("builder third: warm"), "{log}");
    assert_eq!(pod.sources("third")[1], first[1]);
    assert!(log.contains("maxUsedSpace = 50000000\n"), "{log}");
    assert!(log.contains(MIRRORS), "{log}");
}

fn another_builder_has_a_state_of_another_version(sandbox: &Sandbox) {
    let pod = Pod::new(sandbox);
    pod.builder("first", "v1");
    pod.builder("second", "v2");
    let (_, log) = pod.run_kept("create first; delete first; create second");
    assert!(log.contains("builder second: cold"), "{log}");
    assert_ne!(pod.sources("first")[1], pod.sources("second")[1]);
}

fn of_two_builders_one_gets_the_state(sandbox: &Sandbox) {
    let pod = Pod::new(sandbox);
    for id in ["first", "second", "third"] {
        pod.builder(id, "v1");
    }
    let (_, log) =
        pod.run_kept("create first; create second; delete second; delete first; create third");
    assert!(log.contains("second: cold: another builder has"), "{log}");
    assert!(log.contains("third: warm"), "{log}");
    let second = pod.sources("second");
    assert_eq!(second[0], "buildkitd.toml");
    assert!(second[1].ends_with("second0_state/_data"), "{second:?}");
}

fn a_builder_that_crashes_gets_a_fresh_state_and_then_its_own(sandbox: &Sandbox) {
    let pod = Pod::new(sandbox);
    pod.builder("first", "v1");
    let again = "cp() { cat \"$1\" >\"$2\"; }; spec=first/config.json; cp $spec before
        create first; : >\"$(echo \"$own\"/builders/*/state)/broken\"; delete first; cp before $spec
        create first; ls \"$own\"/builders/*/state >&2; delete first; cp before $spec
        create first";
    let (_, log) = pod.run_kept(again);
    assert!(log.contains("it crashed on its state"), "{log}");
    assert!(log.contains("crashed-"), "{log}");
    assert_eq!(log.matches("builder first: cold").count(), 2, "{log}");
    assert_eq!(pod.sources("first").len(), 1, "nothing is changed");
}

fn a_linked_state_is_not_used(sandbox: &Sandbox) {
    let pod = Pod::new(sandbox);
    pod.builder("first", "v1");
    pod.builder("second", "v1");
    sandbox.write("elsewhere/file", "");
    let link = "state=$(echo \"$own\"/builders/*/state); rmdir \"$state\"; ln -s \"$own/../../elsewhere\" \"$state\"";
    pod.run_kept(&format!(
        "create first; delete first; {link}; create second"
    ));
    assert!(pod.sources("second")[1].ends_with("second0_state/_data"));
}

fn a_configuration_of_the_jobs_own_stays(sandbox: &Sandbox) {
    let pod = Pod::new(sandbox);
    pod.builder("first", "v1");
    pod.builder("second", "v1");
    sandbox.write("first/rootfs/etc/buildkit/buildkitd.toml", "debug = true");
    sandbox.write("second/rootfs/etc/buildkit/buildkitd.toml", "");
    pod.run_kept("create first; delete first; create second");
    assert_eq!(pod.sources("first").len(), 1);
    assert_eq!(pod.sources("second")[0], "buildkitd.toml");
}

fn without_a_kept_data_root_builders_get_mirrors(sandbox: &Sandbox) {
    let pod = Pod::new(sandbox);
    pod.builder("first", "v1");
    let (_, log) = pod.run("''", "create first; cat \"$bin/buildkitd.toml\" >&2");
    assert!(
        log.contains(MIRRORS) && !log.contains("gckeepstorage"),
        "{log}"
    );
    let sources = pod.sources("first");
    assert_eq!(sources[0], "buildkitd.toml");
    assert!(sources[1].ends_with("first0_state/_data"), "{sources:?}");
}

fn other_containers_are_left_alone(sandbox: &Sandbox) {
    let pod = Pod::new(sandbox);
    for (id, destination, source) in [
        ("plain", "/data", "/var/lib/docker/volumes/data/_data"),
        (
            "elsewhere",
            "/cache",
            "/var/lib/docker/volumes/buildx_buildkit_a0_state/_data",
        ),
        (
            "named",
            "/var/lib/buildkit",
            "/var/lib/docker/volumes/my_state/_data",
        ),
    ] {
        pod.container(id, destination, source);
        let before = fs::read(sandbox.path(&format!("{id}/config.json"))).unwrap();
        pod.run_kept(&format!("create {id}"));
        let after = fs::read(sandbox.path(&format!("{id}/config.json"))).unwrap();
        assert_eq!(before, after, "{id}");
    }
    // No container at all, and no bundle.
    let (out, _) = pod.run_kept("\"$bin/runc\" state x; \"$bin/runc\"; create absent");
    assert!(out.starts_with("state x\n\n--root / create"), "{out}");
}

fn what_the_runtime_prints_and_returns_is_passed_on(sandbox: &Sandbox) {
    let pod = Pod::new(sandbox);
    pod.builder("first", "v1");
    let dir = sandbox.path("");
    let (out, log) = pod.run_kept(
        "export CODE=7; create first; echo $?; delete first; echo $?; \"$bin/runc\" kill first; echo $?",
    );
    let create = format!("--root / create --bundle {}first first", dir.display());
    assert_eq!(
        out,
        format!("{create}\n7\ndelete first\n7\nkill first\n7\n")
    );
    assert_eq!(log.matches("failed\n").count(), 3, "{log}");
}

fn a_container_that_is_not_created_does_not_keep_the_state(sandbox: &Sandbox) {
    let pod = Pod::new(sandbox);
    pod.builder("first", "v1");
    pod.builder("second", "v1");
    let (_, log) = pod.run_kept("CODE=7 create first; create second");
    assert!(log.contains("second: warm"), "{log}");
}

fn without_a_place_for_the_wrapper_nothing_is_removed(sandbox: &Sandbox) {
    let pod = Pod::new(sandbox);
    sandbox.stub("mktemp", "exit 1");
    let removed = sandbox.path("removed");
    sandbox.stub("rm", &format!("echo \"$@\" >>{}", removed.display()));
    let (out, log) = pod.run_kept("runc state x");
    assert!(
        out.ends_with("state x\n") && log.contains("stay cold"),
        "{out}{log}"
    );
    assert!(!removed.exists(), "{log}");
}

fn a_wrapper_that_does_not_run_is_taken_away(sandbox: &Sandbox) {
    let pod = Pod::new(sandbox);
    pod.builder("first", "v1");
    sandbox.stub("chmod", "exit 1");
    let (out, log) = pod.run_kept("ls \"$bin\"; runc state x");
    assert!(
        !out.contains("runc\n") && out.ends_with("state x\n"),
        "{out}"
    );
    assert!(log.contains("stay cold"), "{log}");
}
