//! A namespace with its labels, from which cluster policies select.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use super::metadata::bounded_metadata;

/// A namespace: its name and its labels. One with more labels than fit into 32 KiB cannot be
/// decoded: whoever leaves some out selects wrongly.
#[derive(kube_derive::Resource, Deserialize, Clone, Debug)]
#[resource(inherit = "Namespace", crates(kube_core = "::kube_core", k8s_openapi = "::k8s_openapi"))]
pub struct NamespaceView {
    /// The name, the version and the labels.
    #[serde(deserialize_with = "bounded_metadata")]
    pub metadata: ObjectMeta,
}

impl NamespaceView {
    /// The name and the labels.
    #[must_use]
    pub fn into_parts(self) -> (String, BTreeMap<String, String>) {
        let ObjectMeta { name, labels, .. } = self.metadata;
        (name.unwrap_or_default(), labels.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_namespace_its_name_and_its_labels_are_kept() {
        let text = r#"{"metadata": {"name": "shop", "resourceVersion": "7", "labels": {"tier": "web"},
            "annotations": {"large": "text"}, "managedFields": [{}]},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}"#;
        let namespace: NamespaceView = serde_json::from_str(text).unwrap();
        assert_eq!(namespace.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(namespace.metadata.annotations, None);
        let labels = [("tier".to_owned(), "web".to_owned())].into();
        assert_eq!(namespace.into_parts(), ("shop".to_owned(), labels));
        let bare: NamespaceView =
            serde_json::from_str(r#"{"metadata": {"labels": null}}"#).unwrap();
        assert!(bare.into_parts().1.is_empty());
    }

    #[test]
    fn labels_without_end_are_not_kept() {
        let labels = |number: usize| {
            let labels: BTreeMap<_, _> =
                (0..number).map(|number| (format!("label-{number:04}"), "x".repeat(54))).collect();
            let text = serde_json::json!({ "metadata": { "labels": labels } }).to_string();
            serde_json::from_str::<NamespaceView>(&text)
        };
        assert!(labels(512).is_ok());
        assert!(labels(513).unwrap_err().to_string().contains("32 KiB"));
    }
}
