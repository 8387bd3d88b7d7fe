//! The core stays pure: no clock, no I/O, no async, no logging, no Kubernetes client.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The parts of `src/` that do I/O. Everything else is core.
const SHELL: [&str; 12] = [
    "main.rs",
    "lib.rs",
    "certificates",
    "claims",
    "commands",
    "events.rs",
    "facts.rs",
    "fleet.rs",
    "leader",
    "metrics",
    "server",
    "watch",
];
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

fn collect_rust_files(dir: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect_rust_files(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

#[test]
fn the_core_does_no_io() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut looked_at = 0;
    let mut files = Vec::new();
    collect_rust_files(&src, &mut files).unwrap();
    for path in files {
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
