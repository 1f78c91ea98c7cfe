//! What identifies the verdict on several namespaces.

use sha2::{Digest as _, Sha256};

use super::Fingerprint;
use crate::score::Score;

/// The sum of the fingerprints of namespaces. They can be added and subtracted in any order; equal
/// sums come from equal namespaces with equal fingerprints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FingerprintSum(u128);

impl FingerprintSum {
    /// Adds a namespace.
    pub fn add(&mut self, namespace: &str, part: Fingerprint) {
        self.0 = self.0.wrapping_add(of_namespace(namespace, part));
    }

    /// Subtracts a namespace that was added before, with the same fingerprint.
    pub fn subtract(&mut self, namespace: &str, part: Fingerprint) {
        self.0 = self.0.wrapping_sub(of_namespace(namespace, part));
    }

    /// The fingerprint of a verdict with that score on all namespaces.
    #[must_use]
    pub fn finish(self, score: Score) -> Fingerprint {
        let mut hash = Sha256::new();
        hash.update([score.value()]);
        hash.update(self.0.to_be_bytes());
        Fingerprint::of_hash(hash)
    }
}

fn of_namespace(namespace: &str, Fingerprint(part): Fingerprint) -> u128 {
    let mut hash = Sha256::new();
    hash.update(namespace);
    // A separator that no name contains.
    hash.update([0]);
    hash.update(part.to_be_bytes());
    Fingerprint::of_hash(hash).0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u128) -> Fingerprint {
        Fingerprint(number)
    }

    fn sum(parts: &[(&str, u128)]) -> Fingerprint {
        let mut sum = FingerprintSum::default();
        for (namespace, number) in parts {
            sum.add(namespace, part(*number));
        }
        sum.finish(Score::of(0, 1))
    }

    #[test]
    fn the_order_does_not_count_and_whose_findings_they_are_does() {
        assert_eq!(sum(&[("a", 1), ("b", 2)]), sum(&[("b", 2), ("a", 1)]));
        assert_ne!(sum(&[("a", 1), ("b", 2)]), sum(&[("a", 2), ("b", 1)]));
        assert_ne!(sum(&[("a", 1)]), sum(&[("a", 1), ("a", 1)]));
    }

    #[test]
    fn what_is_subtracted_was_never_there() {
        let mut all = FingerprintSum::default();
        all.add("a", part(1));
        all.add("b", part(2));
        all.subtract("a", part(1));
        assert_eq!(all.finish(Score::of(0, 1)), sum(&[("b", 2)]));
        assert_ne!(all.finish(Score::of(9, 1)), sum(&[("b", 2)]), "the score counts");
    }

    /// Audit results that were written by an earlier version have these texts.
    #[test]
    fn a_fingerprint_stays_the_same_from_version_to_version() {
        assert_eq!(sum(&[]).to_string(), "fda2f4ca07a19b0c255ffc44f4ebb9d3");
        assert_eq!(sum(&[("shop", 7)]).to_string(), "1a62c39cdfdbdae4e0a6f199d1d40aff");
    }
}
