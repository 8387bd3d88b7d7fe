//! The run: which strategies in which order, what is done already, and when to stop.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, exit},
    time::{Duration, Instant},
};

use clap::Parser;
use slipway_testkit::workspace;

use super::{
    bar::Bar,
    cgroup, chart, job,
    machine::{buildkitd, check, stdout},
    record::{Record, Records},
    report,
    site::Site,
    size::Size,
    strategy::{self, BUILDKITD, DEFAULT, Strategy, Task},
    summary,
};

/// Set in the process that has namespaces of its own.
const INSIDE: &str = "SLIPWAY_BUILDS_INSIDE";

/// Builds images, strategy against strategy.
#[derive(Parser)]
struct Arguments {
    /// How many rounds; each runs every strategy once, in an order of its own
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only this strategy (can be given more than once)
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Begin no further strategy after so many minutes; the next run goes on from there
    #[arg(long, value_name = "MINUTES")]
    minutes: Option<u64>,
    /// Two jobs of one strategy on a small image, to see that all of it works; measures nothing
    #[arg(long)]
    quick: bool,
    /// Measure nothing; write the report of what was measured
    #[arg(long)]
    report: bool,
    /// Where the report, its data and its chart are written; `target/builds/VERSION` unless named
    #[arg(long, value_name = "DIRECTORY")]
    output: Option<PathBuf>,
    /// A directory with docker's programs to use in place of the machine's, as `.ci/unpack-docker` makes one
    #[arg(long, value_name = "DIRECTORY", env = "SLIPWAY_DOCKER_TREE")]
    docker_tree: Option<PathBuf>,
}

pub fn main() {
    let arguments = Arguments::parse();
    if let Err(lack) = check().and_then(|()| registry_is_there()) {
        let required = env::var_os("SLIPWAY_REQUIRE_TOOLS").is_some_and(|value| value == "1");
        eprintln!("skipped: {lack}");
        exit(i32::from(required));
    }
    if env::var_os(INSIDE).is_none() {
        let this = env::current_exe().unwrap();
        let namespaces = [
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ];
        let mut command = Command::new("unshare");
        command
            .args(namespaces)
            .arg(this)
            .args(env::args_os().skip(1));
        let status = command.env(INSIDE, "1").status().unwrap();
        exit(status.code().unwrap_or(1));
    }
    // Names of network namespaces stand in /run, which is not the machine's from here on.
    stdout(Command::new("mount").args(["-t", "tmpfs", "run", "/run"]));
    fs::create_dir_all("/run/lock").unwrap();

    let version = version(arguments.docker_tree.as_deref());
    let kind = if arguments.quick { "quick" } else { "builds" };
    let dir = workspace::root().join("target").join(kind).join(&version);
    fs::create_dir_all(&dir).unwrap();
    if arguments.quick {
        quick(&arguments, &dir, version);
        return;
    }
    let mut records = Records::open(&dir.join("records.jsonl"));
    if !arguments.report {
        let complete = measure(&arguments, &dir, &version, &mut records);
        if !complete {
            eprintln!("not complete yet: run the same again");
        }
    }
    let out = arguments.output.as_ref().unwrap_or(&dir);
    write_report(&arguments, out, &records, &version);
}

fn registry_is_there() -> Result<(), String> {
    let found = ["/usr/bin/docker-registry", "/usr/local/bin/docker-registry"];
    let found = found.iter().any(|path| Path::new(path).exists());
    found
        .then_some(())
        .ok_or_else(|| "the benchmark needs `docker-registry`".to_owned())
}

/// The version of dockerd, such as `26.1.5`.
fn version(tree: Option<&Path>) -> String {
    let programs = tree.map_or(PathBuf::from("/usr/sbin"), |tree| tree.join("usr/sbin"));
    let text = stdout(Command::new(programs.join("dockerd")).arg("--version"));
    let version = text.split_whitespace().nth(2).unwrap();
    version.split(['+', ',', '~']).next().unwrap().to_owned()
}

/// What a strategy needs and the machine has not.
fn lack(strategy: &Strategy, version: &str) -> Option<String> {
    if strategy.since > major(version) {
        return Some(format!("needs dockerd {} or newer", strategy.since));
    }
    let is_without = strategy.task == Task::BuildWithBuildctl && buildkitd().is_none();
    is_without.then(|| "needs a buildkitd, which the variable `BUILDKITD` names".to_owned())
}

fn major(version: &str) -> u32 {
    version.split('.').next().unwrap().parse().unwrap()
}

/// Runs all rounds, as far as there is time. Says whether nothing is left to do.
fn measure(arguments: &Arguments, dir: &Path, version: &str, records: &mut Records) -> bool {
    let strategies = strategy::all();
    let wanted: Vec<&Strategy> = strategies
        .iter()
        .filter(|s| arguments.only.is_empty() || arguments.only.iter().any(|name| name == s.name))
        .filter(|s| lack(s, version).is_none())
        .collect();
    assert!(!wanted.is_empty(), "there is no such strategy");
    let rows = (1..=arguments.rounds).flat_map(|round| {
        // Every round begins elsewhere, so that what comes first or last is not always the same.
        let (before, after) = wanted.split_at((round - 1) * 5 % wanted.len());
        after
            .iter()
            .chain(before)
            .map(move |strategy| (round, *strategy))
            .collect::<Vec<_>>()
    });
    let rows: Vec<(usize, &Strategy)> = rows
        .filter(|(round, strategy)| !records.has(strategy.name, *round, strategy.jobs))
        .collect();
    if rows.is_empty() {
        return true;
    }
    let minutes = arguments
        .minutes
        .map(|minutes| Duration::from_secs(60 * minutes));
    let begin = Instant::now();
    let tree = arguments.docker_tree.as_deref();
    let mut site = Site::new(dir, tree, version.to_owned(), Size::FULL);
    let bar = Bar::new(rows.iter().map(|(_, strategy)| *strategy));
    for (round, strategy) in rows {
        if minutes.is_some_and(|minutes| begin.elapsed() > minutes) {
            return false;
        }
        bar.aside(|| site.set_mirror(strategy.mirror));
        let node = site.fresh_node();
        let mut row: Vec<Record> = Vec::new();
        for job in 1..=strategy.jobs {
            bar.begins(round, strategy, job);
            let record = job::run(&site, &node, strategy, round, job);
            bar.ended(&record);
            // A kept data-root that does not serve would be measured as a slow one.
            let keeps = strategy.jobs > 1 && job > 1;
            assert!(
                !keeps || record.hits > 0,
                "nothing was kept: {}",
                job::wrapper_log(&node, job)
            );
            row.push(record);
        }
        records.add(row);
    }
    true
}

/// Two jobs of the default profile, and of the buildkitd sidecar where there is one: the first finds nothing, the second
/// what it left.
fn quick(arguments: &Arguments, dir: &Path, version: String) {
    let strategies = strategy::all();
    let wanted: Vec<&Strategy> = strategies
        .iter()
        .filter(|s| [DEFAULT, BUILDKITD].contains(&s.name) && lack(s, &version).is_none())
        .collect();
    let mut site = Site::new(dir, arguments.docker_tree.as_deref(), version, Size::QUICK);
    let mut records = Vec::new();
    for strategy in wanted {
        site.set_mirror(strategy.mirror);
        let node = site.fresh_node();
        let first = job::run(&site, &node, strategy, 1, 1);
        let second = job::run(&site, &node, strategy, 1, 2);
        assert_eq!(first.hits, 0, "{first:?}");
        assert!(first.mirror_to_pod > first.upstream_to_pod, "{first:?}");
        assert_eq!(
            second.hits,
            second.can_hit,
            "{second:?}\n{}",
            job::wrapper_log(&node, 2)
        );
        assert!(second.cpu > 0.0 && second.peak_memory > 0, "{second:?}");
        records.extend([first, second]);
    }
    let summaries = summary::of(&strategies, &records);
    assert!(chart::svg(&summaries).ends_with("</svg>\n"));
    eprintln!("the benchmark works");
}

fn write_report(arguments: &Arguments, out: &Path, records: &Records, version: &str) {
    let strategies = strategy::all();
    let summaries = summary::of(&strategies, records.all());
    if summaries.is_empty() {
        return;
    }
    let machine = machine(arguments, version);
    let is_measured = |s: &Strategy| summaries.iter().any(|summary| summary.strategy == s.name);
    let not_run: Vec<String> = strategies
        .iter()
        .filter(|s| !is_measured(s))
        .filter_map(|s| Some(format!("{}: {}", s.name, lack(s, version)?)))
        .collect();
    fs::create_dir_all(out).unwrap();
    let text = report::markdown(&summaries, &machine, &not_run);
    fs::write(out.join("builds.md"), &text).unwrap();
    let data = BTreeMap::from([
        ("machine", serde_json::to_value(&machine).unwrap()),
        ("summaries", serde_json::to_value(&summaries).unwrap()),
        ("records", serde_json::to_value(records.all()).unwrap()),
    ]);
    let data = serde_json::to_string_pretty(&data).unwrap() + "\n";
    fs::write(out.join("builds.json"), data).unwrap();
    fs::write(out.join("builds.svg"), chart::svg(&summaries)).unwrap();
    println!("{text}");
    eprintln!(
        "written: builds.md, builds.json and builds.svg in {}",
        out.display()
    );
}

/// On what it was measured.
fn machine(arguments: &Arguments, version: &str) -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = read("/proc/meminfo");
    let kib: u64 = memory
        .split_whitespace()
        .nth(1)
        .unwrap_or("0")
        .parse()
        .unwrap();
    let release = read("/proc/sys/kernel/osrelease");
    let client = if arguments.docker_tree.is_some() {
        "unpacked beside the machine's"
    } else {
        "the machine's"
    };
    let mut lines = vec![
        format!(
            "{cpus} cores ({}), {:.0} GiB of memory, Linux {}, cgroup {}",
            model.map_or("unknown", |(_, model)| model),
            f64::from(u32::try_from(kib >> 10).unwrap()) / 1024.0,
            release.trim().split('-').next().unwrap(),
            cgroup::version()
        ),
        format!(
            "dockerd {version}, Debian's docker.io ({client}); Slipway {}",
            env!("CARGO_PKG_VERSION")
        ),
        "the way to the upstream registry: 100 Mbit/s (tbf), 20 ms each way".to_owned(),
    ];
    if let Some(buildkitd) = buildkitd() {
        let text = stdout(Command::new(buildkitd).arg("--version"));
        lines.push(format!(
            "buildkitd {}",
            text.split_whitespace().nth(2).unwrap()
        ));
    }
    lines
}
