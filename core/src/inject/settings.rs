//! dockerd's settings, as flags and as keys of daemon.json.

use serde_json::{Map, Value, json};

use crate::{
    dockerd::Image,
    policy::{
        Dind, Profile,
        values::{MirrorUrl, Mtu},
    },
};

/// The first version that knows `--default-network-opt`.
const DEFAULT_NETWORK_OPT_SINCE: u32 = 24;
/// What an older dockerd lacks, in words.
pub(super) const MTU_OF_JOB_NETWORKS: &str = "mtu of the networks that jobs create";
const NETWORK_MTU: &str = "com.docker.network.driver.mtu";

/// A setting that has a flag.
pub(super) struct Setting {
    /// The flag, without dashes.
    pub flag: &'static str,
    /// Its values: the flag is given once for each.
    pub values: Vec<String>,
    /// The key of daemon.json, and its value there.
    pub key: &'static str,
    pub json: Value,
}

impl Setting {
    fn one(flag: &'static str, value: String, json: Value) -> Self {
        Self {
            flag,
            values: vec![value],
            key: flag,
            json,
        }
    }

    /// The arguments.
    pub fn args(&self) -> impl Iterator<Item = String> {
        self.values.iter().map(|v| format!("--{}={v}", self.flag))
    }
}

/// The mirrors that answer.
pub(super) fn live_mirrors<'d>(dind: &'d Dind, dead: &[String]) -> Vec<&'d MirrorUrl> {
    let alive = |mirror: &&MirrorUrl| !dead.iter().any(|dead| dead == mirror.as_str());
    dind.registry_mirrors.iter().filter(alive).collect()
}

/// What the profile asks of dockerd that has a flag.
pub(super) fn with_flags(dind: &Dind, dead: &[String]) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mirrors = live_mirrors(dind, dead);
    if !mirrors.is_empty() {
        let values: Vec<String> = mirrors.iter().map(ToString::to_string).collect();
        settings.push(Setting {
            flag: "registry-mirror",
            json: json!(values),
            values,
            key: "registry-mirrors",
        });
    }
    let plain: Vec<String> = mirrors
        .iter()
        .filter(|mirror| mirror.is_plain_http())
        .map(|mirror| mirror.host().to_owned())
        .collect();
    if !plain.is_empty() {
        settings.push(Setting {
            flag: "insecure-registry",
            json: json!(plain),
            values: plain,
            key: "insecure-registries",
        });
    }
    if let Some(Mtu::Bytes(mtu)) = dind.mtu {
        settings.push(Setting::one("mtu", mtu.to_string(), json!(mtu)));
    }
    if let Some(driver) = &dind.storage_driver {
        settings.push(Setting::one(
            "storage-driver",
            driver.clone(),
            json!(driver),
        ));
    }
    if !dind.log_opts.is_empty() {
        settings.push(Setting {
            flag: "log-opt",
            values: dind
                .log_opts
                .iter()
                .map(|(k, v)| format!("{k}={v}"))
                .collect(),
            key: "log-opts",
            json: json!(dind.log_opts),
        });
    }
    settings
}

/// Whether dockerd knows the MTU of networks that jobs create; `false` for an unknown version.
pub(super) fn knows_network_mtu(image: Image<'_>) -> bool {
    match image.docker_major() {
        Some(major) => major >= DEFAULT_NETWORK_OPT_SINCE,
        None => image.is_newest() && image.tag.is_some(),
    }
}

/// The MTU of networks that jobs create, for a dockerd that knows the flag.
pub(super) fn network_mtu(mtu: u16, image: Image<'_>) -> Option<Setting> {
    knows_network_mtu(image).then(|| Setting {
        flag: "default-network-opt",
        values: vec![format!("bridge={NETWORK_MTU}={mtu}")],
        key: "default-network-opts",
        json: json!({"bridge": {NETWORK_MTU: mtu.to_string()}}),
    })
}

/// What the profile asks of dockerd that only daemon.json can say.
pub(super) fn without_flags(profile: &Profile) -> Map<String, Value> {
    let mut config: Map<String, Value> = profile
        .dind
        .daemon_config
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if let Some(size) = &profile.buildkit.gc.keep_storage {
        let gc = json!({"gc": {"enabled": true, "defaultKeepStorage": size}});
        config.insert("builder".to_owned(), gc);
    }
    config
}
