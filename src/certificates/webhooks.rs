//! The webhook configuration in the cluster: reads which CAs it trusts, and writes its caBundle.

use std::time::SystemTime;

use json_patch::{Patch as JsonPatch, jsonptr::PointerBuf};
use k8s_openapi::{
    ByteString, api::admissionregistration::v1::MutatingWebhookConfiguration as Configuration,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{CALL_TIMEOUT, secret::FIELD_MANAGER, x509::Certificate};
use crate::cluster::call::{CallError, within};

/// Access to the webhook configuration.
#[derive(Clone)]
pub(super) struct WebhookStore {
    api: Api<Configuration>,
    name: String,
}

/// The webhook configuration, as far as it could be read.
#[derive(Debug)]
pub(super) enum Registration {
    /// It does not exist: the API server does not call the webhook yet.
    Absent,
    /// It may not be read.
    Forbidden,
    /// It could not be read this time.
    Unknown(CallError),
    /// It exists.
    Present(Trust),
}

/// What its webhooks trust.
#[derive(Debug, Clone)]
pub(super) struct Trust {
    version: String,
    webhooks: Vec<Webhook>,
}

#[derive(Debug, Clone)]
struct Webhook {
    name: String,
    bundle: Vec<u8>,
}

impl WebhookStore {
    pub(super) fn new(client: Client, name: &str) -> Self {
        Self {
            api: Api::all(client),
            name: name.to_owned(),
        }
    }

    /// Reads the webhook configuration.
    pub(super) async fn read(&self) -> Registration {
        let read = self.api.get_opt(&self.name);
        match within(
            CALL_TIMEOUT,
            "read the webhook configuration",
            &self.name,
            read,
        )
        .await
        {
            Ok(None) => Registration::Absent,
            Ok(Some(configuration)) => Registration::Present(Trust::of(configuration)),
            Err(error) if error.code() == Some(403) => Registration::Forbidden,
            Err(error) => Registration::Unknown(error),
        }
    }

    /// Writes the bundle into every webhook, if the configuration has not changed since it was read.
    ///
    /// This is a JSON patch: it fails if the list has changed, touches one field of each webhook, and
    /// never creates or removes anything. A server-side apply would own the entries of the list, and
    /// would create a configuration without rules where none exists.
    ///
    /// # Errors
    /// When the API server refuses the write; 409 and 422 when the configuration changed.
    pub(super) async fn write(&self, read: &Trust, bundle: &str) -> Result<Trust, CallError> {
        let patch = Patch::<Configuration>::Json(read.patch(bundle));
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patched = self.api.patch(&self.name, &parameters, &patch);
        let patched = within(
            CALL_TIMEOUT,
            "update the webhook configuration",
            &self.name,
            patched,
        )
        .await?;
        Ok(Trust::of(patched))
    }
}

impl Trust {
    fn of(configuration: Configuration) -> Self {
        let webhooks = configuration.webhooks.unwrap_or_default().into_iter();
        Self {
            version: configuration.metadata.resource_version.unwrap_or_default(),
            webhooks: webhooks
                .map(|webhook| Webhook {
                    name: webhook.name,
                    bundle: webhook.client_config.ca_bundle.unwrap_or_default().0,
                })
                .collect(),
        }
    }

    /// Returns whether every webhook has exactly this bundle.
    pub(super) fn is(&self, bundle: &str) -> bool {
        let is = |webhook: &Webhook| webhook.bundle == bundle.as_bytes();
        self.webhooks.iter().all(is)
    }

    /// Returns whether every webhook trusts this CA.
    pub(super) fn holds(&self, ca: &Certificate) -> bool {
        self.every_bundle(|bundle| bundle.contains(ca))
    }

    /// Returns whether every webhook trusts this serving certificate.
    pub(super) fn accepts(&self, leaf: &Certificate, now: SystemTime) -> bool {
        self.every_bundle(|bundle| leaf.is_trusted_by(bundle, now))
    }

    fn every_bundle(&self, holds: impl Fn(&[Certificate]) -> bool) -> bool {
        let holds =
            |webhook: &Webhook| holds(&Certificate::read_pem(&webhook.bundle).unwrap_or_default());
        self.webhooks.iter().all(holds)
    }

    fn patch(&self, bundle: &str) -> JsonPatch {
        let bundle = ByteString(bundle.as_bytes().to_vec());
        let mut operations = vec![test(["metadata", "resourceVersion"], &self.version)];
        for (index, webhook) in self.webhooks.iter().enumerate() {
            let index = index.to_string();
            operations.push(test(["webhooks", &index, "name"], &webhook.name));
            // `add` also replaces an existing value.
            operations.push(json_patch::PatchOperation::Add(json_patch::AddOperation {
                path: PointerBuf::from_tokens(["webhooks", &index, "clientConfig", "caBundle"]),
                value: json!(bundle),
            }));
        }
        JsonPatch(operations)
    }
}

fn test<const N: usize>(path: [&str; N], value: &str) -> json_patch::PatchOperation {
    json_patch::PatchOperation::Test(json_patch::TestOperation {
        path: PointerBuf::from_tokens(path),
        value: value.into(),
    })
}
