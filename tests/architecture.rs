//! The core stays pure: no clock, no I/O, no async, no logging, no Kubernetes client.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The parts of `src/` that do I/O. Everything else is core.
const SHELL: [&str; 5] = ["main.rs", "lib.rs", "server", "commands", "fleet.rs"];
/// What the core may not name.
const IMPURE: [&str; 11] = [
    "tokio",
    "axum",
    "kube::",
    "tracing",
    "std::fs",
    "std::net",
    "std::time",
    "std::env",
    "std::io",
    "std::thread",
    "std::process",
];

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                rust_files(&path)
            } else {
                vec![path]
            }
        })
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .collect()
}

#[test]
fn the_core_does_no_io() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut looked_at = 0;
    for path in rust_files(&src) {
        let relative = path.strip_prefix(&src).unwrap();
        let top = relative
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_string_lossy();
        if SHELL.contains(&top.as_ref()) {
            continue;
        }
        looked_at += 1;
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            let code = line.trim_start();
            let found = IMPURE
                .iter()
                .find(|name| !code.starts_with("//") && code.contains(*name));
            assert_eq!(found, None, "{}:{}: {code}", relative.display(), number + 1);
        }
    }
    assert!(looked_at > 20, "only {looked_at} files looked at");
}
