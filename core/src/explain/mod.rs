//! Evaluates the pods of a manifest: what `slipway inject`, `slipway explain` and the status page
//! have in common.

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

/// The namespace of objects that name none, as in kubectl.
pub const DEFAULT_NAMESPACE: &str = "default";

/// A document of a manifest, with its pods.
#[derive(Debug)]
pub struct Item<'s> {
    /// The file's name.
    pub file: &'s str,
    /// The document itself.
    pub document: Document<'s>,
    /// Its content, with rendered pods in place; `None` for an empty document.
    pub content: Option<Value>,
    /// Its pods.
    pub subjects: Vec<Subject>,
}

/// A pod of a document.
#[derive(Debug)]
pub struct Subject {
    /// Where in the document it is.
    pub location: PodLocation,
    /// The namespace that it is evaluated for.
    pub namespace: String,
    /// The pod as JSON.
    json: String,
}

/// A pod with its evaluation.
#[derive(Debug)]
pub struct EvaluatedPod<'a> {
    /// The pod.
    pub pod: Pod<'a>,
    /// The decision about it, with what follows.
    pub evaluation: Evaluation<'a>,
}

impl<'s> Item<'s> {
    /// Reads the documents of a manifest, YAML or JSON. Pods belong to `namespace`, else to the
    /// namespace that they name, else to `default`.
    ///
    /// # Errors
    /// Returns an error, with its position, if a document or a pod in it is not valid.
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
    /// Evaluates the pod.
    ///
    /// # Errors
    /// Never in practice: the pod was parsed before.
    pub fn evaluate<'a>(
        &'a self,
        cluster: Cluster<'a>,
    ) -> Result<EvaluatedPod<'a>, serde_json::Error> {
        let pod = Pod::parse(self.json.as_bytes())?;
        let evaluation = evaluate(&pod, &self.namespace, cluster);
        Ok(EvaluatedPod { pod, evaluation })
    }

    /// Returns a title such as `Pod ci/abc`.
    #[must_use]
    pub fn title(&self) -> String {
        format!(
            "{} {}/{}",
            self.location.kind, self.namespace, self.location.name
        )
    }
}
