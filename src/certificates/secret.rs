//! The Secret in the cluster: reads, creates and replaces it, by compared versions.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, api::PostParams};

use super::{
    CALL_TIMEOUT,
    material::{Data, Flaw, Material},
};
use crate::cluster::call::{CallError, within};

/// The field manager of all writes.
pub(super) const FIELD_MANAGER: &str = "slipway-certificates";
const KIND: &str = "kubernetes.io/tls";

/// Access to the Secret.
#[derive(Clone)]
pub(super) struct SecretStore {
    api: Api<Secret>,
    name: String,
}

/// The Secret as it was read, and its contents.
#[derive(Clone)]
pub(super) struct Stored {
    secret: Secret,
    pub(super) material: Material,
    pub(super) flaws: Vec<Flaw>,
}

impl From<Secret> for Stored {
    fn from(secret: Secret) -> Self {
        let nothing = Data::new();
        let (material, flaws) = Material::read(secret.data.as_ref().unwrap_or(&nothing));
        Self {
            secret,
            material,
            flaws,
        }
    }
}

impl SecretStore {
    pub(super) fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
        }
    }

    /// Reads the Secret.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) async fn read(&self) -> Result<Option<Stored>, CallError> {
        let read = self.api.get_opt(&self.name);
        let secret = within(CALL_TIMEOUT, "read the Secret", &self.name, read).await?;
        Ok(secret.map(Stored::from))
    }

    /// Replaces what was read before. Returns `None` if somebody else wrote first: the caller then
    /// starts again from what they wrote.
    ///
    /// # Errors
    /// When the API server refuses the write.
    pub(super) async fn write(
        &self,
        read: Option<Stored>,
        material: &Material,
    ) -> Result<Option<Stored>, CallError> {
        let exists = read.is_some();
        let mut secret = read.map_or_else(|| self.empty(), |stored| stored.secret);
        material.write(secret.data.get_or_insert_default());
        secret.metadata.managed_fields = None;
        let parameters = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let written = if exists {
            let replaced = self.api.replace(&self.name, &parameters, &secret);
            within(CALL_TIMEOUT, "update the Secret", &self.name, replaced).await
        } else {
            let created = self.api.create(&parameters, &secret);
            within(CALL_TIMEOUT, "create the Secret", &self.name, created).await
        };
        match written {
            Ok(secret) => Ok(Some(secret.into())),
            // 404: the Secret was deleted in the meantime.
            Err(error) if matches!(error.code(), Some(404 | 409)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn empty(&self) -> Secret {
        let labels = [
            ("app.kubernetes.io/name", "slipway"),
            ("app.kubernetes.io/managed-by", "slipway"),
        ];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Secret {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(BTreeMap::from(labels)),
                ..ObjectMeta::default()
            },
            type_: Some(KIND.to_owned()),
            ..Secret::default()
        }
    }
}
