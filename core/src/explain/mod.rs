//! Evaluates the pods of a manifest, for `slipway inject`, `slipway explain` and the status page.

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
    reason::Reason,
    recognise::{Dockerd, RunnerPod},
};

/// The namespace of objects that do not set one, as in kubectl.
pub const DEFAULT_NAMESPACE: &str = "default";

/// A document of a manifest, with its pods.
#[derive(Debug)]
pub struct Item<'s> {
    /// The file's name.
    pub file: &'s str,
    /// The document itself.
    pub document: Document<'s>,
    /// Its content, including the pods that were rendered from it; `None` for an empty document.
    pub content: Option<Value>,
    /// Its pods.
    pub subjects: Vec<Subject>,
}

/// A pod of a document.
#[derive(Debug)]
pub struct Subject {
    /// Its location in the document.
    pub location: PodLocation,
    /// The namespace in which it is evaluated.
    pub namespace: String,
    /// The pod as JSON.
    json: String,
}

/// A pod and its evaluation.
#[derive(Debug)]
pub struct EvaluatedPod<'a> {
    /// The pod.
    pub pod: Pod<'a>,
    /// The decision about it, and the changes.
    pub evaluation: Evaluation<'a>,
}

impl<'s> Item<'s> {
    /// Parses the documents of a manifest, which may be YAML or JSON. The namespace of the pods is
    /// `namespace` if given, else the one that they set, else `default`.
    ///
    /// # Errors
    /// Returns an error with its position if a document or one of its pods is invalid.
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

/// Returns the name of the claim that the pod itself mounts on dockerd's data-root. All pods of one template have
/// the same one.
fn shared_claim<'p>(pod: &'p Pod<'_>, runner: Option<&RunnerPod<'_>>) -> Option<&'p str> {
    let (Dockerd::Sidecar(at) | Dockerd::InRunner(at)) = runner?.dockerd else {
        return None;
    };
    let mount = pod.container(at)?.mount_at("/var/lib/docker")?;
    let mut volumes = pod.volumes().iter();
    let volume = volumes.find(|volume| volume.name.as_str() == mount.name.as_str())?;
    Some(&volume.persistent_volume_claim.as_ref()?.claim_name)
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
        let mut evaluation = evaluate(&pod, &self.namespace, cluster);
        if self.location.replicas.is_some_and(|replicas| replicas > 1)
            && let Some(claim) = shared_claim(&pod, evaluation.decision.runner.as_ref())
        {
            let reason = Reason::ClaimMayBeShared(claim.to_owned());
            evaluation.notes.push(reason);
        }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{k8s::namespace::Namespaces, nodes::Snapshot, policy::Policy};

    #[test]
    fn a_runner_pod_in_a_protected_namespace_is_a_runner_pod() {
        let manifest = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a", "namespace": "kube-system", "labels": {"actions-runner": ""}},
            "spec": {"containers": [{"name": "runner"}]}})
        .to_string();
        let items = Item::read_all("a.yaml", &manifest, None).unwrap();
        let subject = items.first().unwrap().subjects.first().unwrap();
        let (namespaces, policy) = (Namespaces::default(), Policy::default());
        let cluster = Cluster {
            nodes: None,
            namespaces: &namespaces,
            policy: &policy,
            dead_mirrors: &[],
            claims: None,
        };
        let evaluated = subject.evaluate(cluster).unwrap();
        let report = report::Report::new("a.yaml", subject, &evaluated, cluster);
        assert_eq!(report.system, Some("arc-legacy"));
        let reason = report.reason.map(|reason| reason.code);
        assert_eq!(reason, Some("namespace-protected"));
    }

    fn notes_of(replicas: u32) -> Vec<&'static str> {
        let manifest = json!({
            "apiVersion": "actions.summerwind.dev/v1alpha1", "kind": "RunnerDeployment",
            "metadata": {"name": "a", "namespace": "ci"},
            "spec": {"replicas": replicas, "template": {"spec": {
                "repository": "a/b",
                "dockerVolumeMounts": [{"name": "layers", "mountPath": "/var/lib/docker"}],
                "volumes": [{"name": "layers", "persistentVolumeClaim": {"claimName": "layers"}}]}}}})
        .to_string();
        let items = Item::read_all("a.yaml", &manifest, None).unwrap();
        let subject = items.first().unwrap().subjects.first().unwrap();
        let (nodes, namespaces, policy) = (
            Snapshot::default(),
            Namespaces::default(),
            Policy::default(),
        );
        let cluster = Cluster {
            nodes: Some(&nodes),
            namespaces: &namespaces,
            policy: &policy,
            dead_mirrors: &[],
            claims: None,
        };
        let evaluated = subject.evaluate(cluster).unwrap();
        evaluated
            .evaluation
            .notes
            .iter()
            .map(Reason::code)
            .collect()
    }

    #[test]
    fn a_claim_of_several_replicas_is_told() {
        assert!(notes_of(2).contains(&"claim-may-be-shared"));
        assert!(!notes_of(1).contains(&"claim-may-be-shared"));
    }
}
