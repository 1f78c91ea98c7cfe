//! What is not known of custom checks: the pods that are not judged yet, and the checks without a
//! result.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use policy_core::facts::PodFacts;
use policy_core::text::counted;

use super::Found;

/// The most checks without a result that a condition names.
const MAX_NAMED: usize = 16;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CustomStanding {
    /// The pods that are not judged by all checks.
    pub(crate) unjudged: u64,
    /// Why they could not be listed.
    pub(crate) error: Option<Arc<str>>,
    /// The checks without a result for some pods.
    pub(crate) failing: BTreeMap<Arc<str>, Failing>,
}

/// A check without a result for some pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failing {
    pods: u64,
    /// The first of them, by namespace and name, and why.
    first: (Arc<str>, Box<str>),
    reason: Arc<str>,
}

impl CustomStanding {
    /// Adds a pod; `None` where it is not judged.
    pub(super) fn add(&mut self, pod: &PodFacts, found: Option<&Found>) {
        let Some(found) = found else {
            self.unjudged += 1;
            return;
        };
        for failure in found.iter().flat_map(|found| &found.failures) {
            let first = (Arc::clone(&pod.namespace), pod.name.clone());
            let reason = Arc::clone(&failure.reason);
            self.add_failing(&failure.name, Failing { pods: 1, first, reason });
        }
    }

    fn add_failing(&mut self, check: &Arc<str>, failing: Failing) {
        match self.failing.get_mut(check) {
            Some(known) => known.merge(failing),
            None => {
                self.failing.insert(Arc::clone(check), failing);
            }
        }
    }

    /// Adds that of other pods.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.unjudged += other.unjudged;
        self.error = self.error.take().or_else(|| other.error.clone());
        for (check, failing) in &other.failing {
            self.add_failing(check, failing.clone());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Failing {
    fn merge(&mut self, other: Self) {
        self.pods += other.pods;
        if other.first < self.first {
            (self.first, self.reason) = (other.first, other.reason);
        }
    }
}

/// The checks without a result, as a sentence.
impl fmt::Display for CustomStanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (check, failing)) in self.failing.iter().take(MAX_NAMED).enumerate() {
            let Failing { pods, first: (namespace, pod), reason } = failing;
            let (separator, pods) = (if number > 0 { "; " } else { "" }, counted(*pods, "pod"));
            write!(
                f,
                "{separator}check custom/{check} has no result for {pods}, such as {namespace}/{pod}: \
                 {reason}"
            )?;
        }
        Ok(())
    }
}
