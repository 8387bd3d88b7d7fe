//! What is around a slot: what dead jobs left on it, the disk that it is on, the pod's network.

use serde_json::json;

use super::{
    kubelet::{Container, Options, runner_pod},
    machine::{Machine, Tools, wait_for},
};

#[test]
fn of_a_dead_job_only_images_and_build_cache_stay() {
    let Some(machine) = Machine::ready() else {
        return;
    };
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

    let second = Container::up(&machine, "second", &pod, Options::default());
    assert!(second.root().ends_with("/slot-0/docker"));
    assert_eq!(second.run(&["ps", "--quiet"]), "", "it runs again");
    assert!(!second.run(&["network", "ls"]).contains("of-the-job"));
    wait_for("the container and its volume to go", || {
        let left = [
            second.run(&["ps", "--all", "--quiet"]),
            second.run(&["volume", "ls", "--quiet"]),
        ];
        left.iter().all(String::is_empty).then_some(())
    });
    assert!(second.run(&["images"]).contains("base"));
}

#[test]
fn dockerds_networks_get_the_mtu_of_the_pods_interface() {
    let Some(machine) = Machine::ready() else {
        return;
    };
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
}

#[test]
fn a_disk_on_which_programs_may_not_run_is_mounted_anew() {
    let Some(machine) = Machine::ready() else {
        return;
    };
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
    // Volumes are the part of a data-root that containers see as it is mounted.
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
}

#[test]
fn a_disk_on_which_overlays_do_not_work_is_not_used() {
    let Some(machine) = Machine::ready() else {
        return;
    };
    let pod = runner_pod(&json!({"cache": {"type": "nodeSlots"}}));
    let options = Options {
        disk: "overlay",
        ..Options::default()
    };
    let dockerd = Container::up(&machine, "pod", &pod, options);
    assert_eq!(dockerd.root(), "/var/lib/docker");
    assert!(dockerd.log().contains("not usable"), "{}", dockerd.log());
}
