//! How many policies of a namespace are judged, and which.

use std::collections::BTreeMap;
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

/// The policies of a namespace, the oldest first: which of them are judged. Add none that is being
/// deleted: such a policy no longer applies, and takes no place.
#[derive(Clone, Debug)]
pub struct PoliciesByAge<T>(BTreeMap<PolicyAge, T>);

impl<T> Default for PoliciesByAge<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> PoliciesByAge<T> {
    /// Adds a policy. Returns what was stored for it before.
    pub fn insert(&mut self, age: PolicyAge, policy: T) -> Option<T> {
        self.0.insert(age, policy)
    }

    /// Removes a policy.
    pub fn remove(&mut self, age: &PolicyAge) -> Option<T> {
        self.0.remove(age)
    }

    /// What is stored for a policy.
    pub fn get_mut(&mut self, age: &PolicyAge) -> Option<&mut T> {
        self.0.get_mut(age)
    }

    /// Keeps only the policies of which that is true.
    pub fn retain(&mut self, is_kept: impl Fn(&T) -> bool) {
        self.0.retain(|_, policy| is_kept(policy));
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it has a policy of that age and name.
    #[must_use]
    pub fn contains(&self, age: &PolicyAge) -> bool {
        self.0.contains_key(age)
    }

    /// Those that are judged.
    #[must_use]
    pub fn judged(&self) -> impl ExactSizeIterator<Item = (&PolicyAge, &T)> {
        self.0.iter().take(MAX_PER_NAMESPACE)
    }

    /// Those that are not judged, because there are older ones.
    #[must_use]
    pub fn excess(&self) -> impl ExactSizeIterator<Item = (&PolicyAge, &T)> {
        self.0.iter().skip(MAX_PER_NAMESPACE)
    }

    /// The youngest that is judged, where as many are as may be.
    #[must_use]
    pub fn last_judged(&self) -> Option<&PolicyAge> {
        self.0.keys().nth(MAX_PER_NAMESPACE - 1)
    }

    /// Whether a policy of that age is judged, or would be if it were added.
    #[must_use]
    pub fn is_judged(&self, age: &PolicyAge) -> bool {
        self.last_judged().is_none_or(|last| age <= last)
    }
}

impl<T> FromIterator<(PolicyAge, T)> for PoliciesByAge<T> {
    fn from_iter<I: IntoIterator<Item = (PolicyAge, T)>>(policies: I) -> Self {
        Self(policies.into_iter().collect())
    }
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

    type Ages = PoliciesByAge<()>;

    fn names<'a>(policies: impl Iterator<Item = (&'a PolicyAge, &'a ())>) -> Vec<String> {
        policies.map(|(age, ())| age.name().to_string()).collect()
    }

    #[test]
    fn the_oldest_are_judged_whatever_the_names_and_the_order_are() {
        let mut policies: Vec<_> =
            (0..100).rev().map(|second| metadata(Some(second), &format!("p-{second}"))).collect();
        policies.push(metadata(None, "a-without-time"));
        policies.push(metadata(Some(200), "a-late"));
        let policies: Ages = policies.iter().map(|policy| (PolicyAge::of(policy), ())).collect();
        let expected: Vec<_> = (0..64).map(|second| format!("p-{second}")).collect();
        assert_eq!(names(policies.judged()), expected);
        let excess = names(policies.excess());
        assert_eq!(excess[..2], ["p-64", "p-65"]);
        assert_eq!(excess[36..], ["a-late", "a-without-time"]);
    }

    #[test]
    fn of_the_same_second_the_names_decide() {
        let policies = (0..=MAX_PER_NAMESPACE).rev().map(|n| metadata(Some(7), &format!("{n:03}")));
        let policies: Ages = policies.map(|policy| (PolicyAge::of(&policy), ())).collect();
        let (judged, excess) = (names(policies.judged()), names(policies.excess()));
        assert_eq!((judged.len(), judged[0].as_str()), (64, "000"));
        assert_eq!(excess[0], "064");
        let age = |name: &str| PolicyAge::of(&metadata(Some(7), name));
        assert!(policies.is_judged(&age("063")) && !policies.is_judged(&age("064")));
    }
}
