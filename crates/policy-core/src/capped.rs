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
}

impl<T> Capped<T> {
    pub(crate) fn new(most: usize, order: fn(&T, &T) -> Ordering) -> Self {
        Self { most, order, kept: Vec::new(), cut: 0 }
    }

    /// Adds members. The list is sorted and cut when it is longer than the maximum by half.
    pub(crate) fn extend(&mut self, more: impl IntoIterator<Item = T>) {
        self.kept.extend(more);
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
    }
}
