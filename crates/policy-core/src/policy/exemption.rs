//! Findings of a policy that are known and accepted: which they are, and until when.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::Problems;
use super::selector::{is_dns_label, is_object_name};
use crate::api::{ExemptedWorkload, Exemption, MAX_CHECKS, MAX_EXEMPTIONS};
use crate::checks::{CHECK_COUNT, CheckId, CheckName};
use crate::facts::PodFacts;
use crate::text::excerpt;
use crate::workload::{ObjectKind, Workload};

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
    kind: Box<str>,
    /// The kind, where it is one that is evaluated.
    object_kind: Option<ObjectKind>,
    name: Box<str>,
    namespace: Option<Box<str>>,
    container: Option<Box<str>>,
    reason: Arc<str>,
    /// The first second (since 1970) at which it no longer exempts.
    ends: Option<i64>,
}

/// An exemption that its author should look at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExemptionNote {
    /// Its place in the policy and its workload, such as `spec.exemptions[1] (Deployment/web)`.
    pub place: String,
    /// The time at which it ended; `None` where it exempts nothing although it has not.
    pub ended: Option<Timestamp>,
}

impl ExemptionNote {
    /// What to know about it.
    #[must_use]
    pub fn message(&self) -> String {
        match self.ended {
            Some(ended) => format!("ended at {ended}: its findings count again"),
            None => "exempts nothing: there is no such finding".to_owned(),
        }
    }
}

impl fmt::Display for ExemptionNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.place, self.message())
    }
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
}

impl<'a> From<&'a PodFacts> for ExemptionSubject<'a> {
    fn from(pod: &'a PodFacts) -> Self {
        let PodFacts { namespace, kind, name, workload, .. } = pod;
        Self { namespace, kind: *kind, name, workload: Some(workload) }
    }
}

impl CompiledExemption {
    fn of(exemption: &Exemption) -> Self {
        let ExemptedWorkload { kind, name, namespace } = &exemption.workload;
        let boxed = |text: &Option<String>| text.as_deref().map(Box::from);
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
            kind: (**kind).into(),
            object_kind: kind.parse().ok(),
            name: (**name).into(),
            namespace: boxed(namespace),
            container: boxed(&exemption.container),
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

    /// The kind of the workload, where it is one that is evaluated.
    #[must_use]
    pub fn object_kind(&self) -> Option<ObjectKind> {
        self.object_kind
    }

    /// The name of the workload.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The only namespace that it is about, if any.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
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

    fn matches(&self, subject: &ExemptionSubject<'_>) -> bool {
        let is_own = || self.object_kind == Some(subject.kind) && *self.name == *subject.name;
        let is_in_namespace =
            || self.namespace.as_deref().is_none_or(|namespace| namespace == subject.namespace);
        (subject.workload.is_some_and(|workload| self.is_of(workload)) || is_own())
            && is_in_namespace()
    }

    fn is_of(&self, workload: &Workload) -> bool {
        // A kind of that name in another project's group is another kind.
        let is_of_group = || {
            workload.group.is_empty()
                || self.object_kind.is_none_or(|kind| kind.is_of_group(&workload.group))
        };
        *self.name == *workload.name && *self.kind == *workload.kind && is_of_group()
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

    /// Those that have ended by then, in seconds since 1970, and those that exempt nothing though
    /// they have not; without `is_judged` some findings of custom checks are not known.
    #[must_use]
    pub fn notes(&self, used: ExemptionSet, is_judged: bool, now: i64) -> Vec<ExemptionNote> {
        let is_noted = |(id, exemption): &(ExemptionId, &CompiledExemption)| {
            let is_unused = !used.contains(*id) && (is_judged || exemption.custom.is_empty());
            exemption.has_ended(now) || is_unused
        };
        let note = |(id, exemption): (ExemptionId, &CompiledExemption)| {
            let CompiledExemption { kind, name, .. } = exemption;
            let ended = exemption.ends.filter(|_| exemption.has_ended(now));
            ExemptionNote {
                place: format!("spec.exemptions[{}] ({kind}/{name})", id.index()),
                ended: ended.and_then(|second| Timestamp::from_second(second).ok()),
            }
        };
        self.iter().filter(is_noted).map(note).collect()
    }

    /// Whether a finding of an object is exempted at that second (since 1970).
    #[must_use]
    pub fn exempts(
        &self,
        subject: &ExemptionSubject<'_>,
        (check, container): (&CheckName, Option<&str>),
        now: i64,
    ) -> bool {
        let exemption = self.matching(subject).and_then(|all| all.of(check, container));
        exemption.is_some_and(|(_, ends)| now < ends)
    }

    /// Those of an object, ended ones included; `None` where there are none.
    #[must_use]
    pub fn matching(&self, subject: &ExemptionSubject<'_>) -> Option<MatchingExemptions<'_>> {
        const { assert!(MAX_EXEMPTIONS <= 128) };
        let matching = self.0.iter().enumerate().filter(|(_, one)| one.matches(subject));
        let set = matching.fold(0_u128, |set, (index, _)| set | 1 << index);
        (set != 0).then_some(MatchingExemptions { all: self, set: ExemptionSet(set) })
    }
}

/// The exemptions of one object.
#[derive(Clone, Copy, Debug)]
pub struct MatchingExemptions<'a> {
    all: &'a Exemptions,
    set: ExemptionSet,
}

impl MatchingExemptions<'_> {
    /// The exemption of a finding, and the first second (since 1970) at which it no longer exempts
    /// it. Of several the one that lasts longest; it may have ended.
    #[must_use]
    pub fn of(&self, check: &CheckName, container: Option<&str>) -> Option<(ExemptionId, i64)> {
        let mut longest: Option<(ExemptionId, i64)> = None;
        for (id, exemption) in self.all.iter().filter(|(id, _)| self.set.contains(*id)) {
            let ends = exemption.ends.unwrap_or(i64::MAX);
            if exemption.covers(check, container) && longest.is_none_or(|(_, other)| ends > other) {
                longest = Some((id, ends));
            }
        }
        longest
    }
}

impl Problems {
    pub(super) fn exemptions(&mut self, exemptions: &[Exemption]) {
        if exemptions.len() > MAX_EXEMPTIONS {
            let problem =
                format!("must have at most {MAX_EXEMPTIONS} exemptions, not {}", exemptions.len());
            self.add("exemptions", problem);
        }
        for (index, exemption) in exemptions.iter().take(MAX_EXEMPTIONS).enumerate() {
            self.exemption(&format!("exemptions[{index}]"), exemption);
        }
    }

    fn exemption(&mut self, path: &str, exemption: &Exemption) {
        let Exemption { checks, workload, container, reason, expires } = exemption;
        self.checks(&format!("{path}.checks"), checks);
        self.workload(&format!("{path}.workload"), workload);
        if container.as_ref().is_some_and(|name| !(1..=253).contains(&name.chars().count())) {
            let problem = "must be the name of a container; omit it for the pod and all of them";
            self.add(&format!("{path}.container"), problem.to_owned());
        }
        if reason.trim().is_empty() || reason.chars().count() > 256 {
            let problem = "must say in 1 to 256 characters why the findings are accepted";
            self.add(&format!("{path}.reason"), problem.to_owned());
        }
        if let Some(expires) = expires.as_ref().filter(|text| !is_rfc_3339(text)) {
            let problem =
                format!("must be a time such as 2027-01-31T00:00:00Z, not `{}`", excerpt(expires));
            self.add(&format!("{path}.expires"), problem);
        }
    }

    fn checks(&mut self, path: &str, checks: &[String]) {
        if !(1..=MAX_CHECKS).contains(&checks.len()) {
            let problem = format!("must name 1 to {MAX_CHECKS} checks, not {}", checks.len());
            self.add(path, problem);
        }
        for (index, id) in checks.iter().take(MAX_CHECKS).enumerate() {
            let path = format!("{path}[{index}]");
            if let Err(unknown) = id.parse::<CheckName>() {
                self.add(&path, unknown.to_string());
            } else if checks[..index].contains(id) {
                self.add(&path, format!("names `{id}` again"));
            }
        }
    }

    fn workload(&mut self, path: &str, workload: &ExemptedWorkload) {
        let ExemptedWorkload { kind, name, namespace } = workload;
        let is_kind = kind.starts_with(|c: char| c.is_ascii_uppercase())
            && kind.len() <= 63
            && kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_kind {
            let problem =
                format!("must be a kind such as Deployment or Pod, not `{}`", excerpt(kind));
            self.add(&format!("{path}.kind"), problem);
        }
        if !is_object_name(name) {
            let problem = format!(
                "must be the full name of a workload, such as web, not `{}`",
                excerpt(name)
            );
            self.add(&format!("{path}.name"), problem);
        }
        if let Some(namespace) = namespace.as_ref().filter(|name| !is_dns_label(name)) {
            let problem = format!("must be the name of a namespace, not `{}`", excerpt(namespace));
            self.add(&format!("{path}.namespace"), problem);
        }
    }
}

/// Whether it is a time as the schema of the custom resource wants it: with date, time, seconds and
/// offset.
fn is_rfc_3339(text: &str) -> bool {
    let bytes = text.as_bytes();
    let has = |index: usize, wanted: &[u8]| bytes.get(index).is_some_and(|b| wanted.contains(b));
    let has_seconds = has(4, b"-") && has(10, b"T") && has(16, b":");
    let offset = bytes.len().saturating_sub(6);
    let has_offset = text.ends_with('Z') || has(offset, b"+-") && has(offset + 3, b":");
    has_seconds && has_offset && text.len() <= 40 && text.parse::<Timestamp>().is_ok()
}

#[cfg(test)]
mod tests;
