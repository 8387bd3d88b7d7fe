//! Certificates against an API server that compares versions, at times that the tests choose.

mod cluster;
mod damage;
mod files;
mod install;
mod outages;
mod rotation;
