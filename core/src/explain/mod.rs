//! What would be done with the pods of a manifest, and why: what `slipway inject`, `slipway explain`
//! and the status page have in common.

pub mod change;
pub mod report;

use serde_json::Value;

use crate::{
    admission::{Evaluation, evaluate},
    decide::Cluster,
    manifest::{
        PodLocation,
        documents::{self, Document, DocumentError},
        type_error::TypeError,
        workload::Workload,
    },
    pod::Pod,
};

/// The namespace of objects that name none, as kubectl has it.
pub const DEFAULT_NAMESPACE: &str = "default";

/// A document of a manifest, with its pods.
#[derive(Debug)]
pub struct Item<'s> {
    /// The file's name.
    pub file: &'s str,
    /// The document.
    pub document: Document<'s>,
    /// Its content with pods in place; `None` for a document without content.
    pub content: Option<Value>,
    /// The pods.
    pub subjects: Vec<Subject>,
}

/// A pod to decide about.
#[derive(Debug)]
pub struct Subject {
    /// Where it stands.
    pub location: PodLocation,
    /// The namespace to decide for.
    pub namespace: String,
    /// The pod as JSON.
    json: String,
}

/// A pod, looked at.
#[derive(Debug)]
pub struct Looked<'a> {
    /// The pod.
    pub pod: Pod<'a>,
    /// What is done with it.
    pub evaluation: Evaluation<'a>,
}

impl<'s> Item<'s> {
    /// The documents of a manifest, YAML or JSON. The pods are looked at in `namespace`, else in
    /// the one that they name, else in `default`.
    ///
    /// # Errors
    /// When a document is neither, or holds a pod that cannot be one; the error says where.
    pub fn read_all(
        file: &'s str,
        text: &'s str,
        namespace: Option<&str>,
    ) -> Result<Vec<Self>, DocumentError> {
        let documents = documents::read(text)?.into_iter();
        let items = documents.map(|document| Self::read(file, document, namespace));
        items.collect()
    }

    fn read(
        file: &'s str,
        mut document: Document<'s>,
        namespace: Option<&str>,
    ) -> Result<Self, DocumentError> {
        let Some(content) = document.value.take() else {
            return Ok(Self {
                file,
                document,
                content: None,
                subjects: Vec::new(),
            });
        };
        let workload = Workload::new(content)
            .map_err(|error| document.error_at(&error.pointer, error.message))?;
        let content = workload.content;
        let mut subjects = Vec::with_capacity(workload.pods.len());
        for location in workload.pods {
            let json = location.pod(&content).to_string();
            if let Err(error) = Pod::parse(json.as_bytes()) {
                let error = TypeError::new(&json, &error);
                let pointer = format!("{}{}", location.pod, error.pointer);
                return Err(document.error_at(&pointer, error.message));
            }
            let namespace = namespace.or(location.namespace.as_deref());
            subjects.push(Subject {
                namespace: namespace.unwrap_or(DEFAULT_NAMESPACE).to_owned(),
                location,
                json,
            });
        }
        Ok(Self {
            file,
            document,
            content: Some(content),
            subjects,
        })
    }
}

impl Subject {
    /// Decides about the pod.
    ///
    /// # Errors
    /// Never: it was read once already.
    pub fn look<'a>(&'a self, cluster: Cluster<'a>) -> Result<Looked<'a>, serde_json::Error> {
        let pod = Pod::parse(self.json.as_bytes())?;
        let evaluation = evaluate(&pod, &self.namespace, cluster);
        Ok(Looked { pod, evaluation })
    }

    /// `Pod ci/abc`.
    #[must_use]
    pub fn title(&self) -> String {
        format!(
            "{} {}/{}",
            self.location.kind, self.namespace, self.location.name
        )
    }
}
