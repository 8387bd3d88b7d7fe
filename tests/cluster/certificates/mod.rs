//! Certificates against an API server with real versions, at times that the tests choose.

mod cluster;
mod damage;
mod files;
mod install;
mod outages;
mod rotation;
