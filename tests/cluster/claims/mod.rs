//! Pools of claims: the promise that no claim has two live pods, in a model and against an API server
//! with real versions.

mod admissions;
mod command;
mod controller;
mod faults;
mod model;
mod served;

use slipway_testkit::claims as cluster;
