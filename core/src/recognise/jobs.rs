//! Whether a container runs jobs: it may wait for commands, or for requests that it serves.

use crate::{
    dockerd::{is_program, words},
    pod::{Container, ContainerRef, Map, Pod},
    policy::Recogniser,
};

/// Systems whose jobs run commands in any container of the pod, by its name.
const ENTERED: [&str; 1] = ["jenkins"];
/// Systems that run the services of a job in pods of their own.
const WITH_SERVICE_PODS: [&str; 1] = ["woodpecker"];
/// The variable of the containers to which Buildkite's agent gives work.
const BUILDKITE_CONTAINER: &str = "BUILDKITE_CONTAINER_ID";
/// How annotations begin that name Buildkite's sidecars; a number follows.
const BUILDKITE_SIDECAR: &str = "buildkite.com/sidecar-";
/// Programs that do nothing until they are stopped.
const WAITERS: [&str; 5] = ["cat", "sleep", "tail", "pause", "infinity"];
const SHELLS: [&str; 6] = ["sh", "bash", "ash", "dash", "zsh", "busybox"];
/// Programs that run the one after them.
const WRAPPERS: [&str; 4] = ["tini", "dumb-init", "env", "--"];

/// Returns whether jobs of this system run commands in any container of their pod.
pub(super) fn are_entered(system: &str) -> bool {
    ENTERED.contains(&system)
}

/// Returns whether services of this system's jobs, dockerd among them, are pods of their own.
pub(super) fn have_service_pods(system: &str) -> bool {
    WITH_SERVICE_PODS.contains(&system)
}

/// Returns whether the container serves the jobs in others: Buildkite names its sidecars in annotations. Where jobs
/// run in containers of any name, none runs in a native sidecar.
pub(super) fn is_service(
    pod: &Pod<'_>,
    recogniser: &Recogniser,
    place: ContainerRef,
    container: &Container<'_>,
) -> bool {
    let is_native = matches!(place, ContainerRef::Init(_)) && recogniser.any_container();
    let annotations = pod.metadata.annotations.iter().flat_map(Map::iter);
    let mut sidecars = annotations.filter(|(key, _)| key.starts_with(BUILDKITE_SIDECAR));
    is_native || sidecars.any(|(_, name)| name.as_str() == container.name.as_str())
}

/// Returns whether Buildkite's agent gives the container work. In a pod that has such containers, the others are
/// sidecars, such as those that a service mesh adds.
pub(super) fn gets_commands(container: &Container<'_>) -> bool {
    container.env_var(BUILDKITE_CONTAINER).is_some()
}

/// Returns whether the container waits for commands: a terminal, a shell, or a program that does nothing. A
/// container without such a command serves something, such as a database.
pub(super) fn waits(container: &Container<'_>) -> bool {
    if container.tty == Some(true) || container.stdin == Some(true) {
        return true;
    }
    let words = words(container);
    let mut words = words.iter().skip_while(|word| is_program(word, &WRAPPERS));
    let Some(program) = words.next() else {
        return false;
    };
    if !is_program(program, &SHELLS) {
        return is_program(program, &WAITERS);
    }
    let mut script = words
        .flat_map(|text| text.split(|c: char| c.is_whitespace() || ";&|()".contains(c)))
        .peekable();
    script.peek().is_none()
        || script.any(|word| is_program(word, &WAITERS) || word == "wait" || word == "read")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_has_no_command_that_waits() {
        for (container, expected) in [
            (
                json!({"name": "a", "command": ["sleep"], "args": ["99d"]}),
                true,
            ),
            (json!({"name": "a", "args": ["/busybox/cat"]}), true),
            (
                json!({"name": "a", "command": ["/bin/sh", "-c", "trap : TERM; sleep infinity & wait"]}),
                true,
            ),
            (
                json!({"name": "a", "command": ["tini", "--", "tail", "-f", "/dev/null"]}),
                true,
            ),
            (json!({"name": "a", "command": ["bash"]}), true),
            (json!({"name": "a", "tty": true}), true),
            (json!({"name": "postgres", "image": "postgres:16"}), false),
            (
                json!({"name": "postgres", "args": ["-c", "fsync=off"]}),
                false,
            ),
            (json!({"name": "redis", "command": ["redis-server"]}), false),
            (
                json!({"name": "db", "command": ["sh", "-c", "exec docker-entrypoint.sh postgres"]}),
                false,
            ),
        ] {
            let text = container.to_string();
            assert_eq!(
                waits(&serde_json::from_str(&text).unwrap()),
                expected,
                "{container}"
            );
        }
    }
}
