//! The form answers as `slipway explain` does.

use std::process::Command;

use serde_json::Value;
use slipway_testkit::{
    harness::{Outcome, Test},
    tests, tools,
};

use super::replica::{NAMESPACES, NODES, POLICY, Replica, example_pods, read};

fn slipway(command: &str, file: &str, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_slipway"))
        .args([
            command,
            "-f",
            file,
            "--nodes",
            NODES,
            "--namespaces",
            NAMESPACES,
        ])
        .args(["--policy", POLICY])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn manifests() -> Vec<String> {
    let mut files = example_pods();
    let controllers = ["autoscalingrunnerset-dind", "runnerdeployment-plain"];
    files.extend(controllers.map(|name| format!("examples/arc/{name}.yaml")));
    files
}

async fn the_json_matches_the_output_of_the_commands() {
    let replica = Replica::start();
    for file in manifests() {
        let reply = replica.explain(&read(&file)).await;
        assert_eq!(reply.status, 200, "{file}: {}", reply.body);
        let said = reply.json();
        let printed: Value =
            serde_json::from_str(&slipway("explain", &file, &["-o", "json"])).unwrap();
        let mut pods = printed["pods"].clone();
        for pod in pods.as_array_mut().unwrap() {
            pod["file"] = "manifest".into();
        }
        assert_eq!(said["pods"], pods, "{file}");
        let diff = slipway("inject", &file, &["-o", "diff"]).replace(&file, "manifest");
        assert_eq!(said["diff"], diff, "{file}");
    }
    replica.end().await;
}

async fn the_page_contains_every_reason_injection_and_line_of_the_diff() {
    let replica = Replica::start();
    let mut lines = 0;
    for file in manifests() {
        let said = replica.explain(&read(&file)).await.json();
        let page = replica.submit(&read(&file), "").await;
        assert_eq!(page.status, 200);
        let text = text_of(&page.body);
        let mut expected: Vec<&str> = said["diff"].as_str().unwrap().lines().collect();
        lines += expected.len();
        for pod in said["pods"].as_array().unwrap() {
            let list = |key: &str| pod[key].as_array().unwrap().iter();
            expected.extend(list("injections").map(|injection| injection.as_str().unwrap()));
            for entry in list("findings").chain(list("notes")) {
                expected.extend([
                    entry["code"].as_str().unwrap(),
                    entry["message"].as_str().unwrap(),
                ]);
            }
            expected.extend([
                pod["strategy"].as_str().unwrap(),
                pod["name"].as_str().unwrap(),
            ]);
        }
        for part in expected {
            assert!(text.contains(part), "{file}: {part}\n{text}");
        }
    }
    assert!(lines > 100, "only {lines} lines of diffs");
    replica.end().await;
}

async fn the_namespace_of_the_form_is_used_and_the_form_keeps_its_contents() {
    let replica = Replica::start();
    let pod = read("examples/pods/no-docker.yaml");
    let page = replica.submit(&pod, " ci-restricted ").await;
    let text = text_of(&page.body);
    assert!(text.contains("ci-restricted/"), "{text}");
    assert!(
        page.body
            .contains("name=\"namespace\" list=\"opted-in\" value=\"ci-restricted\"")
    );
    assert!(text.contains(&pod), "the form still contains the manifest");
    replica.end().await;
}

async fn every_example_of_the_form_can_be_explained() {
    let replica = Replica::start();
    let form = replica.get("/explain").await.body;
    let examples: Vec<&str> = form
        .split("href=\"/explain?example=")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert!(examples.len() >= 4, "{examples:?}");
    for example in examples {
        let page = replica
            .get(&format!("/explain?example={example}"))
            .await
            .body;
        let manifest = textarea(&page);
        assert!(manifest.contains("kind: Pod"), "{example}");
        assert_eq!(replica.submit(&manifest, "").await.status, 200, "{example}");
    }
    replica.end().await;
}

/// Runs the curl commands of docs/status.md; a function that prints an example replaces kubectl.
async fn the_curl_commands_of_the_document_work() -> Outcome {
    tools::need("curl")?;
    let replica = Replica::start();
    let document = read("docs/status.md");
    let commands: Vec<&str> = document
        .lines()
        .filter(|line| line.contains("curl "))
        .collect();
    assert_eq!(commands.len(), 2, "{commands:?}");
    for command in commands {
        let command = command.replace("localhost:8080", &replica.page.to_string());
        let script =
            format!("kubectl() {{ cat examples/pods/scale-set-dind.yaml; }}\n{command} --fail");
        let output = Command::new("bash")
            .args(["-o", "pipefail", "-c", &script])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(said["pods"][0]["strategy"].is_string(), "{said}");
    }
    replica.end().await;
    Ok(())
}

fn textarea(page: &str) -> String {
    let (_, rest) = page.split_once("<textarea").unwrap();
    let (_, rest) = rest.split_once('>').unwrap();
    let (text, _) = rest.split_once("</textarea>").unwrap();
    unescaped(text.strip_prefix('\n').unwrap_or(text))
}

/// Returns the text of a page, without its tags.
fn text_of(page: &str) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(before);
        rest = tag.split_once('>').map_or("", |(_, after)| after);
    }
    unescaped(&text)
}

fn unescaped(text: &str) -> String {
    let mut text = text.to_owned();
    for (escaped, plain) in [
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#38;", "&"),
    ] {
        text = text.replace(escaped, plain);
    }
    text
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        the_json_matches_the_output_of_the_commands,
        the_page_contains_every_reason_injection_and_line_of_the_diff,
        the_namespace_of_the_form_is_used_and_the_form_keeps_its_contents,
        every_example_of_the_form_can_be_explained,
        the_curl_commands_of_the_document_work,
    ]
}
