//! One finding of a file, as forges show it: a sentence, and what identifies it.

use std::collections::BTreeMap;

use policy_core::report::{ReportFinding, ReportedObject};
use policy_core::text::clause;

/// `Deployment shop/web: container web missing liveness probe`, with the texts as they were read.
pub(super) fn sentence(finding: &ReportFinding) -> String {
    let ReportFinding { container, message, .. } = finding;
    let ReportedObject { namespace, kind, name, .. } = &*finding.object;
    format!("{kind} {namespace}/{name}: {}", clause(container.as_deref(), message))
}

/// What identifies the findings of a report.
#[derive(Default)]
pub(super) struct Fingerprints(BTreeMap<u64, usize>);

impl Fingerprints {
    /// The fingerprint of the next finding. Those that would be the same are numbered.
    pub(super) fn of(&mut self, finding: &ReportFinding) -> String {
        let fingerprint = fingerprint(finding);
        let times = self.0.entry(fingerprint).or_insert(0);
        *times += 1;
        format!("{fingerprint:016x}:{times}")
    }
}

/// Identifies a finding after its file was edited: everything but its line.
/// FNV-1a, <https://datatracker.ietf.org/doc/html/rfc9923>: stable across versions and machines.
fn fingerprint(finding: &ReportFinding) -> u64 {
    let ReportedObject { namespace, kind, name, file, .. } = &*finding.object;
    let check = finding.check.as_str();
    let parts = [
        &*check,
        namespace,
        kind,
        name,
        finding.container.as_deref().unwrap_or_default(),
        file.as_deref().unwrap_or_default(),
    ];
    parts.join("\0").bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
