//! The cost of the core: each step and the complete request, by the size of the review and of
//! the cluster, compared with the least that any webhook must do.
//!
//! `cargo bench --bench micro` prints a table with ratios after criterion's own lines.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that meets the unexpected should stop there"
)]

use std::{
    fs,
    hint::black_box,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use criterion::Criterion;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use slipway::cluster::state::{ClusterState, LiveState};
use slipway_core::{
    admission::{
        admit, evaluate,
        review::{Request, Response, Subject},
    },
    decide::{Outcome, decide},
    inject::inject,
    nodes::{Inventory, NodeObject, Snapshot},
    patch::operations,
    recognise::recognise,
};
use slipway_testkit::{
    fleets::{self, cluster_state},
    reviews::{Size, review, review_with},
    table::Table,
    yardstick,
};

const FLEETS: [usize; 4] = [10, 1_000, 10_000, 100_000];
/// The nodes that the pod may run on.
const PODS: [&str; 3] = ["any node", "one hostname", "all but one hostname"];
const LARGEST: usize = 100_000;
/// The directory of criterion's estimates, which the tables read.
const ESTIMATES: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/criterion");

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(50)
        .output_directory(Path::new(ESTIMATES))
        .configure_from_args();
    by_size(&mut criterion);
    by_step(&mut criterion);
    by_fleet(&mut criterion);
    of_changes(&mut criterion);
    criterion.final_summary();
    tables();
}

/// Measures the complete request, and parses that keep less or more.
fn by_size(criterion: &mut Criterion) {
    let state = cluster_state(Snapshot::new(fleets::fleet(1_000)));
    for size in Size::ALL {
        let bytes = review(size);
        let mut group = criterion.benchmark_group(format!("review {size}"));
        group.bench_function("skimmed", |b| {
            b.iter(|| serde_json::from_slice::<IgnoredAny>(black_box(&bytes)).unwrap());
        });
        group.bench_function("bare borrowed parse", |b| {
            b.iter(|| serde_json::from_slice::<yardstick::Review<'_>>(black_box(&bytes)).unwrap());
        });
        group.bench_function("serde_json Value", |b| {
            b.iter(|| serde_json::from_slice::<Value>(black_box(&bytes)).unwrap());
        });
        group.bench_function("whole way", |b| {
            b.iter(|| {
                admit(black_box(&bytes), state.cluster())
                    .unwrap()
                    .without_lease()
            });
        });
        group.finish();
    }
}

/// Measures each step for a review of the usual size.
fn by_step(criterion: &mut Criterion) {
    let state = cluster_state(Snapshot::new(fleets::fleet(1_000)));
    let (cluster, bytes) = (state.cluster(), review(Size::Usual));
    let request = Request::parse(&bytes).unwrap();
    let Subject::NewPod(pod) = &request.subject else {
        panic!("the review is of a new pod");
    };
    let decision = decide(pod, &request.namespace, cluster);
    let Outcome::Apply(plan) = &decision.outcome else {
        panic!("the pod is a runner pod: {:?}", decision.outcome);
    };
    let evaluation = evaluate(pod, &request.namespace, cluster);
    let response = Response {
        warnings: evaluation.warnings(),
        audit_annotations: evaluation.audit_annotations(),
        patch: evaluation.patch.clone(),
    };
    let mut group = criterion.benchmark_group("step");
    group.bench_function("parse the review", |b| {
        b.iter(|| Request::parse(black_box(&bytes)).unwrap());
    });
    group.bench_function("recognise", |b| {
        b.iter(|| recognise(black_box(pod), cluster.policy.recognisers()).unwrap());
    });
    group.bench_function("candidate nodes", |b| {
        let nodes = state.nodes.as_ref().unwrap();
        b.iter(|| nodes.candidates(black_box(pod), cluster.policy.node_pools()));
    });
    group.bench_function("decide, with both", |b| {
        b.iter(|| decide(black_box(pod), &request.namespace, cluster));
    });
    group.bench_function("inject", |b| b.iter(|| inject(black_box(pod), plan)));
    group.bench_function("patch", |b| {
        b.iter(|| operations(black_box(pod), &evaluation.changes));
    });
    group.bench_function("write the response", |b| {
        b.iter(|| black_box(&response).to_json(&request.uid));
    });
    group.finish();
}

/// Measures the complete request and its look-up, by the number of nodes.
fn by_fleet(criterion: &mut Criterion) {
    let hostname = "kubernetes.io/hostname";
    let all_but_one = json!({"key": hostname, "operator": "NotIn", "values": [fleets::name(1)]});
    let required = json!({"nodeSelectorTerms": [{"matchExpressions": [all_but_one]}]});
    let affinity = json!({"requiredDuringSchedulingIgnoredDuringExecution": required});
    let pods = [
        json!({}),
        json!({"nodeSelector": {hostname: fleets::name(1)}}),
        json!({"affinity": {"nodeAffinity": affinity}}),
    ];
    for count in FLEETS {
        let state = cluster_state(Snapshot::new(fleets::fleet(count)));
        for (what, fields) in PODS.iter().zip(&pods) {
            let bytes = review_with(Size::Usual, fields);
            let request = Request::parse(&bytes).unwrap();
            let Subject::NewPod(pod) = &request.subject else {
                panic!("the review is of a new pod");
            };
            let nodes = state.nodes.as_ref().unwrap();
            let mut group = criterion.benchmark_group(format!("{count} nodes, {what}"));
            group.bench_function("candidate nodes", |b| {
                b.iter(|| nodes.candidates(black_box(pod), &[]));
            });
            group.bench_function("whole way", |b| {
                b.iter(|| {
                    admit(black_box(&bytes), state.cluster())
                        .unwrap()
                        .without_lease()
                });
            });
            group.finish();
        }
    }
    for count in [10, LARGEST] {
        under_churn(criterion, count);
    }
}

/// Measures the complete request while 1,000 heartbeats and 10 relevant changes arrive each second.
fn under_churn(criterion: &mut Criterion, count: usize) {
    const BEAT: Duration = Duration::from_millis(1);
    const BEATS_PER_CHANGE: usize = 100;

    let mut inventory = Inventory::default();
    inventory.replace(fleets::fleet(count));
    let live = LiveState::new(cluster_state(inventory.snapshot()));
    let bytes = review(Size::Usual);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = Instant::now();
            for beat in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let number = beat % count;
                if beat.is_multiple_of(BEATS_PER_CHANGE) {
                    change(&mut inventory, &live, number, beat / BEATS_PER_CHANGE);
                } else {
                    inventory.apply(fleets::heartbeat(number, beat));
                }
                next += BEAT;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        let mut group = criterion.benchmark_group(format!("{count} nodes, any node"));
        group.bench_function("whole way under churn", |b| {
            b.iter(|| {
                let state = live.load();
                admit(black_box(&bytes), state.cluster())
                    .unwrap()
                    .without_lease()
            });
        });
        group.finish();
        stop.store(true, Ordering::Relaxed);
    });
}

/// Cordons or uncordons a node, and publishes the next snapshot.
fn change(inventory: &mut Inventory, live: &LiveState, number: usize, times: usize) {
    inventory.apply(if times.is_multiple_of(2) {
        fleets::cordoned(number)
    } else {
        fleets::node(number)
    });
    let snapshot = Arc::new(inventory.snapshot());
    live.update(|state: &mut ClusterState| state.nodes = Some(Arc::clone(&snapshot)));
}

/// Measures a watched change among 100,000 nodes, including the publication of the next snapshot.
fn of_changes(criterion: &mut Criterion) {
    let mut inventory = Inventory::default();
    inventory.replace(fleets::fleet(LARGEST));
    let live = LiveState::new(cluster_state(inventory.snapshot()));
    let mut group = criterion.benchmark_group("change among 100000 nodes");
    let mut times = 0;
    let nodes = [fleets::cordoned(4_711), fleets::node(4_711)];
    group.bench_function("one node changed", |b| {
        b.iter(|| {
            times += 1;
            inventory.apply(nodes[times % 2].clone());
            let snapshot = Arc::new(inventory.snapshot());
            live.update(|state: &mut ClusterState| state.nodes = Some(Arc::clone(&snapshot)));
        });
    });
    let object = fleets::full_object(4_712).to_string();
    group.bench_function("one Node object read", |b| {
        b.iter(|| serde_json::from_str::<NodeObject>(black_box(&object)).unwrap());
    });
    let heartbeat = fleets::heartbeat(4_712, 1);
    group.bench_function("one heartbeat", |b| {
        b.iter(|| inventory.apply(black_box(heartbeat.clone())));
    });
    group.finish();
}

/// Returns the median of a benchmark, in nanoseconds; `None` if it did not run.
fn median(group: &str, name: &str) -> Option<f64> {
    let file = Path::new(ESTIMATES).join(group).join(name);
    let text = fs::read_to_string(file.join("new/estimates.json")).ok()?;
    let estimates: Value = serde_json::from_str(&text).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}

fn micros(nanos: Option<f64>) -> String {
    nanos.map_or_else(|| "-".to_owned(), |nanos| format!("{:.2}", nanos / 1e3))
}

fn ratio(of: Option<f64>, to: Option<f64>) -> String {
    let ratio = of.zip(to).map(|(of, to)| of / to);
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
}

fn tables() {
    let mut sizes = Table::new(&["review", "skimmed", "bare", "Value", "whole way", "/ bare"]);
    for size in Size::ALL {
        let of = |name| median(&format!("review {size}"), name);
        let (whole, bare) = (of("whole way"), of("bare borrowed parse"));
        sizes.row([
            size.to_string(),
            micros(of("skimmed")),
            micros(bare),
            micros(of("serde_json Value")),
            micros(whole),
            ratio(whole, bare),
        ]);
    }
    sizes.print("The whole way, by size of the review (µs)");

    let mut steps = Table::new(&["step", "µs", "of the whole way"]);
    let whole = median("review 15.8 KB", "whole way");
    for step in [
        "parse the review",
        "recognise",
        "candidate nodes",
        "decide, with both",
        "inject",
        "patch",
        "write the response",
    ] {
        let nanos = median("step", step);
        steps.row([step.to_owned(), micros(nanos), ratio(nanos, whole)]);
    }
    steps.print("Its steps, 15.8 KB");

    let mut fleets = Table::new(&[
        "nodes, the pod fits",
        "candidates",
        "whole way",
        "/ 10 nodes",
    ]);
    for what in PODS {
        let smallest = median(&format!("10 nodes, {what}"), "whole way");
        for count in FLEETS {
            let group = format!("{count} nodes, {what}");
            let whole = median(&group, "whole way");
            fleets.row([
                group.clone(),
                micros(median(&group, "candidate nodes")),
                micros(whole),
                ratio(whole, smallest),
            ]);
        }
    }
    let churned =
        |count: usize| median(&format!("{count} nodes, any node"), "whole way under churn");
    for count in [10, LARGEST] {
        fleets.row([
            format!("{count} nodes, under churn"),
            "-".to_owned(),
            micros(churned(count)),
            ratio(churned(count), churned(10)),
        ]);
    }
    fleets.print("By size of the cluster (µs)");

    let mut changes = Table::new(&["change among 100,000 nodes", "µs"]);
    for what in ["one node changed", "one heartbeat", "one Node object read"] {
        changes.row([
            what.to_owned(),
            micros(median("change among 100000 nodes", what)),
        ]);
    }
    changes.print("Changes");
}
