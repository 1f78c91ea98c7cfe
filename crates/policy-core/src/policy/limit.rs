//! How many policies of a namespace are judged, and which.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use super::PolicyName;

/// How many policies of a namespace are judged. Whoever may create policies decides how much work
/// each pod of the namespace causes, so there is a limit; a namespace needs a handful.
pub const MAX_PER_NAMESPACE: usize = 64;

/// The rank of a policy among those that apply to a namespace: cluster policies first, by priority;
/// then the oldest first, by the creation time, which the API server sets, then by name. The first
/// [`MAX_PER_NAMESPACE`] in this order are judged, so that a policy never displaces an older one,
/// and who may write policies in a namespace displaces no cluster policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyRank {
    scope: Scope,
    created: Timestamp,
    name: Arc<str>,
}

/// Which policies come first, whatever their age is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Scope {
    Cluster { priority: Reverse<i32> },
    Namespace,
}

impl PolicyRank {
    /// The rank of a namespaced policy with this metadata. One without a creation time, which no API server
    /// has stored, is the youngest.
    #[must_use]
    pub fn of(metadata: &ObjectMeta) -> Self {
        Self::within(Scope::Namespace, metadata)
    }

    /// The rank of a cluster policy with this metadata.
    #[must_use]
    pub fn of_cluster(metadata: &ObjectMeta, priority: i32) -> Self {
        Self::within(Scope::Cluster { priority: Reverse(priority) }, metadata)
    }

    fn within(scope: Scope, metadata: &ObjectMeta) -> Self {
        let created = metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0);
        Self { scope, created, name: metadata.name.as_deref().unwrap_or_default().into() }
    }

    /// Whether it is the rank of a cluster policy.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        matches!(self.scope, Scope::Cluster { .. })
    }

    /// The name of the policy.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The name of the policy to people.
    #[must_use]
    pub fn policy(&self) -> PolicyName {
        let name = Arc::clone(&self.name);
        if self.is_cluster() { PolicyName::Cluster(name) } else { PolicyName::Namespaced(name) }
    }
}

/// The policies that apply to a namespace, by their rank: which of them are judged. Add none that is being
/// deleted: such a policy no longer applies, and takes no place.
#[derive(Clone, Debug)]
pub struct PoliciesByRank<T>(
    /// Boxed, because a tree has space for eleven, and most namespaces have one or two.
    BTreeMap<Box<PolicyRank>, T>,
);

impl<T> Default for PoliciesByRank<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> PoliciesByRank<T> {
    /// Adds a policy. Returns what was stored for it before.
    pub fn insert(&mut self, rank: PolicyRank, policy: T) -> Option<T> {
        self.0.insert(Box::new(rank), policy)
    }

    /// Removes a policy.
    pub fn remove(&mut self, rank: &PolicyRank) -> Option<T> {
        self.0.remove(rank)
    }

    /// What is stored for a policy.
    pub fn get_mut(&mut self, rank: &PolicyRank) -> Option<&mut T> {
        self.0.get_mut(rank)
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

    /// Whether it has the policy of that rank.
    #[must_use]
    pub fn contains(&self, rank: &PolicyRank) -> bool {
        self.0.contains_key(rank)
    }

    /// Those that are judged.
    #[must_use]
    pub fn judged(&self) -> impl ExactSizeIterator<Item = (&PolicyRank, &T)> {
        self.iter().take(MAX_PER_NAMESPACE)
    }

    /// Those that are not judged, because of others before them.
    #[must_use]
    pub fn excess(&self) -> impl ExactSizeIterator<Item = (&PolicyRank, &T)> {
        self.iter().skip(MAX_PER_NAMESPACE)
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = (&PolicyRank, &T)> {
        self.0.iter().map(|(rank, policy)| (&**rank, policy))
    }

    /// The last that is judged, where as many are as may be.
    #[must_use]
    pub fn last_judged(&self) -> Option<&PolicyRank> {
        self.0.keys().nth(MAX_PER_NAMESPACE - 1).map(|rank| &**rank)
    }

    /// Whether a policy of that rank is judged, or would be if it were added.
    #[must_use]
    pub fn is_judged(&self, rank: &PolicyRank) -> bool {
        self.last_judged().is_none_or(|last| rank <= last)
    }
}

impl<T> FromIterator<(PolicyRank, T)> for PoliciesByRank<T> {
    fn from_iter<I: IntoIterator<Item = (PolicyRank, T)>>(policies: I) -> Self {
        Self(policies.into_iter().map(|(rank, policy)| (Box::new(rank), policy)).collect())
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

    type Ranks = PoliciesByRank<()>;

    fn names<'a>(policies: impl Iterator<Item = (&'a PolicyRank, &'a ())>) -> Vec<String> {
        policies.map(|(rank, ())| rank.name().to_string()).collect()
    }

    #[test]
    fn the_oldest_are_judged_whatever_the_names_and_the_order_are() {
        let mut policies: Vec<_> =
            (0..100).rev().map(|second| metadata(Some(second), &format!("p-{second}"))).collect();
        policies.push(metadata(None, "a-without-time"));
        policies.push(metadata(Some(200), "a-late"));
        let policies: Ranks = policies.iter().map(|policy| (PolicyRank::of(policy), ())).collect();
        let expected: Vec<_> = (0..64).map(|second| format!("p-{second}")).collect();
        assert_eq!(names(policies.judged()), expected);
        let excess = names(policies.excess());
        assert_eq!(excess[..2], ["p-64", "p-65"]);
        assert_eq!(excess[36..], ["a-late", "a-without-time"]);
    }

    #[test]
    fn of_the_same_second_the_names_decide() {
        let policies = (0..=MAX_PER_NAMESPACE).rev().map(|n| metadata(Some(7), &format!("{n:03}")));
        let policies: Ranks = policies.map(|policy| (PolicyRank::of(&policy), ())).collect();
        let (judged, excess) = (names(policies.judged()), names(policies.excess()));
        assert_eq!((judged.len(), judged[0].as_str()), (64, "000"));
        assert_eq!(excess[0], "064");
        let rank = |name: &str| PolicyRank::of(&metadata(Some(7), name));
        assert!(policies.is_judged(&rank("063")) && !policies.is_judged(&rank("064")));
    }

    #[test]
    fn cluster_policies_come_first_by_priority_and_are_never_displaced() {
        let mut policies: Ranks = (0..MAX_PER_NAMESPACE)
            .map(|n| (PolicyRank::of(&metadata(Some(1), &format!("own-{n:02}"))), ()))
            .collect();
        for (name, second, priority) in [("low", 50, -5), ("late", 99, 0), ("early", 98, 0)] {
            let rank = PolicyRank::of_cluster(&metadata(Some(second), name), priority);
            assert!(policies.is_judged(&rank) && rank.is_cluster());
            policies.insert(rank, ());
        }
        // A cluster policy and a namespaced one of the same name and second are two policies.
        policies.insert(PolicyRank::of_cluster(&metadata(Some(1), "own-00"), 9), ());
        let (judged, excess) = (names(policies.judged()), names(policies.excess()));
        assert_eq!(judged[..5], ["own-00", "early", "late", "low", "own-00"]);
        assert_eq!(excess, ["own-60", "own-61", "own-62", "own-63"]);
    }
}
