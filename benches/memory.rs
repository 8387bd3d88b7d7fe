//! Memory: the bytes that a node adds to the groups that nodes share, and the allocations of a request.
//!
//! `cargo bench --bench memory` counts bytes and allocations; it measures no time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark that meets the unexpected should stop there"
)]

use std::hint::black_box;

use allocation_counter::measure;
use slipway_core::{
    admission::admit,
    nodes::{Inventory, Snapshot},
};
use slipway_testkit::{
    fleets::{self, cluster_state},
    reviews::{Size, review},
    table::Table,
};

const FLEETS: [usize; 3] = [1_000, 10_000, 100_000];

fn main() {
    let mut nodes = Table::new(&["nodes", "bytes", "bytes a node"]);
    for count in FLEETS {
        let bytes = inventory_bytes(count);
        nodes.row([
            count.to_string(),
            bytes.to_string(),
            format!("{:.0}", bytes as f64 / count as f64),
        ]);
    }
    nodes.print("What all that is kept of the nodes takes");

    let mut requests = Table::new(&["review", "allocations", "bytes", "most at once"]);
    let state = cluster_state(Snapshot::new(fleets::fleet(1_000)));
    for size in Size::ALL {
        let body = review(size);
        let answer = || {
            drop(black_box(
                admit(black_box(&body), state.cluster())
                    .unwrap()
                    .without_lease(),
            ));
        };
        // Warms up: what the first request creates once does not count.
        answer();
        let counted = measure(answer);
        requests.row([
            size.to_string(),
            counted.count_total.to_string(),
            counted.bytes_total.to_string(),
            counted.bytes_max.to_string(),
        ]);
    }
    requests.print("What a request allocates");
}

/// Measures the bytes of an inventory with this many nodes and of its snapshot, which share parts.
fn inventory_bytes(count: usize) -> i64 {
    let mut kept = None;
    let counted = measure(|| {
        let mut inventory = Inventory::default();
        // One after the other, as a watch delivers them, without a list of all.
        for node in fleets::fleet(count) {
            inventory.apply(node);
        }
        let snapshot = inventory.snapshot();
        kept = Some((inventory, snapshot));
    });
    drop(kept);
    counted.bytes_current
}
