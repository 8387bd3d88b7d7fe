//! The survey of a cluster by `slipway check`. What the command may not read is left out, with the reason.

use std::{collections::BTreeMap, time::SystemTime};

use anyhow::Context;
use k8s_openapi::api::{
    admissionregistration::v1::MutatingWebhookConfiguration, core::v1::PersistentVolumeClaim,
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};
use slipway_core::{k8s::namespace::Namespaces, nodes::NodeObject, policy::Policy};

use super::CheckArgs;
use crate::{
    cli::queries::{Answer, SourcedPolicy, in_words},
    cluster::watch,
};

/// The most pods of a namespace that are checked.
pub(super) const MAX_PODS: u32 = 500;

/// What was found in a cluster.
#[derive(Debug)]
pub(super) struct Survey {
    /// When it was taken.
    pub(super) now: SystemTime,
    pub(super) version: KubernetesVersion,
    pub(super) nodes: Answer<Vec<NodeObject>>,
    pub(super) namespaces: Answer<Namespaces>,
    pub(super) policy: SourcedPolicy,
    /// The webhook configuration's name.
    pub(super) webhook_name: String,
    /// The webhook configuration; `None` when there is none.
    pub(super) webhook: Answer<Option<MutatingWebhookConfiguration>>,
    /// The number of ready addresses behind the webhook's Service.
    pub(super) ready: Answer<usize>,
    /// The claims of the namespaces that have opted in.
    pub(super) claims: BTreeMap<String, Answer<Vec<PersistentVolumeClaim>>>,
    /// The pods of the namespaces that have opted in, as JSON.
    pub(super) pods: BTreeMap<String, Answer<Vec<DynamicObject>>>,
}

/// The version of the API server.
#[derive(Debug)]
pub(super) struct KubernetesVersion {
    /// Such as `v1.36.2`.
    pub(super) text: String,
    pub(super) minor: u32,
}

impl Survey {
    /// Returns the policy, if it could be read and is valid.
    pub(super) fn usable_policy(&self) -> Option<&Policy> {
        self.policy.result.as_ref().ok()?.as_ref().ok()
    }
}

/// Surveys a cluster. A `policy` from a file replaces the installed one.
///
/// # Errors
/// When the API server cannot be reached.
pub(super) async fn survey(
    client: Client,
    args: &CheckArgs,
    policy: Option<SourcedPolicy>,
) -> anyhow::Result<Survey> {
    let version = client
        .apiserver_version()
        .await
        .context("failed to ask the cluster's API server for its version")?;
    let minor = version.minor.trim_end_matches('+').parse().unwrap_or(0);
    let namespaces = namespaces(&client).await;
    let webhook = webhook(&client, &args.webhook_configuration).await;
    let ready = ready(&client, &webhook).await;
    let policy = match policy {
        Some(policy) => policy,
        None => SourcedPolicy::installed(&client, &args.namespace).await,
    };
    let (mut claims, mut pods) = (BTreeMap::new(), BTreeMap::new());
    for namespace in namespaces.iter().flat_map(Namespaces::iter) {
        if namespace.is_enabled() {
            let name = &namespace.name;
            claims.insert(name.clone(), list_in(&client, name).await);
            pods.insert(name.clone(), pods_in(&client, name).await);
        }
    }
    Ok(Survey {
        now: SystemTime::now(),
        version: KubernetesVersion {
            text: version.git_version,
            minor,
        },
        nodes: watch::list_nodes(client).await.map_err(|e| in_words(&e)),
        namespaces,
        policy,
        webhook_name: args.webhook_configuration.clone(),
        webhook,
        ready,
        claims,
        pods,
    })
}

async fn namespaces(client: &Client) -> Answer<Namespaces> {
    watch::list_namespaces(client.clone())
        .await
        .map_err(|error| in_words(&error))
}

async fn webhook(client: &Client, name: &str) -> Answer<Option<MutatingWebhookConfiguration>> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    api.get_opt(name).await.map_err(|error| in_words(&error))
}

/// Counts the ready addresses behind the Service that the webhook configuration names.
async fn ready(
    client: &Client,
    webhook: &Answer<Option<MutatingWebhookConfiguration>>,
) -> Answer<usize> {
    let webhook = webhook.as_ref().ok().and_then(Option::as_ref);
    let service = webhook
        .and_then(|configuration| configuration.webhooks.as_ref()?.first())
        .and_then(|webhook| webhook.client_config.service.as_ref())
        .ok_or_else(|| "it names no Service".to_owned())?;
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
            // The API says that an unknown state counts as ready.
            conditions.and_then(|conditions| conditions.ready) != Some(false)
        })
        .map(|endpoint| endpoint.addresses.len())
        .sum())
}

async fn list_in(client: &Client, namespace: &str) -> Answer<Vec<PersistentVolumeClaim>> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let list = api.list(&ListParams::default()).await;
    list.map(|list| list.items)
        .map_err(|error| in_words(&error))
}

/// Lists pods as untyped objects. Typed ones would lose the fields that this version does not know.
async fn pods_in(client: &Client, namespace: &str) -> Answer<Vec<DynamicObject>> {
    let pod = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &pod);
    let list = api.list(&ListParams::default().limit(MAX_PODS)).await;
    list.map(|list| list.items)
        .map_err(|error| in_words(&error))
}
