//! The custom resources: one file per kind, serde and schema only, no logic.

#[expect(
    unreachable_pub,
    reason = "KubeSchema copies the type into a private scope"
)]
mod audit;
#[expect(
    unreachable_pub,
    reason = "KubeSchema copies the type into a private scope"
)]
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
#[must_use]
pub fn crds() -> [CustomResourceDefinition; 2] {
    [DevOpsPolicy::crd(), PolicyAuditResult::crd()].map(without_nullable)
}

fn without_nullable(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let root = version
            .schema
            .as_mut()
            .and_then(|s| s.open_api_v3_schema.as_mut());
        if let Some(root) = root {
            strip_nullable(root);
        }
    }
    crd
}

fn strip_nullable(
    schema: &mut k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps,
) {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as ext;
    schema.nullable = None;
    // schemars lists `null` among the values of an optional enum; without `nullable` it is none.
    if let Some(values) = &mut schema.enum_ {
        values.retain(|value| value.0 != Value::Null);
    }
    if let Some(properties) = &mut schema.properties {
        properties.values_mut().for_each(strip_nullable);
    }
    if let Some(ext::JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        strip_nullable(items);
    }
    if let Some(ext::JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        strip_nullable(values);
    }
}
