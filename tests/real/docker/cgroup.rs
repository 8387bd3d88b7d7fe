//! The processes that the start wrapper runs beside dockerd leave the root cgroup if it is the container's own.

use std::process::Command;

use slipway_core::dockerd::{KeptRoot, Slots, StartOptions, StartScript};
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::machine::{Machine, stdout};

/// Runs the wrapper with `own` in `/proc/self/cgroup`, until its background process continues. Returns what
/// was then written to the cgroup `init`, if it exists.
fn left_for(own: &str) -> String {
    let program = "until [ -e /opt/slipway/slots/went-on ]; do /bin/sleep 0.02; done; cat /sys/fs/cgroup/init/cgroup.procs || :";
    // Before all else it waits for dockerd's answer, with this `sleep`: by then it has moved.
    let prepare = r#"set -e
mount -t tmpfs proc /proc
mkdir -p /proc/self
echo "$1" >/proc/self/cgroup
mount -t tmpfs cgroup /sys/fs/cgroup
mount -t tmpfs opt /opt
mkdir -p /opt/slipway/slots /opt/bin
printf '#!/bin/sh\n: >/opt/slipway/slots/went-on\nexec /bin/sleep 1' >/opt/bin/sleep
chmod 755 /opt/bin/sleep
PATH=/opt/bin:$PATH
exec sh -c "$2" slipway-start slots=1 -- sh -c "$3" unix:///opt/socket"#;
    let options = StartOptions {
        kept_root: Some(KeptRoot::Slots(Slots {
            count: 1,
            budget_mb: None,
        })),
        ..StartOptions::default()
    };
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-c",
        prepare,
        "sh",
        own,
        StartScript::for_options(&options),
        program,
    ]);
    stdout(&mut command)
}

fn no_process_starts_in_a_root_cgroup_that_the_entrypoint_empties() -> Outcome {
    let _machine = Machine::ready()?;
    assert_eq!(left_for("0::/"), "0\n");
    // The node's hierarchy, whose root no pod may use.
    assert_eq!(left_for("0::/kubepods/pod1"), "");
    assert_eq!(left_for("9:pids:/"), "");
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![no_process_starts_in_a_root_cgroup_that_the_entrypoint_empties,]
}
