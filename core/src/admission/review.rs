//! AdmissionReview in and out
//! (<https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>).
//!
//! The usual review is read in one pass with the Pod borrowed from its bytes. Only when that fails
//! is it read again, loosely, to say what is wrong and still to echo the uid.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    patch::Operations,
    pod::{Pod, Str},
};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
/// The API server cuts a longer warning.
const MAX_WARNING_CHARS: usize = 256;

/// Why a request body is answered with HTTP 400.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// It is not JSON.
    #[error("the body is not JSON: {0}")]
    NotJson(serde_json::Error),
    /// It is JSON, but no AdmissionReview.
    #[error(
        "the body is not an AdmissionReview: expected apiVersion {API_VERSION} and kind {KIND}, found {0}"
    )]
    NotAReview(String),
    /// It is an AdmissionReview of another version.
    #[error(
        "AdmissionReview version {0} is not served: set `admissionReviewVersions: [v1]` in the webhook configuration"
    )]
    Version(String),
    /// It holds no request.
    #[error("the AdmissionReview has no `request`: a response, or an empty review, was sent")]
    NoRequest,
    /// The request has no uid to answer to.
    #[error("the AdmissionReview's request has no `uid`")]
    NoUid,
}

/// A request, as far as it was understood.
#[derive(Debug)]
pub struct Request<'a> {
    /// To be echoed.
    pub uid: Str<'a>,
    /// The namespace of the object; empty for none.
    pub namespace: Str<'a>,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// What is asked about.
    pub subject: Subject<'a>,
}

/// What a request is about.
#[derive(Debug)]
pub enum Subject<'a> {
    /// The creation of a Pod.
    NewPod(Box<Pod<'a>>),
    /// Something that Slipway should not have been asked about, and why.
    NotForUs(String),
    /// The creation of a Pod that cannot be read, and why.
    Unreadable(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a, O> {
    #[serde(borrow, default)]
    api_version: Str<'a>,
    #[serde(borrow, default)]
    kind: Str<'a>,
    #[serde(bound(deserialize = "O: Deserialize<'de>"))]
    request: Option<AdmissionRequest<'a, O>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AdmissionRequest<'a, O> {
    #[serde(borrow, default)]
    uid: Str<'a>,
    #[serde(borrow, default)]
    kind: GroupVersionKind<'a>,
    #[serde(borrow, rename = "subResource")]
    subresource: Option<Str<'a>>,
    #[serde(borrow)]
    namespace: Option<Str<'a>>,
    #[serde(borrow)]
    operation: Option<Str<'a>>,
    dry_run: Option<bool>,
    #[serde(bound(deserialize = "O: Deserialize<'de>"))]
    object: Option<O>,
}

#[derive(Deserialize, Default)]
struct GroupVersionKind<'a> {
    #[serde(borrow, default)]
    group: Str<'a>,
    #[serde(borrow, default)]
    version: Str<'a>,
    #[serde(borrow, default)]
    kind: Str<'a>,
}

impl<'a> Request<'a> {
    /// Reads an AdmissionReview.
    ///
    /// # Errors
    /// When there is no request to answer: not JSON, not an AdmissionReview `v1`, no uid.
    pub fn parse(body: &'a [u8]) -> Result<Self, ReviewError> {
        // Checking all of it for UTF-8 at once is faster than each string by itself.
        let review = str::from_utf8(body).ok().and_then(|text| {
            let review = serde_json::from_str::<Envelope<'a, Pod<'a>>>(text);
            review.ok()
        });
        match review {
            Some(envelope) => Self::from_envelope(envelope, |pod| Ok(Box::new(pod))),
            None => Self::parse_loosely(body),
        }
    }

    /// The second reading of a body whose Pod, or whose envelope, has a wrong type somewhere.
    fn parse_loosely(body: &'a [u8]) -> Result<Self, ReviewError> {
        let envelope =
            serde_json::from_slice::<Envelope<'a, &'a RawValue>>(body).map_err(|error| {
                match serde_json::from_slice::<serde::de::IgnoredAny>(body) {
                    Ok(_) => ReviewError::NotAReview(error.to_string()),
                    Err(error) => ReviewError::NotJson(error),
                }
            })?;
        Self::from_envelope(envelope, |raw| {
            serde_json::from_str(raw.get())
                .map(Box::new)
                .map_err(|error| format!("the Pod cannot be read: {error} (counted from its `{{`)"))
        })
    }

    fn from_envelope<O>(
        envelope: Envelope<'a, O>,
        read: impl FnOnce(O) -> Result<Box<Pod<'a>>, String>,
    ) -> Result<Self, ReviewError> {
        if let Some(version) = envelope.api_version.strip_prefix("admission.k8s.io/")
            && version != "v1"
        {
            return Err(ReviewError::Version(version.to_owned()));
        }
        if envelope.api_version != API_VERSION || envelope.kind != KIND {
            return Err(ReviewError::NotAReview(format!(
                "apiVersion `{}` and kind `{}`",
                envelope.api_version, envelope.kind
            )));
        }
        let request = envelope.request.ok_or(ReviewError::NoRequest)?;
        if request.uid.is_empty() {
            return Err(ReviewError::NoUid);
        }
        let subject = match request.not_for_us() {
            Some(why) => Subject::NotForUs(why),
            None => match request.object {
                None => Subject::Unreadable("the request holds no object".to_owned()),
                Some(object) => read(object).map_or_else(Subject::Unreadable, Subject::NewPod),
            },
        };
        Ok(Self {
            uid: request.uid,
            namespace: request.namespace.unwrap_or_default(),
            dry_run: request.dry_run.unwrap_or_default(),
            subject,
        })
    }
}

impl<O> AdmissionRequest<'_, O> {
    fn not_for_us(&self) -> Option<String> {
        let kind = &self.kind;
        if !kind.group.is_empty() || kind.kind != "Pod" {
            let group_version = match kind.group.as_str() {
                "" => kind.version.to_string(),
                group => format!("{group}/{}", kind.version),
            };
            return Some(format!(
                "only Pods are changed, and this is `{}` of `{group_version}`",
                kind.kind
            ));
        }
        match (self.operation.as_deref(), self.subresource.as_deref()) {
            (Some("CREATE"), None | Some("")) => None,
            (Some("CREATE"), Some(sub)) => Some(format!(
                "only Pods themselves are changed, and this is their `{sub}`"
            )),
            // A patch on UPDATE would make every later change of the pod fail.
            (operation, _) => Some(format!(
                "only new Pods are changed, and this is `{}`: register the webhook for CREATE alone",
                operation.unwrap_or_default()
            )),
        }
    }
}

/// A response: always `allowed`.
#[derive(Debug, Default)]
pub struct Response {
    /// What to change; empty for nothing.
    pub patch: Operations,
    /// Shown to the user who created the pod.
    pub warnings: Vec<String>,
    /// Written to the API server's audit log.
    pub audit_annotations: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReviewOut<'r> {
    api_version: &'static str,
    kind: &'static str,
    response: ResponseOut<'r>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseOut<'r> {
    uid: &'r str,
    allowed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: &'r BTreeMap<&'static str, String>,
}

impl Response {
    /// The AdmissionReview that answers the request `uid`, as JSON.
    #[must_use]
    pub fn to_json(&self, uid: &str) -> Vec<u8> {
        let review = ReviewOut {
            api_version: API_VERSION,
            kind: KIND,
            response: ResponseOut {
                uid,
                allowed: true,
                warnings: self.warnings.iter().map(|w| bounded_warning(w)).collect(),
                audit_annotations: &self.audit_annotations,
            },
        };
        let mut json = serde_json::to_vec(&review).unwrap_or_default();
        // The API server rejects a patchType without a patch, and pays for an empty patch.
        if !self.patch.is_empty() {
            put_patch(&mut json, &self.patch);
        }
        json
    }
}

/// Adds a patch to the response at the end of `review`. Base64 has no character that JSON escapes:
/// written here, it is not searched for one.
fn put_patch(review: &mut Vec<u8>, patch: &Operations) {
    const CLOSED: &[u8] = b"}}";
    let Some(open) = review.strip_suffix(CLOSED).map(<[u8]>::len) else {
        return;
    };
    review.truncate(open);
    review.extend_from_slice(br#","patchType":"JSONPatch","patch":""#);
    patch.push_base64(review);
    review.push(b'"');
    review.extend_from_slice(CLOSED);
}

fn bounded_warning(text: &str) -> String {
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    format!("slipway: {}", printable.collect::<String>())
        .chars()
        .take(MAX_WARNING_CHARS)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn review(request: &Value) -> String {
        json!({"apiVersion": API_VERSION, "kind": KIND, "request": request}).to_string()
    }

    fn request(change: impl FnOnce(&mut Value)) -> String {
        let mut request = json!({"uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "operation": "CREATE", "namespace": "ci", "object": {"metadata": {"name": "p"}}});
        change(&mut request);
        review(&request)
    }

    #[test]
    fn a_new_pod_is_read() {
        let text = request(|_| {});
        let request = Request::parse(text.as_bytes()).unwrap();
        assert_eq!(
            (request.uid.as_str(), request.namespace.as_str()),
            ("u-1", "ci")
        );
        assert!(matches!(request.subject, Subject::NewPod(pod) if pod.display_name() == "p"));
    }

    #[test]
    fn what_is_no_review_is_refused_in_one_sentence() {
        for (body, word) in [
            (String::new(), "not JSON"),
            ("{".to_owned(), "not JSON"),
            ("<html>".to_owned(), "not JSON"),
            ("[1]".to_owned(), "not an AdmissionReview"),
            ("{}".to_owned(), "not an AdmissionReview"),
            (
                json!({"kind": "Pod", "apiVersion": "v1"}).to_string(),
                "kind `Pod`",
            ),
            (json!({"kind": 7}).to_string(), "not an AdmissionReview"),
            (
                json!({"kind": KIND, "apiVersion": "admission.k8s.io/v1beta1"}).to_string(),
                "v1beta1",
            ),
            (
                json!({"kind": KIND, "apiVersion": API_VERSION}).to_string(),
                "no `request`",
            ),
            (review(&Value::Null), "no `request`"),
            (request(|r| r["uid"] = Value::Null), "AdmissionReview"),
            (request(|r| r["uid"] = json!("")), "no `uid`"),
        ] {
            let message = Request::parse(body.as_bytes()).unwrap_err().to_string();
            assert!(message.contains(word), "{body}: {message}");
        }
    }

    #[test]
    fn other_operations_and_kinds_are_let_through() {
        let changes: [fn(&mut Value); 5] = [
            |r| r["operation"] = json!("UPDATE"),
            |r| r["operation"] = json!("DELETE"),
            |r| r["operation"] = Value::Null,
            |r| r["kind"] = json!({"group": "apps", "version": "v1", "kind": "Deployment"}),
            |r| r["subResource"] = json!("eviction"),
        ];
        for change in changes {
            let text = request(change);
            let request = Request::parse(text.as_bytes()).unwrap();
            assert!(matches!(request.subject, Subject::NotForUs(_)), "{text}");
        }
    }

    #[test]
    fn a_pod_of_the_wrong_form_is_let_through_with_its_uid() {
        for object in [
            Value::Null,
            json!([{}, {}, null]),
            json!("pod"),
            json!({"spec": {"containers": [null]}}),
            json!({"spec": {"containers": {"a": 1}}}),
            json!({"metadata": {"labels": {"a": 1}}}),
        ] {
            let text = request(|r| r["object"] = object);
            let request = Request::parse(text.as_bytes()).unwrap();
            assert_eq!(request.uid.as_str(), "u-1");
            assert!(matches!(request.subject, Subject::Unreadable(_)), "{text}");
        }
    }

    #[test]
    fn a_response_without_a_patch_has_no_patch_type() {
        let json: Value = serde_json::from_slice(&Response::default().to_json("u")).unwrap();
        assert_eq!(json["response"], json!({"uid": "u", "allowed": true}));
    }

    #[test]
    fn warnings_are_cut_and_hold_no_control_characters() {
        let response = Response {
            warnings: vec!["a\nb\u{1b}".to_owned() + &"x".repeat(500)],
            ..Response::default()
        };
        let json: Value = serde_json::from_slice(&response.to_json("u")).unwrap();
        let warning = json["response"]["warnings"][0].as_str().unwrap();
        assert!(warning.starts_with("slipway: a b x"));
        assert_eq!(warning.chars().count(), MAX_WARNING_CHARS);
    }
}
