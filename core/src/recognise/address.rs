//! Where a client looks for docker and BuildKit, by its variables.

use crate::pod::{Container, Pod, Str};

/// The host of the address in `DOCKER_HOST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DockerHost {
    /// The variable is not set, or empty.
    Unset,
    /// A socket in the container's file system.
    File,
    /// This pod: all of its containers share one network.
    Pod,
    /// Another host, or an address that cannot be read.
    Elsewhere,
}

impl DockerHost {
    /// Reads the variable of one container.
    #[must_use]
    pub fn of(container: &Container<'_>, pod: &Pod<'_>) -> Self {
        let Some(variable) = container.env_var("DOCKER_HOST") else {
            return Self::Unset;
        };
        if variable.is_empty() {
            return Self::Unset;
        }
        let Some(address) = variable.value.as_deref() else {
            return Self::Elsewhere;
        };
        let Some((scheme, rest)) = address.split_once("://") else {
            return Self::of_host(host(address), pod);
        };
        match scheme {
            "unix" | "fd" | "npipe" => Self::File,
            _ => Self::of_host(host(rest), pod),
        }
    }

    fn of_host(host: &str, pod: &Pod<'_>) -> Self {
        let aliases = pod.spec.host_aliases.iter().flatten();
        let mut local = aliases
            .filter(|alias| is_loopback(&alias.ip))
            .flat_map(|alias| alias.hostnames.iter().flatten())
            .map(Str::as_str);
        if is_loopback(host) || local.any(|name| name == host) {
            Self::Pod
        } else {
            Self::Elsewhere
        }
    }
}

/// Returns the host of `[user@]host[:port][/path]`.
fn host(address: &str) -> &str {
    let authority = address.split('/').next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    match host.strip_prefix('[') {
        Some(ipv6) => ipv6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

fn is_loopback(host: &str) -> bool {
    matches!(host, "localhost" | "::1" | "0.0.0.0") || host.starts_with("127.")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_variable_without_a_value_is_empty_unless_it_comes_from_elsewhere() {
        for (variable, host) in [
            (r#"{"name": "DOCKER_HOST"}"#, DockerHost::Unset),
            (
                r#"{"name": "DOCKER_HOST", "valueFrom": {"secretKeyRef": {}}}"#,
                DockerHost::Elsewhere,
            ),
        ] {
            let container = format!(r#"{{"name": "runner", "env": [{variable}]}}"#);
            let container: Container<'_> = serde_json::from_str(&container).unwrap();
            let pod = Pod::default();
            assert_eq!(DockerHost::of(&container, &pod), host, "{variable}");
        }
    }

    #[test]
    fn an_address_is_in_the_pod_or_elsewhere() {
        use DockerHost::{Elsewhere, File, Pod as InPod, Unset};
        for (address, expected) in [
            ("", Unset),
            ("unix:///run/docker.sock", File),
            ("tcp://localhost:2375", InPod),
            ("tcp://127.0.0.1:2376/", InPod),
            ("tcp://[::1]:2375", InPod),
            ("localhost:2375", InPod),
            ("tcp://docker:2376", InPod),
            ("ssh://root@docker", InPod),
            ("tcp://registry:2376", Elsewhere),
            ("tcp://docker.ci:2376", Elsewhere),
            ("ssh://ci@builder.example", Elsewhere),
        ] {
            let json = json!({"spec": {
                "hostAliases": [{"ip": "127.0.0.1", "hostnames": ["docker"]}, {"ip": "192.0.2.9", "hostnames": ["registry"]}],
                "containers": [{"name": "a", "env": [{"name": "DOCKER_HOST", "value": address}]}]}})
            .to_string();
            let pod = Pod::parse(json.as_bytes()).unwrap();
            let container = pod.containers().first().unwrap();
            assert_eq!(DockerHost::of(container, &pod), expected, "{address}");
        }
    }
}
