//! dockerd's settings, from the profile to flags and daemon.json.
//!
//! One way for a dockerd that the pod brings and for one that is added: what the profile desires,
//! less what the pod settles itself; of the rest, what has a flag becomes arguments, and everything
//! else, or all of it where a script starts dockerd, becomes daemon.json.

use serde_json::{Map, Value, json};

use super::{builder::Builder, target::Target};
use crate::{
    decide::Plan,
    dockerd::{Image, Setting, Settings, command_sets},
    policy::{
        Dind, Profile,
        values::{HubMirror, MirrorUrl, Mtu},
    },
    reason::Reason,
};

/// The first version that knows `--default-network-opt`.
const DEFAULT_NETWORK_OPT_SINCE: u32 = 24;
const NETWORK_MTU: &str = "com.docker.network.driver.mtu";

/// A setting, and the value that the profile gives it.
pub(super) struct Desired {
    setting: Setting,
    /// The flag's values, which is given once for each; empty for what has no flag.
    values: Vec<String>,
    /// The value in daemon.json.
    json: Value,
}

/// How the settings reach dockerd.
#[derive(Default)]
pub(super) struct Delivery {
    flags: Vec<Desired>,
    /// daemon.json; empty for no file.
    file: Map<String, Value>,
}

impl Delivery {
    /// Returns the arguments to add.
    pub fn arguments(&self) -> Vec<String> {
        let arguments = |desired: &Desired| {
            let flag = desired.setting.flag().unwrap_or_default();
            let values = desired.values.iter();
            values
                .map(|value| format!("--{flag}={value}"))
                .collect::<Vec<_>>()
        };
        self.flags.iter().flat_map(arguments).collect()
    }

    /// Returns the flags to which arguments are added.
    pub fn flags(&self) -> Vec<&'static str> {
        let flags = self.flags.iter();
        flags.filter_map(|desired| desired.setting.flag()).collect()
    }

    /// Returns the content of daemon.json; `None` for no file.
    pub fn into_file(self) -> Option<String> {
        (!self.file.is_empty()).then(|| Value::Object(self.file).to_string())
    }
}

/// Who decides on a setting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Settled {
    /// The profile: the pod says nothing, or may be overwritten.
    Open,
    /// Both say the same.
    Same,
    /// The pod.
    ByPod,
}

/// Decides how the profile's settings reach this dockerd, and notes what does not.
pub(super) fn deliver(builder: &mut Builder<'_, '_>, target: &Target<'_>) -> Delivery {
    let plan = builder.plan;
    note_dead_mirrors(builder);
    let mut flags = with_flags(plan);
    keep_what_the_pod_settles(builder, target, &mut flags);
    flags.extend(network_mtu(builder, target, &flags));
    let file: Vec<Desired> = without_flags(plan.profile)
        .filter(|desired| {
            let key = desired.setting.key();
            let is_set = key.is_some_and(|key| target.line.sets_key(key));
            !is_set && !flags.iter().any(|flag| flag.setting.key() == key)
        })
        .collect();

    if flags.is_empty() && file.is_empty() {
        return Delivery::default();
    }
    if let Some(obstacle) = target.obstacle_to_settings() {
        let all = flags.into_iter().chain(file);
        let left_out = all.map(|desired| desired.setting).collect();
        builder.note(obstacle(Settings(left_out)));
        return Delivery::default();
    }
    let (flags, moved) = if target.line.can_grow() {
        (flags, Vec::new())
    } else {
        (Vec::new(), flags)
    };
    let file: Map<String, Value> = file
        .into_iter()
        .chain(moved)
        .filter_map(|desired| Some((desired.setting.key()?.to_owned(), desired.json)))
        .collect();
    if !file.is_empty() && target.image.is_rootless() {
        builder.note(Reason::Rootless(Setting::DaemonJson.into()));
        return Delivery {
            flags,
            file: Map::new(),
        };
    }
    Delivery { flags, file }
}

/// Returns the mirrors of Docker Hub that answer.
pub(super) fn live_mirrors<'d>(dind: &'d Dind, dead: &[String]) -> Vec<&'d MirrorUrl> {
    let mirrors = dind.registry_mirrors.iter().map(HubMirror::url);
    mirrors.filter(|mirror| is_alive(mirror, dead)).collect()
}

/// Returns whether the mirror answers.
pub(super) fn is_alive(mirror: &MirrorUrl, dead: &[String]) -> bool {
    !dead.iter().any(|dead| dead == mirror.as_str())
}

/// Notes the mirrors of Docker Hub that are left out because they do not answer.
pub(super) fn note_dead_mirrors(builder: &mut Builder<'_, '_>) {
    let (plan, mirrors) = (builder.plan, &builder.plan.profile.dind.registry_mirrors);
    for mirror in mirrors.iter().map(HubMirror::url) {
        if !is_alive(mirror, plan.dead_mirrors) {
            builder.note(Reason::MirrorDead(mirror.to_string()));
        }
    }
}

/// Returns whether dockerd knows the MTU of networks that jobs create; `false` for an unknown version.
pub(super) fn knows_network_mtu(image: Image<'_>) -> bool {
    match image.docker_major() {
        Some(major) => major >= DEFAULT_NETWORK_OPT_SINCE,
        None => image.is_newest() && image.tag.is_some(),
    }
}

/// Returns whether the profile sets anything that only daemon.json can.
pub(super) fn needs_file(profile: &Profile) -> bool {
    without_flags(profile).next().is_some()
}

/// Returns what the profile sets by flag.
fn with_flags(plan: &Plan<'_>) -> Vec<Desired> {
    let dind = &plan.profile.dind;
    let mirrors = live_mirrors(dind, plan.dead_mirrors);
    let insecure = mirrors.iter().filter(|mirror| mirror.is_plain_http());
    let insecure: Vec<String> = insecure.map(|mirror| mirror.host().to_owned()).collect();
    let mirrors: Vec<String> = mirrors.iter().map(ToString::to_string).collect();
    let log_opts = dind.log_opts.iter().map(|(k, v)| format!("{k}={v}"));
    let mut all = vec![
        Desired {
            setting: Setting::RegistryMirrors,
            json: json!(mirrors),
            values: mirrors,
        },
        Desired {
            setting: Setting::InsecureRegistries,
            json: json!(insecure),
            values: insecure,
        },
    ];
    if let Some(Mtu::Bytes(mtu)) = dind.mtu {
        all.push(Desired {
            setting: Setting::Mtu,
            values: vec![mtu.to_string()],
            json: json!(mtu),
        });
    }
    if let Some(driver) = &dind.storage_driver {
        all.push(Desired {
            setting: Setting::StorageDriver,
            values: vec![driver.clone()],
            json: json!(driver),
        });
    }
    all.push(Desired {
        setting: Setting::LogOpts,
        values: log_opts.collect(),
        json: json!(dind.log_opts),
    });
    all.retain(|desired| !desired.values.is_empty());
    all
}

/// Returns what the profile sets by daemon.json only.
fn without_flags(profile: &Profile) -> impl Iterator<Item = Desired> {
    let collection = profile.buildkit.gc.keep_storage.as_ref().map(|size| {
        let gc = json!({"gc": {"enabled": true, "defaultKeepStorage": size}});
        ("builder".to_owned(), gc)
    });
    let config = profile.dind.daemon_config.iter();
    config
        .map(|(key, json)| (key.clone(), json.clone()))
        .chain(collection)
        .map(|(key, json)| Desired {
            setting: Setting::DaemonKey(key),
            values: Vec::new(),
            json,
        })
}

/// Drops what the pod settles itself, with a note where it differs.
fn keep_what_the_pod_settles(
    builder: &mut Builder<'_, '_>,
    target: &Target<'_>,
    desired: &mut Vec<Desired>,
) {
    let overwrites = builder.overwrites();
    let mut has_own_mirrors = false;
    desired.retain(|desired| {
        let settled = settled(target, desired, overwrites);
        if settled == Settled::ByPod {
            has_own_mirrors |= desired.setting == Setting::RegistryMirrors;
            builder.note(Reason::PodSets(desired.setting.clone()));
        }
        settled == Settled::Open
    });
    if has_own_mirrors {
        // Only the profile's mirrors are known to be without TLS.
        desired.retain(|desired| desired.setting != Setting::InsecureRegistries);
    }
}

fn settled(target: &Target<'_>, desired: &Desired, overwrites: bool) -> Settled {
    let (Some(flag), Some((_, container))) = (desired.setting.flag(), target.container) else {
        return Settled::Open;
    };
    let line = &target.line;
    let by_other_means = match desired.setting {
        // Options of json-file stop a dockerd with another default driver.
        Setting::LogOpts => {
            line.sets("log-driver") && line.values("log-driver").last() != Some(&"json-file")
        }
        Setting::StorageDriver => container.env_var("DOCKER_DRIVER").is_some(),
        _ => false,
    };
    if by_other_means {
        return Settled::ByPod;
    }
    if !line.sets(flag) {
        return Settled::Open;
    }
    if line.values(flag) == desired.values {
        return Settled::Same;
    }
    // Rewriting `args` does not remove what is in `command`.
    let can_be_removed = line.can_grow() && !line.has_operands() && !command_sets(container, flag);
    if overwrites && can_be_removed {
        Settled::Open
    } else {
        Settled::ByPod
    }
}

/// Returns the MTU of the networks that jobs create, beside a fixed one of the default bridge.
fn network_mtu(
    builder: &mut Builder<'_, '_>,
    target: &Target<'_>,
    flags: &[Desired],
) -> Option<Desired> {
    let Some(Mtu::Bytes(mtu)) = builder.plan.profile.dind.mtu else {
        return None;
    };
    let sets_mtu = flags.iter().any(|desired| desired.setting == Setting::Mtu);
    if !sets_mtu || target.line.sets("default-network-opt") {
        return None;
    }
    if !knows_network_mtu(target.image) {
        builder.note(Reason::DockerTooOld(Setting::NetworkMtu));
        return None;
    }
    Some(Desired {
        setting: Setting::NetworkMtu,
        values: vec![format!("bridge={NETWORK_MTU}={mtu}")],
        json: json!({"bridge": {NETWORK_MTU: mtu.to_string()}}),
    })
}
