//! The custom resources: one file per kind, serde and schema only, no logic.

#[expect(unreachable_pub, reason = "KubeSchema copies the type into a private scope")]
#[expect(clippy::duplicated_attributes, reason = "two columns may have the same type")]
mod audit;
#[expect(unreachable_pub, reason = "KubeSchema copies the type into a private scope")]
#[expect(clippy::duplicated_attributes, reason = "two columns may have the same type")]
mod cluster_policy;
#[expect(unreachable_pub, reason = "KubeSchema copies the type into a private scope")]
mod custom;
#[expect(unreachable_pub, reason = "KubeSchema copies the type into a private scope")]
mod exemption;
#[expect(unreachable_pub, reason = "KubeSchema copies the type into a private scope")]
#[expect(clippy::duplicated_attributes, reason = "two columns may have the same type")]
mod policy;
mod remediation;
#[expect(unreachable_pub, reason = "KubeSchema copies the type into a private scope")]
mod selector;
mod status;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube_core::CustomResourceExt as _;
use serde_json::Value;

pub use audit::{AuditViolation, AuditWorkload, PolicyAuditResult, PolicyAuditResultSpec};
pub use cluster_policy::{
    ClusterDevOpsPolicy, ClusterDevOpsPolicySpec, MAX_EXCLUDED, MAX_PRIORITY,
};
pub use custom::{CUSTOM_WEIGHT, CustomCheck, MAX_CUSTOM};
pub use exemption::{
    ExemptedWorkload, Exemption, MAX_CHECKS, MAX_EXEMPTION_SELECTOR_ENTRIES, MAX_EXEMPTIONS,
};
pub use policy::{
    Admission, AdmissionMode, ControllerPods, DefaultProbe, DefaultResources, DevOpsPolicy,
    DevOpsPolicySpec, EnforcementMode, SeverityOverrides, Weights,
};
pub use remediation::{
    MAX_WINDOWS, MAX_WORKLOADS, RemediatedWorkload, Remediation, RemediationMethod,
    RemediationState, RemediationStatus, RemediationWindow,
};
pub use selector::{LabelSelector, MAX_SELECTOR_ENTRIES, SelectorOperator, SelectorRequirement};
pub use status::{DevOpsPolicyStatus, ViolationsBySeverity};

/// The API group of all kinds.
pub const GROUP: &str = "devops.stochastic.io";
/// The served and stored version.
pub const VERSION: &str = "v1";
/// The kind of a cluster policy, which is part of its name to people.
pub const CLUSTER_POLICY: &str = "ClusterDevOpsPolicy";
/// `apiVersion` in a manifest.
pub const API_VERSION: &str = "devops.stochastic.io/v1";
/// The finalizer of a policy. The operator removes it when the metric series and the pending work of
/// a deleted policy have ended.
pub const FINALIZER: &str = "devops.stochastic.io/cleanup";
/// The annotation of a patched workload; the value is `<policy namespace>/<policy name>`.
pub const PATCHED_BY: &str = "devops.stochastic.io/patched-by";
/// The annotation of a pod that was changed at admission; the value is
/// `<policy namespace>/<policy name>`.
pub const INJECTED_BY: &str = "devops.stochastic.io/injected-by";
/// The annotation of a pod with what was filled in at admission, as `container: field=value`.
pub const INJECTED_FIELDS: &str = "devops.stochastic.io/injected-fields";
/// The annotation of a workload or namespace that turns its remediation off (`disabled`), or allows
/// it where it rests on a guess (`enabled`).
pub const REMEDIATION: &str = "devops.stochastic.io/remediation";
/// The field manager of what the operator writes.
pub const FIELD_MANAGER: &str = "policy-operator";

/// The annotation of an audit result with the fingerprint of its verdict.
pub const VERDICT: &str = "devops.stochastic.io/verdict";

/// The definitions of all kinds, as they are installed into a cluster.
///
/// `nullable` is removed from the schema: the API server then drops an explicit `null`, so that CEL
/// rules need not handle it
/// (<https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#defaulting-and-nullable>).
/// Line breaks are removed from descriptions, so that `kubectl explain` wraps them.
#[must_use]
pub fn crds() -> [CustomResourceDefinition; 3] {
    [DevOpsPolicy::crd(), ClusterDevOpsPolicy::crd(), PolicyAuditResult::crd()].map(tidy)
}

fn tidy(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let root = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut());
        if let Some(root) = root {
            tidy_schema(root);
        }
    }
    crd
}

fn tidy_schema(
    schema: &mut k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps,
) {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as ext;
    schema.nullable = None;
    if let Some(description) = &mut schema.description {
        *description = description.replace('\n', " ");
    }
    // schemars lists `null` among the values of an optional enum.
    if let Some(values) = &mut schema.enum_ {
        values.retain(|value| value.0 != Value::Null);
    }
    if let Some(properties) = &mut schema.properties {
        properties.values_mut().for_each(tidy_schema);
    }
    if let Some(ext::JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        tidy_schema(items);
    }
    if let Some(ext::JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy_schema(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields below a schema that describe nothing, or leave something of it out.
    fn undescribed(path: &str, schema: &Value, problems: &mut Vec<String>) {
        let description = schema["description"].as_str().unwrap_or_default();
        let is_typed = schema["type"].is_string() || schema["x-kubernetes-int-or-string"] == true;
        if !is_typed || !description.ends_with('.') || description.contains('\n') {
            problems.push(format!("{path}: {description:?}"));
        }
        assert!(schema["nullable"].is_null(), "{path} is nullable");
        for (name, below) in schema["properties"].as_object().into_iter().flatten() {
            undescribed(&format!("{path}.{name}"), below, problems);
        }
        if schema["items"]["properties"].is_object() {
            undescribed(&format!("{path}[]"), &schema["items"], problems);
        }
    }

    /// `kubectl explain` shows descriptions and types, and nothing else helps its reader.
    #[test]
    fn every_field_is_typed_and_described() {
        for crd in crds() {
            let crd = serde_json::to_value(&crd).unwrap();
            let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            let mut problems = Vec::new();
            for part in ["spec", "status"] {
                let schema = &schema["properties"][part];
                for (name, below) in schema["properties"].as_object().into_iter().flatten() {
                    undescribed(&format!("{part}.{name}"), below, &mut problems);
                }
            }
            // The conditions are Kubernetes' own type, with its own texts.
            problems.retain(|problem| !problem.starts_with("status.conditions"));
            assert!(problems.is_empty(), "{}: {problems:#?}", crd["metadata"]["name"]);
            assert!(schema["description"].is_string());
        }
    }

    #[test]
    fn every_setting_says_its_default() {
        for crd in &crds()[..2] {
            settings_say_their_default(&serde_json::to_value(crd).unwrap());
        }
    }

    fn settings_say_their_default(crd: &Value) {
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        for (name, field) in spec["properties"].as_object().unwrap() {
            let fields = field["properties"].as_object();
            for (below, field) in fields.into_iter().flatten().chain([(&String::new(), field)]) {
                let text = field["description"].as_str().unwrap();
                let says = text.contains("Default: ") || text.contains("Required.");
                assert!(says, "{name}.{below}: {text}");
            }
        }
    }

    #[test]
    fn the_definitions_are_what_the_contract_names() {
        let [policy, cluster, audit] = crds().map(|crd| serde_json::to_value(&crd).unwrap());
        for (crd, plural, short, scope) in [
            (&policy, "devopspolicies", "dop", "Namespaced"),
            (&cluster, "clusterdevopspolicies", "cdop", "Cluster"),
            (&audit, "policyauditresults", "par", "Namespaced"),
        ] {
            assert_eq!(crd["metadata"]["name"], format!("{plural}.{GROUP}"));
            assert_eq!(crd["spec"]["names"]["shortNames"], serde_json::json!([short]));
            assert_eq!(crd["spec"]["names"]["categories"], serde_json::json!(["governance"]));
            assert_eq!(crd["spec"]["scope"], scope);
            assert_eq!(
                format!("{GROUP}/{}", crd["spec"]["versions"][0]["name"].as_str().unwrap()),
                API_VERSION
            );
        }
        let columns = |crd: &Value| {
            let columns =
                crd["spec"]["versions"][0]["additionalPrinterColumns"].as_array().unwrap();
            columns.iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let expected = [
            "Mode",
            "Admission",
            "Score",
            "Class",
            "Pods",
            "Violations",
            "Age",
            "Last evaluated",
            "Message",
        ];
        assert_eq!(columns(&policy), expected);
        assert_eq!(columns(&audit), ["Policy", "Score", "Class", "Violations", "Age"]);
        assert!(!policy["spec"]["versions"][0]["subresources"]["status"].is_null());
        let audit_spec =
            &audit["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        assert_eq!(audit_spec["x-kubernetes-validations"][0]["rule"], "self == oldSelf");
    }
}
