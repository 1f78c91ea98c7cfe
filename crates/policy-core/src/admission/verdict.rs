//! The decision on a request.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::custom::Unjudged;
use super::fail_open::FailOpenReason;
use super::line::{Line, Lines};
use super::{EXEMPTED, FAIL_OPEN, RECORDED};
use crate::checks::CheckName;
use crate::policy::{MAX_PER_NAMESPACE, PolicyName};
use crate::severity::Severity;
use crate::text::{container_or_volume, excerpt};

/// The message of a denial, which kubectl prints.
const MESSAGE: Lines = Lines { lines: 10, bytes: 2048 };
const MESSAGE_LINE: Line = Line { characters: 800, bytes: 1900 };
/// The last line of a denial that is about a copy of a pod for debugging. The default profile of
/// `kubectl debug` removes the probes of the copy, and all of its labels and annotations
/// (<https://github.com/kubernetes/kubectl/blob/v0.37.2/pkg/cmd/debug/profiles.go>).
const DEBUG_COPY: &str = "`kubectl debug --copy-to` removes probes, and a copy is judged like any \
    pod: debug in an ephemeral container instead (without --copy-to), or keep the probes by \
    --keep-liveness --keep-readiness and name a container of the pod by -c";
/// The API server truncates what exceeds this:
/// <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#response>.
const WARNINGS: Lines = Lines { lines: usize::MAX, bytes: 4096 };
pub(super) const WARNING: Line = Line { characters: 120, bytes: 256 };
/// The value of an audit annotation.
pub(super) const ANNOTATION: Lines = Lines { lines: 10, bytes: 1024 };
const ANNOTATION_LINE: Line = Line { characters: 300, bytes: 900 };

/// The largest number of findings, and of invalid policies, that an answer shows: no warning about a
/// finding has less than a 64th of the bytes of all.
pub(super) const MAX_SHOWN: usize = 64;

/// The consequence of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Decision {
    /// The request is denied.
    Denied,
    /// The user gets a warning.
    Warned,
    /// The finding is only recorded in the audit log: a controller of the cluster created the
    /// object from a template that was accepted or is older than the policy, a node created the
    /// mirror of a static pod, or the operator changed a workload.
    Recorded,
    /// The finding is known and accepted: it is only recorded in the audit log, with the reason.
    Exempted,
}

impl Decision {
    /// All decisions.
    pub const ALL: [Self; 4] = [Self::Denied, Self::Warned, Self::Recorded, Self::Exempted];

    /// The decision as a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The largest number of its findings that an answer shows.
    pub(super) const fn shown(self) -> usize {
        match self {
            Self::Denied => MESSAGE.lines,
            Self::Warned => MAX_SHOWN,
            Self::Recorded | Self::Exempted => ANNOTATION.lines,
        }
    }
}

/// The decision on a request, with its reasons. Findings that do not fit into an answer are only
/// counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdmissionVerdict {
    pub(super) namespace: String,
    /// Without entries of 0.
    pub(super) counts: BTreeMap<(CheckName, Decision), usize>,
    /// By decision, in the order of an answer, at most [`Decision::shown`] of each.
    pub(super) findings: [Vec<NamedFinding>; Decision::ALL.len()],
    /// By name, at most [`MAX_SHOWN`].
    pub(super) invalid_policies: Vec<InvalidPolicy>,
    pub(super) invalid_policy_count: usize,
    /// Custom checks that say nothing, at most [`MAX_SHOWN`].
    pub(super) unjudged: Vec<(PolicyName, Unjudged)>,
    pub(super) unjudged_count: usize,
    /// As [`NamespacePolicies::excess`](super::NamespacePolicies::excess).
    pub(super) excess_policies: usize,
}

/// A finding with its text, which may be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedFinding {
    pub(super) policy: PolicyName,
    pub(super) severity: Severity,
    pub(super) check: CheckName,
    pub(super) container: Option<Arc<str>>,
    pub(super) text: Cow<'static, str>,
    /// Why it is exempted; `None` where it is not.
    pub(super) exempted_for: Option<Arc<str>>,
}

/// An invalid policy, by which nothing can be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InvalidPolicy {
    pub(super) policy: PolicyName,
    pub(super) reason: String,
}

impl AdmissionVerdict {
    /// Whether the request is allowed.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.count(Decision::Denied) == 0
    }

    /// Why the request is denied, a line for each finding, the most severe first. After ten
    /// findings follows the number of the others; then what to do for a copy by `kubectl debug`. At
    /// most 2 KiB. `None` where it is allowed.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        let lines = self.of(Decision::Denied).map(|finding| {
            let (named, check, severity) = (self.named(finding), &finding.check, finding.severity);
            let remedy = check.registered().map(|check| format!("; {}", check.meta().remedy));
            let remedy = remedy.unwrap_or_default();
            let line = format!("denied by {named} (check {check}, {severity}){remedy}");
            MESSAGE_LINE.cut(line)
        });
        let total = self.count(Decision::Denied);
        (total > 0).then(|| {
            let note = self.is_about_debug_copy().then_some(DEBUG_COPY);
            let bytes = MESSAGE.bytes - note.map_or(0, |note| note.len() + 1);
            let mut lines = Lines { bytes, ..MESSAGE }.fit(lines, total);
            lines.extend(note.map(str::to_owned));
            lines.join("\n")
        })
    }

    /// Whether it is denied for the probes of a container with a name that `kubectl debug` makes up,
    /// which is all that marks a copy.
    fn is_about_debug_copy(&self) -> bool {
        self.of(Decision::Denied).any(|finding| {
            let is_of_probe =
                ["missing-liveness", "missing-readiness"].contains(&finding.check.label());
            let suffix = finding.container.as_deref().and_then(|n| n.strip_prefix("debugger-"));
            is_of_probe && suffix.is_some_and(|suffix| suffix.len() == 5)
        })
    }

    /// The warnings: first policies that were not applied, then findings, the most severe first.
    /// Each has at most 120 characters; together they have at most 4096 bytes, and the last one
    /// counts the rest.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let invalid = self.invalid_policies.iter().map(|policy| self.invalid(policy));
        let findings = self.of(Decision::Warned).map(|finding| self.summary(finding));
        let excess = (self.excess_policies > 0).then(|| self.excess());
        let unjudged = self.unjudged.iter().map(|unjudged| self.without_result(unjudged));
        let total = usize::from(excess.is_some())
            + self.invalid_policy_count
            + self.unjudged_count
            + self.count(Decision::Warned);
        let lines = excess.into_iter().chain(invalid).chain(findings).chain(unjudged);
        WARNINGS.fit(lines.map(|line| WARNING.cut(line)), total)
    }

    /// The audit annotations by key, [`RECORDED`], [`EXEMPTED`] and [`FAIL_OPEN`]. The API server prefixes keys
    /// with the webhook's name. Each value has at most 1 KiB.
    #[must_use]
    pub fn annotations(&self) -> BTreeMap<&'static str, String> {
        let mut annotations = BTreeMap::new();
        let joined = |lines: &mut dyn Iterator<Item = String>, total| {
            let lines = lines.map(|line| ANNOTATION_LINE.cut(line));
            ANNOTATION.fit(lines, total).join("; ")
        };
        for (key, decision) in [(RECORDED, Decision::Recorded), (EXEMPTED, Decision::Exempted)] {
            let count = self.count(decision);
            if count > 0 {
                let mut lines = self.of(decision).map(|finding| self.summary(finding));
                annotations.insert(key, joined(&mut lines, count));
            }
        }
        if let Some(reason) = self.fail_open_reason() {
            let invalid = self.invalid_policies.iter().map(|policy| self.invalid(policy));
            let unjudged = self.unjudged.iter().map(|unjudged| self.without_result(unjudged));
            let count = self.invalid_policy_count + self.unjudged_count;
            let detail = joined(&mut invalid.chain(unjudged), count);
            annotations.insert(FAIL_OPEN, reason.annotation(&detail));
        }
        annotations
    }

    /// How many findings there are of each check and decision, where there are any.
    pub fn counts(&self) -> impl Iterator<Item = (&CheckName, Decision, usize)> {
        self.counts.iter().map(|((check, decision), &count)| (check, *decision, count))
    }

    /// The policies of the findings by which the request is denied, or else warned of, as far as an
    /// answer names them.
    #[must_use]
    pub fn deciding_policies(&self) -> BTreeSet<&PolicyName> {
        let decision = if self.is_allowed() { Decision::Warned } else { Decision::Denied };
        self.of(decision).map(|finding| &finding.policy).collect()
    }

    /// Why the verdict is incomplete: a policy is invalid, or a custom check has no result. The
    /// others were applied, and may deny.
    #[must_use]
    pub fn fail_open_reason(&self) -> Option<FailOpenReason> {
        let invalid = (self.invalid_policy_count > 0).then_some(FailOpenReason::InvalidPolicy);
        invalid.or_else(|| (self.unjudged_count > 0).then_some(FailOpenReason::CustomCheck))
    }

    /// How many policies of the namespace were not applied, because there are too many.
    #[must_use]
    pub fn excess_policies(&self) -> usize {
        self.excess_policies
    }

    fn count(&self, decision: Decision) -> usize {
        self.counts().filter(|(_, of, _)| *of == decision).map(|(_, _, count)| count).sum()
    }

    fn of(&self, decision: Decision) -> impl Iterator<Item = &NamedFinding> {
        self.findings[decision as usize].iter()
    }

    fn policy(&self, policy: &PolicyName) -> String {
        format!("policy {}", policy.qualified(&self.namespace))
    }

    /// `policy production/strict: container web: image nginx:latest is not pinned`.
    fn named(&self, finding: &NamedFinding) -> String {
        let policy = self.policy(&finding.policy);
        match &finding.container {
            Some(name) => {
                let (what, name) = container_or_volume(name);
                format!("{policy}: {what} {}: {}", excerpt(name), finding.text)
            }
            None => format!("{policy}: {}", finding.text),
        }
    }

    fn summary(&self, finding: &NamedFinding) -> String {
        let NamedFinding { check, severity, exempted_for, .. } = finding;
        let summary = format!("{} ({check}, {severity})", self.named(finding));
        match exempted_for {
            Some(reason) => format!("{summary}, exempted: {reason}"),
            None => summary,
        }
    }

    fn without_result(&self, (policy, unjudged): &(PolicyName, Unjudged)) -> String {
        let Unjudged { check, reason } = unjudged;
        format!("{}: check custom/{check} was not applied: {reason}", self.policy(policy))
    }

    fn excess(&self) -> String {
        let (namespace, excess) = (excerpt(&self.namespace), self.excess_policies);
        format!(
            "policies not applied in {namespace}: {excess} (only {MAX_PER_NAMESPACE} are, the oldest first)"
        )
    }

    fn invalid(&self, InvalidPolicy { policy, reason }: &InvalidPolicy) -> String {
        format!("{} is invalid and was not applied: {reason}", self.policy(policy))
    }
}
