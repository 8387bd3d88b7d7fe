//! Faults in the middle of a start: they cost at most the cache, never the job.

use std::fs;

use serde_json::json;
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::{
    kubelet::{Container, Options, SLOTS, runner_pod},
    machine::{Machine, Tools, wait_for, write_program},
};

fn with(tools: Tools) -> Options {
    Options {
        tools,
        ..Options::default()
    }
}

fn a_slot_that_becomes_read_only_is_skipped() -> Outcome {
    let machine = Machine::ready()?;
    let pod = runner_pod(&json!({"cache": {"type": "nodeSlots", "slots": 2}}));
    // The disk fails or fills up after the slot was checked and before it is marked.
    let rm = "#!/bin/sh\n/bin/rm \"$@\" || exit\nslot=/opt/slipway/slots/slot-0\n\
              case $* in */probe) mount --bind $slot $slot && mount -o remount,bind,ro $slot ;; esac\n";
    write_program(&machine.tools(Tools::System).join("rm"), rm);
    let dockerd = Container::up(&machine, "pod", &pod, with(Tools::System));
    let log = dockerd.log();
    assert_eq!(dockerd.root(), "/opt/slipway/slots/slot-1/docker", "{log}");
    assert!(log.contains("slot-0: not usable"), "{log}");
    Ok(())
}

fn a_lock_that_does_not_open_fails_no_job() -> Outcome {
    let machine = Machine::ready()?;
    let pod = runner_pod(&json!({"cache": {"type": "nodeSlots", "slots": 1}}));
    let dir = machine.node_path(SLOTS);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("lock-0"), "").unwrap();
    let seq = "#!/bin/sh\nmount -o remount,bind,ro /opt/slipway/slots\necho 0\n";
    write_program(&machine.tools(Tools::System).join("seq"), seq);
    let dockerd = Container::up(&machine, "pod", &pod, with(Tools::System));
    assert_eq!(dockerd.root(), "/var/lib/docker", "{}", dockerd.log());
    Ok(())
}

fn trash_that_another_pod_deletes_is_created_again() -> Outcome {
    let machine = Machine::ready()?;
    let pod = runner_pod(&json!({"cache": {"type": "nodeSlots", "slots": 1}}));
    let dir = machine.node_path(SLOTS);
    fs::create_dir_all(dir.join("slot-0")).unwrap();
    fs::write(dir.join("slot-0/starting"), "").unwrap();
    let mktemp = "#!/bin/sh\n[ -e /run/deleted ] && exec /usr/bin/mktemp \"$@\"\n\
                  touch /run/deleted\nrmdir /opt/slipway/slots/trash\nexit 1\n";
    write_program(&machine.tools(Tools::System).join("mktemp"), mktemp);
    let dockerd = Container::up(&machine, "pod", &pod, with(Tools::System));
    let root = dockerd.root();
    assert!(
        root.ends_with("/slot-0/docker"),
        "{root}\n{}",
        dockerd.log()
    );
    Ok(())
}

fn settings_of_daemon_json_do_not_prevent_the_cleaning() -> Outcome {
    let machine = Machine::ready()?;
    let config = json!({"log-level": "warn", "bip": "172.30.0.1/24", "icc": false});
    let pod = runner_pod(&json!({"daemonConfig": config, "cache": {"type": "nodeSlots"}}));
    let first = Container::up(&machine, "first", &pod, Options::default());
    first.import_image();
    first.run(&["run", "--detach", "base", "sleep", "1000"]);
    first.kill();
    let second = Container::up(&machine, "second", &pod, Options::default());
    let log = second.log();
    assert!(
        log.contains("cleaning") && !log.contains("set aside"),
        "{log}"
    );
    assert_eq!(second.run(&["ps", "--all", "--quiet"]), "");
    assert!(second.run(&["images"]).contains("base"));
    Ok(())
}

fn a_slot_keeps_its_noted_size_if_its_pod_ends_during_the_measurement() -> Outcome {
    let machine = Machine::ready()?;
    let pod = runner_pod(&json!({"cache": {"type": "nodeSlots", "slots": 1}}));
    let size = machine.node_path(SLOTS).join("slot-0/size");
    let noted = || fs::read_to_string(&size).unwrap_or_default();
    let first = Container::up(&machine, "first", &pod, with(Tools::System));
    wait_for("the size to be noted", || {
        (!noted().is_empty()).then_some(())
    });
    first.kill();
    fs::write(&size, "7\n").unwrap();

    let nice = "#!/bin/sh\ntouch /opt/slipway/slots/measuring\nexec sleep 1000\n";
    write_program(&machine.tools(Tools::System).join("nice"), nice);
    let second = Container::up(&machine, "second", &pod, with(Tools::System));
    let measuring = machine.node_path(SLOTS).join("measuring");
    wait_for("the size to be measured", || {
        measuring.exists().then_some(())
    });
    second.kill();
    assert_eq!(noted(), "7\n");

    // Anything but a file is replaced.
    fs::remove_file(&size).unwrap();
    fs::create_dir(&size).unwrap();
    fs::remove_file(machine.tools(Tools::System).join("nice")).unwrap();
    let _third = Container::up(&machine, "third", &pod, with(Tools::System));
    wait_for("the size to be noted", || {
        (!noted().is_empty()).then_some(())
    });
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        a_slot_that_becomes_read_only_is_skipped,
        a_lock_that_does_not_open_fails_no_job,
        trash_that_another_pod_deletes_is_created_again,
        settings_of_daemon_json_do_not_prevent_the_cleaning,
        a_slot_keeps_its_noted_size_if_its_pod_ends_during_the_measurement,
    ]
}
