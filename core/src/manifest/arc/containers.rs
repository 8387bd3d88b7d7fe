//! The containers of a legacy runner pod.

use serde_json::{Value, json};

use super::{
    ArcError, Dockerd, Owner, Settings,
    fields::{Fields, Kind, has_named},
};

const DEFAULT_RUNNER_IMAGE: &str = "summerwind/actions-runner:latest";
const DEFAULT_DOCKER_IMAGE: &str = "docker:dind";
const USER_AGENT: &str = "actions-runner-controller/0.27.6";

/// The order in which a container's fields are written. All others follow in their own order.
const CONTAINER_ORDER: [&str; 10] = [
    "name",
    "image",
    "imagePullPolicy",
    "command",
    "args",
    "env",
    "envFrom",
    "resources",
    "securityContext",
    "volumeMounts",
];

/// Returns the containers of the pod: those that the spec lists, and those that the controller adds.
pub(super) fn containers(owner: &Owner, settings: &Settings) -> Result<Vec<Value>, ArcError> {
    let mut containers = listed_containers(&owner.spec, settings)?;
    let mut runner_image = None;
    if let Some(runner) = find(&mut containers, "runner") {
        complete_runner(runner, owner, settings)?;
        runner_image = runner.text("image")?.map(str::to_owned);
    }
    if settings.dockerd == Dockerd::Sidecar
        && let Some(docker) = find(&mut containers, "docker")
    {
        complete_docker(docker, settings, &runner_image.unwrap_or_default())?;
    }
    if let Some(first) = containers.first_mut() {
        add_mounts(first, &owner.spec, settings)?;
    }
    let in_order = |container: Fields| container.into_value(&CONTAINER_ORDER);
    Ok(containers.into_iter().map(in_order).collect())
}

/// Returns the spec's list, with a runner and, if needed, a docker container. Listed containers get the settings
/// beside the list. A container that the user's list lacks is added afterwards, so it does not get them.
fn listed_containers(spec: &Fields, settings: &Settings) -> Result<Vec<Fields>, ArcError> {
    let with_docker = settings.dockerd == Dockerd::Sidecar;
    let mut containers = spec.objects("containers")?;
    if containers.is_empty() {
        containers.push(container("runner")?);
        if with_docker {
            containers.push(container("docker")?);
        }
    }
    if settings.kubernetes_mode {
        containers.retain(|container| !container.has_name("docker"));
        if find(&mut containers, "runner").is_none() {
            let why = "container mode kubernetes needs a container named `runner`";
            return Err(spec.refuse("containers", why));
        }
    }
    for container in &mut containers {
        fill_from_spec(container, spec)?;
    }
    if find(&mut containers, "runner").is_none() {
        containers.insert(0, container("runner")?);
    }
    if with_docker && find(&mut containers, "docker").is_none() {
        containers.push(container("docker")?);
    }
    Ok(containers)
}

fn find<'a>(containers: &'a mut [Fields], name: &str) -> Option<&'a mut Fields> {
    containers
        .iter_mut()
        .find(|container| container.has_name(name))
}

/// Gives a listed runner or docker container the settings beside the list that it does not have itself.
fn fill_from_spec(container: &mut Fields, spec: &Fields) -> Result<(), ArcError> {
    let (env, resources) = if container.has_name("runner") {
        container.fill_from("imagePullPolicy", spec, "imagePullPolicy", Kind::Text)?;
        container.fill_from("envFrom", spec, "envFrom", Kind::List)?;
        ("env", "resources")
    } else if container.has_name("docker") {
        container.fill_from("volumeMounts", spec, "dockerVolumeMounts", Kind::List)?;
        ("dockerEnv", "dockerdContainerResources")
    } else {
        return Ok(());
    };
    container.fill_from("env", spec, env, Kind::List)?;
    let wanted = spec.object(resources)?;
    let mut own = container.object("resources")?;
    for key in ["requests", "limits"] {
        own.fill_from(key, &wanted, key, Kind::Object)?;
    }
    if !own.is_empty() {
        container.set("resources", own.into_value(&[]));
    }
    Ok(())
}

fn complete_runner(
    runner: &mut Fields,
    owner: &Owner,
    settings: &Settings,
) -> Result<(), ArcError> {
    let spec = &owner.spec;
    if let Some(image) = spec.text("image")? {
        runner.set("image", json!(image));
    }
    runner.fill("image", Some(json!(DEFAULT_RUNNER_IMAGE)));
    runner.fill("imagePullPolicy", Some(json!("Always")));
    runner.append("env", runner_env(spec, settings)?)?;
    if !has_named(&runner.list("env")?, "RUNNER_NAME") {
        runner.append("env", vec![env("RUNNER_NAME", &owner.pod_name)])?;
    }

    let mut security = runner.object("securityContext")?;
    if settings.dockerd == Dockerd::InRunner && settings.privileged() {
        security.set("privileged", json!(true));
    }
    runner.set("securityContext", security.into_value(&[]));

    if settings.kubernetes_mode {
        if has_named(&runner.list("volumeMounts")?, "work") {
            return Err(runner.refuse(
                "volumeMounts",
                "container mode kubernetes mounts `work` by itself",
            ));
        }
        runner.append("volumeMounts", vec![settings.work_mount()])?;
    }
    if !spec.is_zero_quantity("volumeSizeLimit")? {
        runner.append(
            "volumeMounts",
            vec![json!({"name": "runner", "mountPath": "/runner"})],
        )?;
    }
    if settings.dockerd == Dockerd::Sidecar {
        runner.append_unless_named("volumeMounts", settings.work_mount())?;
        runner.append_unless_named(
            "volumeMounts",
            json!({"name": "var-run", "mountPath": "/run"}),
        )?;
    }
    Ok(())
}

/// Returns the variables that the entrypoint of ARC's images reads.
fn runner_env(spec: &Fields, settings: &Settings) -> Result<Vec<Value>, ArcError> {
    let flag = |value: bool| if value { "true" } else { "false" };
    let ephemeral = spec.flag("ephemeral")?.unwrap_or(true);
    let mut list = vec![
        env("RUNNER_ORG", spec.text("organization")?.unwrap_or_default()),
        env("RUNNER_REPO", spec.text("repository")?.unwrap_or_default()),
        env(
            "RUNNER_ENTERPRISE",
            spec.text("enterprise")?.unwrap_or_default(),
        ),
        env("RUNNER_LABELS", &spec.texts("labels")?.join(",")),
        env("RUNNER_GROUP", spec.text("group")?.unwrap_or_default()),
        env("DOCKER_ENABLED", flag(settings.dockerd != Dockerd::Nowhere)),
        env(
            "DOCKERD_IN_RUNNER",
            flag(settings.dockerd == Dockerd::InRunner),
        ),
        env("GITHUB_URL", "https://github.com/"),
        env("RUNNER_WORKDIR", &settings.work_dir),
        env("RUNNER_EPHEMERAL", flag(ephemeral)),
        env("RUNNER_STATUS_UPDATE_HOOK", "false"),
        env("GITHUB_ACTIONS_RUNNER_EXTRA_USER_AGENT", USER_AGENT),
    ];
    if settings.kubernetes_mode {
        list.extend([
            env("ACTIONS_RUNNER_CONTAINER_HOOKS", "/runner/k8s/index.js"),
            env("ACTIONS_RUNNER_REQUIRE_JOB_CONTAINER", "true"),
            env_from_field("ACTIONS_RUNNER_POD_NAME", "metadata.name"),
            env_from_field("ACTIONS_RUNNER_JOB_NAMESPACE", "metadata.namespace"),
            env(
                "ACTIONS_RUNNER_REQUIRE_SAME_NODE",
                flag(requires_same_node(spec)?),
            ),
        ]);
    }
    match settings.dockerd {
        Dockerd::InRunner => {
            list.extend(settings.mtu.map(|mtu| env("MTU", &mtu.to_string())));
            list.extend(
                settings
                    .mirror
                    .iter()
                    .map(|mirror| env("DOCKER_REGISTRY_MIRROR", mirror)),
            );
        }
        Dockerd::Sidecar => list.push(env("DOCKER_HOST", "unix:///run/docker.sock")),
        Dockerd::Nowhere => {}
    }
    Ok(list)
}

fn complete_docker(
    docker: &mut Fields,
    settings: &Settings,
    runner_image: &str,
) -> Result<(), ArcError> {
    let mut args = vec![json!("dockerd"), json!("--host=unix:///run/docker.sock")];
    args.extend(docker.list("args")?);
    args.push(json!("--group=$(DOCKER_GROUP_GID)"));
    let gid = if ["22.04", "24.04"]
        .iter()
        .any(|ubuntu| runner_image.contains(ubuntu))
    {
        "121"
    } else {
        "1001"
    };
    docker.append_unless_named("env", env("DOCKER_GROUP_GID", gid))?;
    if let Some(mtu) = settings.mtu {
        docker.append(
            "env",
            vec![env("DOCKERD_ROOTLESS_ROOTLESSKIT_MTU", &mtu.to_string())],
        )?;
        args.extend([json!("--mtu"), json!(mtu.to_string())]);
    }
    args.extend(
        settings
            .mirror
            .iter()
            .map(|mirror| json!(format!("--registry-mirror={mirror}"))),
    );
    docker.set("args", Value::Array(args));
    docker.fill("image", Some(json!(DEFAULT_DOCKER_IMAGE)));

    // The controller does not change a security context that the user set, even an empty one.
    if !docker.has("securityContext") {
        let mut security = docker.object("securityContext")?;
        security.set("privileged", json!(settings.privileged()));
        security.fill("seLinuxOptions", settings.se_linux.clone());
        docker.set("securityContext", security.into_value(&[]));
    }

    docker.append(
        "volumeMounts",
        vec![json!({"name": "runner", "mountPath": "/runner"})],
    )?;
    docker.append_unless_named(
        "volumeMounts",
        json!({"name": "var-run", "mountPath": "/run"}),
    )?;
    docker.append_unless_named("volumeMounts", settings.work_mount())
}

/// Adds the spec's mounts to the first container, whichever it is. A `work` among them replaces ARC's.
fn add_mounts(first: &mut Fields, spec: &Fields, settings: &Settings) -> Result<(), ArcError> {
    let mounts = spec.list("volumeMounts")?;
    if has_named(&mounts, "work") {
        if settings.kubernetes_mode {
            return Err(spec.refuse(
                "volumeMounts",
                "container mode kubernetes takes `work` from workVolumeClaimTemplate",
            ));
        }
        first.remove_named("volumeMounts", "work")?;
    }
    first.append("volumeMounts", mounts)
}

/// Returns whether job pods must run on the runner's node, because its work volume cannot be mounted on two.
fn requires_same_node(spec: &Fields) -> Result<bool, ArcError> {
    let template = spec.object("workVolumeClaimTemplate")?;
    for mode in template.texts("accessModes")? {
        match mode.as_str() {
            "ReadWriteOnce" => return Ok(true),
            "ReadWriteMany" => {}
            _ => {
                return Err(template.refuse(
                    "accessModes",
                    "only ReadWriteOnce and ReadWriteMany are supported",
                ));
            }
        }
    }
    Ok(false)
}

fn container(name: &str) -> Result<Fields, ArcError> {
    Fields::new(name, &json!({"name": name}))
}

/// Creates an env var as the API server stores it: without a value if that is empty.
fn env(name: &str, value: &str) -> Value {
    if value.is_empty() {
        json!({"name": name})
    } else {
        json!({"name": name, "value": value})
    }
}

fn env_from_field(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}})
}
