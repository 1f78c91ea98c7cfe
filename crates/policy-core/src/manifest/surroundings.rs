//! What the objects of an input say of the namespaces of its workloads: limits, autoscalers, and
//! whether anything there may be changed.

use std::collections::BTreeMap;

use memchr::memmem;
use serde_json::Value;

use super::Document;
use super::object_type::ObjectType;
use super::parse::{parse, parse_last_wins};
use crate::api::REMEDIATION;
use crate::remediation::{NamespaceFacts, Source};

/// How many objects are kept at most.
const MAX_OBJECTS: usize = 10_000;

/// What limits the workloads of an input, by namespace, as far as the input says it.
#[derive(Debug, Default)]
pub struct InputSurroundings {
    namespaces: BTreeMap<String, NamespaceFacts>,
    /// Of the others.
    none: NamespaceFacts,
    objects: usize,
    /// How many objects are not kept.
    cut: usize,
}

/// An object that says something of a namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct SurroundingObject {
    namespace: String,
    source: Source,
    object: Value,
}

/// A document that may say something of a namespace and cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot be read, so that a LimitRange or autoscaler in it is not taken into account")]
pub struct UnreadSurroundings;

impl InputSurroundings {
    /// Takes in an object. In an input as of several overlays, all that is said of a namespace holds.
    pub fn add(&mut self, SurroundingObject { namespace, source, object }: SurroundingObject) {
        if self.objects == MAX_OBJECTS {
            self.cut += 1;
            return;
        }
        self.objects += 1;
        self.namespaces.entry(namespace).or_default().take_in(source, &object);
    }

    /// What limits the workloads of a namespace.
    #[must_use]
    pub fn of(&self, namespace: &str) -> &NamespaceFacts {
        self.namespaces.get(namespace).unwrap_or(&self.none)
    }

    /// That objects were not taken in, because there are so many.
    #[must_use]
    pub fn limit(&self) -> Option<String> {
        let cut = self.cut;
        (cut > 0).then(|| {
            format!(
                "more than {MAX_OBJECTS} Namespaces, LimitRanges and autoscalers; {cut} are not \
                 taken into account"
            )
        })
    }
}

/// Whether a text may say something of a namespace. Very few have to be parsed for it.
#[must_use]
pub fn may_surround(text: &[u8]) -> bool {
    let has = |word: &str| memmem::find(text, word.as_bytes()).is_some();
    has("LimitRange") || has("PodAutoscaler") || (has(REMEDIATION) && has("Namespace"))
}

impl Document<'_> {
    /// The objects that say something of a namespace; those without one belong to `namespace`.
    ///
    /// # Errors
    /// The document may have such an object, and cannot be read. Templates are none before they
    /// are rendered.
    pub fn surroundings(
        &self,
        namespace: &str,
    ) -> Result<Vec<SurroundingObject>, UnreadSurroundings> {
        let mut found = Vec::new();
        if !may_surround(self.bytes) {
            return Ok(found);
        }
        let value: Option<Value> = if self.is_json {
            serde_json::from_slice(self.bytes).ok()
        } else {
            parse(self.bytes)
                .or_else(|_| parse_last_wins(self.bytes))
                .ok()
                .map(Option::unwrap_or_default)
        };
        match value {
            Some(value) => collect(value, None, namespace, &mut found),
            None if memmem::find(self.bytes, b"{{").is_some() => {}
            None => return Err(UnreadSurroundings),
        }
        Ok(found)
    }
}

fn collect(
    mut object: Value,
    list_type: Option<ObjectType>,
    namespace: &str,
    found: &mut Vec<SurroundingObject>,
) {
    let own = ObjectType::of(object["apiVersion"].as_str(), object["kind"].as_str());
    let Some(object_type) = own.or(list_type) else { return };
    if let Some(source) = object_type.source() {
        let metadata = &object["metadata"];
        let of_namespace = match source {
            Source::Namespace => metadata["name"].as_str(),
            _ => metadata["namespace"].as_str().filter(|name| !name.is_empty()),
        };
        let namespace = of_namespace.unwrap_or(namespace).to_owned();
        found.push(SurroundingObject { namespace, source, object });
    } else if object_type.kind.ends_with("List")
        && let Some(Value::Array(items)) = object.get_mut("items").map(Value::take)
    {
        for item in items {
            collect(item, object_type.member(), namespace, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::documents;

    /// The namespaces of the objects that count, with their sources.
    fn found(text: &str) -> Vec<(String, Source)> {
        let documents = documents(text.as_bytes());
        let objects = documents.iter().flat_map(|of| of.surroundings("default").unwrap());
        objects.map(|of| (of.namespace, of.source)).collect()
    }

    #[test]
    fn objects_that_say_something_are_found_also_in_lists_and_json() {
        use Source::{HorizontalAutoscalers, LimitRanges, Namespace, VerticalAutoscalers};
        let text = "\
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: LimitRange, metadata: {name: l, namespace: shop}}
- {apiVersion: v1, kind: Pod, metadata: {name: p}}
---
apiVersion: autoscaling/v1
kind: HorizontalPodAutoscalerList
items: [{metadata: {name: h}}]
---
{\"apiVersion\": \"autoscaling.k8s.io/v1\", \"kind\": \"VerticalPodAutoscaler\", \"metadata\": {\"name\": \"v\"}}
---
apiVersion: v1
kind: Namespace
metadata: {name: quiet, annotations: {devops.stochastic.io/remediation: disabled}}
---
apiVersion: example.com/v1
kind: LimitRange
---
apiVersion: v1
kind: Namespace
metadata: {name: plain}
";
        let expected = [
            ("shop", LimitRanges),
            ("default", HorizontalAutoscalers),
            ("default", VerticalAutoscalers),
            ("quiet", Namespace),
        ];
        assert_eq!(found(text), expected.map(|(name, source)| (name.to_owned(), source)));
    }

    #[test]
    fn one_that_cannot_be_read_is_an_error_unless_it_is_a_template() {
        let read = |text: &str| documents(text.as_bytes())[0].surroundings("default");
        assert_eq!(read("kind: LimitRange\nspec: {]\n"), Err(UnreadSurroundings));
        assert_eq!(read("kind: LimitRange\nspec: {{ toYaml .Values.limits }}\n"), Ok(vec![]));
        assert_eq!(read("kind: ConfigMap\nspec: {]\n"), Ok(vec![]));
    }

    #[test]
    fn the_objects_that_are_kept_are_limited() {
        let mut surroundings = InputSurroundings::default();
        let object = SurroundingObject {
            namespace: "shop".to_owned(),
            source: Source::LimitRanges,
            object: Value::Null,
        };
        for _ in 0..=MAX_OBJECTS {
            surroundings.add(object.clone());
        }
        assert_eq!(surroundings.of("shop").limit_ranges.len(), MAX_OBJECTS);
        assert!(surroundings.limit().unwrap().ends_with("; 1 are not taken into account"));
        assert_eq!(surroundings.of("other").limit_ranges.len(), 0);
    }
}
