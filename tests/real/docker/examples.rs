//! Every example pod under every example profile: a real dockerd accepts the injected settings.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::{
    kubelet::{Container, Options, Surroundings, dockerd_of, patched},
    machine::Machine,
};

fn example(dir: &str) -> Vec<(String, Value)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(dir);
    let mut paths: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let text = fs::read_to_string(path).unwrap();
            // The pod is the first document.
            (name, serde_saphyr::from_str(&text).unwrap())
        })
        .collect()
}

/// Returns the example profiles and the built-in one, each as the default of a policy.
fn policies() -> Vec<(String, Value)> {
    let mut policies = vec![("built-in".to_owned(), json!({}))];
    for (file, policy) in example("policies") {
        for (name, profile) in policy["profiles"].as_object().unwrap() {
            policies.push((format!("{file}.{name}"), profile.clone()));
        }
    }
    policies
}

/// Returns the version of the installed dockerd, whose flags are injected.
fn set_versions(value: &mut Value, version: &str) {
    match value {
        Value::String(text) if text.starts_with("docker:") && text.ends_with("dind") => {
            *text = format!("docker:{version}-dind");
        }
        Value::Array(values) => values
            .iter_mut()
            .for_each(|value| set_versions(value, version)),
        Value::Object(fields) => fields
            .values_mut()
            .for_each(|value| set_versions(value, version)),
        _ => {}
    }
}

fn every_dockerd_starts_with_the_injected_settings_and_applies_them() -> Outcome {
    let machine = Machine::ready()?;
    let started = dockerds_obey(&machine, Path::new("/usr/sbin/dockerd"), None, |_, _| true);
    assert!(started >= 30, "only {started} dockerds");
    Ok(())
}

fn a_newer_dockerd_starts_with_the_injected_settings_and_applies_them() -> Outcome {
    let machine = Machine::ready()?;
    let tree = machine.newer_docker()?;
    // Every pod and every profile, but not all combinations: those are in the other test.
    let is_wanted = |shape: &str, profile: &str| shape == "scale-set-dind" || profile == "built-in";
    let dockerd = tree.join("usr/sbin/dockerd");
    let started = dockerds_obey(&machine, &dockerd, Some(tree), is_wanted);
    assert!(started >= 12, "only {started} dockerds");
    Ok(())
}

/// Starts the wanted combinations of example pods and profiles, with the programs of `image`. Returns how
/// many dockerds it started.
fn dockerds_obey(
    machine: &Machine,
    dockerd: &Path,
    image: Option<PathBuf>,
    is_wanted: impl Fn(&str, &str) -> bool,
) -> usize {
    let version = super::machine::stdout(Command::new(dockerd).arg("--version"));
    let version = version.split_whitespace().nth(2).unwrap();
    let version = version.split('.').next().unwrap();
    let surroundings = Surroundings {
        image,
        ..Surroundings::default()
    };
    let mut started = 0;
    for (shape, pod) in example("pods") {
        let wanted = policies()
            .into_iter()
            .filter(|(name, _)| is_wanted(&shape, name));
        for (name, mut profile) in wanted {
            profile["strategy"] = json!("dind");
            profile["dind"]["inject"] = json!("ifMissing");
            let mut pod = pod.clone();
            set_versions(&mut pod, version);
            let mut policy = json!({"profiles": {"default": profile}});
            set_versions(&mut policy, version);
            let nodes = include_str!("../../../examples/nodes/aks.yaml");
            let pod = patched(&pod, &policy.to_string(), nodes);
            let is_sidecar = dockerd_of(&pod)
                .is_some_and(|c| c["image"].as_str().unwrap().starts_with("docker:"));
            if is_sidecar && pod["metadata"]["annotations"]["slipway.io/status"].is_string() {
                let case = Case {
                    name: format!("{shape}.{name}"),
                    pod: &pod,
                    profile: &policy["profiles"]["default"],
                    surroundings: &surroundings,
                };
                case.obeys(machine);
                started += 1;
            }
        }
    }
    started
}

struct Case<'c> {
    name: String,
    pod: &'c Value,
    profile: &'c Value,
    surroundings: &'c Surroundings,
}

impl Case<'_> {
    fn up<'m>(&self, machine: &'m Machine, job: &str) -> Container<'m> {
        let name = format!("{}.{job}", self.name);
        let options = Options::default();
        let mut dockerd = Container::start_in(machine, &name, self.pod, options, self.surroundings);
        dockerd.wait_until_up();
        dockerd
    }

    /// Starts the pod's dockerd and checks the profile's settings; then builds, in this pod and in the next one.
    fn obeys(&self, machine: &Machine) {
        let dockerd = self.up(machine, "first");
        is_as_asked(&self.name, &dockerd, self.profile);
        let context = machine.context("example", &["RUN echo built >/file"]);
        let build = |dockerd: &Container<'_>| {
            let output = dockerd
                .docker(&["build", context.to_str().unwrap()])
                .output();
            let output = output.unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{}: {text}", self.name);
            text.matches(" CACHED").count()
        };
        assert_eq!(build(&dockerd), 0, "{}", self.name);
        assert_eq!(build(&dockerd), 2, "{}", self.name);
        if self.keeps_layers() {
            dockerd.terminate();
            assert_eq!(build(&self.up(machine, "second")), 2, "{}", self.name);
            machine.forget_jobs();
        }
    }

    /// Returns whether the data-root outlives the pod: in a slot of the node, or on a claim.
    fn keeps_layers(&self) -> bool {
        let dockerd = dockerd_of(self.pod).unwrap();
        let mut mounts = dockerd["volumeMounts"].as_array().unwrap().iter();
        let volume = |name: &Value| {
            let mut volumes = self.pod["spec"]["volumes"].as_array().unwrap().iter();
            volumes.find(|volume| volume["name"] == *name).unwrap()
        };
        mounts.any(|mount| {
            let is_claim = volume(&mount["name"])["persistentVolumeClaim"].is_object();
            mount["mountPath"] == "/opt/slipway/slots"
                || (mount["mountPath"] == "/var/lib/docker" && is_claim)
        })
    }
}

/// Checks in dockerd what the profile sets.
fn is_as_asked(name: &str, dockerd: &Container<'_>, profile: &Value) {
    let info: Value =
        serde_json::from_str(&dockerd.run(&["info", "--format", "{{json .}}"])).unwrap();
    let dind = &profile["dind"];
    let default_mirrors = json!(["https://mirror.gcr.io"]);
    let mirrors = dind.get("registryMirrors").unwrap_or(&default_mirrors);
    let found = info["RegistryConfig"]["Mirrors"].as_array().unwrap();
    let found: Vec<&str> = found
        .iter()
        .map(|m| m.as_str().unwrap().trim_end_matches('/'))
        .collect();
    assert_eq!(json!(found), *mirrors, "{name}");
    let driver = dind["storageDriver"].as_str().unwrap_or("overlay2");
    assert_eq!(info["Driver"], driver, "{name}: {}", dockerd.log());
    assert_eq!(info["LoggingDriver"], "json-file", "{name}");

    let mtu = dind["mtu"]
        .as_u64()
        .map_or("1500".to_owned(), |mtu| mtu.to_string());
    let option = "{{index .Options \"com.docker.network.driver.mtu\"}}";
    assert_eq!(
        dockerd.run(&["network", "inspect", "bridge", "--format", option]),
        mtu,
        "{name}"
    );

    dockerd.import_image();
    dockerd.run(&["create", "--name=logged", "base", "true"]);
    let options = dockerd.run(&[
        "inspect",
        "logged",
        "--format",
        "{{json .HostConfig.LogConfig.Config}}",
    ]);
    let options: Value = serde_json::from_str(&options).unwrap();
    assert_eq!(
        options,
        json!({"max-size": "10m", "max-file": "3"}),
        "{name}"
    );
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        every_dockerd_starts_with_the_injected_settings_and_applies_them,
        a_newer_dockerd_starts_with_the_injected_settings_and_applies_them,
    ]
}
