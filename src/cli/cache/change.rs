//! `slipway cache release` and `slipway cache evict`.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Args;
use futures_util::future::join_all;
use kube::Client;
use serde::Serialize;
use serde_json::json;

use super::survey::list_claims;
use crate::{
    cache_claims::{Done, ManualChanges, Refusal},
    cli::{
        HELD,
        client::{ClientArgs, block_on},
        input::BadInput,
        output::{Format, note, print},
    },
    server::duration,
};

/// Arguments of `release` and `evict`.
#[derive(Debug, Args)]
pub(super) struct ChangeArgs {
    /// Names of claims
    #[arg(value_name = "CLAIM")]
    claims: Vec<String>,

    #[command(flatten)]
    client: ClientArgs,

    /// Their namespace [default: that of the kubeconfig's context]
    #[arg(short, long, value_name = "NAME", env = "SLIPWAY_CACHE_NAMESPACE")]
    namespace: Option<String>,

    /// Also change claims that a live pod uses
    ///
    /// A released claim may be leased to another pod while the first still runs; a deleted claim remains until
    /// its pod is gone. Use it for pods that never end, such as those of a lost node.
    #[arg(long)]
    force: bool,

    /// How long to wait for the pod of a lease to appear: at least the API server's `--request-timeout`
    #[arg(long, value_name = "DURATION", env = "SLIPWAY_CACHE_WAIT", default_value = "75s", value_parser = duration::parse)]
    wait: Duration,

    /// What to print
    #[arg(short, long, value_enum, default_value_t, env = "SLIPWAY_OUTPUT")]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Release,
    Evict,
}

/// What was done with one claim.
#[derive(Debug, Serialize)]
struct Line {
    namespace: String,
    claim: String,
    outcome: Outcome,
    /// Why it was left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Outcome {
    Released,
    WasFree,
    Evicted,
    /// Left alone: a pod uses it.
    Held,
    Failed,
}

pub(super) fn release(args: &ChangeArgs) -> anyhow::Result<ExitCode> {
    run(args, Change::Release, None)
}

pub(super) fn evict(args: &ChangeArgs, key: Option<&str>) -> anyhow::Result<ExitCode> {
    run(args, Change::Evict, key)
}

fn run(args: &ChangeArgs, change: Change, key: Option<&str>) -> anyhow::Result<ExitCode> {
    if args.claims.is_empty() && key.is_none() {
        let or_key = if change == Change::Evict {
            ", or --key"
        } else {
            ""
        };
        let message = format!("no claims given: name them{or_key}; `slipway cache` lists them");
        return Err(BadInput(message).into());
    }
    let lines = block_on(async {
        let client = args.client.client().await?;
        let own = client.default_namespace().to_owned();
        let namespace = args.namespace.clone().unwrap_or(own);
        let names = match key {
            Some(key) => with_key(&client, &namespace, key).await?,
            None => args.claims.clone(),
        };
        let manual = ManualChanges {
            client,
            force: args.force,
            appearance: args.wait,
        };
        // Concurrently, because each may wait for a pod to appear.
        let changes = names
            .iter()
            .map(|name| one(&manual, change, &namespace, name));
        Ok(join_all(changes).await)
    })?;
    print(&match args.output {
        Format::Text => lines.iter().map(Line::text).collect(),
        Format::Json => serde_json::to_string_pretty(&json!({"claims": lines}))? + "\n",
    })?;
    Ok(exit_code(&lines))
}

/// Returns the names of the claims with the layers of a key.
async fn with_key(client: &Client, namespace: &str, key: &str) -> anyhow::Result<Vec<String>> {
    let claims = list_claims(client, Some(namespace)).await;
    let claims = claims.context("failed to list the claims of pools")?;
    let of_key = claims.into_iter().filter(|claim| claim.serves(key));
    Ok(of_key.map(|claim| claim.name).collect())
}

async fn one(manual: &ManualChanges, change: Change, namespace: &str, name: &str) -> Line {
    let waits = || {
        let seconds = manual.appearance.as_secs();
        note(&format!(
            "{namespace}/{name}: it is leased, but no pod uses it yet; waiting up to {seconds} s for the pod to appear"
        ));
    };
    let done = match change {
        Change::Release => manual.release(namespace, name, waits).await,
        Change::Evict => manual.evict(namespace, name, waits).await,
    };
    let (outcome, error) = match done {
        Ok(Done::Released) => (Outcome::Released, None),
        Ok(Done::WasFree) => (Outcome::WasFree, None),
        Ok(Done::Evicted) => (Outcome::Evicted, None),
        Err(refusal) => {
            let held = matches!(refusal, Refusal::Held(_));
            let outcome = if held { Outcome::Held } else { Outcome::Failed };
            (outcome, Some(refusal.to_string()))
        }
    };
    Line {
        namespace: namespace.to_owned(),
        claim: name.to_owned(),
        outcome,
        error,
    }
}

impl Line {
    fn text(&self) -> String {
        let Self {
            namespace, claim, ..
        } = self;
        let why = self.error.as_deref().unwrap_or_default();
        let what = match self.outcome {
            Outcome::Released => "released".to_owned(),
            Outcome::WasFree => "has no lease".to_owned(),
            Outcome::Evicted => "evicted".to_owned(),
            Outcome::Held => format!("left alone: {why} (--force overrides this)"),
            Outcome::Failed => format!("failed: {why}"),
        };
        format!("{namespace}/{claim}: {what}\n")
    }
}

fn exit_code(lines: &[Line]) -> ExitCode {
    let any = |outcome| lines.iter().any(|line| line.outcome == outcome);
    if any(Outcome::Failed) {
        ExitCode::FAILURE
    } else if any(Outcome::Held) {
        ExitCode::from(HELD)
    } else {
        ExitCode::SUCCESS
    }
}
