//! The parts of a container.

use serde::{Deserialize, de::IgnoredAny};

use super::{
    List, is_same_path,
    json::{Map, Scalar, Str, list, long_list},
    size_limits::{ARGUMENTS, MOUNTS, VARIABLES},
};

/// Parts of a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container<'a> {
    /// `name`, unique in the pod.
    #[serde(borrow)]
    pub name: Str<'a>,
    /// `image`.
    #[serde(borrow)]
    pub image: Option<Str<'a>>,
    /// `command`, which replaces the image's entrypoint.
    #[serde(borrow, default, deserialize_with = "list::<_, _, ARGUMENTS>")]
    pub command: List<Str<'a>>,
    /// `args`, which replace the image's command.
    #[serde(borrow, default, deserialize_with = "list::<_, _, ARGUMENTS>")]
    pub args: List<Str<'a>>,
    /// `env`.
    #[serde(borrow, default, deserialize_with = "long_list::<_, _, VARIABLES>")]
    pub env: List<EnvVar<'a>>,
    /// `volumeMounts`.
    #[serde(borrow, default, deserialize_with = "list::<_, _, MOUNTS>")]
    pub volume_mounts: List<VolumeMount<'a>>,
    /// `resources`.
    #[serde(borrow)]
    pub resources: Option<Resources<'a>>,
    /// `tty`: with a terminal, a shell waits for input.
    pub tty: Option<bool>,
    /// `stdin`: with an input, a shell waits for it.
    pub stdin: Option<bool>,
    /// `lifecycle`.
    #[serde(borrow)]
    pub lifecycle: Option<Lifecycle<'a>>,
    /// `securityContext`.
    pub security_context: Option<ContainerSecurityContext>,
    /// `startupProbe`.
    #[serde(borrow)]
    pub startup_probe: Option<Probe<'a>>,
    /// `restartPolicy`: `Always` makes an init container a native sidecar.
    #[serde(borrow)]
    pub restart_policy: Option<Str<'a>>,
}

impl<'a> Container<'a> {
    /// Returns the variable `name`. Of two with one name the last counts, as for the kubelet.
    #[must_use]
    pub fn env_var(&self, name: &str) -> Option<&EnvVar<'a>> {
        self.env
            .as_deref()?
            .iter()
            .rev()
            .find(|var| var.name.as_str() == name)
    }

    /// Returns the literal value of the variable `name`; `None` also when it has a `valueFrom`.
    #[must_use]
    pub fn env_value(&self, name: &str) -> Option<&str> {
        self.env_var(name)?.value.as_deref()
    }

    /// Returns the mount at `path`, however it is spelled (`/run/`, `//run`; `/var/run` is `/run`).
    #[must_use]
    pub fn mount_at(&self, path: &str) -> Option<&VolumeMount<'a>> {
        let mut mounts = self.mounts().iter();
        mounts.find(|mount| is_same_path(&mount.mount_path, path))
    }

    /// Returns `volumeMounts`, empty when absent.
    #[must_use]
    pub fn mounts(&self) -> &[VolumeMount<'a>] {
        self.volume_mounts.as_deref().unwrap_or_default()
    }

    /// Returns whether this init container is a native sidecar (Kubernetes 1.29 and later).
    #[must_use]
    pub fn is_native_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }

    /// Returns whether it asks for `privileged`.
    #[must_use]
    pub fn is_privileged(&self) -> bool {
        self.security_context
            .as_ref()
            .is_some_and(|context| context.privileged == Some(true))
    }
}

/// Parts of a container's `lifecycle`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lifecycle<'a> {
    /// `postStart`.
    #[serde(borrow)]
    pub post_start: Option<Handler<'a>>,
}

/// A handler of a container's `lifecycle`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Handler<'a> {
    /// `exec`.
    #[serde(borrow)]
    pub exec: Option<ExecAction<'a>>,
}

/// A command that the kubelet runs in the container.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct ExecAction<'a> {
    /// `command`.
    #[serde(borrow, default, deserialize_with = "list::<_, _, ARGUMENTS>")]
    pub command: List<Str<'a>>,
}

/// An entry of `env`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct EnvVar<'a> {
    /// The variable's name.
    #[serde(borrow)]
    pub name: Str<'a>,
    /// Its literal value; absent with `valueFrom`, and where it is empty: the API server leaves an empty one out.
    #[serde(borrow)]
    pub value: Option<Str<'a>>,
    /// `valueFrom`, if there is one.
    #[serde(rename = "valueFrom")]
    pub value_from: Option<IgnoredAny>,
}

impl EnvVar<'_> {
    /// Returns whether the variable is empty, however that is written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.value_from.is_none() && self.value.as_deref().is_none_or(str::is_empty)
    }
}

/// An entry of `volumeMounts`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeMount<'a> {
    /// The volume's name.
    #[serde(borrow)]
    pub name: Str<'a>,
    /// The path in the container.
    #[serde(borrow)]
    pub mount_path: Str<'a>,
    /// The part of the volume that is mounted, if not all of it.
    #[serde(borrow)]
    pub sub_path: Option<Str<'a>>,
    /// The same, with variables of the environment in it.
    #[serde(borrow)]
    pub sub_path_expr: Option<Str<'a>>,
}

/// Parts of a probe. What is absent has the API server's default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe<'a> {
    /// `exec`.
    #[serde(borrow)]
    pub exec: Option<ExecAction<'a>>,
    /// `initialDelaySeconds`.
    pub initial_delay_seconds: Option<i64>,
    /// `periodSeconds`.
    pub period_seconds: Option<i64>,
    /// `timeoutSeconds`.
    pub timeout_seconds: Option<i64>,
    /// `failureThreshold`.
    pub failure_threshold: Option<i64>,
}

/// Parts of a container's `securityContext`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerSecurityContext {
    /// `privileged`.
    pub privileged: Option<bool>,
    /// `runAsUser`.
    pub run_as_user: Option<i64>,
}

/// `resources`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Resources<'a> {
    /// `requests`, by resource name.
    #[serde(borrow)]
    pub requests: Option<Map<'a, Scalar<'a>>>,
    /// `limits`, by resource name.
    #[serde(borrow)]
    pub limits: Option<Map<'a, Scalar<'a>>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_two_variables_with_one_name_counts() {
        let container: Container<'_> = serde_json::from_str(
            r#"{"name":"c","env":[{"name":"A","value":"1"},{"name":"A","value":"2"}]}"#,
        )
        .unwrap();
        assert_eq!(container.env_value("A"), Some("2"));
    }
}
