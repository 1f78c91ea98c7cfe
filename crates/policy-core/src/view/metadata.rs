//! Metadata without the parts that make it large: `managedFields` alone is half of a pod's JSON.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    ManagedFieldsEntry, ObjectMeta, OwnerReference, Time,
};
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::lenient::{for_each, nullable};
use super::text::Text;
use crate::api::INJECTED_BY;

/// The label of a `ReplicaSet` and its pods with the hash in the `ReplicaSet`'s name.
pub(crate) const POD_TEMPLATE_HASH: &str = "pod-template-hash";
/// The same of Argo's Rollouts.
pub(crate) const ROLLOUT_TEMPLATE_HASH: &str = "rollouts-pod-template-hash";
/// The label of the pods of a `StatefulSet` or `DaemonSet` with the revision of their template.
const REVISION_HASH: &str = "controller-revision-hash";

/// The labels with a hash of the template of a pod.
const TEMPLATE_LABELS: &[&str] = &[POD_TEMPLATE_HASH, ROLLOUT_TEMPLATE_HASH, REVISION_HASH];

/// Decodes the metadata that facts, watches and preconditions need. Of labels only
/// those with a hash of the template are kept, of annotations only [`INJECTED_BY`], and of owners only
/// the controller.
pub(super) fn slim_metadata<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize, Default)]
    struct Slim(#[serde(with = "SlimMetadata")] ObjectMeta);
    nullable(deserializer).map(|Slim(metadata)| metadata)
}

#[derive(Deserialize, Default)]
#[serde(remote = "ObjectMeta", default, rename_all = "camelCase")]
struct SlimMetadata {
    name: Option<String>,
    generate_name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    #[serde(deserialize_with = "time")]
    creation_timestamp: Option<Time>,
    #[serde(deserialize_with = "time")]
    deletion_timestamp: Option<Time>,
    #[serde(deserialize_with = "controller")]
    owner_references: Option<Vec<OwnerReference>>,
    #[serde(deserialize_with = "template_labels")]
    labels: Option<BTreeMap<String, String>>,
    #[serde(skip)]
    finalizers: Option<Vec<String>>,
    #[serde(deserialize_with = "injected_by")]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(skip)]
    deletion_grace_period_seconds: Option<i64>,
    #[serde(skip)]
    managed_fields: Option<Vec<ManagedFieldsEntry>>,
    #[serde(skip)]
    self_link: Option<String>,
}

/// Decodes the metadata of an object of a manifest: the same with all labels, because exemptions may
/// select a workload by them.
pub(super) fn labelled_metadata<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<ObjectMeta, D::Error> {
    let metadata: LabelledMetadata = nullable(deserializer)?;
    let LabelledMetadata { name, generate_name, namespace, .. } = metadata;
    Ok(ObjectMeta {
        name,
        generate_name,
        namespace,
        generation: metadata.generation,
        creation_timestamp: metadata.creation_timestamp,
        deletion_timestamp: metadata.deletion_timestamp,
        owner_references: metadata.owner_references,
        labels: metadata.labels,
        ..ObjectMeta::default()
    })
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct LabelledMetadata {
    name: Option<String>,
    generate_name: Option<String>,
    namespace: Option<String>,
    generation: Option<i64>,
    #[serde(deserialize_with = "time")]
    creation_timestamp: Option<Time>,
    #[serde(deserialize_with = "time")]
    deletion_timestamp: Option<Time>,
    #[serde(deserialize_with = "controller")]
    owner_references: Option<Vec<OwnerReference>>,
    #[serde(deserialize_with = "all_labels")]
    labels: Option<BTreeMap<String, String>>,
}

/// A text that is not a time is no time: an object from a file may hold anything.
pub(super) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
    Ok(Text::deserialize(deserializer)?.0.parse().ok().map(Time))
}

/// The owner with `controller: true`, wherever it is in the list. The API server accepts one at
/// most, and any number of other owners.
pub(super) fn controller<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<OwnerReference>>, D::Error> {
    let mut controller = None;
    for_each(deserializer, |owner: OwnerReference| {
        controller = Some(owner).filter(|owner| owner.controller == Some(true));
        controller.is_none()
    })?;
    Ok(controller.map(|controller| vec![controller]))
}

/// The template that a pod was made from.
#[must_use]
pub fn template_of(metadata: &ObjectMeta) -> Option<&str> {
    let labels = metadata.labels.as_ref()?;
    TEMPLATE_LABELS.iter().find_map(|name| labels.get(*name)).map(String::as_str)
}

fn template_labels<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    deserializer.deserialize_option(SomeKeys(TEMPLATE_LABELS))
}

fn injected_by<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    deserializer.deserialize_option(SomeKeys(&[INJECTED_BY]))
}

/// The most bytes of labels that an object may have whose labels are kept. The API server has no limit
/// of its own below that of the whole object, 1.5 MiB; real objects have some hundred bytes.
const LONGEST_LABELS: usize = 32 << 10;

fn bounded_labels<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let labels: BTreeMap<String, String> = nullable(deserializer)?;
    let bytes: usize = labels.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > LONGEST_LABELS {
        return Err(D::Error::custom("it has more than 32 KiB of labels"));
    }
    Ok(labels)
}

/// Decodes the metadata of an object from which selectors select: with all labels, and an error where
/// these are more than fit into 32 KiB.
pub(super) fn bounded_metadata<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Bounded {
        name: Option<String>,
        namespace: Option<String>,
        resource_version: Option<String>,
        #[serde(deserialize_with = "controller")]
        owner_references: Option<Vec<OwnerReference>>,
        #[serde(deserialize_with = "bounded_labels")]
        labels: BTreeMap<String, String>,
    }
    let Bounded { name, namespace, resource_version, owner_references, labels } =
        nullable(deserializer)?;
    Ok(ObjectMeta {
        name,
        namespace,
        resource_version,
        owner_references,
        labels: Some(labels),
        ..ObjectMeta::default()
    })
}

/// The API server refuses labels that are no texts; here they are no labels.
fn all_labels<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    let labels: Option<BTreeMap<String, LabelValue>> = Option::deserialize(deserializer)?;
    let texts = labels.into_iter().flatten().filter_map(|(key, value)| Some((key, value.0?)));
    Ok(Some(texts.collect()).filter(|labels: &BTreeMap<_, _>| !labels.is_empty()))
}

/// A text; `None` of anything else.
struct LabelValue(Option<String>);

impl<'de> Deserialize<'de> for LabelValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LabelValueVisitor)
    }
}

struct LabelValueVisitor;

impl<'de> Visitor<'de> for LabelValueVisitor {
    type Value = LabelValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<LabelValue, E> {
        Ok(LabelValue(Some(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<LabelValue, E> {
        Ok(LabelValue(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<LabelValue, E> {
        Ok(LabelValue(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<LabelValue, E> {
        Ok(LabelValue(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<LabelValue, E> {
        Ok(LabelValue(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<LabelValue, E> {
        Ok(LabelValue(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<LabelValue, A::Error> {
        while members.next_element::<IgnoredAny>()?.is_some() {}
        Ok(LabelValue(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<LabelValue, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(LabelValue(None))
    }
}

/// Decodes a map and keeps only these keys; `None` where it has none of them.
#[derive(Clone, Copy)]
struct SomeKeys(&'static [&'static str]);

impl<'de> Visitor<'de> for SomeKeys {
    type Value = Option<BTreeMap<String, String>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut kept = BTreeMap::new();
        while let Some(wanted) = map.next_key_seed(IsOneOf(self.0))? {
            match wanted {
                Some(key) => {
                    let value: Option<String> = map.next_value()?;
                    kept.extend(value.map(|value| (key.to_owned(), value)));
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(kept).filter(|kept| !kept.is_empty()))
    }
}

/// Which of these a key is. The key is not stored.
struct IsOneOf(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for IsOneOf {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsOneOf {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|wanted| **wanted == key).copied())
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
                "ownerReferences": [{"kind": "Node", "name": "n"}, {"kind": "Foo", "name": "f", "controller": false},
                    {"kind": "ReplicaSet", "name": "web-abc", "controller": true}, {"kind": "Bar", "name": "b"}]}}"#,
        )
        .unwrap();
        let metadata = pod.metadata;
        assert_eq!(metadata.labels.unwrap().len(), 1);
        assert_eq!(metadata.annotations, None);
        assert_eq!((metadata.managed_fields, metadata.finalizers), (None, None));
        let owners = metadata.owner_references.unwrap();
        assert_eq!((owners.len(), &*owners[0].name), (1, "web-abc"), "only the controller");
        assert_eq!(metadata.creation_timestamp.unwrap().0.as_second(), 1_767_323_045);
    }

    #[test]
    fn the_template_of_a_pod_and_what_was_injected_into_it_are_kept() {
        let read = |metadata: &str| -> super::ObjectMeta {
            let pod = format!(r#"{{"metadata": {metadata}}}"#);
            serde_json::from_str::<PodView>(&pod).unwrap().metadata
        };
        let pod = read(
            r#"{"labels": {"a": "b", "controller-revision-hash": "db-5d8"},
                "annotations": {"a": "b", "devops.stochastic.io/injected-by": "shop/strict"}}"#,
        );
        assert_eq!(super::template_of(&pod), Some("db-5d8"));
        let annotations = pod.annotations.unwrap();
        assert_eq!(annotations.into_values().collect::<Vec<_>>(), ["shop/strict"]);
        let hash = r#"{"labels": {"pod-template-hash": "5d8", "controller-revision-hash": null}}"#;
        assert_eq!(super::template_of(&read(hash)), Some("5d8"));
        assert_eq!(super::template_of(&read(r#"{"labels": {"a": "b"}}"#)), None);
    }

    #[test]
    fn a_controller_is_found_after_any_number_of_other_owners() {
        let others = r#"{"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "u"},"#;
        for others in [others.repeat(10_000), others.repeat(20_001)] {
            let pod = format!(
                r#"{{"metadata": {{"ownerReferences": [{others} {{"kind": "Job", "name": "j", "controller": true}}]}},
                    "spec": {{"containers": [{{"name": "c"}}]}}}}"#
            );
            let pod: PodView = serde_json::from_str(&pod).unwrap();
            assert_eq!(pod.metadata.owner_references.unwrap()[0].name, "j");
            assert_eq!(pod.spec.containers.len(), 1);
        }
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
