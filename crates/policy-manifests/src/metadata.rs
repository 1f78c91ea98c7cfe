//! What all objects have in common.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::Object;

/// The namespace of the platform and of its Leases.
pub const NAMESPACE: &str = "kube-devops";
/// What every object is a part of.
const PLATFORM: &str = "kube-devops";

/// The platform's namespace.
#[must_use]
pub fn namespace() -> Object {
    Namespace { metadata: cluster_wide(NAMESPACE, PLATFORM), ..Namespace::default() }.into()
}

/// Of an object in the platform's namespace, named after its component.
pub(crate) fn in_namespace(component: &str) -> ObjectMeta {
    ObjectMeta { namespace: Some(NAMESPACE.to_owned()), ..cluster_wide(component, component) }
}

/// Of an object outside of namespaces.
pub(crate) fn cluster_wide(name: &str, component: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some(labels(component)),
        ..ObjectMeta::default()
    }
}

/// A name that nobody else in the cluster is likely to have.
pub(crate) fn cluster_wide_name(component: &str) -> String {
    format!("{PLATFORM}-{component}")
}

/// The label that says who manages an object is left to the tool that does.
pub(crate) fn labels(component: &str) -> BTreeMap<String, String> {
    let labels = [("name", component), ("part-of", PLATFORM)];
    let labels = labels.map(|(key, value)| (format!("app.kubernetes.io/{key}"), value.to_owned()));
    BTreeMap::from(labels)
}
