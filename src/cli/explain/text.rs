//! A report as text: a block for each pod, in columns.

use slipway_core::explain::report::{
    ContainerReport, FindingReport, NodesReport, ReasonReport, Report,
};

use crate::cli::output::{Paint, count};

/// The width of the first column.
const LABEL: usize = 12;

/// Renders a report.
pub(super) fn render(report: &Report<'_>, paint: Paint) -> String {
    let title = format!("{} {}/{}", report.kind, report.namespace, report.name);
    let mut block = Block {
        text: format!("{}  {}\n", paint.bold(&title), paint.dim(report.file)),
        paint,
    };
    let system = report.system.unwrap_or("none: this is not a runner pod");
    block.section("CI system", &[system.to_owned()]);
    block.section("containers", &containers(&report.containers, paint));
    block.section("nodes", &[nodes(&report.nodes)]);
    if let Some(profile) = report.profile {
        block.section("profile", &[profile.to_owned()]);
    }
    block.section("decision", &[decision(report, paint)]);
    block.section("reasons", &findings(&report.findings, paint));
    let injected: Vec<String> = report
        .injections
        .iter()
        .map(|injection| format!("{} {injection}", paint.green("+")))
        .collect();
    block.section("injected", &injected);
    block.section("notes", &notes(&report.notes, paint));
    block.text
}

struct Block {
    text: String,
    paint: Paint,
}

impl Block {
    /// Appends lines beside a label; without lines, nothing.
    fn section(&mut self, label: &str, lines: &[String]) {
        for (i, line) in lines.iter().enumerate() {
            let label = if i == 0 { label } else { "" };
            let label = self.paint.cyan(&format!("{label:LABEL$}"));
            self.text.extend(["  ", &label, line, "\n"]);
        }
    }
}

/// Aligns the columns of rows. The last column is not padded.
fn columns<const N: usize>(
    rows: &[[&str; N]],
    style: impl Fn(usize, &str) -> String,
) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths).enumerate();
            let cells = cells.map(|(i, (cell, width))| {
                let width = if i + 1 == N { 0 } else { *width };
                style(i, &format!("{cell:width$}"))
            });
            cells.collect::<Vec<_>>().join("  ")
        })
        .collect()
}

fn containers(containers: &[ContainerReport], paint: Paint) -> Vec<String> {
    let rows: Vec<[&str; 4]> = containers
        .iter()
        .map(|c| {
            [
                c.name.as_str(),
                c.role,
                c.kind,
                c.image.as_deref().unwrap_or("(no image)"),
            ]
        })
        .collect();
    columns(&rows, |column, cell| match column {
        1 if cell.trim_end() != "other" => paint.bold(cell),
        0 => cell.to_owned(),
        _ => paint.dim(cell),
    })
}

fn nodes(nodes: &NodesReport) -> String {
    let known = count(nodes.known, "node");
    if nodes.summary.is_empty() {
        return format!("none of {known} could run it");
    }
    format!(
        "{} of {known} could run it: {}",
        nodes.candidates, nodes.summary
    )
}

fn decision(report: &Report<'_>, paint: Paint) -> String {
    let strategy = if report.strategy == "none" {
        paint.bold(report.strategy)
    } else {
        paint.bold(&paint.green(report.strategy))
    };
    let because = report
        .reason
        .as_ref()
        .map(|reason| format!(": {}", reason.message));
    let operations = match report.operations {
        0 => String::new(),
        n => format!(" ({})", count(n, "patch operation")),
    };
    format!("{strategy}{}{operations}", because.unwrap_or_default())
}

fn findings(findings: &[FindingReport], paint: Paint) -> Vec<String> {
    let rows: Vec<[&str; 4]> = findings
        .iter()
        .map(|finding| {
            let side = if finding.supports { "for" } else { "against" };
            [
                finding.strategy,
                side,
                finding.reason.code,
                finding.reason.message.as_str(),
            ]
        })
        .collect();
    columns(&rows, |column, cell| match (column, cell.trim_end()) {
        (1, "for") => paint.green(cell),
        (1, _) => paint.red(cell),
        (2, _) => paint.dim(cell),
        _ => cell.to_owned(),
    })
}

fn notes(notes: &[ReasonReport], paint: Paint) -> Vec<String> {
    let rows: Vec<[&str; 2]> = notes.iter().map(|n| [n.code, n.message.as_str()]).collect();
    columns(&rows, |column, cell| {
        if column == 0 {
            paint.dim(cell)
        } else {
            cell.to_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(code: &'static str, message: &str) -> ReasonReport {
        ReasonReport {
            code,
            message: message.to_owned(),
        }
    }

    fn report() -> Report<'static> {
        let finding = |strategy, supports, reason| FindingReport {
            strategy,
            supports,
            reason,
        };
        let container = |name: &str, role, image: Option<&str>| ContainerReport {
            name: name.to_owned(),
            kind: "container",
            role,
            image: image.map(str::to_owned),
        };
        Report {
            file: "f.yaml",
            kind: "Pod",
            name: "a",
            namespace: "ci",
            rendered: false,
            system: Some("arc-scale-set"),
            containers: vec![
                container("runner", "runner", Some("r:1")),
                container("x", "other", None),
            ],
            nodes: NodesReport {
                candidates: 2,
                known: 3,
                summary: "2 nodes with containerd".to_owned(),
            },
            profile: Some("default"),
            strategy: "dind",
            socket: None,
            reason: Some(reason("pod-brings-dockerd", "it brings one")),
            findings: vec![
                finding("containerd", false, reason("no", "not this")),
                finding("dind", true, reason("pod-brings-dockerd", "it brings one")),
            ],
            injections: vec!["a volume".to_owned(), "a mount".to_owned()],
            notes: vec![reason("pod-sets", "X: kept")],
            operations: 2,
        }
    }

    #[test]
    fn columns_are_aligned() {
        assert_eq!(
            render(&report(), Paint::NONE),
            "\
Pod ci/a  f.yaml
  CI system   arc-scale-set
  containers  runner  runner  container  r:1
              x       other   container  (no image)
  nodes       2 of 3 nodes could run it: 2 nodes with containerd
  profile     default
  decision    dind: it brings one (2 patch operations)
  reasons     containerd  against  no                  not this
              dind        for      pod-brings-dockerd  it brings one
  injected    + a volume
              + a mount
  notes       pod-sets  X: kept
"
        );
    }

    #[test]
    fn the_json_has_the_keys_that_the_help_names() {
        let json = serde_json::to_value(report()).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            [
                "file",
                "kind",
                "name",
                "namespace",
                "rendered",
                "system",
                "containers",
                "nodes",
                "profile",
                "strategy",
                "socket",
                "reason",
                "findings",
                "injections",
                "notes",
                "operations"
            ]
        );
        assert_eq!(json["findings"][0]["code"], "no");
        assert_eq!(json["containers"][0]["type"], "container");
    }
}
