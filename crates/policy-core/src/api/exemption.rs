//! Findings of a policy that are known and accepted.

use kube_derive::KubeSchema;
use schemars::{JsonSchema as _, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::custom::MAX_CUSTOM;
use super::selector::LabelSelector;
use crate::checks::{CHECK_COUNT, CheckId};

/// The most checks of an exemption: those of the registry and the custom ones of a policy.
pub const MAX_CHECKS: usize = CHECK_COUNT + MAX_CUSTOM;
/// The most exemptions of a policy.
pub const MAX_EXEMPTIONS: usize = 100;
/// The most entries of each list and map of the selector of an exemption. The API server estimates what
/// the rules of a definition may cost, and a policy has up to [`MAX_EXEMPTIONS`] selectors.
pub const MAX_EXEMPTION_SELECTOR_ENTRIES: usize = 8;

/// Findings of one workload that are known and accepted: they are listed with their reason, and
/// neither lower the score nor deny anything.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"))]
#[x_kube(validation = Rule::new("has(self.workload) != has(self.selector)").message("names its workloads either by workload or by selector"))]
#[x_kube(validation = Rule::new("!has(self.selector) || (has(self.selector.matchLabels) && size(self.selector.matchLabels) > 0) || (has(self.selector.matchExpressions) && size(self.selector.matchExpressions) > 0)").message("must have a requirement; an empty one would exempt every workload").field_path(".selector"))]
pub struct Exemption {
    /// The ids of the checks, such as `latest-tag` or `custom/NAME`; at least one. Required.
    #[schemars(schema_with = "check_ids")]
    pub checks: Vec<String>,

    /// The workload whose findings are exempted. Default: none; then `selector` is required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<ExemptedWorkload>,

    /// The workloads whose findings are exempted, by the labels in their own metadata (of the
    /// Deployment, not of its pod template). Whoever may label a workload can exempt it; who may only
    /// write pods cannot, and a pod that nothing controls is never selected. It must have a
    /// requirement. Default: none; then `workload` is required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "small_selector")]
    pub selector: Option<LabelSelector>,

    /// The container whose findings are exempted; a volume with the content of an image is
    /// `volumes[NAME]`. Findings about the pod as a whole belong to no container. Default: the pod
    /// and all of its containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub container: Option<String>,

    /// Why the findings are accepted, for whoever reads the status. Required.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = Rule::new("self.matches('[^[:space:]]')").message("must say why the findings are accepted"))]
    pub reason: String,

    /// When the exemption ends: from that second on its findings count again. A time as in RFC 3339,
    /// such as `2027-01-31T00:00:00Z`. Default: it does not end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$')").message("must be a time such as 2027-01-31T00:00:00Z"))]
    pub expires: Option<String>,
}

/// A workload by its kind and name.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"))]
pub struct ExemptedWorkload {
    /// The kind, such as `Deployment`; `Pod` for a pod that nothing controls. Required.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Z][A-Za-z0-9]*$')").message("must be a kind such as Deployment or Pod"))]
    pub kind: String,

    /// The name, in full. Required.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')").message("must be the full name of a workload, such as web"))]
    pub name: String,

    /// The namespace, where the policy judges several. Default: every namespace that the policy
    /// judges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("must be the name of a namespace"))]
    pub namespace: Option<String>,
}

/// A selector of labels with at most [`MAX_EXEMPTION_SELECTOR_ENTRIES`] of everything.
fn small_selector(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = Option::<LabelSelector>::json_schema(generator).to_value();
    lower_limits(&mut schema);
    Schema::try_from(schema).unwrap_or_default()
}

fn lower_limits(schema: &mut serde_json::Value) {
    match schema {
        serde_json::Value::Object(fields) => {
            for limit in ["maxItems", "maxProperties"] {
                if let Some(limit) = fields.get_mut(limit) {
                    *limit = MAX_EXEMPTION_SELECTOR_ENTRIES.into();
                }
            }
            fields.values_mut().for_each(lower_limits);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(lower_limits),
        _ => {}
    }
}

/// A set of check ids, which is not empty.
fn check_ids(_: &mut SchemaGenerator) -> Schema {
    let ids: Vec<&str> = CheckId::all().map(CheckId::as_str).collect();
    json_schema!({
        "type": "array",
        "items": {
            "type": "string",
            "description": "The id of a check.",
            "pattern": format!("^({}|custom/[a-z0-9]([-a-z0-9]{{0,61}}[a-z0-9])?)$", ids.join("|")),
        },
        "minItems": 1,
        "maxItems": MAX_CHECKS,
        "x-kubernetes-list-type": "set",
    })
}
