//! What is said to a request.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::answer::in_doubt;
use super::line::{Line, Room, fitting, part};
use super::{Doubt, IN_DOUBT, LET_IN};
use crate::checks::CheckId;
use crate::severity::Severity;

/// A message that people read at a terminal.
const MESSAGE: Room = Room { lines: 10, bytes: 2048 };
const MESSAGE_LINE: Line = Line { characters: 800, bytes: 1900 };
/// What the API server takes of warnings without cutting them off:
/// <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#response>.
const WARNINGS: Room = Room { lines: usize::MAX, bytes: 4096 };
pub(super) const WARNING: Line = Line { characters: 120, bytes: 256 };
/// A value in the audit log.
pub(super) const ANNOTATION: Room = Room { lines: 10, bytes: 1024 };
const ANNOTATION_LINE: Line = Line { characters: 300, bytes: 900 };

/// How many findings of each decision keep their words: more than fit into any answer.
pub(super) const MOST_TOLD: usize = 64;

/// What becomes of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision {
    /// The object is denied for it.
    Denied,
    /// The user is warned of it.
    Warned,
    /// It is only written down: one of the cluster's own controllers made the object from a
    /// template that was accepted, or that is older than the policy.
    LetIn,
}

impl Decision {
    /// All decisions.
    pub const ALL: [Self; 3] = [Self::Denied, Self::Warned, Self::LetIn];

    /// The decision as a metric's label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Warned => "warned",
            Self::LetIn => "let_in",
        }
    }
}

/// What is said to a request. Of findings beyond what an answer can hold only the number is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub(super) namespace: String,
    /// Where there are any.
    pub(super) counts: BTreeMap<(CheckId, Decision), usize>,
    /// By decision; the first in the order of the message, at most [`MOST_TOLD`].
    pub(super) told: [Vec<Told>; 3],
    /// Policies that were left out, by name, at most [`MOST_TOLD`].
    pub(super) left_out: Vec<LeftOut>,
    pub(super) left_out_count: usize,
}

/// A finding with its words, as short as they are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) policy: Arc<str>,
    pub(super) severity: Severity,
    pub(super) check: CheckId,
    pub(super) container: Option<Arc<str>>,
    pub(super) text: String,
}

/// A policy that is invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) policy: Arc<str>,
    pub(super) why: String,
}

impl Verdict {
    /// Whether the object is let in.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.count(Decision::Denied) == 0
    }

    /// Why the object is denied: a line for each finding, the most severe first, of more than ten
    /// the number; at most 2 KiB. `None` where it is let in.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        let lines = self.told(Decision::Denied).map(|told| {
            let (found, check, severity) = (self.found(told), told.check, told.severity);
            let remedy = check.meta().remedy;
            let line = format!("denied by {found} (check {check}, {severity}); {remedy}");
            MESSAGE_LINE.cut(line.into())
        });
        let total = self.count(Decision::Denied);
        (total > 0).then(|| fitting(lines, total, MESSAGE).join("\n"))
    }

    /// What the user is warned of: policies that were left out, then findings, the most severe
    /// first. Each has at most 120 characters; together they have at most 4096 bytes, the last
    /// one counting the rest.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let left_out = self.left_out.iter().map(|left_out| self.left_out(left_out));
        let findings = self.told(Decision::Warned).map(|told| self.noted(told));
        let lines = left_out.chain(findings).map(|line| WARNING.cut(line.into()));
        fitting(lines, self.left_out_count + self.count(Decision::Warned), WARNINGS)
    }

    /// What is written to the audit log beside the decision, under [`LET_IN`] and [`IN_DOUBT`]:
    /// the API server puts the webhook's name before the keys. Each value has at most 1 KiB.
    #[must_use]
    pub fn annotations(&self) -> BTreeMap<&'static str, String> {
        let mut annotations = BTreeMap::new();
        let joined = |lines: &mut dyn Iterator<Item = String>, total| {
            let lines = lines.map(|line| ANNOTATION_LINE.cut(line.into()));
            fitting(lines, total, ANNOTATION).join("; ")
        };
        let let_in = self.count(Decision::LetIn);
        if let_in > 0 {
            let mut lines = self.told(Decision::LetIn).map(|told| self.noted(told));
            annotations.insert(LET_IN, joined(&mut lines, let_in));
        }
        if let Some(doubt) = self.doubt() {
            let mut lines = self.left_out.iter().map(|left_out| self.left_out(left_out));
            let words = joined(&mut lines, self.left_out_count);
            annotations.insert(IN_DOUBT, in_doubt(doubt, &words));
        }
        annotations
    }

    /// Every finding with what becomes of it, by check and decision.
    pub fn findings(&self) -> impl Iterator<Item = (CheckId, Decision)> {
        let each = |(check, decision, count)| std::iter::repeat_n((check, decision), count);
        self.counts().flat_map(each)
    }

    /// How many findings there are of each check and decision, where there are any.
    pub fn counts(&self) -> impl Iterator<Item = (CheckId, Decision, usize)> {
        self.counts.iter().map(|(&(check, decision), &count)| (check, decision, count))
    }

    /// Why the verdict is not a full one: a policy that is invalid was left out. The others were
    /// judged by, and may deny.
    #[must_use]
    pub fn doubt(&self) -> Option<Doubt> {
        (self.left_out_count > 0).then_some(Doubt::InvalidPolicy)
    }

    fn count(&self, decision: Decision) -> usize {
        self.counts().filter(|(_, of, _)| *of == decision).map(|(_, _, count)| count).sum()
    }

    fn told(&self, decision: Decision) -> impl Iterator<Item = &Told> {
        self.told[decision as usize].iter()
    }

    fn policy(&self, policy: &str) -> String {
        format!("policy {}/{}", part(&self.namespace), part(policy))
    }

    /// `policy production/strict: container web: image nginx:latest is not pinned`.
    fn found(&self, told: &Told) -> String {
        let policy = self.policy(&told.policy);
        match &told.container {
            Some(container) => format!("{policy}: container {}: {}", part(container), told.text),
            None => format!("{policy}: {}", told.text),
        }
    }

    fn noted(&self, told: &Told) -> String {
        format!("{} ({}, {})", self.found(told), told.check, told.severity)
    }

    fn left_out(&self, LeftOut { policy, why }: &LeftOut) -> String {
        format!("{} is invalid and was left out: {why}", self.policy(policy))
    }
}
