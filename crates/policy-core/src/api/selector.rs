//! A selector of labels, as Kubernetes writes it, with rules that the API server checks.

use std::collections::BTreeMap;

use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The most entries of each list and map of a selector.
pub const MAX_SELECTOR_ENTRIES: usize = 64;

/// A selector of labels. All of its requirements must hold; one without requirements selects
/// everything.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"))]
pub struct LabelSelector {
    /// The labels that must have exactly these values. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend(
        "maxProperties" = MAX_SELECTOR_ENTRIES,
        "additionalProperties" = json!({ "type": "string", "maxLength": 63 })
    ))]
    #[x_kube(validation = Rule::new("self.all(key, !format.qualifiedName().validate(key).hasValue())").message("each key must be a label key, such as example.com/tier"))]
    #[x_kube(validation = Rule::new("self.all(key, !format.labelValue().validate(self[key]).hasValue())").message("each value must be a label value: at most 63 letters, digits, `-`, `_` and `.`"))]
    pub match_labels: BTreeMap<String, String>,

    /// Further requirements. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_SELECTOR_ENTRIES))]
    pub match_expressions: Vec<SelectorRequirement>,
}

/// A requirement on one label.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"))]
#[x_kube(validation = Rule::new("self.operator in ['In', 'NotIn'] == (has(self.values) && size(self.values) > 0)").message("In and NotIn need values, Exists and DoesNotExist have none").field_path(".values"))]
pub struct SelectorRequirement {
    /// The key of the label. Required.
    #[schemars(length(min = 1, max = 317))]
    #[x_kube(validation = Rule::new("!format.qualifiedName().validate(self).hasValue()").message("must be a label key, such as example.com/tier"))]
    pub key: String,

    /// `In` and `Exists` need the label; `NotIn` and `DoesNotExist` also hold where it is missing.
    /// Required.
    pub operator: SelectorOperator,

    /// The values that `In` and `NotIn` compare with. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_SELECTOR_ENTRIES), inner(length(max = 63)))]
    #[x_kube(validation = Rule::new("self.all(value, !format.labelValue().validate(value).hasValue())").message("each must be a label value: at most 63 letters, digits, `-`, `_` and `.`"))]
    pub values: Vec<String>,
}

/// How a requirement compares a label.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectorOperator {
    /// The label has one of the values.
    In,
    /// The label has none of the values, or is missing.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is missing.
    DoesNotExist,
}
