//! The admission of runner pods, and of all other pods.

use serde_json::{Value, json};
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::{
    fixture::{container, installed, status},
    harness::pods,
};

async fn a_native_sidecar_is_optimised_and_stays_a_sidecar() -> Outcome {
    let here = installed().await?;
    here.enabled("scale-set", &json!({})).await;
    let api = here.cluster.admin().await;
    let pod = pods::example("scale-set-dind");
    let created = api.post(&pods::path("scale-set"), &pod).await.ok();
    let name = created["metadata"]["name"].as_str().unwrap();
    let stored = api
        .get(&format!("{}/{name}", pods::path("scale-set")))
        .await;
    let stored = stored.ok();
    assert_eq!(stored["spec"], created["spec"]);

    let dind = container(&stored, "dind");
    assert_eq!(dind["restartPolicy"], "Always");
    assert_eq!(
        dind["startupProbe"]["exec"],
        json!({"command": ["docker", "info"]})
    );
    let args = dind["args"].as_array().unwrap();
    assert!(args.contains(&json!("--log-opt=max-size=10m")), "{args:?}");
    assert_eq!(
        args[..3],
        pod["spec"]["initContainers"][1]["args"].as_array().unwrap()[..]
    );
    assert_eq!(
        dind["resources"]["requests"],
        json!({"cpu": "100m", "memory": "256Mi"})
    );
    let runner = container(&stored, "runner");
    let docker_buildkit = json!({"name": "DOCKER_BUILDKIT", "value": "1"});
    assert!(runner["env"].as_array().unwrap().contains(&docker_buildkit));
    assert_eq!(
        runner["resources"],
        pod["spec"]["containers"][0]["resources"]
    );
    let status = status(&stored).unwrap();
    assert_eq!(status["strategy"], "dind");
    assert_eq!(status["reasons"], json!(["pod-brings-dockerd"]));
    Ok(())
}

async fn the_sidecar_of_the_older_controller_is_optimised_in_place() -> Outcome {
    let here = installed().await?;
    here.enabled("legacy", &json!({})).await;
    let api = here.cluster.admin().await;
    let pod = pods::example("legacy-sidecar");
    let stored = api.post(&pods::path("legacy"), &pod).await.ok();
    assert_eq!(stored["spec"]["containers"].as_array().unwrap().len(), 2);
    let docker = container(&stored, "docker");
    let mounts = docker["volumeMounts"].as_array().unwrap();
    let is_data_root = |mount: &&Value| mount["mountPath"] == "/var/lib/docker";
    assert_eq!(mounts.iter().filter(is_data_root).count(), 1);
    assert_eq!(docker["resources"]["requests"]["memory"], "256Mi");
    assert_eq!(status(&stored).unwrap()["strategy"], "dind");
    Ok(())
}

async fn a_runner_without_dockerd_gets_the_socket_of_its_nodes() -> Outcome {
    let here = installed().await?;
    here.enabled("socket", &json!({})).await;
    let api = here.cluster.admin().await;
    let reply = api
        .post(&pods::path("socket"), &pods::example("no-docker"))
        .await;
    let audit = here.audit(&reply).await;
    let stored = reply.ok();
    let volumes = stored["spec"]["volumes"].as_array().unwrap();
    let host_path = json!({"path": "/run/containerd/containerd.sock", "type": "Socket"});
    assert!(volumes.iter().any(|volume| volume["hostPath"] == host_path));
    assert_eq!(audit["inject.slipway.io/strategy"], "containerd");
    assert_eq!(audit["inject.slipway.io/profile"], "default");
    assert_eq!(
        audit["inject.slipway.io/host-access"],
        "/run/containerd/containerd.sock"
    );
    Ok(())
}

async fn a_namespace_that_has_not_opted_in_is_left_alone() -> Outcome {
    let here = installed().await?;
    let api = here.cluster.admin().await;
    let cases = [
        ("unlabelled", json!({})),
        ("labelled-otherwise", json!({"slipway.io/inject": "true"})),
        (
            "control-plane",
            json!({"slipway.io/inject": "enabled", "control-plane": "true"}),
        ),
    ];
    for (name, labels) in cases {
        here.cluster.namespace(name, labels).await;
        let reply = api
            .post(&pods::path(name), &pods::example("scale-set-dind"))
            .await;
        assert!(!here.was_asked(&reply).await, "{name}");
        assert_eq!(status(&reply.ok()), None);
    }
    Ok(())
}

async fn kube_system_and_the_releases_own_namespace_are_never_touched() -> Outcome {
    let here = installed().await?;
    let api = here.cluster.admin().await;
    let labels = json!({"metadata": {"labels": {"slipway.io/inject": "enabled"}}});
    for name in ["kube-system", "slipway-system"] {
        api.merge(&format!("/api/v1/namespaces/{name}"), &labels)
            .await
            .ok();
        let accounts = format!("/api/v1/namespaces/{name}/serviceaccounts");
        // In the release's namespace it exists already.
        api.post(&accounts, &json!({"metadata": {"name": "default"}}))
            .await;
        let reply = api
            .post(&pods::dry_run(name), &pods::example("scale-set-dind"))
            .await;
        assert!(reply.is_ok(), "{}", reply.message());
        assert!(!here.was_asked(&reply).await, "{name}");
    }
    Ok(())
}

async fn a_dry_run_shows_the_pod_and_stores_nothing() -> Outcome {
    let here = installed().await?;
    here.enabled("dry", &json!({})).await;
    let api = here.cluster.admin().await;
    let shown = api
        .post(&pods::dry_run("dry"), &pods::example("scale-set-dind"))
        .await
        .ok();
    assert_eq!(status(&shown).unwrap()["strategy"], "dind");
    let name = shown["metadata"]["name"].as_str().unwrap();
    let stored = api.get(&format!("{}/{name}", pods::path("dry"))).await;
    assert_eq!(stored.status, 404);
    Ok(())
}

async fn a_pod_with_a_generated_name_is_patched_like_any_other() -> Outcome {
    let here = installed().await?;
    here.enabled("generated", &json!({})).await;
    let api = here.cluster.admin().await;
    let mut pod = pods::example("legacy-sidecar");
    let metadata = pod["metadata"].as_object_mut().unwrap();
    metadata.remove("name");
    metadata.insert("generateName".to_owned(), json!("builders-"));
    let names: Vec<String> = [
        api.post(&pods::path("generated"), &pod).await.ok(),
        api.post(&pods::path("generated"), &pod).await.ok(),
    ]
    .into_iter()
    .inspect(|pod| assert!(status(pod).is_some(), "{pod:#}"))
    .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
    .collect();
    assert!(names.iter().all(|name| name.starts_with("builders-")));
    assert_ne!(names[0], names[1]);
    let logged = here.replica.log();
    assert!(logged.contains("builders-*"), "{logged}");
    Ok(())
}

async fn a_pod_opts_out_by_label_or_by_annotation() -> Outcome {
    let here = installed().await?;
    here.enabled("opt-out", &json!({})).await;
    let api = here.cluster.admin().await;
    for value in ["false", "disabled"] {
        let mut by_label = pods::example("scale-set-dind");
        pods::label(&mut by_label, "slipway.io/inject", value);
        let reply = api.post(&pods::dry_run("opt-out"), &by_label).await;
        assert!(!here.was_asked(&reply).await, "{value}");
        assert_eq!(status(&reply.ok()), None);

        let mut by_annotation = pods::example("scale-set-dind");
        by_annotation["metadata"]["annotations"]["slipway.io/inject"] = json!(value);
        let reply = api.post(&pods::dry_run("opt-out"), &by_annotation).await;
        assert!(here.was_asked(&reply).await, "{value}");
        assert_eq!(status(&reply.ok()), None);
    }
    Ok(())
}

async fn pods_other_than_runners_are_never_sent_to_slipway() -> Outcome {
    let here = installed().await?;
    here.enabled("others", &json!({})).await;
    let api = here.cluster.admin().await;
    let reply = api
        .post(&pods::path("others"), &pods::example("nginx"))
        .await;
    assert!(!here.was_asked(&reply).await);
    assert_eq!(status(&reply.ok()), None);
    Ok(())
}

async fn the_creator_of_a_pod_is_warned_of_a_fixable_mistake() -> Outcome {
    let here = installed().await?;
    here.enabled("misspelt", &json!({"slipway.io/profile": "defualt"}))
        .await;
    let api = here.cluster.admin().await;
    let reply = api
        .post(&pods::path("misspelt"), &pods::example("scale-set-dind"))
        .await;
    let warnings = reply.warnings.join("\n");
    assert!(warnings.contains("defualt"), "{warnings:?}");
    let audit = here.audit(&reply).await;
    assert_eq!(audit["inject.slipway.io/reasons"], "profile-unknown");
    assert_eq!(status(&reply.ok()), None);
    Ok(())
}

async fn an_admitted_pod_can_be_changed_later() -> Outcome {
    let here = installed().await?;
    here.enabled("later", &json!({})).await;
    let api = here.cluster.admin().await;
    let pod = api
        .post(&pods::path("later"), &pods::example("scale-set-dind"))
        .await
        .ok();
    let name = pod["metadata"]["name"].as_str().unwrap();
    for change in [
        ["annotate", "pod", name, "team=blue"],
        ["label", "pod", name, "team=blue"],
    ] {
        let output = here
            .cluster
            .kubectl()
            .args(["--namespace", "later"])
            .args(change)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{change:?}: {errors}");
    }
    let changed = api
        .get(&format!("{}/{name}", pods::path("later")))
        .await
        .ok();
    assert_eq!(changed["metadata"]["labels"]["team"], "blue");
    assert_eq!(changed["spec"], pod["spec"]);
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        a_native_sidecar_is_optimised_and_stays_a_sidecar,
        the_sidecar_of_the_older_controller_is_optimised_in_place,
        a_runner_without_dockerd_gets_the_socket_of_its_nodes,
        a_namespace_that_has_not_opted_in_is_left_alone,
        kube_system_and_the_releases_own_namespace_are_never_touched,
        a_dry_run_shows_the_pod_and_stores_nothing,
        a_pod_with_a_generated_name_is_patched_like_any_other,
        a_pod_opts_out_by_label_or_by_annotation,
        pods_other_than_runners_are_never_sent_to_slipway,
        the_creator_of_a_pod_is_warned_of_a_fixable_mistake,
        an_admitted_pod_can_be_changed_later,
    ]
}
