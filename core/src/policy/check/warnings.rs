//! Settings that are accepted, and do not do what their names say.

use crate::policy::{DEFAULT_PROFILE, PolicyFile, Profile, key_path::KeyPath};

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

/// Variables that do nothing where a profile sets them: the key of the environment, the variable, and what to
/// know about it.
const INERT_VARIABLES: [(&str, &str, &str); 5] = [
    (
        "buildkit.env",
        "BUILDKIT_CACHE_MOUNT_NAMESPACE",
        "nothing reads this variable; the build argument is BUILDKIT_CACHE_MOUNT_NS",
    ),
    (
        "dind.env",
        "DOCKER_STORAGE_DRIVER",
        "dockerd does not read this variable",
    ),
    (
        "dind.env",
        "DOCKERD_ROOTLESS",
        "dockerd does not read this variable",
    ),
    (
        "dind.env",
        "DOCKER_BUILDKIT",
        "the docker client reads it, dockerd does not; move it to buildkit.env",
    ),
    (
        "dind.env",
        "BUILDKIT_PROGRESS",
        "the docker client reads it, dockerd does not; move it to buildkit.env",
    ),
];

/// Returns the warnings about a policy file, each with the path of its key.
pub(in crate::policy) fn warnings(file: &PolicyFile) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut warn = |path: KeyPath, message: &str| warnings.push(format!("{path}: {message}"));
    let default = file.profiles.get(DEFAULT_PROFILE);
    let default_is_closed = default.is_some_and(|default| !default.host_access);
    for (name, profile) in &file.profiles {
        let path = KeyPath::default().at("profiles").key(name);
        if default_is_closed && profile.host_access && profile.selectable {
            warn(
                path.clone(),
                "it gives host access, which `default` does not, and any enabled namespace may select it by label; \
                 selectable: false keeps it for the namespaces of this file",
            );
        }
        warn_of_settings(&path, profile, &mut warn);
    }
    warnings
}

fn warn_of_settings(path: &KeyPath, profile: &Profile, mut warn: impl FnMut(KeyPath, &str)) {
    let is_known = |key: &str| DAEMON_KEYS.split_whitespace().any(|known| known == key);
    let config = &profile.dind.daemon_config;
    for key in config.keys().filter(|key| !is_known(key)) {
        warn(
            path.at("dind.daemonConfig").key(key),
            "not a key that dockerd is known to have; dockerd exits on an unknown one",
        );
    }
    for (key, variable, message) in INERT_VARIABLES {
        let variables = match key {
            "dind.env" => &profile.dind.env,
            _ => profile.buildkit.env.variables(),
        };
        if variables.contains_key(variable) {
            warn(path.at(key).key(variable), message);
        }
    }
    if let Some(cpu) = profile.dind.resources.limits.get("cpu") {
        warn(
            path.at("dind.resources.limits.cpu"),
            &format!("builds run inside this limit; {cpu} CPU throttles them"),
        );
    }
}
