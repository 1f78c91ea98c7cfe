//! The judgement of a policy: a verdict on its namespace, or why there is none. Pure.

use std::sync::Arc;

use policy_core::policy::{CompiledPolicy, MAX_PER_NAMESPACE};
use policy_core::report::Summary;
use policy_core::text::counted;
use policy_core::verdict::{JudgedWorkload, Verdict};
use policy_core::view::Refused;

use crate::custom::CustomStanding;

/// The result of judging a namespace by a policy.
#[derive(Debug)]
pub(crate) enum Judgement {
    Judged(Box<Judged>),
    Rejected(Rejection),
}

/// The verdict of a policy on the pods of its namespace, or of those that it selects.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) policy: Arc<CompiledPolicy>,
    pub(crate) verdict: Verdict,
    pub(crate) summary: Summary,
    /// How many namespaces a cluster policy selects; `None` for the policy of a namespace.
    pub(crate) namespaces: Option<usize>,
    /// What to know about workloads beside their findings.
    pub(crate) notes: Vec<String>,
    /// What is not known of its custom checks, where it has some.
    pub(crate) custom: Option<CustomStanding>,
    /// Of which workloads the labels are not known, where exemptions select by them.
    pub(crate) unread_labels: Option<String>,
}

/// Why a namespace cannot be judged by a policy.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Rejection {
    #[error(transparent)]
    Policy(Refused),
    #[error(
        "system namespaces and those under excludedNamespaces in the operator's configuration are \
         never judged"
    )]
    ExcludedNamespace,
    #[error(
        "the namespace has more than {MAX_PER_NAMESPACE} policies, and only the oldest are judged; \
         delete policies that nobody needs, and this one is judged once it is among them"
    )]
    TooManyPolicies,
    #[error(
        "there are more than {MAX_PER_NAMESPACE} cluster policies, and only those of the highest \
         priority, of these the oldest, are judged; delete policies that nobody needs, and this one \
         is judged once it is among them"
    )]
    TooManyClusterPolicies,
}

impl Rejection {
    /// The reason of the condition `Ready`.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Policy(Refused::Undecodable(_)) => "Undecodable",
            Self::Policy(Refused::Invalid(_)) => "Invalid",
            Self::Policy(Refused::TooManyFinalizers) => "TooManyFinalizers",
            Self::ExcludedNamespace => "ExcludedNamespace",
            Self::TooManyPolicies | Self::TooManyClusterPolicies => "TooManyPolicies",
        }
    }

    /// Whether it is for a limit. Such a policy costs the one status that says so, and nothing
    /// more: no finalizer and no heartbeat, as there may be any number of them.
    pub(crate) fn is_excess(&self) -> bool {
        matches!(
            self,
            Self::Policy(Refused::TooManyFinalizers)
                | Self::TooManyPolicies
                | Self::TooManyClusterPolicies
        )
    }
}

impl Judgement {
    pub(crate) fn judged(&self) -> Option<&Judged> {
        match self {
            Self::Judged(judged) => Some(judged),
            Self::Rejected(_) => None,
        }
    }

    /// The workloads of the verdict, which then has them no more.
    pub(crate) fn take_workloads(&mut self) -> Vec<JudgedWorkload> {
        match self {
            Self::Judged(judged) => std::mem::take(&mut judged.verdict.workloads),
            Self::Rejected(_) => Vec::new(),
        }
    }

    /// As [`Rejection::is_excess`].
    pub(crate) fn is_excess(&self) -> bool {
        matches!(self, Self::Rejected(rejection) if rejection.is_excess())
    }
}

impl Judged {
    pub(crate) fn new(policy: &Arc<CompiledPolicy>, verdict: Verdict) -> Self {
        let summary = Summary::of(&verdict.tally, policy);
        Self {
            policy: Arc::clone(policy),
            verdict,
            summary,
            namespaces: None,
            notes: Vec::new(),
            custom: None,
            unread_labels: None,
        }
    }

    /// That of a cluster policy, which selects so many namespaces.
    pub(crate) fn of_namespaces(
        policy: &Arc<CompiledPolicy>,
        verdict: Verdict,
        namespaces: usize,
    ) -> Self {
        Self { namespaces: Some(namespaces), ..Self::new(policy, verdict) }
    }

    /// Whether every pod is judged by the custom checks. A score without their findings may be too good; neither
    /// an audit result, which nobody can correct, nor an Event is made of it.
    pub(crate) fn is_complete(&self) -> bool {
        self.custom.as_ref().is_none_or(|custom| custom.unjudged == 0)
    }

    /// The verdict in one sentence.
    pub(crate) fn sentence(&self) -> String {
        let Verdict { tally, score, .. } = &self.verdict;
        let namespaces = match self.namespaces {
            None => String::new(),
            Some(0) => return "no namespace is selected".to_owned(),
            Some(selected) => format!(" in {}", counted(selected as u64, "namespace")),
        };
        if tally.pods() == 0 {
            return format!("no pods to judge{namespaces}");
        }
        let violations = counted(tally.total_findings(), "violation");
        let affected = tally.pods() - tally.compliant_pods();
        let pods = counted(tally.pods(), "pod");
        let exempted = match tally.total_exempted() {
            0 => String::new(),
            exempted => format!(", {exempted} exempted"),
        };
        let class = score.classification();
        format!(
            "score {score} ({class}): {violations} in {affected} of {pods}{namespaces}{exempted}"
        )
    }
}
