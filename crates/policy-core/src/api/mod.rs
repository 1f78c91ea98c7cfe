//! The custom resources: one file per kind, serde and schema only, no logic.

#[expect(unreachable_pub, reason = "KubeSchema copies the type into a private scope")]
#[expect(clippy::duplicated_attributes, reason = "two columns may have the same type")]
mod audit;
#[expect(unreachable_pub, reason = "KubeSchema copies the type into a private scope")]
#[expect(clippy::duplicated_attributes, reason = "two columns may have the same type")]
mod policy;
mod quantity;
mod status;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube_core::CustomResourceExt as _;
use serde_json::Value;

pub use audit::{AuditViolation, PolicyAuditResult, PolicyAuditResultSpec};
pub use policy::{
    Admission, AdmissionMode, ControllerPods, DefaultProbe, DefaultResources, DevOpsPolicy,
    DevOpsPolicySpec, EnforcementMode, SeverityOverrides, Weights,
};
pub use quantity::{ParsedQuantity, Quantity};
pub use status::{DevOpsPolicyStatus, ViolationsBySeverity};

/// The API group of both kinds.
pub const GROUP: &str = "devops.stochastic.io";
/// The served and stored version.
pub const VERSION: &str = "v1";
/// `apiVersion` as it stands in a manifest.
pub const API_VERSION: &str = "devops.stochastic.io/v1";
/// Held by a policy while the operator keeps metric series or pending work for it.
pub const FINALIZER: &str = "devops.stochastic.io/cleanup";
/// Set on a workload that was patched; the value is `<policy namespace>/<policy name>`.
pub const PATCHED_BY: &str = "devops.stochastic.io/patched-by";

/// The definitions of both kinds, as they are installed into a cluster.
///
/// `nullable` is taken out of the schema: the API server then drops an explicit `null`, which
/// means the same as leaving the field out, and CEL rules need not tell the two apart.
/// Descriptions lose the line breaks of their source, so that `kubectl explain` wraps them.
#[must_use]
pub fn crds() -> [CustomResourceDefinition; 2] {
    [DevOpsPolicy::crd(), PolicyAuditResult::crd()].map(tidy)
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
    // schemars lists `null` among the values of an optional enum; without `nullable` it is none.
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
