//! What identifies a verdict.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::checks::CheckName;
use crate::evaluate::Finding;
use crate::facts::PodFacts;
use crate::score::Score;
use crate::severity::Severity;
use crate::workload::Workload;

/// Equal for two verdicts with the same score, class and set of (check, severity, workload,
/// container). Pod names do not count, so a rollout that changes nothing does not change it.
///
/// It is the first half of a SHA-256, because it is stored in the cluster and compared by other
/// versions of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub(super) u128);

/// The part of a finding that counts for a fingerprint.
type Part<'a> = (CheckName, Severity, &'a Workload, Option<&'a str>);

/// With fewer parts than that, those that are equal are not removed before the end.
const MIN_LIMIT: usize = 256;

/// Collects the parts of a fingerprint. Of parts that are equal, as those of the pods of one
/// workload, it keeps one: it grows with the parts that differ, not with the findings.
#[derive(Default)]
pub(super) struct FingerprintParts<'a> {
    parts: Vec<Part<'a>>,
    /// At that many parts, those that are equal are removed.
    limit: usize,
}

impl<'a> FingerprintParts<'a> {
    pub(super) fn add(&mut self, pod: &'a PodFacts, finding: &Finding) {
        if self.parts.len() >= self.limit.max(MIN_LIMIT) {
            self.remove_equal();
            // At twice the number that differ, the sorting costs little for each new part.
            self.limit = self.parts.len() * 2;
        }
        let container = finding.container(&pod.checked).map(|container| &*container.name);
        self.parts.push((finding.check.name(), finding.severity, &pod.workload, container));
    }

    fn remove_equal(&mut self) {
        self.parts.sort_unstable();
        self.parts.dedup();
    }

    /// The fingerprint of a verdict with that score and these findings.
    pub(super) fn finish(mut self, score: Score) -> Fingerprint {
        self.remove_equal();
        let mut hash = Sha256::new();
        // The class follows from the score.
        hash.update([score.value()]);
        for (check, severity, workload, container) in self.parts {
            let Workload { group, kind, name } = workload;
            let container = container.unwrap_or_default();
            for text in [&*check.as_str(), severity.as_str(), group, kind, name, container] {
                hash.update(text);
                // A separator that no name contains.
                hash.update([0]);
            }
        }
        Fingerprint::of_hash(hash)
    }
}

impl Fingerprint {
    pub(super) fn of_hash(hash: Sha256) -> Self {
        let mut first = [0; 16];
        first.copy_from_slice(&hash.finalize()[..16]);
        Self(u128::from_be_bytes(first))
    }

    /// Parses the text that `Display` writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| is_plain)?;
        Some(Self(number))
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use k8s_openapi::jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::evaluate::evaluate;
    use crate::policy::CompiledPolicy;
    use crate::verdict::Verdict;

    /// Pods of Deployments, each with some containers whose image is not pinned.
    fn pods(shapes: &[(u8, u8)]) -> Vec<PodFacts> {
        let pods = shapes.iter().enumerate().map(|(number, (workload, containers))| {
            let containers = (0..*containers).map(|number| {
                serde_json::json!({ "name": format!("c{}", number % 7), "image": "nginx" })
            });
            let replica_set = format!("web-{workload}-5d8");
            let pod = serde_json::json!({
                "metadata": { "name": format!("{replica_set}-{number}"),
                    "labels": { "pod-template-hash": "5d8" },
                    "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet",
                        "name": replica_set, "controller": true }] },
                "spec": { "containers": containers.collect::<Vec<_>>() },
            });
            PodFacts::of_pod(&serde_json::from_value(pod).unwrap(), "default")
        });
        pods.collect()
    }

    fn verdict(pods: &[PodFacts]) -> Verdict {
        Verdict::of(pods, &CompiledPolicy::default_profile(), Timestamp::UNIX_EPOCH)
    }

    /// Audit results that were written by an earlier version have these texts.
    #[test]
    fn a_fingerprint_stays_the_same_from_version_to_version() {
        let none = verdict(&[]).fingerprint;
        assert_eq!(none.to_string(), "18ac3e7343f016890c510e93f9352611");
        let some = verdict(&pods(&[(0, 1), (0, 1), (1, 3)])).fingerprint;
        assert_eq!(some.to_string(), "402d1e2645ae157eb01f7656e8e13a10");
    }

    #[test]
    fn equal_parts_take_no_memory() {
        let (pods, policy) = (pods(&[(0, 7); 1_000]), CompiledPolicy::default_profile());
        let mut parts = FingerprintParts::default();
        let mut added = 0;
        for pod in &pods {
            for finding in evaluate(pod, &policy, Timestamp::UNIX_EPOCH).findings {
                parts.add(pod, &finding);
                added += 1;
            }
        }
        assert_eq!(added, 28_000);
        assert!(parts.parts.capacity() <= 2 * MIN_LIMIT, "{}", parts.parts.capacity());
    }

    proptest! {
        #[test]
        fn a_fingerprint_is_read_as_it_is_written(number: u128) {
            let fingerprint = Fingerprint(number);
            prop_assert_eq!(Fingerprint::parse(&fingerprint.to_string()), Some(fingerprint));
        }

        /// However many pods: it is the hash of the set of the parts of all findings.
        #[test]
        fn it_is_that_of_a_set_of_everything(
            shapes in prop::collection::vec((0_u8..20, 0_u8..9), 0..60),
        ) {
            let (pods, policy) = (pods(&shapes), CompiledPolicy::default_profile());
            let mut lines = BTreeSet::new();
            for pod in &pods {
                for finding in evaluate(pod, &policy, Timestamp::UNIX_EPOCH).findings {
                    let container = finding.container(&pod.checked).map_or("", |found| &*found.name);
                    lines.insert((finding.check.name(), finding.severity, &*pod.workload, container));
                }
            }
            let found = verdict(&pods);
            let mut bytes = vec![found.score.value()];
            for (check, severity, Workload { group, kind, name }, container) in lines {
                let check = check.as_str();
                let texts = [&*check, severity.as_str(), group, kind, name, container];
                for text in texts {
                    bytes.extend(text.bytes());
                    bytes.push(0);
                }
            }
            let hash = Sha256::digest(&bytes);
            let expected = u128::from_be_bytes(hash[..16].try_into().unwrap());
            prop_assert_eq!(found.fingerprint, Fingerprint(expected));
        }
    }
}
