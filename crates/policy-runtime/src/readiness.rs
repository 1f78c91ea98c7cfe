//! Whether a service is ready, and what it still waits for.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// What a service waits for, by name. Ready is who waits for nothing.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    pending: Arc<Mutex<BTreeSet<Cow<'static, str>>>>,
}

/// Keeps a service from being ready until it is released. One that is dropped without that, by a
/// task that died, keeps it so for good.
#[derive(Debug)]
#[must_use]
pub struct Hold {
    readiness: Readiness,
    name: Cow<'static, str>,
}

impl Readiness {
    /// Waits for something, such as `the first list of pods`.
    pub fn hold(&self, name: impl Into<Cow<'static, str>>) -> Hold {
        let name = name.into();
        self.update(|pending| pending.insert(name.clone()));
        Hold { readiness: self.clone(), name }
    }

    /// What is waited for, sorted.
    #[must_use]
    pub fn pending(&self) -> Vec<Cow<'static, str>> {
        self.update(|pending| pending.iter().cloned().collect())
    }

    fn update<T>(&self, work: impl FnOnce(&mut BTreeSet<Cow<'static, str>>) -> T) -> T {
        work(&mut self.pending.lock())
    }
}

impl Hold {
    /// It came.
    pub fn release(self) {
        self.readiness.update(|pending| pending.remove(&self.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_who_waits_for_nothing() {
        let readiness = Readiness::default();
        let [list, lease] = ["the list", "a certificate"].map(|name| readiness.hold(name));
        assert_eq!(readiness.pending(), ["a certificate", "the list"]);
        list.release();
        drop(lease);
        assert_eq!(readiness.pending(), ["a certificate"], "dropped is not released");
    }
}
