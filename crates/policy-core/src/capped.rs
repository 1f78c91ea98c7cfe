//! A list with a maximum length, which counts the members that it dropped.

use std::cmp::Ordering;

/// Keeps the first members by the given order, independent of the order in which they are added and
/// of how lists are merged.
#[derive(Debug)]
pub(crate) struct Capped<T> {
    most: usize,
    order: fn(&T, &T) -> Ordering,
    kept: Vec<T>,
    cut: u64,
    /// Whether the first `most` members are those of all so far, but for those after them.
    is_full: bool,
}

impl<T> Capped<T> {
    pub(crate) fn new(most: usize, order: fn(&T, &T) -> Ordering) -> Self {
        Self { most, order, kept: Vec::new(), cut: 0, is_full: false }
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

    /// Adds the members of a list with the same order and maximum.
    pub(crate) fn merge(&mut self, other: Self) {
        self.cut += other.cut;
        self.extend(other.kept);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.cut == 0
    }

    /// The members, sorted, and how many were dropped.
    pub(crate) fn finish(mut self) -> (Vec<T>, u64) {
        self.cut();
        (self.kept, self.cut)
    }

    fn cut(&mut self) {
        self.kept.sort_by(self.order);
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
        let mut none = Capped::new(0, u64::cmp);
        none.push(1);
        assert_eq!(none.finish(), (vec![], 1));
    }
}
