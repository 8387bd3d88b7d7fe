//! Signs that a container runs a dockerd, although neither its name nor its command line says so for certain.

use super::{DOCKERD, Image, command_line::has_no_command, image, is_program, runs_dockerd, words};
use crate::pod::{Container, Str, is_within};

const DATA_ROOT: &str = "/var/lib/docker";
/// The end of a rootless dockerd's data-root, in the home directory.
const ROOTLESS_DATA_ROOT: &str = "/.local/share/docker";
/// How the names of Woodpecker's plugins begin that start a dockerd for a build.
const WOODPECKER_PLUGIN: &str = "plugin-docker";
/// The variable that names a script which ARC's runner runs before each job.
const JOB_HOOK: &str = "ACTIONS_RUNNER_HOOK_JOB_STARTED";
/// The entrypoints of ARC's runner images with dockerd.
const ARC_ENTRYPOINTS: [&str; 2] = ["entrypoint-dind.sh", "entrypoint-dind-rootless.sh"];

/// Returns whether a dockerd may run in the container: also where a script or a job starts it. A socket
/// of the host would be in its way.
#[must_use]
pub fn may_run_dockerd(container: &Container<'_>) -> bool {
    runs_dockerd(container)
        || starts_with_runner(container)
        || mentions_dockerd(container)
        || mounts_data_root(container)
        || has_dind_image(container)
        || container.env_value("DOCKER_IN_DOCKER") == Some("start")
        || container.is_privileged() && container.env_var("DOCKER_TLS_CERTDIR").is_some()
}

/// Returns whether the entrypoint of ARC's runner image starts dockerd before the runner. It reads variables.
#[must_use]
pub fn starts_with_runner(container: &Container<'_>) -> bool {
    container.env_value("DOCKERD_IN_RUNNER") == Some("true")
        || words(container)
            .into_iter()
            .any(|word| is_program(word, &ARC_ENTRYPOINTS))
}

/// Returns whether dockerd stands anywhere in the command line, in a hook of the kubelet's, or in the name of
/// ARC's job hook.
fn mentions_dockerd(container: &Container<'_>) -> bool {
    let lifecycle = container.lifecycle.as_ref();
    let post_start = lifecycle.and_then(|lifecycle| lifecycle.post_start.as_ref());
    let exec = post_start.and_then(|handler| handler.exec.as_ref());
    let hook = exec
        .into_iter()
        .flat_map(|exec| exec.command.iter().flatten());
    words(container)
        .into_iter()
        .chain(hook.map(Str::as_str))
        .chain(container.env_value(JOB_HOOK))
        .any(|word| word.contains(DOCKERD[0]))
}

fn mounts_data_root(container: &Container<'_>) -> bool {
    container.mounts().iter().any(|mount| {
        is_within(&mount.mount_path, DATA_ROOT) || mount.mount_path.contains(ROOTLESS_DATA_ROOT)
    })
}

/// Returns whether the image holds a dockerd that its entrypoint starts, or is named after one. Docker's image
/// is both client and daemon since version 20.10, and its entrypoint starts dockerd unless there is a command.
fn has_dind_image(container: &Container<'_>) -> bool {
    let image = Image::parse(container.image.as_deref().unwrap_or_default());
    let is_client = image.tag.is_some_and(|tag| tag.contains("cli"));
    let starts_daemon = || container.is_privileged() && has_no_command(container);
    let is_plugin = container.is_privileged() && image.base.starts_with(WOODPECKER_PLUGIN);
    is_plugin || image.names_dind() || image.base == image::DOCKER && !is_client && starts_daemon()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn may_run(container: &Value) -> bool {
        let text = container.to_string();
        may_run_dockerd(&serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn every_sign_of_a_dockerd_is_seen() {
        let privileged = json!({"privileged": true});
        for sign in [
            json!({"image": "registry.example/infra/dind:28.3"}),
            json!({"image": "registry.example/infra/my-dind@sha256:00"}),
            json!({"image": "corp/dind-runner:1", "command": ["sleep", "1d"]}),
            json!({"image": "docker:dind", "command": ["sleep", "1d"]}),
            json!({"image": "docker:28", "securityContext": privileged}),
            json!({"image": "docker@sha256:00", "securityContext": privileged}),
            json!({"image": "woodpeckerci/plugin-docker-buildx:6", "securityContext": privileged}),
            json!({"command": ["tini", "--", "dockerd", "--mtu=1400"]}),
            json!({"command": ["argoexec", "emissary", "--", "dockerd-entrypoint.sh"]}),
            json!({"command": ["sh", "-c", "nohup dockerd & exec ./run.sh"]}),
            json!({"command": ["/usr/bin/entrypoint-dind.sh"]}),
            json!({"lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", "dockerd &"]}}}}),
            json!({"env": [{"name": "DOCKER_IN_DOCKER", "value": "start"}]}),
            json!({"env": [{"name": "DOCKERD_IN_RUNNER", "value": "true"}]}),
            json!({"env": [{"name": "ACTIONS_RUNNER_HOOK_JOB_STARTED", "value": "/hooks/start-dockerd.sh"}]}),
            json!({"env": [{"name": "DOCKER_TLS_CERTDIR"}], "securityContext": privileged}),
            json!({"volumeMounts": [{"name": "a", "mountPath": "/var/lib/docker/"}]}),
            json!({"volumeMounts": [{"name": "a", "mountPath": "/home/rootless/.local/share/docker"}]}),
        ] {
            assert!(may_run(&with_name(sign.clone())), "{sign}");
        }
        for other in [
            json!({"image": "docker:28-cli", "securityContext": privileged}),
            json!({"image": "docker:28", "command": ["cat"], "securityContext": privileged}),
            json!({"image": "docker:28"}),
            json!({"image": "woodpeckerci/plugin-docker-buildx:6"}),
            json!({"image": "maven:3", "command": ["sleep", "1d"]}),
            json!({"env": [{"name": "DOCKER_TLS_CERTDIR", "value": ""}]}),
            json!({"env": [{"name": "DOCKER_IN_DOCKER", "value": "off"}]}),
            json!({"volumeMounts": [{"name": "a", "mountPath": "/var/lib/docker2"}]}),
        ] {
            assert!(!may_run(&with_name(other.clone())), "{other}");
        }
    }

    fn with_name(mut container: Value) -> Value {
        container["name"] = json!("a");
        container
    }
}
