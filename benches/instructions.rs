//! Guards the cost of a request: counts the instructions of a complete request and compares them with a
//! budget. A count, unlike a time, is the same on a busy machine.
//!
//! `cargo bench --bench instructions` needs valgrind and is skipped without it, unless
//! `SLIPWAY_REQUIRE_TOOLS=1`. `SLIPWAY_BLESS=1` rewrites the budget; read the diff.
//!
//! Each case runs twice under callgrind, once with more requests than the other. The difference is
//! the cost of those requests alone, without the start and the creation of the cluster.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that meets the unexpected should stop there"
)]

use std::{
    collections::BTreeMap,
    env, fs,
    hint::black_box,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use serde_json::json;
use slipway_core::{admission::admit, nodes::Snapshot};
use slipway_testkit::{
    fleets::{self, cluster_state},
    reviews::{Size, review, review_with},
    table::Table,
};

const BUDGET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.json");
/// By how much a count may differ from the budget, in percent. The C library picks its `memcpy` by the
/// CPU, and compilers differ in the code that they generate.
const TOLERANCE: u64 = 10;
/// The size of a fleet with all pools and zones.
const NODES: usize = 96;
const FEW: u64 = 10;
const MANY: u64 = 60;
/// The first argument of a run under callgrind.
const MEASURED: &str = "--measured";

const CASES: [&str; 5] = [
    "2 KB",
    "15.8 KB",
    "200 KB",
    "15.8 KB, one hostname",
    "no runner",
];

fn body(case: &str) -> Vec<u8> {
    match case {
        "2 KB" => review(Size::Small),
        "15.8 KB" => review(Size::Usual),
        "200 KB" => review(Size::Large),
        "15.8 KB, one hostname" => review_with(
            Size::Usual,
            &json!({"nodeSelector": {"kubernetes.io/hostname": fleets::name(1)}}),
        ),
        "no runner" => {
            let review = String::from_utf8(review(Size::Small)).unwrap();
            review.replace("actions", "nothing").into_bytes()
        }
        other => panic!("no case `{other}`"),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    if let [_, mode, case, times] = arguments.as_slice()
        && mode == MEASURED
    {
        measured(case, times.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_err()
    {
        println!("instructions: skipped, valgrind is not installed");
        let required = env::var_os("SLIPWAY_REQUIRE_TOOLS").is_some();
        return ExitCode::from(u8::from(required));
    }
    guard()
}

/// Runs a case `times` times, to be counted.
fn measured(case: &str, times: u64) {
    let state = cluster_state(Snapshot::new(fleets::fleet(NODES)));
    let body = body(case);
    for _ in 0..times {
        let answer = admit(black_box(&body), state.cluster())
            .unwrap()
            .without_lease();
        black_box(answer);
    }
}

fn guard() -> ExitCode {
    let counted: BTreeMap<&str, u64> = CASES
        .into_iter()
        .map(|case| (case, (total(case, MANY) - total(case, FEW)) / (MANY - FEW)))
        .collect();
    if env::var_os("SLIPWAY_BLESS").is_some() {
        let budget = serde_json::to_string_pretty(&counted).unwrap();
        fs::write(BUDGET, budget + "\n").unwrap();
    }
    let budget: BTreeMap<String, u64> =
        serde_json::from_str(&fs::read_to_string(BUDGET).unwrap()).unwrap();
    let mut table = Table::new(&["request", "instructions", "budget", "ratio", ""]);
    let mut within = true;
    for (case, counted) in counted {
        let budget = budget.get(case).copied().unwrap_or_default();
        let verdict = if counted * 100 > budget * (100 + TOLERANCE) {
            within = false;
            "over the budget"
        } else if counted * 100 < budget * (100 - TOLERANCE) {
            "far below: lower the budget"
        } else {
            "within"
        };
        table.row([
            case.to_owned(),
            counted.to_string(),
            budget.to_string(),
            format!(
                "{} %",
                (counted * 100).checked_div(budget).unwrap_or_default()
            ),
            verdict.to_owned(),
        ]);
    }
    table.print("Instructions of a request");
    if !within {
        println!(
            "\nRequests cost more than {TOLERANCE} % beyond the budget in benches/instructions.json. \
             Find out why, or raise the budget with SLIPWAY_BLESS=1 and say why in the commit."
        );
    }
    ExitCode::from(u8::from(!within))
}

/// Counts all instructions of a run.
fn total(case: &str, times: u64) -> u64 {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("callgrind.out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--log-fd=2"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(env::current_exe().unwrap())
        .args([MEASURED, case, &times.to_string()])
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let profile = fs::read_to_string(&file).unwrap();
    let totals = profile
        .lines()
        .find_map(|line| line.strip_prefix("totals: "));
    totals
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or_else(|| panic!("no totals: {log}"))
}
