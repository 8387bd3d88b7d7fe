//! Reads AdmissionReview requests and writes the responses
//! (<https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>).
//!
//! A valid review is parsed in one pass, and its Pod borrows from the bytes. If that fails, the review
//! is parsed again without looking into the Pod, to report the error and to echo the uid.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::line::line;
use crate::{
    k8s::names::MAX_SUBDOMAIN,
    patch::Operations,
    pod::{Pod, Str},
};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
/// The API server truncates longer warnings.
const MAX_WARNING_CHARS: usize = 256;

/// A request body that cannot be answered with a review. It gets HTTP 400.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// It is not JSON.
    #[error("the body is not JSON: {0}")]
    NotJson(serde_json::Error),
    /// It is not an AdmissionReview.
    #[error(
        "the body is not an AdmissionReview: expected apiVersion {API_VERSION} and kind {KIND}, found {0}"
    )]
    NotAReview(String),
    /// It is an AdmissionReview of another version.
    #[error(
        "AdmissionReview version {0} is not served: set `admissionReviewVersions: [v1]` in the webhook configuration"
    )]
    Version(String),
    /// It has no request.
    #[error("the AdmissionReview has no `request`: a response, or an empty review, was sent")]
    NoRequest,
    /// The request has no uid, which the response must echo.
    #[error("the AdmissionReview's request has no `uid`")]
    NoUid,
    /// The request's uid is longer than any, and the response would have to echo it.
    #[error("the `uid` of the AdmissionReview's request is longer than {MAX_SUBDOMAIN} bytes")]
    UidTooLong,
}

/// The request of an AdmissionReview.
#[derive(Debug)]
pub struct Request<'a> {
    /// The uid, which the response echoes.
    pub uid: Str<'a>,
    /// The namespace of the object; empty if it has none.
    pub namespace: Str<'a>,
    /// Whether this is a dry run: nothing will be stored.
    pub dry_run: bool,
    /// What the request is about.
    pub subject: Subject<'a>,
}

/// What a request is about.
#[derive(Debug)]
pub enum Subject<'a> {
    /// The creation of a Pod.
    NewPod(Box<Pod<'a>>),
    /// Something that Slipway does not change, and the reason.
    NotForUs(String),
    /// The creation of a Pod that cannot be parsed, and the error.
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
    /// Parses an AdmissionReview.
    ///
    /// # Errors
    /// Returns an error if there is no request to answer: the body is not JSON or not an
    /// AdmissionReview `v1`, or the request has no uid.
    pub fn parse(body: &'a [u8]) -> Result<Self, ReviewError> {
        // Validating UTF-8 once for the whole body is faster than once for each string.
        let review = str::from_utf8(body).ok().and_then(|text| {
            let review = serde_json::from_str::<Envelope<'a, Pod<'a>>>(text);
            review.ok()
        });
        match review {
            Some(envelope) => Self::from_envelope(envelope, |pod| Ok(Box::new(pod))),
            None => Self::parse_loosely(body),
        }
    }

    /// Parses the body a second time, to find out whether the Pod or the envelope is invalid.
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
        parse: impl FnOnce(O) -> Result<Box<Pod<'a>>, String>,
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
        let mut request = envelope.request.ok_or(ReviewError::NoRequest)?;
        if request.uid.is_empty() {
            return Err(ReviewError::NoUid);
        }
        if request.uid.len() > MAX_SUBDOMAIN {
            return Err(ReviewError::UidTooLong);
        }
        let subject = match request.not_for_us() {
            Some(why) => Subject::NotForUs(why),
            None => request
                .pod(parse)
                .map_or_else(Subject::Unreadable, Subject::NewPod),
        };
        Ok(Self {
            uid: request.uid,
            namespace: request.namespace.unwrap_or_default(),
            dry_run: request.dry_run.unwrap_or_default(),
            subject,
        })
    }
}

impl<'a, O> AdmissionRequest<'a, O> {
    /// Parses the new Pod, and checks the names that logs, Events and API calls repeat. The API server
    /// calls webhooks before it validates names.
    fn pod(
        &mut self,
        parse: impl FnOnce(O) -> Result<Box<Pod<'a>>, String>,
    ) -> Result<Box<Pod<'a>>, String> {
        let object = self.object.take().ok_or("the request holds no object")?;
        let pod = parse(object)?;
        let names = [
            ("the request's `namespace`", &self.namespace),
            ("the Pod's `name`", &pod.metadata.name),
            ("the Pod's `generateName`", &pod.metadata.generate_name),
            ("the Pod's `namespace`", &pod.metadata.namespace),
        ];
        let is_long =
            |name: &Option<Str<'_>>| name.as_ref().is_some_and(|n| n.len() > MAX_SUBDOMAIN);
        if let Some((what, _)) = names.iter().find(|(_, name)| is_long(name)) {
            return Err(format!("{what} is longer than {MAX_SUBDOMAIN} bytes"));
        }
        Ok(pod)
    }

    /// Returns why Slipway does not change the object; `None` for a new Pod.
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
            // A patch on UPDATE would make every later update of the pod fail.
            (operation, _) => Some(format!(
                "only new Pods are changed, and this is `{}`: register the webhook for CREATE alone",
                operation.unwrap_or_default()
            )),
        }
    }
}

/// A response, which always allows the request.
#[derive(Debug, Default)]
pub struct Response {
    /// The changes; may be empty.
    pub patch: Operations,
    /// Warnings that the API server shows to the client.
    pub warnings: Vec<String>,
    /// Annotations of the event in the API server's audit log.
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
    /// Returns the AdmissionReview that answers the request `uid`, as JSON.
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
        // The API server rejects a patchType without a patch, and processes even an empty patch.
        if !self.patch.is_empty() {
            put_patch(&mut json, &self.patch);
        }
        json
    }
}

/// Adds a patch to the response at the end of `review`. Base64 contains no character that JSON
/// escapes, so the patch skips serde's search for them.
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

/// Returns a warning of one line, short enough for the API server.
fn bounded_warning(text: &str) -> String {
    // A character has four bytes at most.
    format!("slipway: {}", line(text, 4 * MAX_WARNING_CHARS))
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
    fn a_new_pod_is_parsed() {
        let text = request(|_| {});
        let request = Request::parse(text.as_bytes()).unwrap();
        assert_eq!(
            (request.uid.as_str(), request.namespace.as_str()),
            ("u-1", "ci")
        );
        assert!(matches!(request.subject, Subject::NewPod(pod) if pod.display_name() == "p"));
    }

    #[test]
    fn a_body_that_is_not_a_review_is_rejected_with_the_reason() {
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
    fn an_invalid_pod_is_let_through_with_its_uid() {
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
    fn names_that_are_longer_than_any_make_a_pod_unreadable() {
        let longest = "x".repeat(MAX_SUBDOMAIN);
        let too_long = "x".repeat(MAX_SUBDOMAIN + 1);
        for (place, what) in [
            ("/namespace", "request's `namespace`"),
            ("/object/metadata/name", "Pod's `name`"),
            ("/object/metadata/generateName", "`generateName`"),
            ("/object/metadata/namespace", "Pod's `namespace`"),
        ] {
            let with = |name: &str| {
                request(|r| {
                    r["object"]["metadata"] =
                        json!({"name": "p", "generateName": "p", "namespace": "ci"});
                    *r.pointer_mut(place).unwrap() = json!(name);
                })
            };
            let text = with(&longest);
            let read = Request::parse(text.as_bytes()).unwrap().subject;
            assert!(matches!(read, Subject::NewPod(_)), "{what}: {read:?}");
            let text = with(&too_long);
            let read = Request::parse(text.as_bytes()).unwrap().subject;
            let Subject::Unreadable(why) = &read else {
                panic!("{what} is accepted: {read:?}");
            };
            assert!(why.contains(what) && why.contains("253 bytes"), "{why}");
        }
        let text = request(|r| r["uid"] = json!(too_long));
        let error = Request::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(error, ReviewError::UidTooLong), "{error}");
    }

    #[test]
    fn a_response_without_a_patch_has_no_patch_type() {
        let json: Value = serde_json::from_slice(&Response::default().to_json("u")).unwrap();
        assert_eq!(json["response"], json!({"uid": "u", "allowed": true}));
    }

    #[test]
    fn warnings_are_truncated_and_contain_no_control_characters() {
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
