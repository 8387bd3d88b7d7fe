//! Checks of the webhook's registration, and of the replicas behind it.

use std::time::{Duration, SystemTime};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhook;

use super::super::{Problem, survey::Survey};
use crate::certificates::last_expiry;

/// A webhook that may delay a pod for longer than this is reported.
const MAX_TIMEOUT_SECONDS: i32 = 10;
/// A CA that expires sooner is reported: it should have been renewed by then.
pub(super) const CA_SOON: Duration = Duration::from_secs(20 * 24 * 60 * 60);

/// Finds what is wrong with it.
pub(super) fn webhook(survey: &Survey, problems: &mut Vec<Problem>) {
    let about = format!("MutatingWebhookConfiguration {}", survey.webhook_name);
    let configuration = match &survey.webhook {
        Ok(Some(configuration)) => configuration,
        Ok(None) => {
            problems.push(Problem::error(
                &about,
                "it does not exist: Slipway is not installed, or has another name",
                "install the chart, or name it with --webhook-configuration",
            ));
            return;
        }
        Err(why) => {
            problems.push(Problem::error(
                &about,
                format!("it cannot be read: {why}"),
                "run this as a user who may read it",
            ));
            return;
        }
    };
    let mut webhooks = configuration.webhooks.iter().flatten().peekable();
    if webhooks.peek().is_none() {
        problems.push(Problem::error(
            &about,
            "it has no webhooks: the API server calls nothing",
            "install the chart again",
        ));
    }
    for webhook in webhooks {
        one_webhook(webhook, survey.now, &about, problems);
    }
    if survey.ready == Ok(0) {
        problems.push(Problem::error(
            &about,
            "no replica behind its Service is ready: pods are created without Slipway",
            "check the pods of the Deployment, and what their /readyz says",
        ));
    }
}

/// Checks that there is a CA that does not expire soon.
fn ca_problem(webhook: &str, bundle: &[u8], now: SystemTime, about: &str) -> Option<Problem> {
    let effect = "the API server trusts no replica, and pods are created without Slipway";
    let remedy = "with self-made certificates the leader writes it: search its log for `certificate`; otherwise see docs/certificates.md";
    let what = match last_expiry(bundle) {
        _ if bundle.is_empty() => format!("{webhook} has no caBundle: {effect}"),
        None => format!("the caBundle of {webhook} holds no certificates: {effect}"),
        Some(end) if end <= now => {
            format!("every CA in the caBundle of {webhook} has expired: {effect}")
        }
        Some(end) if end <= now + CA_SOON => {
            let days = CA_SOON.as_secs() / (24 * 60 * 60);
            let what = format!("every CA in the caBundle of {webhook} expires within {days} days");
            return Some(Problem::warning(about, what, remedy));
        }
        Some(_) => return None,
    };
    Some(Problem::error(about, what, remedy))
}

fn one_webhook(
    webhook: &MutatingWebhook,
    now: SystemTime,
    about: &str,
    problems: &mut Vec<Problem>,
) {
    let bundle = webhook.client_config.ca_bundle.as_ref();
    let bundle = bundle.map_or(&[][..], |bundle| &bundle.0);
    problems.extend(ca_problem(&webhook.name, bundle, now, about));
    if webhook.failure_policy.as_deref() != Some("Ignore") {
        problems.push(Problem::warning(
            about,
            format!("{} has the failurePolicy Fail: no pod of the namespaces that have opted in is created while Slipway is down", webhook.name),
            "set `webhook.failurePolicy: Ignore` in the chart's values",
        ));
    }
    if webhook
        .timeout_seconds
        .is_none_or(|seconds| seconds > MAX_TIMEOUT_SECONDS)
    {
        problems.push(Problem::warning(
            about,
            format!(
                "{} may delay a pod for more than {MAX_TIMEOUT_SECONDS} s",
                webhook.name
            ),
            "set `webhook.timeoutSeconds: 5` in the chart's values",
        ));
    }
}
