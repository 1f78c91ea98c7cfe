//! A list with a maximum length, which counts the members that it dropped.

use std::cmp::Ordering;

/// Keeps the first members by the given order, independent of the order in which they are added and
/// of how lists are merged.
#[derive(Debug)]
pub(crate) struct Capped<T> {
    most: usize,
    order: fn(&T, &T) -> Ordering,
    kept: Vec<T>,
    /// Long lists that were merged: copying them into one would hold both at once.
    merged: Vec<Vec<T>>,
    cut: u64,
    /// Whether the first `most` members are those of all so far, but for those after them.
    is_full: bool,
}

/// A shorter list is copied when it is merged.
const SHORT: usize = 1024;

impl<T> Capped<T> {
    pub(crate) fn new(most: usize, order: fn(&T, &T) -> Ordering) -> Self {
        Self { most, order, kept: Vec::new(), merged: Vec::new(), cut: 0, is_full: false }
    }

    /// Adds members.
    pub(crate) fn extend(&mut self, more: impl IntoIterator<Item = T>) {
        more.into_iter().for_each(|member| self.push(member));
    }

    /// Adds a member. The list is sorted and cut when it is longer than the maximum by half; after
    /// that, one that comes after all of the first is dropped at once. Of many, most cost one
    /// comparison.
    pub(crate) fn push(&mut self, member: T) {
        let last = self.most.checked_sub(1).and_then(|last| self.kept.get(last));
        if self.is_full && last.is_some_and(|last| (self.order)(&member, last).is_ge()) {
            self.cut += 1;
            return;
        }
        self.kept.push(member);
        if self.kept.len() > self.most + self.most / 2 {
            self.cut();
        }
    }

    /// Counts members that were dropped before they came here.
    pub(crate) fn cut_more(&mut self, number: u64) {
        self.cut += number;
    }

    /// Adds the members of a list with the same order and maximum.
    pub(crate) fn merge(&mut self, other: Self) {
        let Self { mut kept, merged, cut, .. } = other;
        self.cut += cut;
        self.merged.extend(merged);
        if kept.len() < SHORT {
            self.extend(kept);
        } else {
            kept.shrink_to_fit();
            self.merged.push(kept);
        }
        let merged: usize = self.merged.iter().map(Vec::len).sum();
        if self.kept.len() + merged > self.most + self.most / 2 {
            self.cut();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.merged.is_empty() && self.cut == 0
    }

    /// The members, sorted, and how many were dropped.
    pub(crate) fn finish(mut self) -> (Vec<T>, u64) {
        self.cut();
        (self.kept, self.cut)
    }

    fn cut(&mut self) {
        let merged = std::mem::take(&mut self.merged);
        self.kept.reserve_exact(merged.iter().map(Vec::len).sum());
        self.kept.extend(merged.into_iter().flatten());
        // Takes no memory, and members that are equal by the order are the same.
        self.kept.sort_unstable_by(self.order);
        self.cut += self.kept.len().saturating_sub(self.most) as u64;
        self.kept.truncate(self.most);
        self.is_full = self.kept.len() == self.most;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_are_kept_and_the_rest_is_counted(
            lists in prop::collection::vec(prop::collection::vec(0_u8..50, 0..40), 0..6),
        ) {
            let mut merged = Capped::new(7, u8::cmp);
            for list in &lists {
                let mut capped = Capped::new(7, u8::cmp);
                for part in list.chunks(3) {
                    capped.extend(part.iter().copied());
                }
                merged.merge(capped);
            }
            let mut all: Vec<u8> = lists.concat();
            all.sort_unstable();
            let cut = all.len().saturating_sub(7) as u64;
            all.truncate(7);
            prop_assert_eq!(merged.finish(), (all, cut));
        }
    }

    #[test]
    fn no_more_than_half_as_many_again_are_held() {
        let mut capped = Capped::new(100, u32::cmp);
        capped.extend((0..100_000).rev());
        assert!(capped.kept.capacity() <= 256, "{}", capped.kept.capacity());
        let (kept, cut) = capped.finish();
        assert_eq!((kept[0], kept[99], cut), (0, 99, 99_900));
        let mut merged = Capped::new(5_000, u64::cmp);
        for start in 0..4_u64 {
            let mut part = Capped::new(5_000, u64::cmp);
            part.extend((0..2_000).map(|number| number * 4 + start));
            merged.merge(part);
        }
        merged.push(9_000);
        let (kept, cut) = merged.finish();
        assert!(kept.into_iter().eq(0..5_000) && cut == 3_001, "long lists are merged");
        let mut none = Capped::new(0, u64::cmp);
        none.push(1);
        assert_eq!(none.finish(), (vec![], 1));
    }
}
