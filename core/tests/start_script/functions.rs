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
        "a_containerd_that_does_not_start_costs_the_slot_its_content",
        a_containerd_that_does_not_start_costs_the_slot_its_content,
    ),
    (
        "leftover_containers_cannot_start",
        leftover_containers_cannot_start,
    ),
    (
        "very_many_containers_are_not_cleaned_one_by_one",
        very_many_containers_are_not_cleaned_one_by_one,
    ),
    (
        "what_dockerd_would_read_at_once_is_small",
        what_dockerd_would_read_at_once_is_small,
    ),
    (
        "a_search_that_takes_long_is_odd",
        a_search_that_takes_long_is_odd,
    ),
    (
        "a_tree_deeper_than_a_path_is_measured_and_deleted",
        a_tree_deeper_than_a_path_is_measured_and_deleted,
    ),
    (
        "of_builders_the_last_used_states_stay",
        of_builders_the_last_used_states_stay,
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

const PARTS: [&str; 8] = [
    include_str!("../../src/dockerd/start_script/mtu.sh"),
    include_str!("../../src/dockerd/start_script/kept.sh"),
    include_str!("../../src/dockerd/start_script/data_root.sh"),
    include_str!("../../src/dockerd/start_script/disk.sh"),
    include_str!("../../src/dockerd/start_script/containerd.sh"),
    include_str!("../../src/dockerd/start_script/clean.sh"),
    include_str!("../../src/dockerd/start_script/beside.sh"),
    include_str!("../../src/dockerd/start_script/slots.sh"),
];
/// The variables that main.sh sets, and a slot.
const STATE: &str = "log() { :; }; slots=4 budget=100 flags='' network_mtu='' needed=containerd root_flag=--data-root
kept=$dir/slot-0; own=$kept root=$kept/docker\n";
/// In place of what needs root.
const WITHOUT_ROOT: &str =
    "is_usable() { :; }; start_containerd() { :; }; stop_containerd() { :; }\n";

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
    File::open(path).unwrap().set_modified(when).unwrap();
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
    let found = |body: &str| call(sandbox, &format!("{body}\noddities"));
    let slot = sandbox.path("slots/slot-0");
    for file in [
        "docker/containers/c/hostconfig.json",
        "docker/image/overlay2/repositories.json",
        "docker/overlay2/id/diff/pipe",
        "docker/containerd/daemon/io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs/pipe",
        "builders/key/state/runc-overlayfs/snapshots/snapshots/1/fs/pipe",
    ] {
        sandbox.write(&format!("slots/slot-0/{file}"), "{}");
    }
    // Layers hold what the images of jobs hold.
    let layers = r#"for pipe in $(find "$kept" -name pipe); do rm "$pipe"; mkfifo "$pipe"; done
        mkdir "$root/overlay2/l"; ln -s ../id/diff "$root/overlay2/l/SHORT""#;
    assert_eq!(found(layers), "");
    for odd in [
        "size",
        "docker/engine-id",
        "docker/containers/c/config.v2.json",
        "docker/image/overlay2/distribution",
        "docker/image/overlay2/imagedb/content/sha256/0a",
        "docker/image/overlay2/layerdb/sha256/0a/diff",
        "docker/buildkit/content/blobs/sha256/0a",
        "docker/containerd/daemon/io.containerd.metadata.v1.bolt/meta.db",
        "docker/overlay2/id/link",
        "builders/key/state/cache.db",
    ] {
        let path = slot.join(odd);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        assert_eq!(
            found(&format!("mkfifo \"$kept/{odd}\"")),
            path.to_str().unwrap()
        );
        fs::remove_file(&path).unwrap();
        symlink("/dev/zero", &path).unwrap();
        assert_eq!(found(""), path.to_str().unwrap());
        fs::remove_file(&path).unwrap();
    }
    fs::remove_dir_all(slot.join("docker")).unwrap();
    for odd in [
        "rm -rf \"$root\"; : >\"$root\"",
        "rm -rf \"$own\"; mkfifo \"$own\"",
        "rm -rf \"$own\"; mkdir -p \"$dir/other/docker/volumes\"; ln -s other \"$own\"",
    ] {
        let prepare = format!("{WITHOUT_ROOT}{odd}; prepare; find \"$own/\" -name docker -type d");
        let root = sandbox.path("slots/slot-0/docker");
        assert_eq!(call(sandbox, &prepare), root.to_str().unwrap(), "{odd}");
    }
    let other = sandbox.path("slots/other/docker/volumes");
    assert!(other.exists(), "nothing is moved through a link");
}

fn what_dockerd_would_read_at_once_is_small(sandbox: &Sandbox) {
    for (file, megabytes, is_odd) in [
        ("docker/engine-id", 1, true),
        ("docker/overlay2/id/lower", 1, true),
        ("docker/image/overlay2/imagedb/content/sha256/0a", 200, true),
        (
            "docker/image/overlay2/layerdb/sha256/0a/tar-split.json.gz",
            200,
            false,
        ),
        ("docker/buildkit/content/blobs/sha256/0a", 200, false),
    ] {
        let name = format!("slots/slot-0/{file}");
        sandbox.write(&name, "");
        let sparse = File::options()
            .write(true)
            .open(sandbox.path(&name))
            .unwrap();
        sparse.set_len(megabytes << 20).unwrap();
        let expected = if is_odd {
            sandbox.path(&name)
        } else {
            Path::new("").into()
        };
        assert_eq!(call(sandbox, "oddities"), expected.to_str().unwrap());
        fs::remove_file(sandbox.path(&name)).unwrap();
    }
}

fn a_search_that_takes_long_is_odd(sandbox: &Sandbox) {
    sandbox.write("slots/slot-0/docker/image/kept", "");
    sandbox.stub("timeout", "exit 143");
    let found = call(sandbox, "oddities");
    assert!(found.contains("slot-0/docker/image"), "{found}");
}

fn a_busy_trash_is_created_again(sandbox: &Sandbox) {
    let mktemp = r#"mktemp() { [ -e "$dir/deleted" ] || { touch "$dir/deleted"; rmdir "$trash"; return 1; }
        "$dir/../bin/mktemp" "$@"; }"#;
    let body = format!("mkdir \"$kept\"; {mktemp}\ndiscard \"$kept\" && ls \"$trash\"/*");
    assert_eq!(call(sandbox, &body), "slot-0");
    // It may also be busy for good.
    let body = "mkdir \"$kept\"; mktemp() { return 1; }; discard \"$kept\" || ls -d \"$kept\"";
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
        "mkdir \"$kept\"; discard \"$kept\"; rm -rf \"$trash\"; exists \"$kept\" || echo gone";
    assert_eq!(call(sandbox, body), "gone");
    assert_eq!(fs::read_dir(sandbox.path("elsewhere")).unwrap().count(), 1);
}

fn a_slot_on_which_dockerd_did_not_start_is_set_aside(sandbox: &Sandbox) {
    sandbox.write("slots/slot-0/starting", "");
    sandbox.write("slots/slot-0/docker/image/broken", "");
    let body = "log() { echo \"$*\"; }; prepare && ls -R \"$kept\" | grep broken";
    let log = call(sandbox, &format!("{WITHOUT_ROOT}{body}"));
    assert!(
        log.ends_with("dockerd did not start on it last time: set aside"),
        "{log}"
    );
    assert!(sandbox.path("slots/slot-0/starting").exists());
}

fn a_slot_that_stays_unclean_is_set_aside(sandbox: &Sandbox) {
    let prepare = |clean: &str| {
        sandbox.write("slots/slot-0/docker/containers/0a/config.v2.json", "{}");
        sandbox.write("slots/slot-0/docker/image/kept", "");
        let body = format!(
            "{WITHOUT_ROOT}clean_by_dockerd() {{ {clean}; }}; rm -f \"$own/starting\"; prepare"
        );
        call(sandbox, &format!("{body} && ls \"$root\""))
    };
    assert_eq!(
        prepare("rm -rf \"$root/containers/0a\""),
        "containers image"
    );
    assert_eq!(prepare(":"), "");
}

fn a_containerd_that_does_not_start_costs_the_slot_its_content(sandbox: &Sandbox) {
    sandbox.write("slots/slot-0/docker/image/kept", "");
    let body = r#"start_containerd() { ! [ -e "$1/image" ]; }; prepare && ls "$root"; ls "$dir/trash"/*/slot-0/docker"#;
    assert_eq!(call(sandbox, &format!("{WITHOUT_ROOT}{body}")), "image");
}

fn leftover_containers_cannot_start(sandbox: &Sandbox) {
    let disarm = "disarm $(leftovers -) && echo disarmed || echo refused";
    assert_eq!(call(sandbox, disarm), "disarmed");
    let config = "slots/slot-0/docker/containers/0a1f/hostconfig.json";
    let policy = r#"{"RestartPolicy" : {"Name": "always"}, "Runtime": "/slot/evil"}"#;
    sandbox.write(config, policy);
    assert_eq!(call(sandbox, disarm), "disarmed");
    assert_eq!(fs::read_to_string(sandbox.path(config)).unwrap(), "{}\n");
    // A name that no pattern of the shell lists, and one that is two.
    for odd in [".hidden", "0b\n0c", "x"] {
        let name = format!("slots/slot-0/docker/containers/{odd}");
        sandbox.write(&format!("{name}/hostconfig.json"), policy);
        assert_eq!(call(sandbox, disarm), "refused", "{odd}");
        fs::remove_dir_all(sandbox.path(&name)).unwrap();
    }
}

fn very_many_containers_are_not_cleaned_one_by_one(sandbox: &Sandbox) {
    let containers = sandbox.path("slots/slot-0/docker/containers");
    for number in 0..600 {
        fs::create_dir_all(containers.join(format!("{number:064x}"))).unwrap();
    }
    let body = "leftovers - | awk 'END { print NR }'; disarm $(leftovers -) || echo refused";
    assert_eq!(call(sandbox, body), "501 refused");
}

fn a_budget_is_compared_with_the_note(sandbox: &Sandbox) {
    let over = |budget: &str| {
        let body =
            "is_over_budget && echo over || echo under; stays_over_budget && echo stays || echo ok";
        call(sandbox, &format!("budget={budget}; {body}"))
    };
    assert_eq!(over("100"), "under ok");
    for (note, pruned, expected) in [
        ("101\n", false, "over ok"),
        ("100\n", false, "under ok"),
        ("126\n", false, "over ok"),
        ("126\n", true, "over stays"),
        ("125\n", true, "over ok"),
        ("", true, "under ok"),
        ("1e9\n", true, "under ok"),
    ] {
        sandbox.write("slots/slot-0/size", note);
        let _ = fs::remove_file(sandbox.path("slots/slot-0/pruned"));
        if pruned {
            sandbox.write("slots/slot-0/pruned", "");
        }
        assert_eq!(over("100"), expected, "{note}");
        assert_eq!(over("0"), "under ok");
    }
}

fn a_tree_deeper_than_a_path_is_measured_and_deleted(sandbox: &Sandbox) {
    // A longer path than a program can name is made from below.
    let name = "d".repeat(250);
    let ten = [name.as_str(); 10].join("/");
    sandbox.write("below/file", "");
    for number in 0..4 {
        let above = format!("above-{number}");
        fs::create_dir_all(sandbox.path(&format!("{above}/{ten}"))).unwrap();
        let bottom = sandbox.path(&format!("{above}/{ten}/below"));
        fs::rename(sandbox.path("below"), bottom).unwrap();
        fs::rename(sandbox.path(&above), sandbox.path("below")).unwrap();
    }
    fs::rename(sandbox.path("below"), sandbox.path("slots/slot-0")).unwrap();
    let body = "note_size; is_over_budget || stays=under; discard \"$own\"; empty_trash; ls \"$dir\"; echo $stays";
    // Only busybox cannot follow it, and then it counts as too large.
    let over = call(sandbox, body);
    assert!(over.is_empty() || sandbox.has_system_programs(), "{over}");
    assert!(
        fs::read_dir(sandbox.path("slots"))
            .unwrap()
            .next()
            .is_none()
    );
}

fn of_builders_the_last_used_states_stay(sandbox: &Sandbox) {
    for (name, seconds) in [("old", 300), ("new", 100), ("newest", 50)] {
        let name = format!("slots/slot-0/builders/{name}/file");
        sandbox.write(&name, "");
        age(sandbox.path(&name).parent().unwrap(), seconds);
    }
    assert_eq!(
        call(sandbox, "keep_builders 2; ls \"$own/builders\""),
        "new newest"
    );
    assert_eq!(
        call(sandbox, "keep_builders 1; ls \"$own/builders\""),
        "newest"
    );
    assert_eq!(call(sandbox, "keep_builders 0; ls \"$own/builders\""), "");
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
        "rm -rf \"$kept/size\"",
        "rm \"$kept/size\"; mkdir \"$kept/size\"",
    ] {
        assert_eq!(
            call(sandbox, &format!("{before}; note_size; cat \"$kept/size\"")),
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
