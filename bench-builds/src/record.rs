//! What was measured, one line of JSON a job, so that a run can be broken off and taken up again.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// One job. Times are in seconds, sizes in bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// The name of the strategy.
    pub strategy: String,
    /// The round, from 1.
    pub round: usize,
    /// The job's place in its row, from 1.
    pub job: usize,
    /// From the start of the container to the first answer of dockerd or buildkitd.
    pub ready: f64,
    /// From the start of the container to the end of the build.
    pub wall: f64,
    /// All CPU time of the pod: the daemon, the build, the client, the end of the daemon.
    pub cpu: f64,
    /// The largest working set of the pod.
    pub peak_memory: u64,
    /// The steps of the build.
    pub steps: usize,
    /// Those whose result was there.
    pub hits: usize,
    /// Those that do not depend on what was edited.
    pub can_hit: usize,
    /// The time to pull and unpack the base image.
    pub pull: Option<f64>,
    /// From the upstream registry to the pod.
    pub upstream_to_pod: u64,
    /// From the upstream registry to the mirror.
    pub upstream_to_mirror: u64,
    /// From the mirror to the pod.
    pub mirror_to_pod: u64,
    /// On the disk of the node after the job.
    pub disk: u64,
    /// dockerd's storage driver, or buildkitd's snapshotter.
    pub driver: String,
}

/// The file of records.
pub struct Records {
    path: PathBuf,
    all: Vec<Record>,
}

impl Records {
    /// Those of a file, or none where there is no file yet.
    pub fn open(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines = text.lines().map(serde_json::from_str);
        let all = lines.collect::<Result<_, _>>();
        let all = all.unwrap_or_else(|error| panic!("{}: {error}; delete it", path.display()));
        Self {
            path: path.to_owned(),
            all,
        }
    }

    /// Whether a strategy's row of a round is complete.
    pub fn has(&self, strategy: &str, round: usize, jobs: usize) -> bool {
        let is_of = |record: &&Record| record.strategy == strategy && record.round == round;
        self.all.iter().filter(is_of).count() == jobs
    }

    /// Adds a complete row, at once.
    pub fn add(&mut self, row: Vec<Record>) {
        let lines: String = row
            .iter()
            .map(|record| serde_json::to_string(record).unwrap() + "\n")
            .collect();
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(&self.path)
            .unwrap();
        file.write_all(lines.as_bytes()).unwrap();
        self.all.extend(row);
    }

    /// All of them.
    pub fn all(&self) -> &[Record] {
        &self.all
    }
}
