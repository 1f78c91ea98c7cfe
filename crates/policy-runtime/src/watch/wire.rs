//! What the API server sends: events of a watch, and as much of an object that cannot be decoded
//! as says which one it is.

use std::collections::BTreeMap;

use kube::core::Status;
use serde::Deserialize;

/// Marks the bookmark that ends the list of a streaming list (KEP-3157).
const LIST_ENDS: &str = "k8s.io/initial-events-end";

/// An event of a watch. The server writes `type` first, so the object is decoded in place.
#[derive(Deserialize, Debug)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
pub(super) enum WireEvent<T> {
    Added(T),
    Modified(T),
    Deleted(Named),
    Bookmark(Named),
    Error(Box<Status>),
}

/// The identity of an object.
#[derive(Deserialize, Debug, Default)]
#[serde(default)]
pub(super) struct Named {
    pub(super) metadata: Metadata,
}

#[derive(Deserialize, Debug, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata {
    namespace: Option<String>,
    name: Option<String>,
    resource_version: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
}

/// An event of which only the object's identity is read.
#[derive(Deserialize, Debug)]
pub(super) struct Loose {
    pub(super) object: Named,
}

impl Named {
    /// Empty for a cluster-scoped object.
    pub(super) fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Empty where it has none.
    pub(super) fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Empty where it has none.
    pub(super) fn version(&self) -> &str {
        self.metadata.resource_version.as_deref().unwrap_or_default()
    }

    /// Whether this bookmark ends a list that streams.
    pub(super) fn ends_list(&self) -> bool {
        let mark = self.metadata.annotations.as_ref().and_then(|all| all.get(LIST_ENDS));
        mark.is_some_and(|value| value == "true")
    }

    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace(), self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(json: &str) -> WireEvent<Named> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn events_are_read_as_the_server_writes_them() {
        let added = event(r#"{"type":"ADDED","object":{"metadata":{"name":"a"},"spec":{}}}"#);
        assert!(matches!(added, WireEvent::Added(named) if named.name() == "a"));
        let ends = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7",
            "annotations":{"k8s.io/initial-events-end":"true"}}}}"#;
        assert!(matches!(event(ends), WireEvent::Bookmark(named) if named.ends_list()));
        let plain = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"8"}}}"#;
        assert!(matches!(event(plain), WireEvent::Bookmark(named) if !named.ends_list()));
        let gone = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}"#;
        assert!(matches!(event(gone), WireEvent::Error(status) if status.code == 410));
    }
}
