//! Whether the API server calls the webhook: its configuration, its caBundle, and an answer.

use std::sync::Arc;

use anyhow::Context as _;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingWebhook, ValidatingWebhookConfiguration,
};
use kube::api::PostParams;
use kube::client::Body;
use kube::core::Request;
use kube::{Api, Client};
use policy_core::Timestamp;
use policy_core::admission::{Creation, NamedPolicy};
use policy_core::facts::PodFacts;
use policy_core::installation::{WEBHOOK_CONFIGURATION, WEBHOOK_NAME};
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::view::PodView;
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::permissions::may_create_pods;
use crate::cluster::{Cluster, ErrorKind};
use crate::cmd::webhook::{Authority, time};
use crate::limits::NotJudged;
use crate::policies::{ListedPolicies, PolicyName};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Webhook {
    pub(super) name: String,
    /// `null` where you may not read the configuration.
    is_installed: Option<bool>,
    has_ca_bundle: bool,
    /// `null` where it was not tested.
    answers: Option<bool>,
    /// For people.
    pub(super) message: String,
}

impl Webhook {
    pub(super) async fn check(
        cluster: &Cluster,
        policies: &ListedPolicies,
    ) -> anyhow::Result<Self> {
        let name = WEBHOOK_CONFIGURATION.to_owned();
        let state = |is_installed, message: &str| Self {
            name: name.clone(),
            is_installed,
            has_ca_bundle: false,
            answers: None,
            message: message.to_owned(),
        };
        let api: Api<ValidatingWebhookConfiguration> = Api::all(cluster.client());
        let found = cluster.call(&format!("cannot read {name}"), api.get(&name)).await;
        let webhook = match found {
            Ok(found) => found.webhooks.and_then(|webhooks| webhooks.into_iter().next()),
            Err(error) if error.kind == ErrorKind::NotFound => {
                return Ok(state(
                    Some(false),
                    "not installed, nothing is denied; see `policyctl webhook install-config`",
                ));
            }
            Err(error) if error.kind == ErrorKind::Forbidden => {
                return Ok(state(None, "you may not read the configuration"));
            }
            Err(error) => return Err(error.into()),
        };
        let Some(webhook) = webhook else {
            return Ok(state(Some(true), "the configuration lists no webhook"));
        };
        let (has_ca_bundle, ca_bundle) = ca_bundle(&webhook)?;
        let (answers, answer) = answer(cluster, policies, &webhook).await?;
        let message = format!("installed, {ca_bundle}, {answer}");
        let is_installed = Some(true);
        Ok(Self { name, is_installed, has_ca_bundle, answers, message })
    }
}

/// Whether there is a certificate to trust the webhook by, and for how long.
fn ca_bundle(webhook: &ValidatingWebhook) -> anyhow::Result<(bool, String)> {
    let Some(pem) = webhook.client_config.ca_bundle.as_ref().filter(|pem| !pem.0.is_empty()) else {
        return Ok((false, "no caBundle, so every call fails".to_owned()));
    };
    Ok(match Authority::of(pem.0.clone(), OffsetDateTime::now_utc()) {
        Ok(authority) => (true, format!("caBundle valid until {}", time(authority.until)?)),
        Err(problem) => (true, format!("the caBundle {problem}")),
    })
}

/// Tests the webhook by the dry run of a pod that a policy denies or warns of: with
/// `failurePolicy: Ignore` the API server does not report a webhook that it cannot call.
async fn answer(
    cluster: &Cluster,
    policies: &ListedPolicies,
    webhook: &ValidatingWebhook,
) -> anyhow::Result<(Option<bool>, String)> {
    let not_tested = |reason: String| Ok((None, format!("not tested: {reason}")));
    let Some((namespace, policy)) = testable(policies, webhook)? else {
        return not_tested("no policy denies or warns of a bare pod".to_owned());
    };
    if !may_create_pods(cluster, &namespace).await? {
        return not_tested(format!("you may not create pods in namespace {namespace}"));
    }
    let operation = format!("cannot try to create a pod in namespace {namespace}");
    let (status, warnings, message) =
        cluster.call(&operation, dry_run(cluster.client(), &namespace)).await?;
    let has_answered = message.contains(WEBHOOK_NAME)
        || warnings.contains("policy webhook")
        || warnings.contains(&format!("policy {namespace}/"));
    if has_answered {
        return Ok((Some(true), "answers".to_owned()));
    }
    if status.is_success() {
        let message =
            format!("does NOT answer: a pod that violates policy {namespace}/{policy} was let in");
        return Ok((Some(false), message));
    }
    not_tested(format!("the dry run of a pod in namespace {namespace} failed: {message}"))
}

/// A namespace that the webhook judges, with a policy that denies or warns of [`pod`].
fn testable(
    listed: &ListedPolicies,
    webhook: &ValidatingWebhook,
) -> anyhow::Result<Option<PolicyName>> {
    let selector = webhook.namespace_selector.iter().flat_map(|s| s.match_expressions.iter());
    let excluded = selector.flatten().filter(|requirement| requirement.operator == "NotIn");
    let excluded = excluded.filter_map(|requirement| requirement.values.clone()).flatten();
    let excluded = ExcludedNamespaces::with(excluded);
    let view: PodView = serde_json::from_value(pod()).context("the pod for the test")?;
    let facts = PodFacts::of_pod(&view, "default");
    let not_judged = listed.not_judged().unwrap_or_default();
    for ((namespace, name), policy) in &listed.policies {
        let Ok(rules) = policy.compiled() else { continue };
        let is_this = |other: &NotJudged| (&other.namespace, &other.name).cmp(&(namespace, name));
        if not_judged.binary_search_by(is_this).is_ok() {
            continue;
        }
        let named = NamedPolicy { name: name.as_str().into(), rules: Ok(Arc::new(rules)) };
        let creation = Creation { namespace, ..Creation::of(&facts) };
        let verdict = creation.admit(&named.into(), Timestamp::now());
        let is_told = !verdict.is_allowed() || !verdict.warnings().is_empty();
        if is_told && !excluded.contains(namespace) {
            return Ok(Some((namespace.clone(), name.clone())));
        }
    }
    Ok(None)
}

/// A pod without probes and limits and with an image that is not pinned. Otherwise it meets the
/// restricted Pod Security Standard, whose admission plugin runs before webhooks.
fn pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "generateName": "policyctl-check-" },
        "spec": {
            "containers": [{
                "name": "check",
                "image": "policyctl-check",
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": { "drop": ["ALL"] },
                },
            }],
            "securityContext": {
                "runAsNonRoot": true,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
        },
    })
}

/// Status, warnings and message of the API server's answer.
async fn dry_run(
    client: Client,
    namespace: &str,
) -> kube::Result<(http::StatusCode, String, String)> {
    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    let body = serde_json::to_vec(&pod()).map_err(kube::Error::SerdeError)?;
    let request = Request::new(format!("/api/v1/namespaces/{namespace}/pods"))
        .create(&parameters, body)
        .map_err(kube::Error::BuildRequest)?;
    let response = client.send(request.map(Body::from)).await?;
    let status = response.status();
    let warnings = response.headers().get_all("warning").iter();
    let warnings: Vec<String> =
        warnings.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
    let body = response.into_body().collect_bytes().await?;
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    let message = answer["message"].as_str().unwrap_or_default().to_owned();
    Ok((status, warnings.join("\n"), message))
}
