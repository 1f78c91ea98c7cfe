//! Metadata without what makes it large: `managedFields` alone is half of a pod's JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::lenient::{bounded, nullable};

/// The label by which a `ReplicaSet` and its pods carry the hash in the `ReplicaSet`'s name.
pub(crate) const POD_TEMPLATE_HASH: &str = "pod-template-hash";
/// The annotation of a static pod's mirror; the kubelet sets it, and the API server refuses it
/// from others.
pub(crate) const MIRROR_POD: &str = "kubernetes.io/config.mirror";

/// More owners than any real object has. What exceeds it is dropped while decoding.
const MAX_OWNERS: usize = 10_000;

/// Reads what facts, watches and preconditions need of an object's metadata.
pub(super) fn slim_metadata<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<ObjectMeta, D::Error> {
    let slim: SlimMetadata = nullable(deserializer)?;
    Ok(ObjectMeta {
        name: slim.name,
        generate_name: slim.generate_name,
        namespace: slim.namespace,
        uid: slim.uid,
        resource_version: slim.resource_version,
        generation: slim.generation,
        creation_timestamp: slim
            .creation_timestamp
            .and_then(|text| text.parse::<Timestamp>().ok())
            .map(Time),
        owner_references: (!slim.owner_references.is_empty())
            .then(|| slim.owner_references.into_iter().map(OwnerReference::from).collect()),
        labels: slim.labels.into_map(),
        annotations: slim.annotations.into_map(),
        ..ObjectMeta::default()
    })
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct SlimMetadata {
    name: Option<String>,
    generate_name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<String>,
    #[serde(deserialize_with = "bounded::<_, _, MAX_OWNERS>")]
    owner_references: Vec<SlimOwner>,
    #[serde(deserialize_with = "nullable")]
    labels: OneEntry<TemplateHash>,
    #[serde(deserialize_with = "nullable")]
    annotations: OneEntry<Mirror>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct SlimOwner {
    #[serde(deserialize_with = "nullable")]
    api_version: String,
    #[serde(deserialize_with = "nullable")]
    kind: String,
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    uid: String,
    controller: Option<bool>,
}

impl From<SlimOwner> for OwnerReference {
    fn from(owner: SlimOwner) -> Self {
        Self {
            api_version: owner.api_version,
            kind: owner.kind,
            name: owner.name,
            uid: owner.uid,
            controller: owner.controller,
            block_owner_deletion: None,
        }
    }
}

/// The key that is kept of a map of labels or annotations.
trait Key {
    const NAME: &str;
}

struct TemplateHash;
impl Key for TemplateHash {
    const NAME: &str = POD_TEMPLATE_HASH;
}

struct Mirror;
impl Key for Mirror {
    const NAME: &str = MIRROR_POD;
}

/// A map of which only one entry is kept.
struct OneEntry<K> {
    value: Option<String>,
    key: PhantomData<K>,
}

impl<K> Default for OneEntry<K> {
    fn default() -> Self {
        Self { value: None, key: PhantomData }
    }
}

impl<K: Key> OneEntry<K> {
    fn into_map(self) -> Option<BTreeMap<String, String>> {
        self.value.map(|value| BTreeMap::from([(K::NAME.to_owned(), value)]))
    }
}

impl<'de, K: Key> Deserialize<'de> for OneEntry<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self::default())
    }
}

impl<'de, K: Key> Visitor<'de> for OneEntry<K> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(KeyIs(wanted, PhantomData)) = map.next_key::<KeyIs<K>>()? {
            if wanted {
                self.value = map.next_value::<Option<String>>()?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(self)
    }
}

/// Whether a key is the wanted one, without storing the others.
struct KeyIs<K>(bool, PhantomData<K>);

impl<'de, K: Key> Deserialize<'de> for KeyIs<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor(PhantomData))
    }
}

struct KeyVisitor<K>(PhantomData<K>);

impl<K: Key> Visitor<'_> for KeyVisitor<K> {
    type Value = KeyIs<K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<KeyIs<K>, E> {
        Ok(KeyIs(key == K::NAME, PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::super::PodView;

    /// What `kube::Api` and watches ask of a type.
    fn is_watchable<K>() -> String
    where
        K: kube_core::Resource<DynamicType = ()>
            + serde::de::DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        K::url_path(&(), Some("shop"))
    }

    #[test]
    fn the_view_of_a_pod_can_be_watched() {
        assert_eq!(is_watchable::<PodView>(), "/api/v1/namespaces/shop/pods");
    }

    #[test]
    fn only_what_facts_need_is_kept() {
        let pod: PodView = serde_json::from_str(
            r#"{"metadata": {"name": "web", "namespace": null, "creationTimestamp": "2026-01-02T03:04:05Z",
                "managedFields": [{"fieldsV1": {"f:metadata": {}}}], "finalizers": ["x"],
                "labels": {"app": "web", "pod-template-hash": "abc"},
                "annotations": {"a": "b", "kubernetes.io/config.mirror": "h"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "web-abc", "controller": true}]}}"#,
        )
        .unwrap();
        let metadata = pod.metadata;
        assert_eq!(metadata.labels.unwrap().len(), 1);
        assert_eq!(metadata.annotations.unwrap().len(), 1);
        assert_eq!(metadata.managed_fields, None);
        assert_eq!(metadata.owner_references.unwrap()[0].name, "web-abc");
        assert_eq!(metadata.creation_timestamp.unwrap().0.as_second(), 1_767_323_045);
    }

    #[test]
    fn null_is_as_good_as_missing_and_bad_times_are_no_times() {
        for text in [
            "{}",
            r#"{"metadata": null, "spec": null, "status": null}"#,
            r#"{"metadata": {"labels": null, "annotations": null, "ownerReferences": null, "creationTimestamp": "soon"},
                "spec": {"containers": null, "initContainers": null, "resources": null, "template": null},
                "status": {"containerStatuses": null, "phase": null}}"#,
        ] {
            let pod: PodView = serde_json::from_str(text).unwrap();
            assert_eq!(pod.metadata, super::ObjectMeta::default());
            assert!(pod.spec.containers.is_empty());
        }
    }
}
