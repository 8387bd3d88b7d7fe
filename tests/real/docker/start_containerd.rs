//! `startContainerd`: dockerd uses the containerd that the start wrapper starts.

use serde_json::json;
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::{
    kubelet::{Container, Options, runner_pod},
    machine::{Machine, Tools, write_program},
};

fn dockerd_uses_the_containerd_that_was_started_first() -> Outcome {
    let machine = Machine::ready()?;
    let cache = json!({"type": "nodeSlots", "slots": 1});
    let pod = runner_pod(&json!({"cache": cache, "startContainerd": true}));
    // The second start is a restart in the same pod, with the leftovers of a killed containerd in /run.
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
    // Otherwise dockerd starts its own, unless the data-root is kept.
    let pod = runner_pod(&json!({"cache": {"type": "emptyDir"}}));
    let dockerd = Container::up(&machine, "other", &pod, Options::default());
    let log = dockerd.log();
    assert!(log.contains("started new containerd process"), "{log}");
    Ok(())
}

fn a_containerd_that_does_not_start_is_left_to_dockerd() -> Outcome {
    let machine = Machine::ready()?;
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
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        dockerd_uses_the_containerd_that_was_started_first,
        a_containerd_that_does_not_start_is_left_to_dockerd,
    ]
}
