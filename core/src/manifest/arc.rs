//! The pods that the legacy Actions Runner Controller (`actions.summerwind.dev/v1alpha1`) creates.
//!
//! Sources: `controllers/actions.summerwind.net/runner_controller.go` (`newPod`,
//! `newRunnerPodWithContainerMode`, `mutatePod`), `runnerdeployment_controller.go` and the flag defaults of
//! `main.go` in `actions/actions-runner-controller`, chart 0.23 and application 0.27.6.

use serde_json::{Value, json};

use self::containers::containers;
use self::fields::{Fields, Kind, has_named};

mod containers;
mod fields;
#[cfg(test)]
mod tests;

const DEFAULT_WORK_DIR: &str = "/runner/_work";
const DEFAULT_RUN_SIZE: &str = "1M";

/// The fields of a runner's spec that reach the pod's spec under the same name, in the order in which they are written.
const COPIED: [(&str, Kind); 15] = [
    ("automountServiceAccountToken", Kind::Flag),
    ("imagePullSecrets", Kind::List),
    ("priorityClassName", Kind::Text),
    ("runtimeClassName", Kind::Text),
    ("terminationGracePeriodSeconds", Kind::Integer),
    ("enableServiceLinks", Kind::Flag),
    ("hostAliases", Kind::List),
    ("dnsPolicy", Kind::Text),
    ("dnsConfig", Kind::Object),
    ("nodeSelector", Kind::Object),
    ("tolerations", Kind::List),
    ("affinity", Kind::Object),
    ("topologySpreadConstraints", Kind::List),
    ("securityContext", Kind::Object),
    ("ephemeralContainers", Kind::List),
];

/// The reason why a resource has no runner pod.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArcError {
    /// The legacy controller creates no runner pod from such a resource.
    #[error("expected a RunnerDeployment or a Runner of actions.summerwind.dev, found {found}")]
    NotARunner {
        /// The resource's `apiVersion` and `kind`.
        found: String,
    },
    /// A field is missing, or has a value of the wrong type.
    #[error("{path}: expected {expected}, found {found}")]
    WrongType {
        /// The path of the field in the resource.
        path: String,
        /// The type that the controller reads.
        expected: &'static str,
        /// What was found there.
        found: String,
    },
    /// The types are right, but the controller rejects the values.
    #[error("{path}: {why}")]
    Refused {
        /// The path of the rejected field in the resource.
        path: String,
        /// What the controller wants instead.
        why: &'static str,
    },
}

/// Creates the Pod that the legacy Actions Runner Controller would create from a `RunnerDeployment` or a
/// `Runner`, with the controller's own flags at their defaults.
///
/// Three parts of the real pod are left out: `RUNNER_TOKEN`, a secret that the controller fetches from GitHub
/// and adds to the runner container's env; the template hash labels, which only the controller can compute; and
/// the `preStop` script of the `docker` container, which waits for the runner to finish. The name is that of
/// the `Runner`, or `<deployment>-runner` where the controller would add random letters.
///
/// # Errors
/// When the resource is of another kind, when a field has the wrong type, and when the controller itself
/// would reject it.
pub fn runner_pod(owner: &Value) -> Result<Value, ArcError> {
    let owner = Owner::read(owner)?;
    let settings = Settings::read(&owner)?;
    let (metadata, spec) = (metadata(&owner)?, pod_spec(&owner, &settings)?);
    Ok(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}))
}

/// The parts of the resource: a `Runner` is its own template, a `RunnerDeployment` has one.
struct Owner {
    pod_name: String,
    namespace: Option<String>,
    deployment: Option<String>,
    metadata: Fields,
    spec: Fields,
}

impl Owner {
    fn read(resource: &Value) -> Result<Self, ArcError> {
        let text = |key| {
            resource
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let is_deployment = kind == "RunnerDeployment";
        if !api_version.starts_with("actions.summerwind.dev/")
            || !(is_deployment || kind == "Runner")
        {
            return Err(ArcError::NotARunner {
                found: format!("`{api_version}` `{kind}`"),
            });
        }
        let top = Fields::new("", resource)?;
        let metadata = top.required_object("metadata")?;
        let name = metadata.required_text("name")?.to_owned();
        let namespace = metadata.text("namespace")?.map(str::to_owned);
        if !is_deployment {
            return Ok(Self {
                pod_name: name,
                namespace,
                deployment: None,
                metadata,
                spec: top.required_object("spec")?,
            });
        }
        let template = top.required_object("spec")?.required_object("template")?;
        Ok(Self {
            pod_name: format!("{name}-runner"),
            namespace,
            deployment: Some(name),
            metadata: template.object("metadata")?,
            spec: template.required_object("spec")?,
        })
    }
}

/// The container that runs dockerd.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dockerd {
    Sidecar,
    InRunner,
    Nowhere,
}

/// The fields of the spec that several parts of the pod depend on.
struct Settings {
    dockerd: Dockerd,
    kubernetes_mode: bool,
    work_dir: String,
    mtu: Option<i64>,
    mirror: Option<String>,
    se_linux: Option<Value>,
}

impl Settings {
    fn read(owner: &Owner) -> Result<Self, ArcError> {
        let spec = &owner.spec;
        let kubernetes_mode = spec.text("containerMode")? == Some("kubernetes");
        let in_runner = spec.flag("dockerdWithinRunnerContainer")?.unwrap_or(false);
        let enabled = spec.flag("dockerEnabled")?.unwrap_or(true);
        let dockerd = match (kubernetes_mode, in_runner, enabled) {
            (false, true, _) => Dockerd::InRunner,
            (false, false, true) => Dockerd::Sidecar,
            _ => Dockerd::Nowhere,
        };
        Ok(Self {
            dockerd,
            kubernetes_mode,
            work_dir: spec.text("workDir")?.unwrap_or(DEFAULT_WORK_DIR).to_owned(),
            mtu: spec.integer("dockerMTU")?,
            mirror: spec.text("dockerRegistryMirror")?.map(str::to_owned),
            se_linux: spec
                .object("securityContext")?
                .get("seLinuxOptions", Kind::Object)?
                .cloned(),
        })
    }

    fn privileged(&self) -> bool {
        self.se_linux.is_none()
    }

    fn work_mount(&self) -> Value {
        json!({"name": "work", "mountPath": self.work_dir})
    }
}

fn metadata(owner: &Owner) -> Result<Value, ArcError> {
    let mut labels = owner.metadata.object("labels")?;
    if let Some(deployment) = &owner.deployment {
        labels.set("runner-deployment-name", json!(deployment));
    }
    labels.set("actions-runner", json!(""));
    labels.set(
        "actions-runner-controller/inject-registration-token",
        json!("true"),
    );

    let mut annotations = owner.metadata.object("annotations")?;
    let credentials = owner
        .spec
        .object("githubAPICredentialsFrom")?
        .object("secretRef")?;
    if let Some(secret) = credentials.text("name")? {
        annotations.set("actions-runner/github-api-creds-secret", json!(secret));
    }

    let mut metadata = Fields::new("metadata", &json!({"name": owner.pod_name}))?;
    metadata.fill(
        "namespace",
        owner.namespace.as_ref().map(|namespace| json!(namespace)),
    );
    metadata.set("labels", labels.into_value(&[]));
    metadata.fill("annotations", Some(annotations.into_value(&[])));
    Ok(metadata.into_value(&[]))
}

fn pod_spec(owner: &Owner, settings: &Settings) -> Result<Value, ArcError> {
    let spec = &owner.spec;
    let mut pod = Fields::new("spec", &json!({"restartPolicy": "Never"}))?;
    match spec.text("serviceAccountName")? {
        Some(name) => pod.set("serviceAccountName", json!(name)),
        None if settings.kubernetes_mode => pod.set("serviceAccountName", json!(owner.pod_name)),
        None => {}
    }
    for (key, kind) in COPIED {
        pod.fill_from(key, spec, key, kind)?;
    }
    let mut containers = containers(owner, settings)?;
    containers.extend(spec.list("sidecarContainers")?);
    pod.append("initContainers", spec.list("initContainers")?)?;
    pod.append("containers", containers)?;
    pod.append("volumes", volumes(spec, settings)?)?;
    Ok(pod.into_value(&[]))
}

fn volumes(spec: &Fields, settings: &Settings) -> Result<Vec<Value>, ArcError> {
    let mut volumes = Vec::new();
    if settings.kubernetes_mode {
        volumes.push(work_claim(spec)?);
    }
    if !spec.is_zero_quantity("volumeSizeLimit")? {
        let mut scratch = Fields::new("emptyDir", &json!({}))?;
        scratch.fill_from("medium", spec, "volumeStorageMedium", Kind::Text)?;
        scratch.fill_from("sizeLimit", spec, "volumeSizeLimit", Kind::Quantity)?;
        volumes.push(json!({"name": "runner", "emptyDir": scratch.into_value(&[])}));
    } else if settings.dockerd == Dockerd::Sidecar {
        return Err(spec.refuse(
            "volumeSizeLimit",
            "the docker container needs the runner's volume, so it cannot be zero",
        ));
    }
    if settings.dockerd == Dockerd::Sidecar {
        let size = spec
            .get("dockerVarRunVolumeSizeLimit", Kind::Quantity)?
            .cloned();
        let size = size.unwrap_or_else(|| json!(DEFAULT_RUN_SIZE));
        volumes.push(json!({"name": "work", "emptyDir": {}}));
        volumes
            .push(json!({"name": "var-run", "emptyDir": {"medium": "Memory", "sizeLimit": size}}));
    }
    let own = spec.list("volumes")?;
    if has_named(&own, "work") {
        if settings.kubernetes_mode {
            return Err(spec.refuse(
                "volumes",
                "container mode kubernetes takes `work` from workVolumeClaimTemplate",
            ));
        }
        volumes.retain(|volume| !has_named(std::slice::from_ref(volume), "work"));
    }
    volumes.extend(own);
    Ok(volumes)
}

fn work_claim(spec: &Fields) -> Result<Value, ArcError> {
    let template = spec.object("workVolumeClaimTemplate")?;
    if template.is_empty() {
        return Err(spec.refuse(
            "workVolumeClaimTemplate",
            "container mode kubernetes needs it",
        ));
    }
    let mut claim = Fields::new(
        "spec",
        &json!({"accessModes": template.list("accessModes")?}),
    )?;
    claim.fill_from(
        "storageClassName",
        &template,
        "storageClassName",
        Kind::Text,
    )?;
    claim.fill_from("resources", &template, "resources", Kind::Object)?;
    let claim = claim.into_value(&[]);
    Ok(json!({"name": "work", "ephemeral": {"volumeClaimTemplate": {"spec": claim}}}))
}
