//! What a policy file must fulfil beyond the form of its single values: one validator per concern, each of
//! which reports all that it finds.

mod caches;
mod claim_pool;
mod containerd;
mod daemon_config;
mod host_directories;
mod mirrors;
mod namespaces;
mod recognisers;
mod resources;
mod sizes;
mod variables;
mod warnings;

use super::{PolicyFile, key_path::KeyPath};

pub(super) use warnings::warnings;

/// What the validators found: messages by the paths of their keys.
#[derive(Default)]
pub(super) struct Findings(Vec<(KeyPath, String)>);

impl Findings {
    /// Adds a finding about the key at `path`.
    fn add(&mut self, path: KeyPath, message: impl Into<String>) {
        self.0.push((path, message.into()));
    }

    /// Adds a finding about the key at `path` unless `holds`.
    fn expect(&mut self, holds: bool, path: KeyPath, message: impl Into<String>) {
        if !holds {
            self.add(path, message);
        }
    }
}

impl IntoIterator for Findings {
    type Item = (KeyPath, String);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Checks a policy file.
pub(super) fn check(file: &PolicyFile) -> Findings {
    let mut findings = Findings::default();
    let root = KeyPath::default();
    for (name, profile) in &file.profiles {
        let path = root.at("profiles").key(name);
        caches::check(&path.at("dind.cache"), &profile.dind.cache, &mut findings);
        caches::check_buildkitd(&path, profile, &mut findings);
        claim_pool::check(&path.at("dind.cache"), name, &profile.dind, &mut findings);
        containerd::check(&path, profile, &mut findings);
        daemon_config::check(&path.at("dind"), &profile.dind, &mut findings);
        mirrors::check(&path.at("dind"), &profile.dind, &mut findings);
        resources::check(&path, profile, &mut findings);
        sizes::check(&path, profile, &mut findings);
        variables::check(&path, profile, &mut findings);
    }
    host_directories::check(&root.at("profiles"), &file.profiles, &mut findings);
    namespaces::check(&root.at("namespaces"), file, &mut findings);
    recognisers::check(&root.at("recognisers"), &file.recognisers, &mut findings);
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Policy;

    fn refusal(yaml: &str) -> String {
        Policy::parse(yaml).unwrap_err().to_string()
    }

    /// Checks that the text is refused with one error only, which begins so, after its position.
    fn refuses(yaml: &str, beginning: &str) {
        let errors = Policy::parse(yaml).unwrap_err();
        let [error] = errors.all() else {
            panic!("{yaml}\n{errors:#?}");
        };
        let text = error.to_string();
        let text = text.split_once(": ").map_or("", |(_, rest)| rest);
        assert!(text.starts_with(beginning), "{yaml}\n{error}");
    }

    #[test]
    fn an_unknown_key_is_reported_with_its_place_and_the_nearest_known_one() {
        assert_eq!(
            refusal("profiles:\n  default:\n    dind:\n      mtuu: 1400\n"),
            "line 4, column 7: unknown key `mtuu`; did you mean `mtu`?"
        );
    }

    #[test]
    fn bad_values_are_refused_with_their_lines() {
        for (yaml, line, word) in [
            ("profiles:\n  a:\n    strategy: fastest\n", 3, "auto"),
            (
                "profiles:\n  a:\n    dind:\n      resources: {requests: {cpu: lots}}\n",
                4,
                "quantity",
            ),
            (
                "profiles:\n  a:\n    dind:\n      registryMirrors: [mirror.gcr.io]\n",
                4,
                "https://",
            ),
            (
                "profiles:\n  a:\n    containerd: {socketPath: run/x.sock}\n",
                3,
                "start with `/`",
            ),
            (
                "profiles:\n  a:\n    hostAccess: maybe\n",
                3,
                "true or false",
            ),
            ("profiles:\n  a:\n    dind: {mtu: big}\n", 3, "`auto`"),
            ("profiles:\n  a:\n    dind: {mtu: 70000}\n", 3, "65535"),
            ("profiles: [\n", 1, "mapping"),
            ("profiles: b: c\n", 1, "mapping"),
        ] {
            let message = refusal(yaml);
            assert!(message.contains(&format!("line {line}")), "{yaml}{message}");
            assert!(message.contains(word), "{yaml}{message}");
        }
    }

    /// Policies with one contradiction each, and the path of its key.
    const CONTRADICTIONS: &[(&str, &str)] = &[
        ("profiles: {a: {dind: {mtu: 100}}}", "profiles.a.dind.mtu"),
        (
            "profiles: {a: {dind: {daemonConfig: {mtu: 1400}}}}",
            "profiles.a.dind.daemonConfig.mtu",
        ),
        (
            "profiles: {a: {dind: {daemonConfig: {log-driver: journald}}}}",
            "profiles.a.dind.daemonConfig.log-driver",
        ),
        (
            "profiles: {a: {dind: {cache: {type: nodeSlots, slots: 0}}}}",
            "profiles.a.dind.cache.slots",
        ),
        (
            "profiles: {a: {dind: {cache: {type: nodeSlots, key: label}}}}",
            "profiles.a.dind.cache.keyLabel",
        ),
        (
            "profiles: {a: {dind: {cache: {type: nodeSlots, keyLabel: example.com/repo}}}}",
            "profiles.a.dind.cache.keyLabel",
        ),
        (
            "profiles: {a: {dind: {cache: {type: pool, claims: 0}}}}",
            "profiles.a.dind.cache.claims",
        ),
        (
            "profiles: {a: {dind: {cache: {type: pool, claims: 2, minFree: 3}}}}",
            "profiles.a.dind.cache.minFree",
        ),
        (
            "profiles: {a: {dind: {cache: {type: pool, accessMode: ReadWriteMany}}}}",
            "profiles.a.dind.cache.accessMode",
        ),
        (
            "profiles: {a: {dind: {cache: {type: pool, key: label}}}}",
            "profiles.a.dind.cache.keyLabel",
        ),
        (
            "profiles: {a: {dind: {cache: {type: pool, labels: {slipway.io/pool: b}}}}}",
            "profiles.a.dind.cache.labels.slipway.io/pool",
        ),
        (
            "profiles: {Fast: {dind: {cache: {type: pool}}}}",
            "profiles.Fast.dind.cache.type",
        ),
        (
            "profiles: {a: {containerd: {buildkitd: {cache: {type: nodeSlots, slots: 65}}}}}",
            "profiles.a.containerd.buildkitd.cache.slots",
        ),
        (
            "profiles: {a: {containerd: {buildkitd: {cache: {type: pool}}}}}",
            "profiles.a.containerd.buildkitd.cache.type",
        ),
        (
            "profiles: {a: {containerd: {buildkitd: {cache: {type: ephemeral, size: 0}}}}}",
            "profiles.a.containerd.buildkitd.cache.size",
        ),
        (
            "profiles: {a: {containerd: {namespace: k8s.io}}}",
            "profiles.a.containerd.namespace",
        ),
        (
            "profiles: {a: {dind: {resources: {requests: {cpu: 2}, limits: {cpu: 1}}}}}",
            "profiles.a.dind.resources.requests.cpu",
        ),
        (
            "profiles: {a: {buildkit: {gc: {keepStorage: much}}}}",
            "profiles.a.buildkit.gc.keepStorage",
        ),
        (
            "profiles: {a: {buildkit: {env: {'A=B': x}}}}",
            "profiles.a.buildkit.env.A=B",
        ),
        (
            "profiles: {a: {dind: {resources: {requests: {cpus: 1}}}}}",
            "profiles.a.dind.resources.requests.cpus",
        ),
        (
            "profiles: {a: {containerd: {supplementalGroups: [-1]}}}",
            "profiles.a.containerd.supplementalGroups[0]",
        ),
        (
            "profiles: {a: {buildkit: {env: {'1 B': x}}}}",
            "profiles.a.buildkit.env.1 B",
        ),
        (
            "profiles: {a: {dind: {mirrors: {ghcr.io: ['https://m', 'http://m/x']}}}}",
            "profiles.a.dind.mirrors.ghcr.io[1]",
        ),
        (
            "profiles: {a: {dind: {mirrors: {quay.io: ['http://mirror.gcr.io']}}}}",
            "profiles.a.dind.mirrors.quay.io[0]",
        ),
        (
            "profiles: {a: {dind: {mirrors: {index.docker.io: ['https://m']}}}}",
            "profiles.a.dind.mirrors.index.docker.io",
        ),
        (
            "namespaces: [{names: [x], profile: nowhere}]",
            "namespaces[0].profile",
        ),
        (
            "namespaces: [{names: [], profile: default}]",
            "namespaces[0].names",
        ),
        ("recognisers: [{name: mine}]", "recognisers[0].anyOf"),
        (
            "recognisers: [{name: mine, anyOf: [{}], runnerContainers: [x]}]",
            "recognisers[0].anyOf[0]",
        ),
        (
            "recognisers: [{name: gitlab, enabled: false}, {name: gitlab}]",
            "recognisers[1].name",
        ),
    ];

    #[test]
    fn a_contradiction_is_one_error_with_the_path_of_its_key() {
        for (yaml, path) in CONTRADICTIONS {
            refuses(yaml, &format!("{path}: "));
        }
    }

    #[test]
    fn every_mistake_in_a_file_is_reported_at_once() {
        let yaml = "\
profiles:
  fast:
    strateggy: dind
    dind:
      registryMirrors: ['https://mirror.gcr.io', mirror.ci, 'ftp://x']
      resources: {requests: {cpu: lots, cpus: 1}}
      mtu: 100
  slow: 7
namespaces:
- {names: [ci-*], profile: slow}
- {names: [], profile: fsat}
";
        let errors = Policy::parse(yaml).unwrap_err();
        let lines: Vec<String> = errors.all().iter().map(ToString::to_string).collect();
        let beginnings = [
            "line 3, column 5: unknown key `strateggy`; did you mean `strategy`?",
            "line 5, column 50: profiles.fast.dind.registryMirrors[1]: `mirror.ci` ",
            "line 5, column 61: profiles.fast.dind.registryMirrors[2]: `ftp://x` ",
            "line 6, column 35: profiles.fast.dind.resources.requests.cpu: `lots` ",
            "line 6, column 47: profiles.fast.dind.resources.requests.cpus: ",
            "line 7, column 12: profiles.fast.dind.mtu: ",
            "line 8, column 9: profiles.slow: expected a mapping, found \"7\"",
            "line 11, column 11: namespaces[1].names: ",
            "line 11, column 24: namespaces[1].profile: no profile `fsat`; known: default, fast, slow",
        ];
        assert_eq!(lines.len(), beginnings.len(), "{lines:#?}");
        for (line, beginning) in lines.iter().zip(beginnings) {
            assert!(line.starts_with(beginning), "{line}\n{beginning}");
        }
        let summary = errors.to_string();
        assert_eq!(summary, format!("9 errors, the first: {}", lines[0]));
    }

    #[test]
    fn text_without_quotes_and_numbers_with_quotes_are_no_mistakes() {
        refuses(
            "profiles: {a: {hostAccess: 'true', dind: {waitSeconds: '5', logOpts: {max-file: 3}, inject: often}}}",
            "profiles.a.dind.inject: ",
        );
    }

    #[test]
    fn the_settings_of_a_cache_are_reported_with_the_cache() {
        for (cache, word) in [
            (
                "{type: pool, claims: many}",
                "expected a whole number, found \"many\"",
            ),
            ("{type: pool, clams: 3}", "did you mean `claims`?"),
            ("{claims: 3}", "type"),
            ("3", "a mapping with a `type`"),
        ] {
            let yaml = format!("profiles: {{a: {{strategy: x, dind: {{cache: {cache}}}}}}}");
            let errors = Policy::parse(&yaml).unwrap_err();
            let [_, error] = errors.all() else {
                panic!("{yaml}\n{errors:#?}");
            };
            assert!(error.message.contains(word), "{error}");
        }
    }

    #[test]
    fn nested_directories_of_the_node_are_refused() {
        let slots = |root: &str| format!("{{dind: {{cache: {{type: nodeSlots, root: {root}}}}}}}");
        let local =
            |path: &str| format!("{{buildkit: {{localCache: {{type: hostPath, path: {path}}}}}}}");
        let refused = |a: &str, b: &str| {
            Policy::parse(&format!("profiles: {{default: {a}, other: {b}}}")).is_err()
        };
        // `other`'s slots of the namespace arc-build would stand in `default`'s slots of ci/arc-build.
        assert!(refused(&slots("/slots"), &slots("/slots/ci")));
        assert!(refused(&slots("/var/run/slots"), &slots("/run//slots/ci/")));
        assert!(refused(&local("/cache"), &local("/cache/ci")));
        let buildkitd = |root: &str| {
            format!("{{containerd: {{buildkitd: {{cache: {{type: nodeSlots, root: {root}}}}}}}}}")
        };
        assert!(refused(&slots("/slots"), &buildkitd("/slots/ci")));
        assert!(!refused(&slots("/slots"), &buildkitd("/slots")));
        assert!(refused(&slots("/slots"), &local("/slots")));
        assert!(refused(&local("/data"), &slots("/data/slots")));
        assert!(!refused(&slots("/slots"), &slots("/slots/")));
        assert!(!refused(&local("/cache"), &local("/cache")));
        assert!(!refused(&slots("/slots"), &slots("/slots-2")));

        let with_the_built_in = format!("profiles: {{other: {}}}", local("/var/lib/slipway"));
        let message = refusal(&with_the_built_in);
        assert!(
            message.contains("profiles.default.dind.cache.root"),
            "{message}"
        );
    }

    #[test]
    fn a_profile_that_allows_more_than_the_default_is_warned_of() {
        let policy = |selectable: bool| {
            let text = format!(
                "profiles: {{default: {{hostAccess: false}}, trusted: {{selectable: {selectable}}}}}"
            );
            Policy::parse(&text).unwrap().warnings().len()
        };
        assert_eq!((policy(true), policy(false)), (1, 0));
    }

    #[test]
    fn a_mistyped_key_of_daemon_json_is_warned_of() {
        let policy = Policy::parse(
            "profiles: {a: {dind: {daemonConfig: {max-concurent-downloads: 3, live-restore: true}}}}",
        )
        .unwrap();
        let warnings = policy.warnings();
        assert!(
            warnings.len() == 1 && warnings[0].contains("max-concurent-downloads"),
            "{warnings:?}"
        );
    }

    #[test]
    fn settings_that_do_nothing_are_warned_of() {
        let policy = Policy::parse(
            "profiles: {a: {buildkit: {env: {BUILDKIT_CACHE_MOUNT_NAMESPACE: x}}, dind: {env: {DOCKERD_ROOTLESS: '1'}, resources: {limits: {cpu: 500m}}}}}",
        )
        .unwrap();
        assert_eq!(policy.warnings().len(), 3, "{:?}", policy.warnings());
    }
}
