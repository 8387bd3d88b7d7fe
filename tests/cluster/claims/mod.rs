//! Cache pools: no claim ever has two live pods, neither in a model nor against an API server that
//! compares versions.

mod admissions;
mod command;
mod controller;
mod faults;
mod forged;
mod model;
mod served;
mod world;

use slipway_testkit::claims as cluster;
