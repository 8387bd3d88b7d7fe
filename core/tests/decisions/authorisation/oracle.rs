//! What the policy's text gives, worked out without the crate.

use serde_json::{Value, json};

use super::world::{CUSTOM_SOCKET, LOCAL_CACHE, ROOT, World};

impl World {
    fn label(&self, key: &str) -> Option<&str> {
        self.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// The profile of the namespace, by name, when anything may be done there.
    pub fn profile(&self) -> Option<&str> {
        let protected =
            self.namespace.starts_with("kube-") || self.label("control-plane").is_some();
        let enabled = self.labels.is_none() || self.label("slipway.io/inject") == Some("enabled");
        if protected || !enabled {
            return None;
        }
        for rule in self.policy["namespaces"].as_array().unwrap() {
            let pattern = rule["names"][0].as_str().unwrap();
            let matches = match pattern.strip_suffix('*') {
                Some(prefix) => self.namespace.starts_with(prefix),
                None => self.namespace == pattern,
            };
            if matches {
                return rule["profile"].as_str();
            }
        }
        let name = self.label("slipway.io/profile").unwrap_or("default");
        let profile = self.policy["profiles"].get(name)?;
        (profile["selectable"] != json!(false)).then_some(name)
    }

    pub fn settings(&self) -> &Value {
        self.profile()
            .map_or(&Value::Null, |name| &self.policy["profiles"][name])
    }

    /// Whether any host path or privileged container may be given to the pod.
    pub fn gives_host_access(&self) -> bool {
        let default = self.policy["podSecurityDefault"].as_str().unwrap();
        let level = self.label("pod-security.kubernetes.io/enforce");
        let spec = &self.pod["spec"];
        self.labels.is_some()
            && self.nodes.is_some()
            && self.settings()["hostAccess"] == json!(true)
            && level.unwrap_or(default) == "privileged"
            && spec.get("runtimeClassName").is_none()
            && spec["hostUsers"] != json!(false)
            && !self.is_tied_to_fargate()
    }

    fn is_tied_to_fargate(&self) -> bool {
        let nodes = self.nodes.iter().flatten();
        self.pod["spec"]["nodeSelector"]["pool"] == json!("d")
            && nodes
                .into_iter()
                .any(|node| node["metadata"]["name"] == json!("d"))
    }

    /// Whether a socket of the host may be mounted from this path.
    pub fn gives_socket(&self, path: &str) -> bool {
        let settings = self.settings();
        let of_containerd = (
            "containerd",
            &settings["containerd"]["socketPath"],
            "/run/containerd/containerd.sock",
        );
        let of_docker = (
            "docker-socket",
            &settings["dockerSocket"]["socketPath"],
            "/var/run/docker.sock",
        );
        self.gives_host_access()
            && [of_containerd, of_docker]
                .into_iter()
                .any(|(strategy, given, usual)| {
                    let asked = &settings["strategy"];
                    let at = if *given == json!("auto") {
                        usual
                    } else {
                        CUSTOM_SOCKET
                    };
                    (*asked == json!("auto") || *asked == json!(strategy)) && path == at
                })
    }

    /// Whether the directory of the node holds slots of the pod's own key.
    pub fn gives_slots(&self, path: &str) -> bool {
        let cache = &self.settings()["dind"]["cache"];
        let own = format!("{ROOT}/{}/", self.namespace);
        self.gives_host_access()
            && cache["type"] == json!("nodeSlots")
            && path
                .strip_prefix(&own)
                .is_some_and(|key| self.is_own_key(key, cache))
    }

    pub fn gives_local_cache(&self, path: &str) -> bool {
        self.gives_host_access()
            && self.settings()["buildkit"]["localCache"]["type"] == json!("hostPath")
            && path == format!("{LOCAL_CACHE}/{}", self.namespace)
    }

    /// Whether the cache key is one that the pod's own labels and annotations lead to.
    pub fn is_own_key(&self, key: &str, cache: &Value) -> bool {
        let labels = &self.pod["metadata"]["labels"];
        let of_set = [
            ("actions.github.com/scale-set-name", "arc"),
            ("runner-deployment-name", "deployment"),
            ("runnerset-name", "runnerset"),
            ("project.runner.gitlab.com/id", "gitlab"),
            ("tag.buildkite.com/queue", "buildkite"),
        ]
        .into_iter()
        .any(|(label, word)| {
            let set = labels[label].as_str().unwrap_or_default();
            key == format!("{word}-{set}") && !set.contains(['.', '/'])
        });
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let hashed = key.split_once('.').is_some_and(|(readable, hash)| {
            (1..=40).contains(&readable.len())
                && readable.chars().all(plain)
                && hash.len() == 16
                && hash.chars().all(hex)
        });
        key == "all.pods" || cache["key"] != json!("namespace") && (of_set || hashed)
    }
}
