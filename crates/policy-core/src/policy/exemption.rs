//! Findings of a policy that are known and accepted: which they are, and until when.

mod notes;
mod problems;
mod workloads;

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::CompiledPolicy;
use crate::api::{Exemption, MAX_EXEMPTIONS};
use crate::checks::{CHECK_COUNT, CheckId, CheckName};
use crate::facts::PodFacts;
use crate::labels::Labels;
use crate::workload::{ObjectKind, Workload};
pub use notes::{ExemptionNote, ExemptionUse};
pub use workloads::{ExemptedWorkloads, LabelledWorkload, NamedWorkload, SelectedWorkloads};

/// The exemptions of a policy, in the order of its spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemptions(Box<[CompiledExemption]>);

/// The position of an exemption in the spec of its policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExemptionId(u8);

impl ExemptionId {
    /// The position, from 0.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A set of exemptions of one policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExemptionSet(u128);

impl ExemptionSet {
    /// Adds an exemption.
    pub fn insert(&mut self, id: ExemptionId) {
        self.0 |= 1 << id.0;
    }

    /// Adds those of another set.
    pub fn merge(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether it has the exemption.
    #[must_use]
    pub const fn contains(self, id: ExemptionId) -> bool {
        self.0 & (1 << id.0) != 0
    }
}

/// An exemption in the form that evaluation needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledExemption {
    checks: CheckSet,
    /// Custom checks, by name.
    custom: Box<[Box<str>]>,
    workloads: ExemptedWorkloads,
    container: Option<Box<str>>,
    reason: Arc<str>,
    /// The first second (since 1970) at which it no longer exempts.
    ends: Option<i64>,
}

/// A set of checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CheckSet(u64);

impl CheckSet {
    const fn contains(self, check: CheckId) -> bool {
        self.0 & (1 << check.index()) != 0
    }
}

impl FromIterator<CheckId> for CheckSet {
    fn from_iter<I: IntoIterator<Item = CheckId>>(checks: I) -> Self {
        const { assert!(CHECK_COUNT <= 64) };
        Self(checks.into_iter().fold(0, |set, check| set | 1 << check.index()))
    }
}

/// What exemptions know of an object: names that whoever writes it cannot choose freely.
#[derive(Clone, Copy, Debug)]
pub struct ExemptionSubject<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The kind of the object.
    pub kind: ObjectKind,
    /// The name of the object.
    pub name: &'a str,
    /// Its workload; `None` where nobody but the object itself says which one that is.
    pub workload: Option<&'a Workload>,
    /// The labels of its workload, or its own where it is one; `None` where they are not known. Those of
    /// a pod are never among them.
    pub labels: Option<&'a Labels>,
}

impl<'a> From<&'a PodFacts> for ExemptionSubject<'a> {
    fn from(pod: &'a PodFacts) -> Self {
        let PodFacts { namespace, kind, name, workload, .. } = pod;
        Self { namespace, kind: *kind, name, workload: Some(workload), labels: None }
    }
}

impl CompiledExemption {
    fn of(exemption: &Exemption) -> Self {
        // The policy is valid, and so are its checks and times.
        let mut custom = Vec::new();
        let checks = exemption.checks.iter().filter_map(|id| {
            let id = id.parse().ok()?;
            if let CheckName::Custom(name) = &id {
                custom.push(Box::from(&**name));
            }
            id.registered()
        });
        let ends = exemption.expires.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
        Self {
            checks: checks.collect(),
            custom: custom.into(),
            workloads: ExemptedWorkloads::of(exemption),
            container: exemption.container.as_deref().map(Box::from),
            reason: exemption.reason.split_whitespace().collect::<Vec<_>>().join(" ").into(),
            ends: ends.map(Timestamp::as_second),
        }
    }

    /// Why the findings are accepted, on one line.
    #[must_use]
    pub fn reason(&self) -> &Arc<str> {
        &self.reason
    }

    /// Whether it is about findings of the check.
    #[must_use]
    pub fn has_check(&self, check: &CheckName) -> bool {
        match check {
            CheckName::Registered(check) => self.checks.contains(*check),
            CheckName::Custom(name) => self.custom.iter().any(|known| **known == **name),
        }
    }

    /// Whether it is about a custom check.
    #[must_use]
    pub fn has_custom(&self) -> bool {
        !self.custom.is_empty()
    }

    /// Whether it is about a check of what runs, which a manifest does not show.
    #[must_use]
    pub fn is_of_what_runs(&self) -> bool {
        CheckId::all().any(|check| self.checks.contains(check) && !check.meta().at_admission)
    }

    /// The workloads that it is about.
    #[must_use]
    pub const fn workloads(&self) -> &ExemptedWorkloads {
        &self.workloads
    }

    /// The only container that it is about, if any.
    #[must_use]
    pub fn container(&self) -> Option<&str> {
        self.container.as_deref()
    }

    /// The first second (since 1970) at which it no longer exempts; `None` where it does not end.
    #[must_use]
    pub fn ends(&self) -> Option<i64> {
        self.ends
    }

    /// Whether it has ended by then, in seconds since 1970.
    #[must_use]
    pub fn has_ended(&self, now: i64) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }

    fn covers(&self, check: &CheckName, container: Option<&str>) -> bool {
        self.has_check(check)
            && self.container.as_deref().is_none_or(|wanted| Some(wanted) == container)
    }
}

impl Exemptions {
    pub(super) fn of(exemptions: &[Exemption]) -> Option<Arc<Self>> {
        let compiled: Box<[_]> = exemptions.iter().map(CompiledExemption::of).collect();
        (!compiled.is_empty()).then(|| Arc::new(Self(compiled)))
    }

    /// Those that are wanted; `None` without any. Their positions are no longer those in the spec.
    pub(super) fn retained(
        &self,
        is_wanted: impl Fn(&CompiledExemption) -> bool,
    ) -> Option<Arc<Self>> {
        let kept: Box<[_]> = self.0.iter().filter(|one| is_wanted(one)).cloned().collect();
        (!kept.is_empty()).then(|| Arc::new(Self(kept)))
    }

    /// Whether some are about the workloads that a selector selects.
    #[must_use]
    pub fn have_selectors(&self) -> bool {
        self.0.iter().any(|one| one.workloads.selector().is_some())
    }

    /// The same, which also know these workloads by name: those that their selectors select. Whoever
    /// has pods needs that, as a pod does not have the labels of its workload.
    #[must_use]
    pub(super) fn selecting(&self, workloads: &[LabelledWorkload<'_>]) -> Self {
        let all = self.0.iter().map(|one| {
            let of_one = one.workloads.selecting(workloads);
            CompiledExemption { workloads: of_one, ..one.clone() }
        });
        Self(all.collect())
    }

    /// All of them, each with its position.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ExemptionId, &CompiledExemption)> {
        let id = |index| ExemptionId(u8::try_from(index).unwrap_or(u8::MAX));
        self.0.iter().enumerate().map(move |(index, exemption)| (id(index), exemption))
    }

    /// The exemption at that position.
    #[must_use]
    pub fn get(&self, id: ExemptionId) -> Option<&CompiledExemption> {
        self.0.get(id.index())
    }

    /// Whether a finding of an object is exempted at that second (since 1970).
    #[must_use]
    pub fn exempts(
        &self,
        subject: &ExemptionSubject<'_>,
        (check, container): (&CheckName, Option<&str>),
        now: i64,
    ) -> bool {
        let exemptions = self.matching(subject).and_then(|all| all.of(check, container));
        exemptions.is_some_and(|found| now < found.ends)
    }

    /// Those of an object, ended ones included; `None` where there are none.
    #[must_use]
    pub fn matching(&self, subject: &ExemptionSubject<'_>) -> Option<MatchingExemptions<'_>> {
        const { assert!(MAX_EXEMPTIONS <= 128) };
        let matching = self.0.iter().enumerate().filter(|(_, one)| one.workloads.include(subject));
        let set = matching.fold(0_u128, |set, (index, _)| set | 1 << index);
        (set != 0).then_some(MatchingExemptions { all: self, set: ExemptionSet(set) })
    }
}

/// The exemptions of one finding. They may have ended.
#[derive(Clone, Copy, Debug)]
pub struct FindingExemptions {
    /// The one that lasts longest.
    pub longest: ExemptionId,
    /// The first second (since 1970) at which that no longer exempts it.
    pub ends: i64,
    /// All of them.
    pub all: ExemptionSet,
}

/// The exemptions of one object.
#[derive(Clone, Copy, Debug)]
pub struct MatchingExemptions<'a> {
    all: &'a Exemptions,
    set: ExemptionSet,
}

impl CompiledPolicy {
    /// The same policy with those of its exemptions alone.
    #[must_use]
    pub fn with_exemptions(mut self, is_kept: impl Fn(&CompiledExemption) -> bool) -> Self {
        self.exemptions = self.exemptions.and_then(|all| all.retained(is_kept));
        self
    }
}

impl MatchingExemptions<'_> {
    /// The exemptions of a finding; `None` without any.
    #[must_use]
    pub fn of(&self, check: &CheckName, container: Option<&str>) -> Option<FindingExemptions> {
        let mut found: Option<FindingExemptions> = None;
        for (id, exemption) in self.all.iter().filter(|(id, _)| self.set.contains(*id)) {
            if !exemption.covers(check, container) {
                continue;
            }
            let ends = exemption.ends.unwrap_or(i64::MAX);
            let mut all = found.map(|found| found.all).unwrap_or_default();
            all.insert(id);
            found = Some(match found {
                Some(longest) if ends <= longest.ends => FindingExemptions { all, ..longest },
                _ => FindingExemptions { longest: id, ends, all },
            });
        }
        found
    }
}

#[cfg(test)]
mod selector_tests;
#[cfg(test)]
mod tests;
