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
    /// Whether the first `most` members are sorted: a member after the last of them is dropped at
    /// once.
    is_sorted: bool,
}

impl<T> Capped<T> {
    pub(crate) fn new(most: usize, order: fn(&T, &T) -> Ordering) -> Self {
        Self { most, order, kept: Vec::new(), cut: 0, is_sorted: false }
    }

    /// Adds members. The list is sorted and cut when it is longer than the maximum by half.
    pub(crate) fn extend(&mut self, more: impl IntoIterator<Item = T>) {
        self.kept.extend(more);
        if self.kept.len() > self.most + self.most / 2 {
            self.cut();
        }
    }

    /// Adds a member. Of many, most cost one comparison.
    pub(crate) fn push(&mut self, member: T) {
        let last = self.most.checked_sub(1).and_then(|last| self.kept.get(last));
        if self.is_sorted && last.is_some_and(|last| (self.order)(&member, last).is_gt()) {
            self.cut += 1;
        } else {
            self.extend([member]);
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
        self.is_sorted = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_kept_whatever_the_order_of_adding() {
        for step in [1, 7, 199] {
            let mut capped = Capped::new(5, u64::cmp);
            (0..200).map(|number| number * step % 200).for_each(|number| capped.push(number));
            assert_eq!(capped.finish(), (vec![0, 1, 2, 3, 4], 195), "{step}");
        }
        let mut none = Capped::new(0, u64::cmp);
        none.push(1);
        assert_eq!(none.finish(), (vec![], 1));
    }
}
