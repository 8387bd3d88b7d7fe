//! The base image, which looks like a toolchain's, and a project that is built on it.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    os::unix::fs::symlink,
    path::Path,
    process::Command,
};

use super::{machine::stdout, size::Size};

/// The image's name.
pub const BASE: &str = "toolchain:1";
const FILE: usize = 40_000;
const SMALL_FILE: usize = 4_000;

/// What the image has in `/bin`, all of it busybox.
const PROGRAMS: [&str; 14] = [
    "sh",
    "awk",
    "cat",
    "cp",
    "du",
    "find",
    "gzip",
    "mkdir",
    "seq",
    "sha256sum",
    "sort",
    "tar",
    "wc",
    "xargs",
];

/// A generator of the same numbers every time (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Writes the context of the base image: three layers, of text that compresses to somewhat more than half.
pub fn write_base(dir: &Path, size: Size) {
    let mut numbers = Numbers(0x5eed);
    for (layer, share) in [("one", 50), ("two", 35), ("three", 15)] {
        let root = dir.join(layer);
        for n in 0..(size.base_bytes / 100 * share / FILE) {
            let file = root.join(format!("toolchain/{layer}/{}/part-{n}", n % 40));
            write_text(&file, FILE, &mut numbers);
        }
    }
    let bin = dir.join("one/bin");
    fs::create_dir_all(&bin).unwrap();
    fs::copy("/usr/bin/busybox", bin.join("busybox")).unwrap();
    for program in PROGRAMS {
        symlink("busybox", bin.join(program)).unwrap();
    }
    let packages = dir.join("packages");
    for n in 0..size.installed_files {
        let file = packages.join(format!("packages/{}/lib/file-{n}", n % 300));
        write_text(&file, SMALL_FILE, &mut numbers);
    }
    let archive = dir.join("three/toolchain/packages.tgz");
    stdout(
        Command::new("tar")
            .arg("-C")
            .arg(&packages)
            .arg("-czf")
            .arg(archive)
            .arg("."),
    );
    let lines = "FROM scratch\nCOPY one /\nCOPY two /\nCOPY three /\nCMD [\"sh\"]\n";
    fs::write(dir.join("Dockerfile"), lines).unwrap();
    fs::write(dir.join(".dockerignore"), "packages\n").unwrap();
}

fn write_text(path: &Path, bytes: usize, numbers: &mut Numbers) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = BufWriter::new(File::create(path).unwrap());
    for _ in 0..bytes / 16 {
        write!(file, "{:016x}", numbers.next()).unwrap();
    }
}

/// In which order a Dockerfile does things.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// What changes seldom comes first, the sources late: five of eight steps can be hits after an edit.
    SourcesLate,
    /// The sources come before what is installed: three of eight can be hits.
    SourcesFirst,
}

impl Order {
    /// How many of the steps do not depend on the sources.
    pub fn can_hit(self) -> usize {
        match self {
            Self::SourcesLate => 5,
            Self::SourcesFirst => 3,
        }
    }
}

/// Writes the project, whose one file of sources differs with `edit`.
pub fn write_project(dir: &Path, order: Order, size: Size, edit: &str) {
    let _ = fs::remove_dir_all(dir);
    let mut numbers = Numbers(0xc0de);
    for n in 0..200 {
        write_text(&dir.join(format!("src/module-{n}")), FILE / 4, &mut numbers);
    }
    fs::write(dir.join("src/main"), edit).unwrap();
    fs::write(dir.join("packages.lock"), "packages 1\n").unwrap();

    let install = "RUN tar -xzf /toolchain/packages.tgz -C /toolchain";
    // As a compiler does of a project's dependencies: reads much, computes, writes less.
    let dependencies = format!(
        "RUN mkdir build && find /toolchain/packages -type f | sort | xargs cat | sha256sum >build/packages && \
         for n in $(seq {}); do cat /toolchain/three/$((n % 40))/* | gzip -9 | sha256sum; done >build/dependencies",
        size.compile_rounds
    );
    let compile =
        "RUN cat src/* | gzip -9 >build/app && sha256sum src/* build/dependencies >build/sums";
    let package = "RUN tar -cf app.tar build src && sha256sum app.tar >app.sum";
    let sources = "COPY src ./src";
    let lock = "COPY packages.lock ./";
    let steps = match order {
        Order::SourcesLate => [lock, install, &dependencies, sources, compile, package],
        // The lock file has no step of its own to save: it stays as it is.
        Order::SourcesFirst => [lock, sources, install, &dependencies, compile, package],
    };
    let text = format!("FROM {BASE}\nWORKDIR /app\n{}\n", steps.join("\n"));
    fs::write(dir.join("Dockerfile"), text).unwrap();
}
