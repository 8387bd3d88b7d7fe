//! The webhook configuration in the cluster: whom it trusts, and the write that mends that.

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

use super::{
    error::{ApiError, within},
    secret::FIELD_MANAGER,
    x509::Certificate,
};

/// The webhook configuration of this name.
#[derive(Clone)]
pub(super) struct WebhookStore {
    api: Api<Configuration>,
    name: String,
}

/// Whom the API server trusts, as last seen.
#[derive(Debug)]
pub(super) enum Seen {
    /// There is no such configuration: nobody asks yet.
    Absent,
    /// It may not be read.
    Forbidden,
    /// It could not be read this time.
    Unknown(ApiError),
    /// It is there.
    Present(Trust),
}

/// What its webhooks say.
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

    /// Looks.
    pub(super) async fn read(&self) -> Seen {
        let read = self.api.get_opt(&self.name);
        match within("read the webhook configuration", &self.name, read).await {
            Ok(None) => Seen::Absent,
            Ok(Some(configuration)) => Seen::Present(Trust::of(configuration)),
            Err(error) if error.code() == Some(403) => Seen::Forbidden,
            Err(error) => Seen::Unknown(error),
        }
    }

    /// Has every webhook trust this bundle, if the configuration is still what was seen.
    ///
    /// A JSON patch, because it fails when the list changed meanwhile, touches one field of each
    /// webhook, and never creates or takes anything else. An apply would own the entries of the
    /// list, and would make a configuration without rules where there is none.
    ///
    /// # Errors
    /// When the API server refuses; 409 and 422 when the configuration changed.
    pub(super) async fn write(&self, seen: &Trust, bundle: &str) -> Result<Trust, ApiError> {
        let patch = Patch::<Configuration>::Json(seen.patch(bundle));
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patched = self.api.patch(&self.name, &parameters, &patch);
        let patched = within("update the webhook configuration", &self.name, patched).await?;
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

    /// Whether every webhook has exactly this bundle.
    pub(super) fn is(&self, bundle: &str) -> bool {
        let is = |webhook: &Webhook| webhook.bundle == bundle.as_bytes();
        self.webhooks.iter().all(is)
    }

    /// Whether every webhook trusts this CA.
    pub(super) fn holds(&self, ca: &Certificate) -> bool {
        self.every_bundle(|bundle| bundle.contains(ca))
    }

    /// Whether every webhook accepts this serving certificate.
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
            // It replaces what is there, too.
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
