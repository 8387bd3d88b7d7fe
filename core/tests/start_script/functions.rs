//! The functions of each part, called as the script calls them.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, SystemTime},
};

use crate::{Sandbox, Test};

pub const TESTS: &[Test] = &[
    ("the_warmest_slot_comes_first", the_warmest_slot_comes_first),
    ("a_lock_is_held_once", a_lock_is_held_once),
    ("a_lock_must_be_a_file", a_lock_must_be_a_file),
    ("oddities_are_found", oddities_are_found),
    (
        "a_busy_trash_is_created_again",
        a_busy_trash_is_created_again,
    ),
    ("a_linked_trash_is_replaced", a_linked_trash_is_replaced),
    (
        "a_slot_on_which_dockerd_did_not_start_is_set_aside",
        a_slot_on_which_dockerd_did_not_start_is_set_aside,
    ),
    (
        "a_slot_that_stays_unclean_is_set_aside",
        a_slot_that_stays_unclean_is_set_aside,
    ),
    (
        "leftover_containers_are_found",
        leftover_containers_are_found,
    ),
    (
        "a_budget_is_compared_with_the_note",
        a_budget_is_compared_with_the_note,
    ),
    ("sizes_add_up_in_mb", sizes_add_up_in_mb),
    (
        "on_a_full_disk_the_coldest_free_slots_are_deleted",
        on_a_full_disk_the_coldest_free_slots_are_deleted,
    ),
    ("the_size_of_a_slot_is_noted", the_size_of_a_slot_is_noted),
    (
        "the_socket_is_found_among_the_arguments",
        the_socket_is_found_among_the_arguments,
    ),
    (
        "the_mtu_is_that_of_the_default_route",
        the_mtu_is_that_of_the_default_route,
    ),
    (
        "dockerd_gets_only_an_mtu_that_works",
        dockerd_gets_only_an_mtu_that_works,
    ),
];

const PARTS: [&str; 4] = [
    include_str!("../../src/dockerd/start_script/mtu.sh"),
    include_str!("../../src/dockerd/start_script/slots.sh"),
    include_str!("../../src/dockerd/start_script/clean.sh"),
    include_str!("../../src/dockerd/start_script/beside.sh"),
];
/// The variables that main.sh sets, and a slot.
const STATE: &str = "log() { :; }; slots=4 budget=100 flags='' network_mtu=''
slot=$dir/slot-0; root=$slot/docker private=$slot/private\n";

/// Runs `body` after the parts. Returns its output, with spaces for line ends.
fn call(sandbox: &Sandbox, body: &str) -> String {
    let text = format!("{}\n{STATE}{body}", PARTS.join("\n"));
    let output = sandbox.run(&text, &["test"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.is_empty(), "{body}: {errors}");
    text.trim_end().replace('\n', " ")
}

/// Sets a file's modification time to `seconds` ago.
fn age(path: &Path, seconds: u64) {
    let when = SystemTime::now() - Duration::from_secs(seconds);
    File::options()
        .append(true)
        .open(path)
        .unwrap()
        .set_modified(when)
        .unwrap();
}

fn locks(sandbox: &Sandbox, ages: &[(u32, u64)]) {
    for (number, seconds) in ages {
        let name = format!("slots/lock-{number}");
        sandbox.write(&name, "");
        age(&sandbox.path(&name), *seconds);
        sandbox.write(&format!("slots/slot-{number}/docker/kept"), "");
    }
}

fn the_warmest_slot_comes_first(sandbox: &Sandbox) {
    assert_eq!(call(sandbox, "candidates -"), "0 1 2 3");
    locks(sandbox, &[(0, 300), (2, 100), (3, 200), (11, 50)]);
    for name in ["lock-00", "lock-100", "lock-x", "a-lock-1", "lock-1x"] {
        sandbox.write(&format!("slots/{name}"), "");
    }
    assert_eq!(call(sandbox, "candidates -"), "2 3 0 1");
    assert_eq!(call(sandbox, "by_last_use -t"), "11 2 3 0");
    assert_eq!(call(sandbox, "by_last_use -tr"), "0 3 2 11");
}

fn a_lock_is_held_once(sandbox: &Sandbox) {
    let body = r#"lock "$dir/lock-0" && echo taken
        (lock "$dir/lock-0" || echo refused)
        (lock "$dir/lock-1" && echo another)
        exec 9>&-
        (lock "$dir/lock-0" && echo again)
        lock "$dir/absent/lock" 2>/dev/null || echo "does not open""#;
    assert_eq!(
        call(sandbox, body),
        "taken refused another again does not open"
    );
}

fn a_lock_must_be_a_file(sandbox: &Sandbox) {
    sandbox.write("elsewhere", "kept");
    symlink(sandbox.path("elsewhere"), sandbox.path("slots/lock-0")).unwrap();
    sandbox.write("slots/lock-1/file", "");
    assert_eq!(call(sandbox, r#"mkfifo "$dir/lock-2""#), "");
    for number in 0..3 {
        let name = format!("slots/lock-{number}");
        let body = format!("lock \"$dir/lock-{number}\" && echo taken");
        assert_eq!(call(sandbox, &body), "taken", "{name}");
        assert!(fs::symlink_metadata(sandbox.path(&name)).unwrap().is_file());
    }
    assert_eq!(
        fs::read_to_string(sandbox.path("elsewhere")).unwrap(),
        "kept"
    );
}

fn oddities_are_found(sandbox: &Sandbox) {
    let found = |body: &str| call(sandbox, &format!("{body}\noddities 2>/dev/null"));
    sandbox.write("slots/slot-0/docker/containers/c/hostconfig.json", "{}");
    sandbox.write("slots/slot-0/docker/image/overlay2/repositories.json", "{}");
    assert_eq!(found(""), "");
    for odd in [
        "size",
        "docker/containers/c/config.v2.json",
        "docker/image/overlay2/distribution",
    ] {
        let path = sandbox.path("slots/slot-0").join(odd);
        assert_eq!(
            found(&format!("mkfifo \"$slot/{odd}\"")),
            path.to_str().unwrap()
        );
        fs::remove_file(&path).unwrap();
        symlink("/etc/passwd", &path).unwrap();
        assert_eq!(found(""), path.to_str().unwrap());
        fs::remove_file(&path).unwrap();
    }
    fs::remove_dir_all(sandbox.path("slots/slot-0/docker")).unwrap();
    sandbox.write("slots/slot-0/docker", "a file");
    assert_eq!(
        found(""),
        sandbox.path("slots/slot-0/docker").to_str().unwrap()
    );
}

fn a_busy_trash_is_created_again(sandbox: &Sandbox) {
    let mktemp = r#"mktemp() { [ -e "$dir/deleted" ] || { touch "$dir/deleted"; rmdir "$trash"; return 1; }
        "$dir/../bin/mktemp" "$@"; }"#;
    let body = format!("mkdir \"$slot\"; {mktemp}\ndiscard \"$slot\" && ls \"$trash\"/*");
    assert_eq!(call(sandbox, &body), "slot-0");
    // It may also stay busy.
    let body = "mkdir \"$slot\"; mktemp() { return 1; }; discard \"$slot\" || ls -d \"$slot\"";
    assert_eq!(
        call(sandbox, body),
        sandbox.path("slots/slot-0").to_str().unwrap()
    );
    assert_eq!(
        call(sandbox, "discard \"$dir/absent\" && echo nothing"),
        "nothing"
    );
}

fn a_linked_trash_is_replaced(sandbox: &Sandbox) {
    sandbox.write("elsewhere/kept", "");
    symlink(sandbox.path("elsewhere"), sandbox.path("slots/trash")).unwrap();
    let body =
        "mkdir \"$slot\"; discard \"$slot\"; rm -rf \"$trash\"; exists \"$slot\" || echo gone";
    assert_eq!(call(sandbox, body), "gone");
    assert_eq!(fs::read_dir(sandbox.path("elsewhere")).unwrap().count(), 1);
}

fn a_slot_on_which_dockerd_did_not_start_is_set_aside(sandbox: &Sandbox) {
    sandbox.write("slots/slot-0/starting", "");
    sandbox.write("slots/slot-0/docker/image/broken", "");
    let body =
        "is_usable() { :; }; log() { echo \"$*\"; }; prepare_slot && ls -R \"$slot\" | grep broken";
    let log = call(sandbox, body);
    assert!(
        log.ends_with("dockerd did not start on it last time: set aside"),
        "{log}"
    );
    assert!(sandbox.path("slots/slot-0/starting").exists());
}

fn a_slot_that_stays_unclean_is_set_aside(sandbox: &Sandbox) {
    sandbox.write("slots/slot-0/docker/containers/c/config.v2.json", "{}");
    sandbox.write("slots/slot-0/docker/image/kept", "");
    let cleaned = "is_usable() { :; }; clean() { rm -rf \"$root/containers\"; }; prepare_slot && ls \"$root/image\"";
    let unclean =
        "is_usable() { :; }; clean() { :; }; rm \"$slot/starting\"; prepare_slot && ls \"$root\"";
    assert_eq!(call(sandbox, cleaned), "kept");
    sandbox.write("slots/slot-0/docker/containers/c/config.v2.json", "{}");
    assert_eq!(call(sandbox, unclean), "");
}

fn leftover_containers_are_found(sandbox: &Sandbox) {
    let has = |text| assert_eq!(call(sandbox, "has_containers && echo yes || echo no"), text);
    has("no");
    sandbox.write("slots/slot-0/docker/containers/c/hostconfig.json", "{}");
    has("no");
    sandbox.write("slots/slot-0/docker/containers/c/config.v2.json", "{}");
    has("yes");
}

fn a_budget_is_compared_with_the_note(sandbox: &Sandbox) {
    let over = |budget: &str| {
        let body = format!("budget={budget}; is_over_budget && echo yes || echo no");
        call(sandbox, &body)
    };
    assert_eq!(over("100"), "no");
    for (note, expected) in [
        ("101\n", "yes"),
        ("100\n", "no"),
        ("", "no"),
        ("1e9\n", "no"),
    ] {
        sandbox.write("slots/slot-0/size", note);
        assert_eq!(over("100"), expected, "{note}");
        assert_eq!(over("''"), "no");
    }
}

fn sizes_add_up_in_mb(sandbox: &Sandbox) {
    for (sizes, mb) in [
        ("", "0"),
        ("0B\\n0B\\n12.5kB\\n", "0"),
        ("1.5GB\\n200.4MB\\n999kB\\n", "1700"),
        ("1.2TB\\n", "1200000"),
        ("30TB\\n1MB\\n", "30000001"),
    ] {
        assert_eq!(
            call(sandbox, &format!("printf '{sizes}' | in_mb")),
            mb,
            "{sizes}"
        );
    }
}

fn on_a_full_disk_the_coldest_free_slots_are_deleted(sandbox: &Sandbox) {
    locks(sandbox, &[(0, 100), (1, 300), (2, 200), (9, 50)]);
    let left = r#"for n in 0 1 2 9; do [ ! -e "$dir/slot-$n" ] || echo $n; done"#;
    // There are four slots, so slot 9 is deleted.
    let enough = format!("has_room() {{ :; }}; free_disk; {left}");
    assert_eq!(call(sandbox, &enough), "0 1 2");
    let held = format!(
        "lock \"$dir/lock-1\"; has_room() {{ ! exists \"$dir/slot-2\"; }}; (free_disk); {left}"
    );
    assert_eq!(call(sandbox, &held), "0 1");
}

fn the_size_of_a_slot_is_noted(sandbox: &Sandbox) {
    sandbox.write("slots/slot-0/docker/layer", &"x".repeat(3_000_000));
    for before in [
        "rm -rf \"$slot/size\"",
        "rm \"$slot/size\"; mkdir \"$slot/size\"",
    ] {
        assert_eq!(
            call(sandbox, &format!("{before}; note_size; cat \"$slot/size\"")),
            "3"
        );
    }
}

fn the_socket_is_found_among_the_arguments(sandbox: &Sandbox) {
    for (arguments, address) in [
        ("", "unix:///var/run/docker.sock"),
        ("dockerd --debug", "unix:///var/run/docker.sock"),
        ("dockerd --host=unix:///a.sock", "unix:///a.sock"),
        (
            "dockerd -H unix:///a.sock --host=tcp://h:1",
            "unix:///a.sock",
        ),
        ("dockerd -H=tcp://h:1", "tcp://h:1"),
        (
            "dockerd --host=tcp://h:1 --host unix:///b.sock",
            "unix:///b.sock",
        ),
        ("sh -c x unix:///c.sock", "unix:///c.sock"),
    ] {
        assert_eq!(call(sandbox, &format!("listens_on {arguments}")), address);
    }
}

fn the_mtu_is_that_of_the_default_route(sandbox: &Sandbox) {
    let body = format!("pod_mtu {}", sandbox.path("root").display());
    let header = "Iface\tDestination\tGateway\n";
    sandbox.write("root/sys/class/net/eth0/mtu", "1500\n");
    sandbox.write("root/sys/class/net/net1/mtu", "1380\n");
    sandbox.write("root/proc/net/route", header);
    assert_eq!(call(sandbox, &body), "1500");
    let routes = "eth0\t0000000A\t00000000\nnet1\t00000000\t0100000A\neth0\t00000000\t0100000A\n";
    sandbox.write("root/proc/net/route", &format!("{header}{routes}"));
    assert_eq!(call(sandbox, &body), "1380");
}

fn dockerd_gets_only_an_mtu_that_works(sandbox: &Sandbox) {
    let network = "--default-network-opt=bridge=com.docker.network.driver.mtu=1380";
    for (mtu, networks, flags) in [
        ("echo 1380", "", "--mtu=1380".to_owned()),
        ("echo 1380", "auto", format!("--mtu=1380 {network}")),
        ("echo 575", "auto", String::new()),
        ("false", "auto", String::new()),
    ] {
        let body = format!("pod_mtu() {{ {mtu}; }}; network_mtu={networks}; add_mtu; echo $flags");
        assert_eq!(call(sandbox, &body), flags, "{mtu} {networks}");
    }
}
