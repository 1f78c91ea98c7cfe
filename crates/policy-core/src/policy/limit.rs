//! How many policies of a namespace are judged, and which.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

/// How many policies of a namespace are judged. Whoever may create policies decides how much work
/// each pod of the namespace causes, so there is a limit; a namespace needs a handful.
pub const MAX_PER_NAMESPACE: usize = 64;

/// The rank of a policy among those of its namespace, the oldest first: by the creation time, which
/// the API server sets, then by name. The first [`MAX_PER_NAMESPACE`] in this order are judged, so
/// that a policy never displaces an older one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyAge {
    created: Timestamp,
    name: Arc<str>,
}

impl PolicyAge {
    /// The rank of a policy with this metadata. One without a creation time, which no API server
    /// has stored, is the youngest.
    #[must_use]
    pub fn of(metadata: &ObjectMeta) -> Self {
        let created = metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0);
        Self { created, name: metadata.name.as_deref().unwrap_or_default().into() }
    }

    /// The name of the policy.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }
}

/// Sorts the policies of a namespace, the oldest first, and splits them into those that are judged
/// and the excess. Pass none that is being deleted: such a policy no longer applies, and takes no
/// place.
pub fn split_judged<T>(policies: &mut [T], age: impl Fn(&T) -> PolicyAge) -> (&mut [T], &mut [T]) {
    policies.sort_by_cached_key(age);
    let judged = policies.len().min(MAX_PER_NAMESPACE);
    policies.split_at_mut(judged)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn metadata(second: Option<i64>, name: &str) -> ObjectMeta {
        let time = second.map(|second| Time(Timestamp::from_second(second).unwrap()));
        let name = Some(name.to_owned());
        ObjectMeta { creation_timestamp: time, name, ..ObjectMeta::default() }
    }

    #[test]
    fn the_oldest_are_judged_whatever_the_names_and_the_order_are() {
        let mut policies: Vec<_> =
            (0..100).rev().map(|second| metadata(Some(second), &format!("p-{second}"))).collect();
        policies.push(metadata(None, "a-without-time"));
        policies.push(metadata(Some(200), "a-late"));
        let (judged, excess) = split_judged(&mut policies, PolicyAge::of);
        let names = |policies: &[ObjectMeta]| -> Vec<String> {
            policies.iter().filter_map(|metadata| metadata.name.clone()).collect()
        };
        let expected: Vec<_> = (0..64).map(|second| format!("p-{second}")).collect();
        assert_eq!(names(judged), expected);
        assert_eq!(names(excess)[..2], ["p-64", "p-65"]);
        assert_eq!(names(excess)[36..], ["a-late", "a-without-time"]);
    }

    #[test]
    fn of_the_same_second_the_names_decide() {
        let mut policies: Vec<_> =
            (0..=MAX_PER_NAMESPACE).rev().map(|n| metadata(Some(7), &format!("{n:03}"))).collect();
        let (judged, excess) = split_judged(&mut policies, PolicyAge::of);
        assert_eq!((judged.len(), judged[0].name.as_deref()), (64, Some("000")));
        assert_eq!(excess[0].name.as_deref(), Some("064"));
    }
}
