//! What limits the workloads of a namespace, and where the API server has it: the operator and
//! `policyctl preview` read the same, so that they cannot disagree.

use std::collections::BTreeMap;

use serde_json::Value;

use super::facts::{Autoscaler, LimitRange, MemoryPeaks, NamespaceFacts, OptIn, WorkloadPeaks};
use crate::facts::PodFacts;
use crate::installation::WEBHOOK_CONFIGURATION;
use crate::workload::Workload;

/// What is read before the workloads of a namespace are planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The namespace, for its annotation.
    Namespace,
    /// Its `LimitRange` objects.
    LimitRanges,
    /// Its `HorizontalPodAutoscaler` objects.
    HorizontalAutoscalers,
    /// Its `VerticalPodAutoscaler` objects, which an add-on serves.
    VerticalAutoscalers,
    /// The configuration of the mutating webhook.
    MutatingWebhook,
    /// What its pods use, which an add-on serves.
    PodMetrics,
}

impl Source {
    /// All sources.
    pub const ALL: [Self; 6] = [
        Self::Namespace,
        Self::LimitRanges,
        Self::HorizontalAutoscalers,
        Self::VerticalAutoscalers,
        Self::MutatingWebhook,
        Self::PodMetrics,
    ];

    /// Its path in the API. Where nothing is there, the source is empty.
    #[must_use]
    pub fn path(self, namespace: &str) -> String {
        let list = |group: &str, plural: &str| format!("/{group}/namespaces/{namespace}/{plural}");
        match self {
            Self::Namespace => format!("/api/v1/namespaces/{namespace}"),
            Self::LimitRanges => list("api/v1", "limitranges"),
            Self::HorizontalAutoscalers => list("apis/autoscaling/v2", "horizontalpodautoscalers"),
            Self::VerticalAutoscalers => {
                list("apis/autoscaling.k8s.io/v1", "verticalpodautoscalers")
            }
            Self::MutatingWebhook => format!(
                "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/\
                 {WEBHOOK_CONFIGURATION}"
            ),
            Self::PodMetrics => list("apis/metrics.k8s.io/v1beta1", "pods"),
        }
    }

    /// Whether it is a list, not an object.
    #[must_use]
    pub fn is_list(self) -> bool {
        !matches!(self, Self::Namespace | Self::MutatingWebhook)
    }

    /// What a preview assumes where it cannot be read.
    #[must_use]
    pub fn assumption(self) -> &'static str {
        match self {
            Self::Namespace => "the namespace has no annotation about remediation",
            Self::LimitRanges => "there are no LimitRanges",
            Self::HorizontalAutoscalers => "there are no HorizontalPodAutoscalers",
            Self::VerticalAutoscalers => "there are no VerticalPodAutoscalers",
            Self::MutatingWebhook => "the mutating webhook is installed",
            Self::PodMetrics => "metrics.k8s.io does not answer, so no memory limit is safe",
        }
    }
}

impl NamespaceFacts {
    /// Takes in the object of a source, or one of its list. What its pods use is no fact of a namespace.
    pub fn take_in(&mut self, source: Source, object: &Value) {
        match source {
            // Of several manifests of a namespace one may say nothing.
            Source::Namespace => match OptIn::of(object) {
                OptIn::Unset => {}
                OptIn::Disabled => self.opt_in = OptIn::Disabled,
                OptIn::Enabled if self.opt_in == OptIn::Disabled => {}
                OptIn::Enabled => self.opt_in = OptIn::Enabled,
            },
            Source::LimitRanges => self.limit_ranges.push(LimitRange::read(object)),
            Source::HorizontalAutoscalers => self.autoscalers.push(Autoscaler::horizontal(object)),
            Source::VerticalAutoscalers => self.autoscalers.push(Autoscaler::vertical(object)),
            Source::MutatingWebhook => self.has_mutating_webhook = true,
            Source::PodMetrics => {}
        }
    }
}

/// What limits the workloads of a namespace.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The facts of the namespace.
    pub facts: NamespaceFacts,
    /// The memory use of each workload; `None` where metrics.k8s.io does not answer.
    peaks: Option<BTreeMap<Workload, MemoryPeaks>>,
}

impl Surroundings {
    /// What the containers of a workload use.
    #[must_use]
    pub fn peaks_of(&self, workload: &Workload) -> Option<&MemoryPeaks> {
        self.peaks.as_ref()?.get(workload)
    }
}

/// Gathers the surroundings from their sources.
#[derive(Debug)]
pub struct Gathering<'a> {
    facts: NamespaceFacts,
    peaks: WorkloadPeaks<'a>,
}

impl<'a> Gathering<'a> {
    /// Of a namespace that has these pods.
    pub fn of(pods: impl IntoIterator<Item = &'a PodFacts>) -> Self {
        Self { facts: NamespaceFacts::default(), peaks: WorkloadPeaks::new(pods) }
    }

    /// Takes in the object of a source, or one of its list.
    pub fn take_in(&mut self, source: Source, object: &Value) {
        match source {
            Source::PodMetrics => self.peaks.observe(object),
            source => self.facts.take_in(source, object),
        }
    }

    /// Assumes what [`Source::assumption`] says.
    pub fn assume(&mut self, source: Source) {
        match source {
            Source::MutatingWebhook => self.facts.has_mutating_webhook = true,
            // The first pages of a list may have been read, without the largest use.
            Source::PodMetrics => self.peaks = WorkloadPeaks::new([]),
            _ => {}
        }
    }

    /// What was gathered.
    #[must_use]
    pub fn finish(self) -> Surroundings {
        Surroundings { facts: self.facts, peaks: self.peaks.finish() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_assumed() {
        let mut gathering = Gathering::of([]);
        for source in Source::ALL {
            gathering.assume(source);
        }
        let facts = gathering.finish().facts;
        assert!(facts.has_mutating_webhook && facts.limit_ranges.is_empty());
        let lists = Source::ALL.into_iter().filter(|source| source.is_list());
        for source in lists {
            assert!(source.path("shop").contains("/namespaces/shop/"), "{source:?}");
        }
    }
}
