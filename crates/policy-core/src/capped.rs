//! A list that keeps so many members at most and counts the rest.

use std::cmp::Ordering;

/// Keeps the first members in its order. Which ones these are does not depend on the order in
/// which they came, nor on which of them were gathered apart.
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

    /// Takes in more. Half as many as are kept may gather before they are sorted and cut.
    pub(crate) fn extend(&mut self, more: impl IntoIterator<Item = T>) {
        self.kept.extend(more);
        if self.kept.len() > self.most + self.most / 2 {
            self.cut();
        }
    }

    /// Takes in a list of the same order and size.
    pub(crate) fn merge(&mut self, other: Self) {
        self.cut += other.cut;
        self.extend(other.kept);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.cut == 0
    }

    /// The members kept, sorted, and how many were cut.
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
