//! What a container waits for: commands that jobs send into it, or requests that it serves.

use crate::{
    dockerd::{is_program, words},
    pod::Container,
};

/// Systems whose jobs run commands in any container of the pod, by its name.
const ENTERED: [&str; 1] = ["jenkins"];
/// Programs that do nothing until they are stopped.
const WAITERS: [&str; 5] = ["cat", "sleep", "tail", "pause", "infinity"];
const SHELLS: [&str; 6] = ["sh", "bash", "ash", "dash", "zsh", "busybox"];
/// Programs that run the one after them.
const WRAPPERS: [&str; 4] = ["tini", "dumb-init", "env", "--"];

/// Returns whether jobs of this system run commands in any container of their pod.
pub(super) fn are_entered(system: &str) -> bool {
    ENTERED.contains(&system)
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
