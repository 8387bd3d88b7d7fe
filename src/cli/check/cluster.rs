//! What `slipway check` sees of a cluster. What it may not see stays unseen, with the reason.

use std::{collections::BTreeMap, time::SystemTime};

use anyhow::Context;
use k8s_openapi::api::{
    admissionregistration::v1::MutatingWebhookConfiguration,
    core::v1::{ConfigMap, PersistentVolumeClaim},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};
use slipway_core::{
    k8s::namespace::Namespaces,
    nodes::NodeObject,
    policy::{Policy, PolicyErrors},
};

use super::CheckArgs;
use crate::cluster::watch;

/// The label of everything that the chart makes.
const OURS: &str = "app.kubernetes.io/part-of=slipway";
const POLICY_KEY: &str = "policy.yaml";
/// More pods of a namespace than this are not looked at.
pub(super) const MAX_PODS: u32 = 500;

/// Something that was read, or why not, in words.
pub(in crate::cli) type Read<T> = Result<T, String>;

/// All that was seen.
#[derive(Debug)]
pub(super) struct Seen {
    /// When it was seen.
    pub(super) now: SystemTime,
    /// Such as `v1.36.2`, and its minor version.
    pub(super) version: (String, u32),
    pub(super) nodes: Read<Vec<NodeObject>>,
    pub(super) namespaces: Read<Namespaces>,
    /// Where the policy is from.
    pub(super) policy_source: String,
    /// The policy; an error when it may not be read.
    pub(super) policy: Read<Result<Policy, PolicyErrors>>,
    /// The webhook configuration's name.
    pub(super) webhook_name: String,
    /// The webhook configuration; `None` when there is none.
    pub(super) webhook: Read<Option<MutatingWebhookConfiguration>>,
    /// The addresses behind the webhook's Service that are ready.
    pub(super) ready: Read<usize>,
    /// The claims of the namespaces that have opted in.
    pub(super) claims: BTreeMap<String, Read<Vec<PersistentVolumeClaim>>>,
    /// The pods of the namespaces that have opted in, as JSON.
    pub(super) pods: BTreeMap<String, Read<Vec<DynamicObject>>>,
}

impl Seen {
    /// The policy, where it was seen and can be used.
    pub(super) fn usable_policy(&self) -> Option<&Policy> {
        self.policy.as_ref().ok()?.as_ref().ok()
    }
}

/// Looks.
///
/// # Errors
/// When there is no API server to ask.
pub(super) async fn look(
    client: Client,
    args: &CheckArgs,
    policy: Option<(String, Policy)>,
) -> anyhow::Result<Seen> {
    let version = client
        .apiserver_version()
        .await
        .context("failed to ask the cluster's API server for its version")?;
    let minor = version.minor.trim_end_matches('+').parse().unwrap_or(0);
    let namespaces = namespaces(&client).await;
    let webhook = webhook(&client, &args.webhook_configuration).await;
    let ready = ready(&client, &webhook).await;
    let (policy_source, policy) = match policy {
        Some((name, policy)) => (name, Ok(Ok(policy))),
        None => installed_policy(&client, &args.namespace).await,
    };
    let (mut claims, mut pods) = (BTreeMap::new(), BTreeMap::new());
    for namespace in namespaces.iter().flat_map(Namespaces::iter) {
        if namespace.is_enabled() {
            let name = &namespace.name;
            claims.insert(name.clone(), list_in(&client, name).await);
            pods.insert(name.clone(), pods_in(&client, name).await);
        }
    }
    Ok(Seen {
        now: SystemTime::now(),
        version: (version.git_version, minor),
        nodes: watch::list_nodes(client).await.map_err(|e| in_words(&e)),
        namespaces,
        policy_source,
        policy,
        webhook_name: args.webhook_configuration.clone(),
        webhook,
        ready,
        claims,
        pods,
    })
}

/// What the API server said, without its JSON.
pub(in crate::cli) fn in_words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}

async fn namespaces(client: &Client) -> Read<Namespaces> {
    watch::list_namespaces(client.clone())
        .await
        .map_err(|error| in_words(&error))
}

async fn webhook(client: &Client, name: &str) -> Read<Option<MutatingWebhookConfiguration>> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    api.get_opt(name).await.map_err(|error| in_words(&error))
}

/// The ready addresses behind the Service that the webhook configuration names.
async fn ready(
    client: &Client,
    webhook: &Read<Option<MutatingWebhookConfiguration>>,
) -> Read<usize> {
    let webhook = webhook.as_ref().ok().and_then(Option::as_ref);
    let service = webhook
        .and_then(|configuration| configuration.webhooks.as_ref()?.first())
        .and_then(|webhook| webhook.client_config.service.as_ref())
        .ok_or_else(|| "no Service is named".to_owned())?;
    let api: Api<EndpointSlice> = Api::namespaced(client.clone(), &service.namespace);
    let of_service = format!("kubernetes.io/service-name={}", service.name);
    let slices = api
        .list(&ListParams::default().labels(&of_service))
        .await
        .map_err(|error| in_words(&error))?;
    let endpoints = slices
        .items
        .iter()
        .flat_map(|slice| slice.endpoints.iter().flatten());
    Ok(endpoints
        .filter(|endpoint| {
            let conditions = endpoint.conditions.as_ref();
            // An unknown state counts as ready, says the API.
            conditions.and_then(|conditions| conditions.ready) != Some(false)
        })
        .map(|endpoint| endpoint.addresses.len())
        .sum())
}

/// The policy of the chart's ConfigMap; the built-in one where there is none.
pub(in crate::cli) async fn installed_policy(
    client: &Client,
    namespace: &str,
) -> (String, Read<Result<Policy, PolicyErrors>>) {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let maps = match api.list(&ListParams::default().labels(OURS)).await {
        Ok(maps) => maps.items,
        Err(error) => return ("policy".to_owned(), Err(in_words(&error))),
    };
    let found = maps.iter().find_map(|map| {
        let text = map.data.as_ref()?.get(POLICY_KEY)?;
        Some((map.name_any(), text))
    });
    match found {
        Some((name, text)) => (
            format!("ConfigMap {namespace}/{name}"),
            Ok(Policy::parse(text)),
        ),
        None => (
            format!("built-in (namespace {namespace} has no ConfigMap with one)"),
            Ok(Ok(Policy::default())),
        ),
    }
}

async fn list_in(client: &Client, namespace: &str) -> Read<Vec<PersistentVolumeClaim>> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let list = api.list(&ListParams::default()).await;
    list.map(|list| list.items)
        .map_err(|error| in_words(&error))
}

/// As objects of no type: typed ones would lose what the API server knows and this version does not.
async fn pods_in(client: &Client, namespace: &str) -> Read<Vec<DynamicObject>> {
    let pod = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &pod);
    let list = api.list(&ListParams::default().limit(MAX_PODS)).await;
    list.map(|list| list.items)
        .map_err(|error| in_words(&error))
}
