//! Names and labels that all objects share.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use policy_core::installation::NAMESPACE;

use crate::Object;

/// The value of the label [`PART_OF`] of every object.
pub const PLATFORM: &str = "kube-devops";

/// The label that tells the objects of the platform from others.
pub const PART_OF: &str = "app.kubernetes.io/part-of";

/// The platform's namespace.
#[must_use]
pub fn namespace() -> Object {
    Namespace { metadata: cluster_wide(NAMESPACE, PLATFORM), ..Namespace::default() }.into()
}

/// Metadata of an object in the platform's namespace, named after its component.
pub(crate) fn in_namespace(component: &str) -> ObjectMeta {
    ObjectMeta { namespace: Some(NAMESPACE.to_owned()), ..cluster_wide(component, component) }
}

/// Metadata of a cluster-scoped object.
pub(crate) fn cluster_wide(name: &str, component: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(labels(component)),
        ..ObjectMeta::default()
    }
}

/// The name of a cluster-scoped object, with a prefix against collisions.
pub(crate) fn cluster_wide_name(component: &str) -> String {
    format!("{PLATFORM}-{component}")
}

/// Without `app.kubernetes.io/managed-by`: the installing tool sets it.
pub(crate) fn labels(component: &str) -> BTreeMap<String, String> {
    let labels = [("app.kubernetes.io/name", component), (PART_OF, PLATFORM)];
    BTreeMap::from(labels.map(|(key, value)| (key.to_owned(), value.to_owned())))
}
