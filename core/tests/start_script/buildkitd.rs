//! The scripts of buildkitd, as pods get them, with a `buildkitd` that prints its arguments.

use std::{fs, os::unix::fs::symlink, process::Output};

use slipway_core::dockerd::{BuildkitdStart, KeptRoot, Slots};

use crate::{Sandbox, Test};

pub const TESTS: &[Test] = &[
    (
        "buildkitd_gets_the_state_of_the_last_one",
        buildkitd_gets_the_state_of_the_last_one,
    ),
    (
        "another_version_of_buildkitd_has_another_state",
        another_version_of_buildkitd_has_another_state,
    ),
    (
        "a_state_on_which_buildkitd_did_not_start_is_set_aside",
        a_state_on_which_buildkitd_did_not_start_is_set_aside,
    ),
    (
        "a_linked_state_of_buildkitd_is_set_aside",
        a_linked_state_of_buildkitd_is_set_aside,
    ),
    (
        "buildkitd_spares_what_dockerd_left_in_the_slot",
        buildkitd_spares_what_dockerd_left_in_the_slot,
    ),
    (
        "a_second_buildkitd_gets_another_slot_or_none",
        a_second_buildkitd_gets_another_slot_or_none,
    ),
    (
        "without_flock_buildkitd_gets_no_slot",
        without_flock_buildkitd_gets_no_slot,
    ),
    (
        "buildkitd_keeps_its_state_on_a_claim",
        buildkitd_keeps_its_state_on_a_claim,
    ),
    (
        "the_entrypoint_of_the_image_starts_buildkitd",
        the_entrypoint_of_the_image_starts_buildkitd,
    ),
    ("buildx_finds_buildkitd", buildx_finds_buildkitd),
    (
        "what_a_job_made_of_its_builders_stays",
        what_a_job_made_of_its_builders_stays,
    ),
];

const SLOTS: BuildkitdStart = BuildkitdStart {
    kept_root: Some(KeptRoot::Slots(Slots {
        count: 2,
        budget_mb: Some(100),
    })),
    shares_builder: false,
};
const CLAIM: BuildkitdStart = BuildkitdStart {
    kept_root: Some(KeptRoot::Claim),
    shares_builder: false,
};
const ONLY_BUILDX: BuildkitdStart = BuildkitdStart {
    kept_root: None,
    shares_builder: true,
};

/// A `buildkitd` of this version that starts.
fn install(sandbox: &Sandbox, version: &str) {
    sandbox.stub("buildkitd", &format!(": {version}\necho buildkitd \"$@\""));
    sandbox.stub("buildctl", "");
    for quick in ["mount", "umount", "sleep"] {
        sandbox.stub(quick, "");
    }
    sandbox.stub("df", "echo; echo disk 100 50 50");
    fs::create_dir_all(sandbox.path("buildx")).unwrap();
    fs::create_dir_all(sandbox.path("claim")).unwrap();
}

/// Runs the wrapper before `buildkitd --addr x`. Returns what buildkitd and the wrapper print.
fn start(sandbox: &Sandbox, start: BuildkitdStart) -> (String, String) {
    let command = start.command();
    let mut arguments: Vec<&str> = command[3..].iter().map(AsRef::as_ref).collect();
    arguments.extend(["--addr", "x"]);
    let Output { stdout, stderr, .. } = sandbox.run(&command[2], &arguments);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(stdout), text(stderr))
}

/// Returns the state that buildkitd got, and whether it was warm.
fn state(sandbox: &Sandbox, options: BuildkitdStart) -> (String, bool) {
    let (out, log) = start(sandbox, options);
    let root = out.trim_end().strip_prefix("buildkitd --addr x --root=");
    let root = root.unwrap_or_else(|| panic!("{out}{log}"));
    assert!(log.contains("warm") != log.contains("cold"), "{log}");
    (root.to_owned(), log.contains("slipway-start: warm"))
}

fn buildkitd_gets_the_state_of_the_last_one(sandbox: &Sandbox) {
    install(sandbox, "1");
    let (root, is_warm) = state(sandbox, SLOTS);
    assert!(!is_warm);
    assert!(root.contains("/slots/slot-0/builders/"), "{root}");
    // buildkitd answered, so the next one may start on it.
    let starting = fs::read_dir(format!("{root}/..")).unwrap().flatten();
    let names: Vec<_> = starting.map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["state"]);
    assert_eq!(state(sandbox, SLOTS), (root, true));
}

fn another_version_of_buildkitd_has_another_state(sandbox: &Sandbox) {
    install(sandbox, "1");
    let (first, _) = state(sandbox, SLOTS);
    install(sandbox, "22");
    let (second, is_warm) = state(sandbox, SLOTS);
    assert!(first != second && !is_warm, "{first} {second}");
    assert!(fs::exists(first).unwrap());
}

fn a_state_on_which_buildkitd_did_not_start_is_set_aside(sandbox: &Sandbox) {
    install(sandbox, "1");
    // The probe never succeeds.
    sandbox.stub("buildctl", "exit 1");
    let (root, _) = state(sandbox, SLOTS);
    fs::write(format!("{root}/damaged"), "").unwrap();
    assert_eq!(state(sandbox, SLOTS), (root.clone(), false));
    assert!(!fs::exists(format!("{root}/damaged")).unwrap());
}

fn a_linked_state_of_buildkitd_is_set_aside(sandbox: &Sandbox) {
    install(sandbox, "1");
    let (root, _) = state(sandbox, SLOTS);
    fs::remove_dir_all(&root).unwrap();
    sandbox.write("elsewhere/file", "");
    symlink(sandbox.path("elsewhere"), &root).unwrap();
    assert_eq!(state(sandbox, SLOTS), (root.clone(), false));
    assert!(!fs::symlink_metadata(&root).unwrap().is_symlink());
    assert!(sandbox.path("elsewhere/file").exists());
}

fn buildkitd_spares_what_dockerd_left_in_the_slot(sandbox: &Sandbox) {
    install(sandbox, "1");
    sandbox.write("slots/lock-1", "");
    sandbox.write("slots/slot-1/docker/image/kept", "");
    sandbox.write("slots/slot-1/builders/1-2-3/state/kept", "");
    let (root, _) = state(sandbox, SLOTS);
    assert!(root.contains("/slots/slot-1/builders/"), "{root}");
    assert!(sandbox.path("slots/slot-1/docker/image/kept").exists());
    assert!(
        sandbox
            .path("slots/slot-1/builders/1-2-3/state/kept")
            .exists()
    );
}

fn a_second_buildkitd_gets_another_slot_or_none(sandbox: &Sandbox) {
    install(sandbox, "1");
    let held = |n: u8| {
        let lock = fs::File::create(sandbox.path(&format!("slots/lock-{n}"))).unwrap();
        lock.lock().unwrap();
        lock
    };
    let _first = held(0);
    let (root, _) = state(sandbox, SLOTS);
    assert!(root.contains("/slots/slot-1/"), "{root}");
    let _second = held(1);
    let (out, log) = start(sandbox, SLOTS);
    assert_eq!(out, "buildkitd --addr x\n", "{log}");
    assert!(log.contains("all 2 slots are taken"), "{log}");
}

fn without_flock_buildkitd_gets_no_slot(sandbox: &Sandbox) {
    install(sandbox, "1");
    sandbox.remove_program("flock");
    let (out, log) = start(sandbox, SLOTS);
    assert_eq!(out, "buildkitd --addr x\n", "{log}");
    assert!(log.contains("no flock in this image"), "{log}");
}

fn buildkitd_keeps_its_state_on_a_claim(sandbox: &Sandbox) {
    install(sandbox, "1");
    sandbox.write("claim/image/of-dockerd", "");
    symlink(sandbox.path("elsewhere"), sandbox.path("claim/slipway")).unwrap();
    let (root, is_warm) = state(sandbox, CLAIM);
    assert!(!is_warm);
    assert!(root.contains("/claim/slipway/builders/"), "{root}");
    assert_eq!(state(sandbox, CLAIM), (root, true));
    assert!(sandbox.path("claim/image/of-dockerd").exists());
    assert!(!sandbox.path("elsewhere").exists());
}

fn the_entrypoint_of_the_image_starts_buildkitd(sandbox: &Sandbox) {
    install(sandbox, "1");
    sandbox.stub("buildkitd-entrypoint", "echo entrypoint \"$@\"");
    let (out, log) = start(sandbox, ONLY_BUILDX);
    assert_eq!(out, "entrypoint --addr x\n", "{log}");
}

fn buildx_finds_buildkitd(sandbox: &Sandbox) {
    install(sandbox, "1");
    let (out, log) = start(sandbox, ONLY_BUILDX);
    assert_eq!(out, "buildkitd --addr x\n", "{log}");
    let read = |name: &str| -> serde_json::Value {
        let text = fs::read(sandbox.path(&format!("buildx/{name}"))).unwrap();
        serde_json::from_slice(&text).unwrap()
    };
    let instance = read("instances/slipway");
    assert_eq!(instance["Driver"], "remote");
    let endpoint = &instance["Nodes"][0]["Endpoint"];
    assert_eq!(*endpoint, "unix:///opt/slipway/buildkit/buildkitd.sock");
    assert_eq!(read("current")["Name"], instance["Name"]);
    // The runner may not be root.
    let modes = sandbox.run(
        "stat -c %a buildx/instances buildx/instances/slipway buildx/current",
        &[],
    );
    assert_eq!(modes.stdout, b"777\n666\n666\n");
}

fn what_a_job_made_of_its_builders_stays(sandbox: &Sandbox) {
    install(sandbox, "1");
    fs::create_dir_all(sandbox.path("buildx/instances")).unwrap();
    sandbox.write("elsewhere", "kept");
    symlink(sandbox.path("elsewhere"), sandbox.path("buildx/current")).unwrap();
    let (out, log) = start(sandbox, ONLY_BUILDX);
    assert_eq!(out, "buildkitd --addr x\n", "{log}");
    assert_eq!(
        fs::read_to_string(sandbox.path("elsewhere")).unwrap(),
        "kept"
    );
    assert!(!sandbox.path("buildx/instances/slipway").exists());
}
