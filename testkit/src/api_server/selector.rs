//! Label and field selectors.

use serde_json::Value;

use super::problem::Problem;

/// The selection of a list or a watch.
#[derive(Debug, Clone, Default)]
pub struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

#[derive(Debug, Clone)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Exists,
    Missing,
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl Selector {
    /// Parses both selectors of a query; absent ones are empty.
    pub fn parse(labels: &str, fields: &str) -> Result<Self, Problem> {
        Ok(Self {
            labels: requirements(labels)?,
            fields: requirements(fields)?,
        })
    }

    /// Returns whether an object is selected.
    pub fn selects(&self, object: &Value) -> bool {
        let label = |key: &str| object["metadata"]["labels"][key].as_str();
        // As in the real server, an absent field is empty.
        let field = |key: &str| {
            let pointer = format!("/{}", key.replace('.', "/"));
            Some(
                object
                    .pointer(&pointer)
                    .and_then(Value::as_str)
                    .unwrap_or(""),
            )
        };
        self.labels.iter().all(|r| r.test.holds(label(&r.key)))
            && self.fields.iter().all(|r| r.test.holds(field(&r.key)))
    }
}

impl Test {
    fn holds(&self, value: Option<&str>) -> bool {
        let among = |values: &[String]| value.is_some_and(|v| values.iter().any(|w| w == v));
        match self {
            Self::Exists => value.is_some(),
            Self::Missing => value.is_none(),
            Self::In(values) => among(values),
            Self::NotIn(values) => !among(values),
        }
    }
}

fn requirements(text: &str) -> Result<Vec<Requirement>, Problem> {
    let mut depth = 0;
    text.split(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
    .map(requirement)
    .collect()
}

fn requirement(text: &str) -> Result<Requirement, Problem> {
    let made = |key: &str, test| Requirement {
        key: key.trim().to_owned(),
        test,
    };
    let one = |value: &str| vec![value.trim().to_owned()];
    if let Some((key, value)) = text.split_once("!=") {
        return Ok(made(key, Test::NotIn(one(value))));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(made(key, Test::In(one(value))));
    }
    if let Some((head, list)) = text.split_once('(') {
        let list = list.trim_end_matches(')').split(',');
        let values = list.map(|value| value.trim().to_owned()).collect();
        return match head.split_whitespace().collect::<Vec<_>>().as_slice() {
            [key, "in"] => Ok(made(key, Test::In(values))),
            [key, "notin"] => Ok(made(key, Test::NotIn(values))),
            _ => Err(Problem::bad_request(format!("unable to parse `{text}`"))),
        };
    }
    Ok(match text.strip_prefix('!') {
        Some(key) => made(key, Test::Missing),
        None => made(text, Test::Exists),
    })
}
