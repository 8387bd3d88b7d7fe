//! Runs every command in the documents, or checks its arguments with the program that takes them.
//! them.
//!
//! A shell runs each line with only stand-ins on its path. The stand-in of slipway runs
//! commands that need no cluster and checks the arguments of the others; those of helm and kubectl
//! check flags, and helm's renders the chart with the values. Programs that are not run at all
//! are listed with the reason. A program without a stand-in is an error, so none is missed.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use slipway_testkit::{
    harness::{Outcome, Skip, Test},
    tests, tools,
};

use super::{read, root};

/// Programs whose commands are not run here, with the reason.
const NOT_RUN: [(&str, &str); 8] = [
    (
        "cargo",
        "the first command of the README has a test of its own; the rest builds or tests everything",
    ),
    (
        "docker",
        "tests/real/image.rs builds the image, with these arguments",
    ),
    (
        "curl",
        "tests/real/status runs those of docs/status.md against a replica",
    ),
    ("grep", "it reads what another command prints"),
    ("jq", "it reads what another command prints"),
    ("base64", "it reads a file of the reader's"),
    ("rm", "it deletes a directory of a node"),
    ("openssl", "it reads a file of the reader's"),
];

/// Files that a reader has and this repository does not.
const FILES_OF_READERS: [&str; 2] = ["values.yaml", "policy.yaml"];

#[derive(Debug)]
struct Shown {
    document: String,
    line: usize,
    command: String,
}

/// Lists the documents for users.
pub fn documents() -> Vec<String> {
    let mut found = vec!["charts/slipway/README.md".to_owned()];
    for directory in [".", "docs", "certs"] {
        for entry in fs::read_dir(root().join(directory)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let path = Path::new(directory).join(name);
            if path.extension().is_some_and(|extension| extension == "md") {
                found.push(
                    path.strip_prefix(".")
                        .unwrap_or(&path)
                        .display()
                        .to_string(),
                );
            }
        }
    }
    found.sort();
    found
}

/// Returns the commands in all shell blocks of a document, with continued lines joined.
fn shown(document: &str) -> Vec<Shown> {
    let text = read(document);
    let mut commands: Vec<Shown> = Vec::new();
    let (mut shell, mut fenced, mut continued) = (false, false, false);
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(language) = line.strip_prefix("```") {
            fenced = !fenced;
            shell = fenced && ["sh", "bash", "console"].contains(&language);
            continue;
        }
        if !shell || line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (part, more) = line
            .strip_suffix('\\')
            .map_or((line, false), |part| (part, true));
        match commands.last_mut().filter(|_| continued) {
            Some(last) => last.command.push_str(part),
            None => commands.push(Shown {
                document: document.to_owned(),
                line: i + 1,
                command: part.to_owned(),
            }),
        }
        continued = more;
    }
    assert!(!fenced, "{document}: a block without an end");
    commands
}

/// A directory with a stand-in for each program that a document may name. It is created once, because a
/// running program cannot be overwritten.
static STAND_INS: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stand-ins");
    fs::create_dir_all(&directory).unwrap();
    let put = |name: &str, script: &str| {
        let path = directory.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    for (name, _) in NOT_RUN {
        // Reads all input, so that its writer gets no broken pipe.
        put(name, "exec /bin/cat >/dev/null");
    }
    put(
        "base64",
        "case $* in *d*) /bin/cat >/dev/null ;; esac\necho Q0E=",
    );
    // It would need a cluster, a user who stops it, or a manifest on standard input.
    let readers = FILES_OF_READERS
        .map(|file| format!("*\" {file} \"*"))
        .join("|");
    put(
        "slipway",
        &format!(
            "case \" $* \" in *\" - \"*) /bin/cat >/dev/null ;; esac\ncase \" $* \" in\n*\" - \"*|*[A-Z][A-Z][A-Z]*|{readers}|\" nodes \"*|\" check \"*|\" cache \"*|\" serve \"*|\" slots \"*|\" version \"*) exec {slipway} \"$@\" --help ;;\n*) exec {slipway} \"$@\" ;;\nesac",
            slipway = env!("CARGO_BIN_EXE_slipway"),
        ),
    );
    let checked = |program: Option<PathBuf>| {
        program.map_or("exit 0".to_owned(), |path| {
            // The arguments after `--` belong to a program in a container.
            format!(
                "keep=yes\nfor argument do shift; [ \"$argument\" = -- ] && keep=; [ $keep ] && set -- \"$@\" \"$argument\"; done\nexec {} \"$@\" --help",
                path.display()
            )
        })
    };
    put("kubectl", &checked(tools::find("kubectl")));
    let helm = tools::find("helm");
    let render = helm.as_ref().map_or(String::new(), |helm| {
        format!(
            "case $1 in install|upgrade) ;; *) exec {helm} \"$@\" --help ;; esac\n{helm} \"$@\" --help >/dev/null || exit\nshift 2; chart=$1; shift\nset -- \"$@\" --\nwhile [ \"$1\" != -- ]; do case $1 in --set|--set-string) set -- \"$@\" \"$1\" \"$2\"; shift 2 ;; *) shift ;; esac; done\nshift\nexec {helm} template slipway \"$chart\" \"$@\"",
            helm = helm.display()
        )
    });
    put("helm", &render);
    directory
});

fn every_command_in_the_documents_works() -> Outcome {
    let mut count = 0;
    for document in documents() {
        for Shown {
            document,
            line,
            command,
        } in shown(&document)
        {
            assert!(
                !command.trim_start().starts_with(['.', '/']),
                "{document}:{line}: a program by its path would be run: {command}"
            );
            assert!(
                !command.contains('>'),
                "{document}:{line}: it would write a file: {command}"
            );
            let output = Command::new("/bin/bash")
                .args(["-o", "pipefail", "-c", &command])
                .current_dir(root())
                .env("PATH", STAND_INS.as_path())
                .env("NO_COLOR", "1")
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{document}:{line}: {command}\n{output:?}"
            );
            count += 1;
        }
    }
    assert!(count > 60, "only {count} commands found");
    // Without these programs, only the flags of their commands were not checked.
    tools::need("helm")?;
    tools::find("kubectl")
        .ok_or_else(|| Skip::because("kubectl is not installed, so its flags were not checked"))?;
    Ok(())
}

/// Checks the code spans in running text that begin with one of slipway's commands.
fn every_slipway_command_in_running_text_has_valid_arguments() {
    let commands = [
        "inject", "explain", "nodes", "check", "cache", "policy", "serve", "slots",
    ];
    let mut count = 0;
    for document in documents() {
        for span in read(&document).split('`').skip(1).step_by(2) {
            let mut words = span.split_whitespace();
            let is_command = words.next() == Some("slipway")
                && words.next().is_some_and(|word| commands.contains(&word));
            if !is_command || span.contains('\n') {
                continue;
            }
            let output = Command::new("/bin/bash")
                .args(["-o", "pipefail", "-c", &format!("{span} --help")])
                .current_dir(root())
                .env("PATH", STAND_INS.as_path())
                .output()
                .unwrap();
            assert!(output.status.success(), "{document}: {span}\n{output:?}");
            count += 1;
        }
    }
    assert!(count > 10, "only {count} found");
}

fn an_unknown_command_is_an_error() {
    for command in [
        "frobnicate",
        "slipway explain -f examples/pods/no-such-file.yaml",
        "slipway check --frobnicate",
        "slipway serve --standalon",
    ] {
        let output = Command::new("/bin/bash")
            .args(["-o", "pipefail", "-c", command])
            .current_dir(root())
            .env("PATH", STAND_INS.as_path())
            .output()
            .unwrap();
        assert!(!output.status.success(), "{command}");
    }
}

/// Returns the commands of a document without comments, for comparison.
pub fn bare_commands(document: &str) -> Vec<String> {
    let commands = shown(document).into_iter();
    commands
        .map(|shown| {
            let command = shown.command.split(" #").next().unwrap();
            command.split_whitespace().collect::<Vec<_>>().join(" ")
        })
        .collect()
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        every_command_in_the_documents_works,
        every_slipway_command_in_running_text_has_valid_arguments,
        an_unknown_command_is_an_error,
    ]
}
