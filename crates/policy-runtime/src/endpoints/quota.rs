//! What requests share: places, and memory.

use std::sync::atomic::{AtomicUsize, Ordering};

/// An amount of something, of which each takes a share. Nobody waits: who gets nothing goes.
#[derive(Debug)]
pub(super) struct Quota {
    left: AtomicUsize,
}

/// What one has taken; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share<'a> {
    quota: &'a Quota,
    amount: usize,
}

impl Quota {
    pub(super) fn new(amount: usize) -> Self {
        Self { left: AtomicUsize::new(amount) }
    }

    /// A share that may grow.
    pub(super) fn nothing(&self) -> Share<'_> {
        Share { quota: self, amount: 0 }
    }

    /// None where less is left.
    pub(super) fn take(&self, amount: usize) -> Option<Share<'_>> {
        let mut share = self.nothing();
        share.grow(amount).then_some(share)
    }
}

impl Share<'_> {
    /// Takes more; says whether there was enough.
    pub(super) fn grow(&mut self, more: usize) -> bool {
        // Only the number counts, no other memory is guarded by it.
        let (order, rest) = (Ordering::Relaxed, |left: usize| left.checked_sub(more));
        let is_taken = self.quota.left.fetch_update(order, order, rest).is_ok();
        if is_taken {
            self.amount += more;
        }
        is_taken
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        if self.amount > 0 {
            self.quota.left.fetch_add(self.amount, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back() {
        let quota = Quota::new(10);
        let mut first = quota.take(4).unwrap();
        assert!(first.grow(5));
        assert!(!first.grow(2), "only one is left");
        assert!(quota.take(2).is_none());
        let last = quota.take(1).unwrap();
        drop(first);
        assert!(quota.take(9).is_some());
        assert!(quota.take(10).is_none());
        drop(last);
        assert!(quota.take(10).is_some());
    }
}
