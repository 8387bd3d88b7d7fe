//! `startContainerd`: a containerd that the start wrapper starts serves dockerd as its own would.

use serde_json::json;

use super::{
    kubelet::{Container, Options, runner_pod},
    machine::{Machine, Tools, write_program},
};

#[test]
fn dockerd_uses_the_containerd_that_was_started_first() {
    let Some(machine) = Machine::ready() else {
        return;
    };
    let cache = json!({"type": "nodeSlots", "slots": 1});
    let pod = runner_pod(&json!({"cache": cache, "startContainerd": true}));
    // The second start is a restart in the same pod, with what a killed containerd left in /run.
    for start in ["first", "second"] {
        let dockerd = Container::up(&machine, "pod", &pod, Options::default());
        assert!(dockerd.root().ends_with("/slot-0/docker"));
        if start == "first" {
            dockerd.import_image();
        }
        dockerd.run(&["run", "--rm", "base", "echo", "it runs"]);
        let log = dockerd.log();
        assert!(
            !log.contains("started new containerd process"),
            "{start}: {log}"
        );
        dockerd.kill();
    }
    // Without it, dockerd starts its own, on the same data-root.
    let pod = runner_pod(&json!({"cache": cache}));
    let dockerd = Container::up(&machine, "other", &pod, Options::default());
    dockerd.run(&["run", "--rm", "base", "echo", "it runs"]);
    let log = dockerd.log();
    assert!(log.contains("started new containerd process"), "{log}");
}

#[test]
fn a_containerd_that_does_not_start_is_left_to_dockerd() {
    let Some(machine) = Machine::ready() else {
        return;
    };
    let pod = runner_pod(&json!({"cache": {"type": "emptyDir"}, "startContainerd": true}));
    let program = "#!/bin/sh\ncase $* in *'--log-level warn') exit 1 ;; esac\nexec /usr/bin/containerd \"$@\"\n";
    write_program(&machine.tools(Tools::Busybox).join("containerd"), program);
    let dockerd = Container::up(&machine, "pod", &pod, Options::default());
    let log = dockerd.log();
    assert!(
        log.contains("containerd did not start: left to dockerd"),
        "{log}"
    );
    dockerd.import_image();
    dockerd.run(&["run", "--rm", "base", "echo", "it runs"]);
}
