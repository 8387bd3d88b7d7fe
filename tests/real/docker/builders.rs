//! The builders that jobs create with `docker buildx create`: containers with a volume of a certain name, which get
//! the state that earlier ones left.

use std::fs;

use serde_json::{Value, json};
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::{
    kubelet::{Container, Options, runner_pod},
    machine::Machine,
};

fn pod(cache: &Value) -> Value {
    runner_pod(&json!({"cache": cache, "registryMirrors": ["http://mirror.test:5000"]}))
}

fn slots() -> Value {
    json!({"type": "nodeSlots", "budget": "10Gi"})
}

fn claim() -> Value {
    json!({"type": "pvc", "claimName": "kept", "accessMode": "ReadWriteOncePod"})
}

/// Imports an image with a program at the place of buildkitd.
fn import_builder(machine: &Machine, dockerd: &Container<'_>, version: &str) {
    dockerd.import_image();
    let context = machine.pod_dir(version);
    let dockerfile = "FROM base\nCOPY buildkitd /usr/bin/buildkitd\n";
    fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    fs::write(context.join("buildkitd"), version).unwrap();
    let name = format!("builder:{version}");
    dockerd.run(&["build", "--tag", &name, context.to_str().unwrap()]);
}

/// Starts a container as buildx starts a builder.
fn create(dockerd: &Container<'_>, name: &str, version: &str, options: &[&str]) {
    let container = format!("--name=buildx_buildkit_{name}0");
    let state = format!("--volume=buildx_buildkit_{name}0_state:/var/lib/buildkit");
    let image = format!("builder:{version}");
    let run = ["run", "--detach", &container, &state];
    dockerd.run(&[&run[..], options, &[&image, "busybox", "sleep", "1000"]].concat());
}

/// Removes a builder as buildx does.
fn remove(dockerd: &Container<'_>, name: &str) {
    dockerd.run(&["rm", "--force", &format!("buildx_buildkit_{name}0")]);
    dockerd.run(&["volume", "rm", &format!("buildx_buildkit_{name}0_state")]);
}

/// Runs a shell command in a builder.
fn within(dockerd: &Container<'_>, name: &str, command: &str) -> String {
    dockerd.run(&[
        "exec",
        &format!("buildx_buildkit_{name}0"),
        "sh",
        "-c",
        command,
    ])
}

const FILES: &str = "busybox ls /var/lib/buildkit";
const CONFIG: &str = "busybox cat /etc/buildkit/buildkitd.toml";

fn the_state_of_a_removed_builder_is_kept() -> Outcome {
    let machine = Machine::ready()?;
    for cache in [slots(), claim()] {
        let pod = pod(&cache);
        let kind = cache["type"].as_str().unwrap();
        let first = Container::up(&machine, &format!("{kind}-first"), &pod, Options::default());
        import_builder(&machine, &first, "v1");
        create(&first, "a", "v1", &[]);
        within(&first, "a", "busybox touch /var/lib/buildkit/of-a");
        remove(&first, "a");
        create(&first, "b", "v1", &[]);
        assert_eq!(
            within(&first, "b", FILES),
            "of-a",
            "{kind}: {}",
            first.log()
        );
        // The job is killed with its builder left behind.
        first.kill();

        let second = Container::up(
            &machine,
            &format!("{kind}-second"),
            &pod,
            Options::default(),
        );
        create(&second, "c", "v1", &[]);
        assert_eq!(
            within(&second, "c", FILES),
            "of-a",
            "{kind}: {}",
            second.log()
        );
        let log = second.log();
        assert!(
            log.contains("slipway-runc") && log.contains("warm"),
            "{kind}: {log}"
        );
        // Another version has a state of its own.
        import_builder(&machine, &second, "v20");
        create(&second, "d", "v20", &[]);
        assert_eq!(within(&second, "d", FILES), "", "{kind}");
    }
    Ok(())
}

fn of_two_builders_at_once_one_has_the_state() -> Outcome {
    let machine = Machine::ready()?;
    let dockerd = Container::up(&machine, "pod", &pod(&slots()), Options::default());
    import_builder(&machine, &dockerd, "v1");
    create(&dockerd, "a", "v1", &[]);
    within(&dockerd, "a", "busybox touch /var/lib/buildkit/of-a");
    create(&dockerd, "b", "v1", &[]);
    assert_eq!(within(&dockerd, "b", FILES), "");
    remove(&dockerd, "a");
    remove(&dockerd, "b");
    create(&dockerd, "c", "v1", &[]);
    assert_eq!(within(&dockerd, "c", FILES), "of-a", "{}", dockerd.log());
    Ok(())
}

fn builders_get_the_mirrors_unless_they_have_a_configuration() -> Outcome {
    let machine = Machine::ready()?;
    for cache in [slots(), json!({"type": "emptyDir"})] {
        let kind = cache["type"].as_str().unwrap();
        let dockerd = Container::up(&machine, kind, &pod(&cache), Options::default());
        import_builder(&machine, &dockerd, "v1");
        create(&dockerd, "a", "v1", &[]);
        let config = within(&dockerd, "a", CONFIG);
        let mirrors = r#"mirrors = ["mirror.test:5000"]"#;
        assert!(
            config.contains(mirrors) && config.contains("http = true"),
            "{kind}: {config}"
        );
        let is_bounded = config.contains("gckeepstorage = 5");
        assert_eq!(is_bounded, kind == "nodeSlots", "{kind}: {config}");

        let context = machine.pod_dir("own");
        let dockerfile = "FROM builder:v1\nCOPY own.toml /etc/buildkit/buildkitd.toml\n";
        fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        fs::write(context.join("own.toml"), "debug = true").unwrap();
        dockerd.run(&["build", "--tag", "builder:own", context.to_str().unwrap()]);
        create(&dockerd, "b", "own", &[]);
        assert_eq!(within(&dockerd, "b", CONFIG), "debug = true", "{kind}");
    }
    Ok(())
}

fn a_builder_that_crashes_on_its_state_gets_a_fresh_one() -> Outcome {
    let machine = Machine::ready()?;
    let dockerd = Container::up(&machine, "pod", &pod(&slots()), Options::default());
    import_builder(&machine, &dockerd, "v1");
    create(&dockerd, "a", "v1", &[]);
    within(&dockerd, "a", "busybox touch /var/lib/buildkit/broken");
    dockerd.run(&["restart", "--time=0", "buildx_buildkit_a0"]);
    assert_eq!(within(&dockerd, "a", FILES), "", "{}", dockerd.log());
    Ok(())
}

fn other_containers_and_volumes_are_unaffected() -> Outcome {
    let machine = Machine::ready()?;
    let dockerd = Container::up(&machine, "pod", &pod(&slots()), Options::default());
    dockerd.import_image();
    let data = "--volume=data:/data";
    dockerd.run(&[
        "run",
        "--rm",
        data,
        "base",
        "busybox",
        "touch",
        "/data/file",
    ]);
    assert_eq!(
        dockerd.run(&["run", "--rm", data, "base", "busybox", "ls", "/data"]),
        "file"
    );
    let fails = dockerd
        .docker(&["run", "--rm", "base", "sh", "-c", "exit 7"])
        .output();
    assert_eq!(fails.unwrap().status.code(), Some(7));
    let absent = dockerd
        .docker(&["run", "--rm", "base", "absent-program"])
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&absent.stderr).into_owned();
    assert!(message.contains("executable file not found"), "{message}");
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        the_state_of_a_removed_builder_is_kept,
        of_two_builders_at_once_one_has_the_state,
        builders_get_the_mirrors_unless_they_have_a_configuration,
        a_builder_that_crashes_on_its_state_gets_a_fresh_one,
        other_containers_and_volumes_are_unaffected,
    ]
}
