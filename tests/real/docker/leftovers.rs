//! The surroundings of a slot: what dead jobs left in it, its disk, the pod's network.

use std::fs;

use serde_json::json;
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::{
    kubelet::{Container, Options, SLOTS, runner_pod},
    machine::{Machine, Tools, stdout, wait_for},
};

/// Where a pod sees its slots.
const SLOTS_DIR: &str = "/opt/slipway/slots";

fn a_dead_job_leaves_only_images_and_build_cache() -> Outcome {
    let machine = Machine::ready()?;
    let pod = runner_pod(&json!({"cache": {"type": "nodeSlots"}}));
    let first = Container::up(&machine, "first", &pod, Options::default());
    first.import_image();
    first.run(&["network", "create", "of-the-job"]);
    let run = [
        "run",
        "--detach",
        "--restart=always",
        "--name=builder",
        "--volume=state:/state",
    ];
    first.run(&[&run[..], &["base", "sleep", "1000"]].concat());
    first.kill();

    // Variables for the runner's docker do not affect the wrapper's.
    let mut pod = pod;
    let variables = pod["spec"]["initContainers"][0]["env"]
        .as_array_mut()
        .unwrap();
    for (name, value) in [("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CONTEXT", "absent")] {
        variables.push(json!({"name": name, "value": value}));
    }
    // When dockerd first answers, nothing of the first job is left.
    let second = Container::up(&machine, "second", &pod, Options::default());
    assert!(second.root().ends_with("/slot-0/docker"));
    let left = [
        second.run(&["ps", "--all", "--quiet"]),
        second.run(&["volume", "ls", "--quiet"]),
    ];
    assert!(left.iter().all(String::is_empty), "{left:?}");
    assert!(!second.run(&["network", "ls"]).contains("of-the-job"));
    assert!(second.run(&["images"]).contains("base"));
    assert!(second.log().contains("cleaning"), "{}", second.log());
    second.kill();

    // If nothing is left, nothing is cleaned, and no layer of the container is kept forever.
    let third = Container::up(&machine, "third", &pod, Options::default());
    assert!(!third.log().contains("cleaning"), "{}", third.log());
    let layers = machine.node_path(SLOTS).join("slot-0/docker/overlay2");
    let is_layer = |name: &std::ffi::OsStr| name.len() == 64;
    let layers = fs::read_dir(layers).unwrap().flatten();
    assert_eq!(
        layers.filter(|entry| is_layer(&entry.file_name())).count(),
        1
    );
    Ok(())
}

fn a_slot_that_cannot_be_cleaned_is_set_aside() -> Outcome {
    let machine = Machine::ready()?;
    let pod = runner_pod(&json!({"cache": {"type": "nodeSlots"}}));
    let first = Container::up(&machine, "first", &pod, Options::default());
    first.import_image();
    first.kill();
    // dockerd does not load it, and therefore does not remove it.
    let container = machine
        .node_path(SLOTS)
        .join("slot-0/docker/containers/broken");
    fs::create_dir(&container).unwrap();
    fs::write(container.join("config.v2.json"), "{").unwrap();

    let second = Container::up(&machine, "second", &pod, Options::default());
    assert!(
        second.root().ends_with("/slot-0/docker"),
        "{}",
        second.log()
    );
    assert!(second.log().contains("set aside"), "{}", second.log());
    assert_eq!(second.run(&["images", "--quiet"]), "");
    Ok(())
}

fn the_networks_of_dockerd_get_the_mtu_of_the_pods_interface() -> Outcome {
    let machine = Machine::ready()?;
    for tools in [Tools::Busybox, Tools::System] {
        let pod = runner_pod(&json!({"mtu": "auto", "cache": {"type": "emptyDir"}}));
        let options = Options {
            tools,
            mtu: 1380,
            ..Options::default()
        };
        let dockerd = Container::up(&machine, &format!("{tools:?}"), &pod, options);
        let format = "{{index .Options \"com.docker.network.driver.mtu\"}}";
        assert_eq!(
            dockerd.run(&["network", "inspect", "bridge", "--format", format]),
            "1380"
        );
    }
    Ok(())
}

fn a_noexec_disk_is_remounted() -> Outcome {
    let machine = Machine::ready()?;
    let pod = runner_pod(&json!({"cache": {"type": "nodeSlots"}}));
    let options = Options {
        disk: "noexec",
        ..Options::default()
    };
    let dockerd = Container::up(&machine, "pod", &pod, options);
    assert!(
        dockerd.root().ends_with("/slot-0/docker"),
        "{}",
        dockerd.log()
    );
    // Volumes are the part of the data-root whose mount options containers see.
    dockerd.import_image();
    let program = "cp /bin/busybox /volume/echo && /volume/echo it-runs";
    let run = [
        "run",
        "--rm",
        "--volume=data:/volume",
        "base",
        "sh",
        "-c",
        program,
    ];
    assert_eq!(dockerd.run(&run), "it-runs");
    Ok(())
}

fn a_disk_without_overlay_support_is_not_used() -> Outcome {
    let machine = Machine::ready()?;
    let pod = runner_pod(&json!({"cache": {"type": "nodeSlots"}}));
    let options = Options {
        disk: "overlay",
        ..Options::default()
    };
    let dockerd = Container::up(&machine, "pod", &pod, options);
    assert_eq!(dockerd.root(), "/var/lib/docker");
    assert!(dockerd.log().contains("not usable"), "{}", dockerd.log());
    Ok(())
}

/// Changes the host configuration of each container in a slot, as root in a job can.
fn tamper(machine: &Machine, change: impl Fn(&str) -> String) {
    let containers = machine.node_path(SLOTS).join("slot-0/docker/containers");
    for container in fs::read_dir(containers).unwrap().flatten() {
        let config = container.path().join("hostconfig.json");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, change(&text)).unwrap();
    }
}

fn no_container_of_a_dead_job_starts_whatever_its_configuration_says() -> Outcome {
    let machine = Machine::ready()?;
    let pod = runner_pod(&json!({"cache": {"type": "nodeSlots"}}));
    let first = Container::up(&machine, "first", &pod, Options::default());
    first.import_image();
    let marker = format!("--volume={SLOTS_DIR}:/slots");
    let touch = "touch /slots/ran; sleep 1000";
    first.run(&["run", "--detach", &marker, "base", "sh", "-c", touch]);
    let ran = machine.node_path(SLOTS).join("ran");
    wait_for("the container", || ran.exists().then_some(()));
    first.kill();
    fs::remove_file(&ran).unwrap();
    // A blank more than dockerd writes.
    tamper(&machine, |config| {
        let always = r#""RestartPolicy" : {"Name" : "always""#;
        config.replace(r#""RestartPolicy":{"Name":"no""#, always)
    });

    let second = Container::up(&machine, "second", &pod, Options::default());
    assert!(second.root().ends_with("/slot-0/docker"));
    assert_eq!(second.run(&["ps", "--all", "--quiet"]), "");
    assert!(second.run(&["images"]).contains("base"), "the layers stay");
    assert!(!ran.exists(), "{}", second.log());
    Ok(())
}

fn containerds_restart_monitor_is_off() -> Outcome {
    let machine = Machine::ready()?;
    for profile in [
        json!({"cache": {"type": "nodeSlots"}}),
        json!({"cache": {"type": "pvc", "claimName": "kept", "accessMode": "ReadWriteOncePod"}}),
        json!({"cache": {"type": "emptyDir"}, "startContainerd": true}),
    ] {
        let name = profile["cache"]["type"].as_str().unwrap();
        let dockerd = Container::up(&machine, name, &runner_pod(&profile), Options::default());
        let socket = "--address=/var/run/docker/containerd/containerd.sock";
        let plugins = stdout(&mut dockerd.within(&["ctr", socket, "plugins", "ls"]));
        assert!(plugins.contains("overlayfs"), "{name}: {plugins}");
        let monitor = plugins.lines().find(|line| line.contains("restart"));
        assert!(monitor.is_none(), "{name}: {monitor:?}");
    }
    Ok(())
}

fn so_many_leftovers_that_no_command_can_list_them_are_seen() -> Outcome {
    let machine = Machine::ready()?;
    let pod = runner_pod(&json!({"cache": {"type": "nodeSlots"}}));
    Container::up(&machine, "first", &pod, Options::default()).kill();
    let containers = machine.node_path(SLOTS).join("slot-0/docker/containers");
    for number in 0..20_000 {
        let container = containers.join(format!("{number:064x}"));
        fs::create_dir(&container).unwrap();
        fs::write(container.join("config.v2.json"), "{}").unwrap();
    }
    let second = Container::up(&machine, "second", &pod, Options::default());
    assert!(second.log().contains("set aside"), "{}", second.log());
    let is_empty = fs::read_dir(&containers).unwrap().next().is_none();
    assert!(is_empty && second.root().ends_with("/slot-0/docker"));
    Ok(())
}

fn of_a_dead_job_on_a_claim_only_images_and_build_cache_stay() -> Outcome {
    let machine = Machine::ready()?;
    let claim = json!({"type": "pvc", "claimName": "kept", "accessMode": "ReadWriteOncePod"});
    let pod = runner_pod(&json!({"cache": claim}));
    let first = Container::up(&machine, "first", &pod, Options::default());
    first.import_image();
    let run = [
        "run",
        "--detach",
        "--restart=always",
        "--volume=state:/state",
    ];
    first.run(&[&run[..], &["base", "sleep", "1000"]].concat());
    first.kill();

    let second = Container::up(&machine, "second", &pod, Options::default());
    assert_eq!(second.root(), "/var/lib/docker");
    assert!(second.run(&["images"]).contains("base"), "{}", second.log());
    let left = [
        second.run(&["ps", "--all", "--quiet"]),
        second.run(&["volume", "ls", "--quiet"]),
    ];
    assert!(left.iter().all(String::is_empty), "{left:?}");
    assert!(
        second.log().contains("data-root: the claim"),
        "{}",
        second.log()
    );
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        a_dead_job_leaves_only_images_and_build_cache,
        a_slot_that_cannot_be_cleaned_is_set_aside,
        no_container_of_a_dead_job_starts_whatever_its_configuration_says,
        containerds_restart_monitor_is_off,
        so_many_leftovers_that_no_command_can_list_them_are_seen,
        of_a_dead_job_on_a_claim_only_images_and_build_cache_stay,
        the_networks_of_dockerd_get_the_mtu_of_the_pods_interface,
        a_noexec_disk_is_remounted,
        a_disk_without_overlay_support_is_not_used,
    ]
}
