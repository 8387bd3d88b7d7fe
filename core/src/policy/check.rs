//! What a policy must fulfil beyond the form of its single values.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    CacheKeySource, DEFAULT_PROFILE, Dind, DockerdCache, LocalCache, NodeSlots, PolicyError,
    PolicyFile, Profile, Recogniser, recogniser,
    values::{AbsolutePath, Mtu},
};
use crate::{
    k8s::names::{is_container_resource, is_env_var_name},
    pod::is_within,
};

/// The highest group id of Linux that Kubernetes accepts.
const MAX_GROUP: i64 = i32::MAX as i64;
/// Slots for more dockerds than a node could run builds for.
const MAX_SLOTS: u8 = 64;
/// The largest daemon.json that a profile may ask for: it travels in an annotation, of which a pod
/// may have 256 KiB in all.
const MAX_DAEMON_CONFIG_BYTES: usize = 32 * 1024;

/// Keys of daemon.json that have a setting of their own or that Slipway must know to place volumes.
const OWN_SETTINGS: [(&str, &str); 11] = [
    ("registry-mirrors", "use dind.registryMirrors"),
    ("mtu", "use dind.mtu"),
    ("storage-driver", "use dind.storageDriver"),
    ("log-opts", "use dind.logOpts"),
    ("builder", "use buildkit.gc"),
    ("data-root", "the cache volume is mounted there"),
    (
        "hosts",
        "runner pods set it as a flag, and dockerd refuses both",
    ),
    (
        "group",
        "runner pods set it as a flag, and dockerd refuses both",
    ),
    (
        "insecure-registries",
        "plain HTTP mirrors are added as flags, and dockerd refuses both",
    ),
    (
        "exec-root",
        "it would leave the volume that the runner shares",
    ),
    (
        "pidfile",
        "docker's image removes stale ones at the default place only",
    ),
];

/// The keys of daemon.json that dockerd knows, from version 20.10 to 29
/// (<https://docs.docker.com/reference/cli/dockerd/#daemon-configuration-file>).
const DAEMON_KEYS: &str = "allow-direct-routing allow-nondistributable-artifacts api-cors-header \
    authorization-plugins bip bip6 bridge bridge-accept-fwmark builder cdi-spec-dirs cgroup-parent \
    containerd containerd-namespace containerd-plugins-namespace cpu-rt-period cpu-rt-runtime \
    cri-containerd data-root debug default-address-pools default-cgroupns-mode default-gateway \
    default-gateway-v6 default-ipc-mode default-network-opts default-runtime default-shm-size \
    default-ulimits dns dns-opts dns-search exec-opts exec-root experimental features \
    firewall-backend fixed-cidr fixed-cidr-v6 group host-gateway-ip host-gateway-ips hosts icc init \
    init-path insecure-registries ip ip-forward ip-forward-no-drop ip-masq ip6tables iptables ipv6 \
    labels live-restore log-driver log-format log-level log-opts max-concurrent-downloads \
    max-concurrent-uploads max-download-attempts metrics-addr min-api-version mtu \
    network-control-plane-mtu no-new-privileges node-generic-resources oom-score-adjust pidfile \
    proxies raw-logs registry-mirrors runtimes seccomp-profile selinux-enabled shutdown-timeout \
    storage-driver storage-opts swarm-default-advertise-addr tls tlscacert tlscert tlskey tlsverify \
    userland-proxy userland-proxy-path userns-remap";

/// Checks what spans several keys.
pub(super) fn check(file: &PolicyFile) -> Result<(), PolicyError> {
    for (name, profile) in &file.profiles {
        check_profile(&format!("profiles.{name}"), profile)?;
    }
    check_host_directories(&file.profiles)?;
    for (i, rule) in file.namespaces.iter().enumerate() {
        let known = rule.profile == DEFAULT_PROFILE || file.profiles.contains_key(&rule.profile);
        if !known {
            let names: Vec<&str> = file.profiles.keys().map(String::as_str).collect();
            return Err(PolicyError::key(
                format!("namespaces[{i}].profile"),
                format!(
                    "there is no profile `{}`; known: {DEFAULT_PROFILE}, {}",
                    rule.profile,
                    names.join(", ")
                ),
            ));
        }
        if rule.names.is_empty() {
            return Err(PolicyError::key(
                format!("namespaces[{i}].names"),
                "it names no namespace",
            ));
        }
    }
    check_recognisers(&file.recognisers)
}

fn check_profile(path: &str, profile: &Profile) -> Result<(), PolicyError> {
    let error = |key: &str, message: &str| Err(PolicyError::key(format!("{path}.{key}"), message));
    if matches!(
        profile.containerd.namespace.as_str(),
        "k8s.io" | "moby" | ""
    ) {
        return error(
            "containerd.namespace",
            "it must be a namespace of its own: a builder may delete what it finds there",
        );
    }
    check_dind(path, &profile.dind)?;
    if let Some(pool) = profile.dind.cache.pool() {
        let name = path.rsplit('.').next().unwrap_or_default();
        pool.check(name)
            .or_else(|(key, message)| error(&format!("dind.cache.{key}"), message))?;
    }
    for (name, settings) in [
        ("dind.resources", Some(&profile.dind.resources)),
        (
            "containerd.buildkitd.resources",
            profile.containerd.buildkitd.as_ref().map(|b| &b.resources),
        ),
    ] {
        let all = |s: &'_ &super::ResourceSettings| {
            let names = s.requests.keys().chain(s.limits.keys());
            names.cloned().collect::<Vec<_>>()
        };
        if let Some(unknown) = settings
            .iter()
            .flat_map(all)
            .find(|resource| !is_container_resource(resource))
        {
            return error(
                &format!("{name}.{unknown}"),
                "it is no resource of a container: expected cpu, memory, ephemeral-storage, hugepages-… or example.com/…",
            );
        }
        for (resource, request) in settings.iter().flat_map(|s| &s.requests) {
            let limit = settings.and_then(|s| s.limits.get(resource));
            if limit.is_some_and(|limit| request > limit) {
                return error(
                    &format!("{name}.requests.{resource}"),
                    "the request exceeds the limit",
                );
            }
        }
    }
    let envs = [
        ("dind.env", &profile.dind.env),
        ("buildkit.env", &profile.buildkit.env),
    ];
    for (key, env) in envs {
        if let Some(name) = env.keys().find(|name| !is_env_var_name(name)) {
            return error(key, &format!("`{name}` is no name of a variable"));
        }
    }
    for (key, groups) in [
        (
            "containerd.supplementalGroups",
            &profile.containerd.supplemental_groups,
        ),
        (
            "dockerSocket.supplementalGroups",
            &profile.docker_socket.supplemental_groups,
        ),
    ] {
        let out_of_range = groups.iter().find(|id| !(0..=MAX_GROUP).contains(*id));
        if let Some(id) = out_of_range {
            return error(key, &format!("{id} is no group id"));
        }
    }
    if let Some(size) = &profile.buildkit.gc.keep_storage
        && !is_docker_size(size)
    {
        return error(
            "buildkit.gc.keepStorage",
            &format!("`{size}` is no size: expected a number and a unit, such as 20GB"),
        );
    }
    Ok(())
}

fn check_dind(path: &str, dind: &Dind) -> Result<(), PolicyError> {
    let error =
        |key: String, message: String| Err(PolicyError::key(format!("{path}.dind.{key}"), message));
    if matches!(dind.mtu, Some(Mtu::Bytes(..576))) {
        return error(
            "mtu".to_owned(),
            "an IPv4 network needs at least 576 bytes (RFC 791)".to_owned(),
        );
    }
    for (key, why) in OWN_SETTINGS {
        if dind.daemon_config.contains_key(key) {
            return error(format!("daemonConfig.{key}"), why.to_owned());
        }
    }
    if serde_json::to_string(&dind.daemon_config).map_or(0, |json| json.len())
        > MAX_DAEMON_CONFIG_BYTES
    {
        return error(
            "daemonConfig".to_owned(),
            format!("it is larger than {MAX_DAEMON_CONFIG_BYTES} bytes"),
        );
    }
    if let DockerdCache::NodeSlots(slots) = &dind.cache {
        check_node_slots(slots)
            .or_else(|(key, message)| error(key.to_owned(), message.to_owned()))?;
    }
    if let DockerdCache::Ephemeral(claim) = &dind.cache
        && claim.size.nano() == 0
    {
        return error(
            "cache.size".to_owned(),
            "a claim needs a size above zero".to_owned(),
        );
    }
    if let Some(Value::String(driver)) = dind.daemon_config.get("log-driver")
        && driver != "json-file"
        && !dind.log_opts.is_empty()
    {
        return error(
            "daemonConfig.log-driver".to_owned(),
            format!("dind.logOpts are for json-file, not for {driver}: set logOpts to {{}}"),
        );
    }
    Ok(())
}

/// Slots stand in `<root>/<namespace>/<key>`, local caches in `<path>/<namespace>`. Where one of
/// these trees stood in another, what is one pod's directory in the one would hold those of other
/// namespaces or keys in the other.
fn check_host_directories(profiles: &BTreeMap<String, Profile>) -> Result<(), PolicyError> {
    let built_in = Profile::default();
    let default = (!profiles.contains_key(DEFAULT_PROFILE)).then_some((DEFAULT_PROFILE, &built_in));
    let named = profiles
        .iter()
        .map(|(name, profile)| (name.as_str(), profile));
    let mut seen: Vec<(String, &str, &AbsolutePath)> = Vec::new();
    for (name, profile) in default.into_iter().chain(named) {
        let slots = profile.dind.cache.node_slots();
        let local = match &profile.buildkit.local_cache {
            LocalCache::HostPath { path } => Some(path),
            _ => None,
        };
        let trees = [
            slots.map(|slots| ("dind.cache.root", &slots.root)),
            local.map(|path| ("buildkit.localCache.path", path)),
        ];
        for (key, path) in trees.into_iter().flatten() {
            let place = format!("profiles.{name}.{key}");
            let meets = |(_, other_key, other): &&(String, &str, &AbsolutePath)| {
                let (path, other) = (path.as_str(), other.as_str());
                let same = is_within(path, other) && is_within(other, path);
                let nested = is_within(path, other) || is_within(other, path);
                nested && !(same && key == *other_key)
            };
            if let Some((other, ..)) = seen.iter().find(meets) {
                let message = format!(
                    "the directories of `{path}` and those of {other} lie within each other: pods would see what is \
                     of other namespaces or keys; use two that lie apart"
                );
                return Err(PolicyError::key(place, message));
            }
            seen.push((place, key, path));
        }
    }
    Ok(())
}

fn check_node_slots(slots: &NodeSlots) -> Result<(), (&'static str, &'static str)> {
    let by_label = slots.key == CacheKeySource::Label;
    if !(1..=MAX_SLOTS).contains(&slots.slots) {
        Err(("cache.slots", "expected 1 to 64"))
    } else if by_label && slots.key_label.is_none() {
        Err(("cache.keyLabel", "key: label needs the label"))
    } else if !by_label && slots.key_label.is_some() {
        Err(("cache.keyLabel", "it is read with key: label only"))
    } else {
        Ok(())
    }
}

fn check_recognisers(recognisers: &[Recogniser]) -> Result<(), PolicyError> {
    let mut seen = BTreeSet::new();
    for (i, recogniser) in recognisers.iter().enumerate() {
        let error = |key: &str, message: &str| {
            Err(PolicyError::key(format!("recognisers[{i}].{key}"), message))
        };
        if !seen.insert(&recogniser.name) {
            return error("name", &format!("`{}` stands there twice", recogniser.name));
        }
        if recogniser.name.is_empty() {
            return error("name", "it is empty");
        }
        let only_switch = recogniser.any_of.is_empty();
        if only_switch && !recogniser::is_built_in(&recogniser.name) {
            return error(
                "anyOf",
                "it recognises nothing: name a label, a variable or an image",
            );
        }
        if recogniser.any_of.iter().any(super::Mark::is_empty) {
            return error("anyOf", "an empty mark would match every pod");
        }
        if !only_switch && recogniser.runner_containers.is_empty() {
            return error("runnerContainers", "name the containers in which jobs run");
        }
    }
    Ok(())
}

/// A size as dockerd reads it: `512`, `10GB`, `1.5g`, `20GiB`.
fn is_docker_size(text: &str) -> bool {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default().to_lowercase();
    digits
        .parse::<f64>()
        .is_ok_and(|n| n.is_finite() && n >= 0.0)
        && matches!(
            unit.as_str(),
            "" | "b"
                | "k"
                | "kb"
                | "kib"
                | "m"
                | "mb"
                | "mib"
                | "g"
                | "gb"
                | "gib"
                | "t"
                | "tb"
                | "tib"
        )
}

/// Settings that do not do what their names say.
pub(super) fn warnings(file: &PolicyFile) -> Vec<String> {
    let mut warnings = Vec::new();
    let default = file.profiles.get(DEFAULT_PROFILE);
    if default.is_some_and(|default| !default.host_access) {
        let open = |(name, profile): &(&String, &Profile)| {
            *name != DEFAULT_PROFILE && profile.host_access && profile.selectable
        };
        warnings.extend(file.profiles.iter().filter(open).map(|(name, _)| {
            format!(
                "profiles.{name}: it gives host access, which `default` does not, and any enabled namespace may select \
                 it by label; selectable: false keeps it for the namespaces of this file"
            )
        }));
    }
    for (name, profile) in &file.profiles {
        let known = |key: &String| DAEMON_KEYS.split_whitespace().any(|known| known == key);
        for key in profile.dind.daemon_config.keys().filter(|key| !known(key)) {
            warnings.push(format!(
                "profiles.{name}.dind.daemonConfig.{key}: not a key that dockerd is known to have; dockerd exits on \
                 an unknown one"
            ));
        }
        let clients = &profile.buildkit.env;
        if clients.contains_key("BUILDKIT_CACHE_MOUNT_NAMESPACE") {
            warnings.push(format!(
                "profiles.{name}.buildkit.env.BUILDKIT_CACHE_MOUNT_NAMESPACE: nothing reads this variable; \
                 the build argument is BUILDKIT_CACHE_MOUNT_NS"
            ));
        }
        for inert in ["DOCKER_STORAGE_DRIVER", "DOCKERD_ROOTLESS"] {
            if profile.dind.env.contains_key(inert) {
                warnings.push(format!(
                    "profiles.{name}.dind.env.{inert}: dockerd does not read this variable"
                ));
            }
        }
        for client in ["DOCKER_BUILDKIT", "BUILDKIT_PROGRESS"] {
            if profile.dind.env.contains_key(client) {
                warnings.push(format!(
                    "profiles.{name}.dind.env.{client}: the docker client reads it, dockerd does not; \
                     move it to buildkit.env"
                ));
            }
        }
        if let Some(cpu) = profile.dind.resources.limits.get("cpu") {
            warnings.push(format!(
                "profiles.{name}.dind.resources.limits.cpu: builds run inside this limit; {cpu} CPU \
                 throttles them"
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::super::Policy;

    fn refusal(yaml: &str) -> String {
        Policy::parse(yaml).unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place_and_the_nearest_known_one() {
        assert_eq!(
            refusal("profiles:\n  default:\n    dind:\n      mtuu: 1400\n"),
            "line 4, column 7: unknown key `mtuu`; did you mean `mtu`?"
        );
    }

    #[test]
    fn bad_values_are_refused_where_they_stand() {
        for (yaml, line, word) in [
            ("profiles:\n  a:\n    strategy: fastest\n", 3, "auto"),
            (
                "profiles:\n  a:\n    dind:\n      resources: {requests: {cpu: lots}}\n",
                4,
                "quantity",
            ),
            (
                "profiles:\n  a:\n    dind:\n      registryMirrors: [mirror.gcr.io]\n",
                4,
                "https://",
            ),
            (
                "profiles:\n  a:\n    containerd: {socketPath: run/x.sock}\n",
                3,
                "start with `/`",
            ),
            ("profiles:\n  a:\n    hostAccess: maybe\n", 3, "bool"),
            ("profiles:\n  a:\n    dind: {mtu: big}\n", 3, "`auto`"),
            ("profiles:\n  a:\n    dind: {mtu: 70000}\n", 3, "65535"),
            ("profiles: [\n", 1, "mapping"),
            ("profiles: b: c\n", 1, "mapping"),
        ] {
            let message = refusal(yaml);
            assert!(message.contains(&format!("line {line}")), "{yaml}{message}");
            assert!(message.contains(word), "{yaml}{message}");
        }
    }

    #[test]
    fn contradictions_are_refused_by_the_path_of_the_key() {
        for (yaml, path) in [
            ("profiles: {a: {dind: {mtu: 100}}}", "profiles.a.dind.mtu"),
            (
                "profiles: {a: {dind: {daemonConfig: {mtu: 1400}}}}",
                "profiles.a.dind.daemonConfig.mtu",
            ),
            (
                "profiles: {a: {dind: {daemonConfig: {log-driver: journald}}}}",
                "daemonConfig.log-driver",
            ),
            (
                "profiles: {a: {dind: {cache: {type: nodeSlots, slots: 0}}}}",
                "profiles.a.dind.cache.slots",
            ),
            (
                "profiles: {a: {dind: {cache: {type: nodeSlots, key: label}}}}",
                "profiles.a.dind.cache.keyLabel",
            ),
            (
                "profiles: {a: {dind: {cache: {type: nodeSlots, keyLabel: example.com/repo}}}}",
                "profiles.a.dind.cache.keyLabel",
            ),
            (
                "profiles: {a: {dind: {cache: {type: pool, claims: 0}}}}",
                "profiles.a.dind.cache.claims",
            ),
            (
                "profiles: {a: {dind: {cache: {type: pool, claims: 2, minFree: 3}}}}",
                "profiles.a.dind.cache.minFree",
            ),
            (
                "profiles: {a: {dind: {cache: {type: pool, accessMode: ReadWriteMany}}}}",
                "profiles.a.dind.cache.accessMode",
            ),
            (
                "profiles: {a: {dind: {cache: {type: pool, key: label}}}}",
                "profiles.a.dind.cache.keyLabel",
            ),
            (
                "profiles: {a: {dind: {cache: {type: pool, labels: {slipway.io/pool: b}}}}}",
                "profiles.a.dind.cache.labels",
            ),
            (
                "profiles: {Fast: {dind: {cache: {type: pool}}}}",
                "profiles.Fast.dind.cache.type",
            ),
            (
                "profiles: {a: {containerd: {namespace: k8s.io}}}",
                "profiles.a.containerd.namespace",
            ),
            (
                "profiles: {a: {dind: {resources: {requests: {cpu: 2}, limits: {cpu: 1}}}}}",
                "requests.cpu",
            ),
            (
                "profiles: {a: {buildkit: {gc: {keepStorage: much}}}}",
                "gc.keepStorage",
            ),
            (
                "profiles: {a: {buildkit: {env: {'A=B': x}}}}",
                "buildkit.env",
            ),
            (
                "profiles: {a: {dind: {resources: {requests: {cpus: 1}}}}}",
                "dind.resources.cpus",
            ),
            (
                "profiles: {a: {containerd: {supplementalGroups: [-1]}}}",
                "containerd.supplementalGroups",
            ),
            (
                "profiles: {a: {buildkit: {env: {'1 B': x}}}}",
                "buildkit.env",
            ),
            (
                "namespaces: [{names: [x], profile: nowhere}]",
                "namespaces[0].profile",
            ),
            (
                "namespaces: [{names: [], profile: default}]",
                "namespaces[0].names",
            ),
            ("recognisers: [{name: mine}]", "recognisers[0].anyOf"),
            (
                "recognisers: [{name: mine, anyOf: [{}]}]",
                "recognisers[0].anyOf",
            ),
            (
                "recognisers: [{name: gitlab, enabled: false}, {name: gitlab}]",
                "recognisers[1].name",
            ),
        ] {
            let message = refusal(yaml);
            assert!(message.contains(path), "{yaml}\n{message}");
        }
    }

    #[test]
    fn directories_of_the_node_that_lie_within_each_other_are_refused() {
        let slots = |root: &str| format!("{{dind: {{cache: {{type: nodeSlots, root: {root}}}}}}}");
        let local =
            |path: &str| format!("{{buildkit: {{localCache: {{type: hostPath, path: {path}}}}}}}");
        let refused = |a: &str, b: &str| {
            Policy::parse(&format!("profiles: {{default: {a}, other: {b}}}")).is_err()
        };
        // `other`'s slots of the namespace arc-build would stand in `default`'s slots of ci/arc-build.
        assert!(refused(&slots("/slots"), &slots("/slots/ci")));
        assert!(refused(&slots("/var/run/slots"), &slots("/run//slots/ci/")));
        assert!(refused(&local("/cache"), &local("/cache/ci")));
        assert!(refused(&slots("/slots"), &local("/slots")));
        assert!(refused(&local("/data"), &slots("/data/slots")));
        assert!(!refused(&slots("/slots"), &slots("/slots/")));
        assert!(!refused(&local("/cache"), &local("/cache")));
        assert!(!refused(&slots("/slots"), &slots("/slots-2")));

        let with_the_built_in = format!("profiles: {{other: {}}}", local("/var/lib/slipway"));
        let message = refusal(&with_the_built_in);
        assert!(
            message.contains("profiles.default.dind.cache.root"),
            "{message}"
        );
    }

    #[test]
    fn a_profile_that_opens_what_the_default_closes_is_warned_of() {
        let policy = |selectable: bool| {
            let text = format!(
                "profiles: {{default: {{hostAccess: false}}, trusted: {{selectable: {selectable}}}}}"
            );
            Policy::parse(&text).unwrap().warnings().len()
        };
        assert_eq!((policy(true), policy(false)), (1, 0));
    }

    #[test]
    fn a_mistyped_key_of_daemon_json_is_warned_of() {
        let policy = Policy::parse(
            "profiles: {a: {dind: {daemonConfig: {max-concurent-downloads: 3, live-restore: true}}}}",
        )
        .unwrap();
        let warnings = policy.warnings();
        assert!(
            warnings.len() == 1 && warnings[0].contains("max-concurent-downloads"),
            "{warnings:?}"
        );
    }

    #[test]
    fn settings_that_nobody_reads_are_warned_of() {
        let policy = Policy::parse(
            "profiles: {a: {buildkit: {env: {BUILDKIT_CACHE_MOUNT_NAMESPACE: x}}, dind: {env: {DOCKERD_ROOTLESS: '1'}, resources: {limits: {cpu: 500m}}}}}",
        )
        .unwrap();
        assert_eq!(policy.warnings().len(), 3, "{:?}", policy.warnings());
    }
}
