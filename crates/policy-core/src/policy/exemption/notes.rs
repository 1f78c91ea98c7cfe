//! Which exemptions their author should look at again: those that have ended, or exempt nothing.

use std::fmt;

use k8s_openapi::jiff::Timestamp;

use super::{CompiledExemption, ExemptionId, ExemptionSet, Exemptions};

/// What findings say of the exemptions that are about them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExemptionUse {
    /// Those that exempt something.
    pub used: ExemptionSet,
    /// Those of which another one, which lasts as long or longer, exempts a finding.
    covered: ExemptionSet,
    /// Those that have ended, and of which a finding counts.
    counting: ExemptionSet,
}

impl ExemptionUse {
    /// Adds a finding that one of these exempts.
    pub(crate) fn add_exempted(&mut self, by: ExemptionId, all: ExemptionSet) {
        self.used.insert(by);
        self.covered.0 |= all.0 & !(1 << by.0);
    }

    /// Adds a finding that counts although there are these.
    pub(crate) fn add_counting(&mut self, all: ExemptionSet) {
        self.counting.merge(all);
    }

    /// Adds that of other findings.
    pub fn merge(&mut self, other: Self) {
        self.used.merge(other.used);
        self.covered.merge(other.covered);
        self.counting.merge(other.counting);
    }

    fn findings_of(&self, id: ExemptionId) -> OwnFindings {
        match (self.counting.contains(id), self.covered.contains(id)) {
            (true, _) => OwnFindings::Count,
            (false, true) => OwnFindings::Covered,
            (false, false) => OwnFindings::None,
        }
    }
}

/// An exemption that its author should look at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExemptionNote {
    /// Its place in the policy and its workloads, such as `spec.exemptions[1] (Deployment/web)`.
    pub place: String,
    /// The time at which it ended; `None` where it exempts nothing although it has not.
    pub ended: Option<Timestamp>,
    findings: OwnFindings,
}

/// The findings that an exemption is about and does not exempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OwnFindings {
    /// There is none.
    None,
    /// Another exemption exempts them.
    Covered,
    /// One counts.
    Count,
}

impl ExemptionNote {
    /// What to know about it.
    #[must_use]
    pub fn message(&self) -> String {
        let findings = match (self.ended, self.findings) {
            (Some(_), OwnFindings::Count) => "its findings count again",
            (Some(_), OwnFindings::None) => "it exempts nothing any more",
            (_, OwnFindings::Covered) => "another exemption exempts its findings",
            (None, _) => "there is no such finding",
        };
        match self.ended {
            Some(ended) => format!("ended at {ended}: {findings}"),
            None => format!("exempts nothing: {findings}"),
        }
    }
}

impl fmt::Display for ExemptionNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.place, self.message())
    }
}

impl Exemptions {
    /// Those that have ended by then, in seconds since 1970, and those that exempt nothing though
    /// they have not. Of one whose findings are not all known nobody can say that there is none.
    #[must_use]
    pub fn notes(
        &self,
        of: ExemptionUse,
        is_judged: impl Fn(&CompiledExemption) -> bool,
        now: i64,
    ) -> Vec<ExemptionNote> {
        let note = |(id, exemption): (ExemptionId, &CompiledExemption)| {
            let ended = exemption.ends.filter(|_| exemption.has_ended(now));
            let findings = of.findings_of(id);
            let is_unused =
                !of.used.contains(id) && (findings == OwnFindings::Covered || is_judged(exemption));
            (ended.is_some() || is_unused).then(|| ExemptionNote {
                place: format!("spec.exemptions[{}] ({})", id.index(), exemption.workloads),
                ended: ended.and_then(|second| Timestamp::from_second(second).ok()),
                findings,
            })
        };
        self.iter().filter_map(note).collect()
    }
}
