//! Whether a service is ready, and what it still waits for.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// What a service waits for, by name. It is ready when it waits for nothing.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    pending: Arc<Mutex<BTreeSet<Cow<'static, str>>>>,
}

/// Keeps a service from being ready until it is released. A hold that is dropped without release,
/// by a task that panicked, keeps it not ready for good.
#[derive(Debug)]
#[must_use]
pub struct Hold {
    readiness: Readiness,
    name: Cow<'static, str>,
}

impl Readiness {
    /// Adds something to wait for, such as `the initial list of pods`.
    pub fn hold(&self, name: impl Into<Cow<'static, str>>) -> Hold {
        let name = name.into();
        self.pending.lock().insert(name.clone());
        Hold { readiness: self.clone(), name }
    }

    /// What is waited for, sorted.
    #[must_use]
    pub fn pending(&self) -> Vec<Cow<'static, str>> {
        self.pending.lock().iter().cloned().collect()
    }
}

impl Hold {
    /// Ends the wait.
    pub fn release(self) {
        self.readiness.pending.lock().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_ready_when_it_waits_for_nothing() {
        let readiness = Readiness::default();
        let [list, lease] = ["the list", "a certificate"].map(|name| readiness.hold(name));
        assert_eq!(readiness.pending(), ["a certificate", "the list"]);
        list.release();
        drop(lease);
        assert_eq!(readiness.pending(), ["a certificate"], "dropped is not released");
    }
}
