//! Slots: each has at most one dockerd at a time.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::{
    kubelet::{Container, Options, SLOTS, runner_pod},
    machine::{Machine, Tools, age, wait_for, write_program},
};

const MB: u64 = 1_000_000;

fn pod_with_slots(slots: u32, budget: &str) -> Value {
    runner_pod(&json!({"cache": {"type": "nodeSlots", "slots": slots, "budget": budget}}))
}

fn with(tools: Tools) -> Options {
    Options {
        tools,
        ..Options::default()
    }
}

fn slot(number: u32) -> String {
    format!("/opt/slipway/slots/slot-{number}/docker")
}

/// Returns the bytes on disk below a directory.
fn disk_use(dir: &Path) -> u64 {
    // du fails if files disappear meanwhile, as they do while dockerd prunes.
    let output = Command::new("du").args(["-s", "-B1"]).arg(dir).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

fn three_dockerds_get_three_slots_and_a_fourth_a_temporary_root() -> Outcome {
    let machine = Machine::ready()?;
    let pod = pod_with_slots(3, "1G");
    let mut pods: Vec<Container<'_>> = ["a", "b", "c", "d"]
        .map(|name| Container::start(&machine, name, &pod, with(Tools::Busybox)))
        .into();
    pods.iter_mut().for_each(Container::wait_until_up);
    let mut roots: Vec<String> = pods.iter().map(Container::root).collect();
    roots.sort();
    assert_eq!(
        roots,
        [slot(0), slot(1), slot(2), "/var/lib/docker".to_owned()]
    );
    let without = pods
        .iter()
        .find(|pod| pod.root() == "/var/lib/docker")
        .unwrap();
    assert!(
        without.log().contains("all 3 slots are taken"),
        "{}",
        without.log()
    );
    Ok(())
}

/// Kills a pod during a build; the next one gets the slot and reuses the finished steps.
fn killed_in_mid_build(tools: Tools) -> Outcome {
    let machine = Machine::ready()?;
    let pod = pod_with_slots(1, "1G");
    let steps = ["RUN dd if=/dev/zero of=/step bs=1M count=8"];
    let context = machine.context("short", &steps);
    let endless = machine.context("endless", &[steps[0], "RUN echo now-it-runs && sleep 1000"]);

    let first = Container::up(&machine, "first", &pod, with(tools));
    assert_eq!(first.root(), slot(0));
    let mut build = first
        .docker(&["build", endless.to_str().unwrap()])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(build.stderr.take().unwrap()).lines();
    let started = |line: String| line.starts_with('#') && line.ends_with(" now-it-runs");
    assert!(lines.any(|line| started(line.unwrap())), "{}", first.log());
    first.kill();
    build.wait().unwrap();

    // There is one slot: the next dockerd gets it as soon as the old one is gone.
    let second = Container::up(&machine, "second", &pod, with(tools));
    assert_eq!(second.root(), slot(0), "{}", second.log());
    let build = second
        .docker(&["build", context.to_str().unwrap()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&build.stderr).into_owned();
    assert!(build.status.success(), "{text}");
    // ADD and RUN.
    assert_eq!(text.matches(" CACHED").count(), 2, "{text}{}", second.log());
    Ok(())
}

fn a_killed_pod_frees_its_slot_and_its_layers_are_hits_with_busybox() -> Outcome {
    killed_in_mid_build(Tools::Busybox)
}

fn a_killed_pod_frees_its_slot_and_its_layers_are_hits_with_dash() -> Outcome {
    killed_in_mid_build(Tools::System)
}

fn a_slot_with_a_live_shim_is_not_reused() -> Outcome {
    let machine = Machine::ready()?;
    let pod = pod_with_slots(2, "1G");
    let options = Options {
        shared_pid_namespace: true,
        ..with(Tools::Busybox)
    };
    let first = Container::up(&machine, "first", &pod, options);
    assert_eq!(first.root(), slot(0));
    first.import_image();
    first.run(&["run", "--detach", "base", "sleep", "1000"]);
    first.kill_program("dockerd");
    first.kill_program("containerd");

    // `ls` of busybox sorts by whole seconds.
    age(&machine.node_path(SLOTS).join("lock-0"), "1 minute ago");
    let second = Container::up(&machine, "second", &pod, options);
    assert_eq!(second.root(), slot(1), "{}", second.log());
    second.kill();
    first.kill();

    // Both are free: the one used last is warmer.
    let third = Container::up(&machine, "third", &pod, options);
    assert_eq!(third.root(), slot(1));
    let fourth = Container::up(&machine, "fourth", &pod, options);
    assert_eq!(fourth.root(), slot(0));
    assert!(fourth.run(&["images"]).contains("base"));
    Ok(())
}

fn ten_jobs_of_sixty_megabytes_stay_within_the_budget() -> Outcome {
    let machine = Machine::ready()?;
    let pod = pod_with_slots(1, "200M");
    let dir = machine.node_path(SLOTS).join("slot-0");
    let job = machine.context(
        "job",
        &[
            "ARG N",
            "RUN echo $N && dd if=/dev/zero of=/big bs=1M count=60",
        ],
    );
    let mut largest = 0;
    for n in 0..10 {
        let dockerd = Container::up(&machine, &format!("job-{n}"), &pod, with(Tools::Busybox));
        assert_eq!(dockerd.root(), slot(0));
        if dockerd.log().contains(": cleaning") {
            // Pruning happens before this job begins.
            assert!(disk_use(&dir) < 210 * MB, "job {n}: {}", disk_use(&dir));
        }
        let (argument, tag) = (format!("N={n}"), format!("job:{n}"));
        let context = job.to_str().unwrap();
        dockerd.run(&["build", "--build-arg", &argument, "--tag", &tag, context]);
        largest = largest.max(disk_use(&dir));
        settle(&dockerd, &dir);
        dockerd.kill();
    }
    assert!(
        largest > 200 * MB,
        "the budget was never exceeded: {largest}"
    );
    // The size that is known at a start may lack one job.
    assert!(largest < 340 * MB, "{largest} bytes");

    let last = Container::up(&machine, "last", &pod, with(Tools::Busybox));
    let context = job.to_str().unwrap();
    let again = last
        .docker(&["build", "--build-arg", "N=9", context])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&again.stderr).into_owned();
    assert_eq!(text.matches(" CACHED").count(), 2, "{text}");
    Ok(())
}

/// Waits until the size of the slot is noted, and until the builder has recorded the use of its cache: it does
/// so after a build, and prunes never used entries first.
fn settle(dockerd: &Container<'_>, slot: &Path) {
    wait_for("the size of the slot", || {
        let size = fs::read_to_string(slot.join("size")).unwrap_or_default();
        (!size.is_empty()).then_some(())
    });
    wait_for("the builder to note what it used", || {
        let format = "{{range .BuildCache}}{{json .LastUsedAt}} {{end}}";
        let used = dockerd.run(&["system", "df", "--verbose", "--format", format]);
        (!used.is_empty() && !used.contains("null")).then_some(())
    });
}

fn on_a_full_disk_the_oldest_free_slots_are_deleted() -> Outcome {
    let machine = Machine::ready()?;
    let pod = pod_with_slots(3, "1G");
    let dir = machine.node_path(SLOTS);
    let pods = ["a", "b", "c"].map(|name| Container::up(&machine, name, &pod, with(Tools::System)));
    let left = |n: u32| dir.join(format!("slot-{n}")).exists();
    assert!((0..3).all(left));
    drop(pods);
    // With one slot less, enough space is available.
    let tools = machine.tools(Tools::System);
    write_program(&tools.join("df"), include_str!("df.sh"));
    for (n, age) in [(0, "3 hours ago"), (1, "1 hour ago"), (2, "2 hours ago")] {
        let lock = dir.join(format!("lock-{n}"));
        let touched = Command::new("touch").args(["-d", age]).arg(lock).status();
        assert!(touched.unwrap().success());
    }

    let without = Container::up(&machine, "without", &pod, with(Tools::System));
    assert_eq!(without.root(), "/var/lib/docker");
    assert!(without.log().contains("are available"), "{}", without.log());
    wait_for("the oldest slot to go", || {
        (!left(0) && !dir.join("trash").exists()).then_some(())
    });
    let next = Container::up(&machine, "next", &pod, with(Tools::System));
    assert_eq!(next.root(), slot(1));
    assert!(left(2));
    Ok(())
}

fn an_unusable_slot_does_not_affect_the_others() -> Outcome {
    let machine = Machine::ready()?;
    let pod = pod_with_slots(2, "1G");
    let mount = "#!/bin/sh\ncase $PWD in */slot-0/*) exit 1 ;; esac\nexec /usr/bin/mount \"$@\"\n";
    write_program(&machine.tools(Tools::System).join("mount"), mount);
    for name in ["first", "second"] {
        let dockerd = Container::up(&machine, name, &pod, with(Tools::System));
        assert_eq!(dockerd.root(), slot(1), "{}", dockerd.log());
        dockerd.kill();
    }
    Ok(())
}

fn a_slot_on_which_dockerd_does_not_start_is_set_aside() -> Outcome {
    let machine = Machine::ready()?;
    let pod = pod_with_slots(1, "1G");
    let dir = machine.node_path(SLOTS);
    let first = Container::up(&machine, "first", &pod, with(Tools::Busybox));
    wait_for("the mark to go", || {
        (!dir.join("slot-0/starting").exists()).then_some(())
    });
    first.kill();
    fs::remove_dir_all(dir.join("slot-0/docker/image")).unwrap();
    fs::write(dir.join("slot-0/docker/image"), "no directory").unwrap();

    let mut bad = Container::start(&machine, "second", &pod, with(Tools::Busybox));
    bad.wait_until_ended();
    // The kubelet restarts the container in the same pod.
    let good = Container::up(&machine, "second", &pod, with(Tools::Busybox));
    assert_eq!(good.root(), slot(0));
    assert!(good.log().contains("set aside"), "{}", good.log());
    wait_for("what was set aside to be deleted", || {
        (!dir.join("trash").exists()).then_some(())
    });
    Ok(())
}

fn a_restarted_dockerd_starts_every_time() -> Outcome {
    let machine = Machine::ready()?;
    let pod = pod_with_slots(1, "1G");
    for _ in 0..4 {
        let dockerd = Container::up(&machine, "pod", &pod, with(Tools::Busybox));
        assert_eq!(dockerd.root(), slot(0));
        dockerd.kill();
    }
    Ok(())
}

fn without_flock_dockerd_starts_on_a_temporary_root() -> Outcome {
    let machine = Machine::ready()?;
    let pod = pod_with_slots(1, "1G");
    let dockerd = Container::up(&machine, "pod", &pod, with(Tools::BusyboxWithoutFlock));
    assert_eq!(dockerd.root(), "/var/lib/docker");
    assert!(dockerd.log().contains("no flock"), "{}", dockerd.log());
    Ok(())
}

fn a_dockerd_without_a_socket_file_keeps_its_slot() -> Outcome {
    let machine = Machine::ready()?;
    let mut pod = pod_with_slots(1, "1G");
    pod["spec"]["initContainers"][0]["args"] =
        json!(["dockerd", "--host=tcp://127.0.0.1:2375", "--tls=false"]);
    let dir = machine.node_path(SLOTS);
    let dockerd = Container::start(&machine, "pod", &pod, with(Tools::Busybox));
    wait_for("the slot to be taken", || {
        dir.join("slot-0/docker/image").exists().then_some(())
    });
    wait_for("the mark to go", || {
        (!dir.join("slot-0/starting").exists()).then_some(())
    });
    dockerd.kill();
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        three_dockerds_get_three_slots_and_a_fourth_a_temporary_root,
        a_killed_pod_frees_its_slot_and_its_layers_are_hits_with_busybox,
        a_killed_pod_frees_its_slot_and_its_layers_are_hits_with_dash,
        a_slot_with_a_live_shim_is_not_reused,
        ten_jobs_of_sixty_megabytes_stay_within_the_budget,
        on_a_full_disk_the_oldest_free_slots_are_deleted,
        an_unusable_slot_does_not_affect_the_others,
        a_slot_on_which_dockerd_does_not_start_is_set_aside,
        a_restarted_dockerd_starts_every_time,
        without_flock_dockerd_starts_on_a_temporary_root,
        a_dockerd_without_a_socket_file_keeps_its_slot,
    ]
}
