//! The workloads that an exemption is about: one by its name, or those that a selector selects.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::super::selector::{self, Selector};
use super::super::{CompiledPolicy, Problems};
use super::{ExemptionSubject, Exemptions};
use crate::api::{ExemptedWorkload, Exemption, MAX_EXEMPTION_SELECTOR_ENTRIES};
use crate::labels::Labels;
use crate::text::excerpt;
use crate::workload::{ObjectKind, Workload};

/// The workloads of an exemption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExemptedWorkloads {
    /// One of that name.
    Named(NamedWorkload),
    /// Those that a selector selects by their own labels.
    Selected(SelectedWorkloads),
}

/// A workload by its kind and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedWorkload {
    kind: Box<str>,
    /// The kind, where it is one that is evaluated.
    pub object_kind: Option<ObjectKind>,
    /// The name.
    pub name: Box<str>,
    /// The only namespace of it, if any.
    pub namespace: Option<Box<str>>,
}

/// Workloads by their labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectedWorkloads {
    selector: Selector,
    /// Those that are known by name, by their namespace.
    known: BTreeMap<Arc<str>, BTreeSet<Workload>>,
}

/// A workload of a cluster with its own labels.
#[derive(Clone, Copy, Debug)]
pub struct LabelledWorkload<'a> {
    /// The namespace.
    pub namespace: &'a Arc<str>,
    /// Kind and name.
    pub workload: &'a Workload,
    /// The labels in its metadata.
    pub labels: &'a Labels,
}

impl ExemptedWorkloads {
    /// Those of a valid exemption.
    pub(super) fn of(exemption: &Exemption) -> Self {
        if let Some(selector) = &exemption.selector {
            let selector = ("selector", selector, MAX_EXEMPTION_SELECTOR_ENTRIES);
            let selector = selector::compile(selector, &mut Problems::default());
            return Self::Selected(SelectedWorkloads { selector, known: BTreeMap::new() });
        }
        let ExemptedWorkload { kind, name, namespace } =
            exemption.workload.clone().unwrap_or_default();
        Self::Named(NamedWorkload {
            object_kind: kind.parse().ok(),
            kind: kind.into(),
            name: name.into(),
            namespace: namespace.map(Into::into),
        })
    }

    /// The workload, where it is named.
    #[must_use]
    pub const fn named(&self) -> Option<&NamedWorkload> {
        match self {
            Self::Named(workload) => Some(workload),
            Self::Selected(_) => None,
        }
    }

    /// The selector, where they are selected.
    #[must_use]
    pub const fn selector(&self) -> Option<&Selector> {
        match self {
            Self::Named(_) => None,
            Self::Selected(workloads) => Some(&workloads.selector),
        }
    }

    pub(super) fn include(&self, subject: &ExemptionSubject<'_>) -> bool {
        match self {
            Self::Named(named) => named.is(subject),
            Self::Selected(selected) => selected.include(subject),
        }
    }

    pub(super) fn selecting(&self, workloads: &[LabelledWorkload<'_>]) -> Self {
        let Self::Selected(SelectedWorkloads { selector, .. }) = self else { return self.clone() };
        let mut known: BTreeMap<Arc<str>, BTreeSet<Workload>> = BTreeMap::new();
        for LabelledWorkload { namespace, workload, labels } in workloads.iter().copied() {
            if selector.matches_by(|key| labels.get(key)) {
                known.entry(Arc::clone(namespace)).or_default().insert(workload.clone());
            }
        }
        Self::Selected(SelectedWorkloads { selector: selector.clone(), known })
    }
}

impl NamedWorkload {
    fn is(&self, subject: &ExemptionSubject<'_>) -> bool {
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
}

impl SelectedWorkloads {
    fn include(&self, subject: &ExemptionSubject<'_>) -> bool {
        let has_labels = |labels: &Labels| self.selector.matches_by(|key| labels.get(key));
        if subject.labels.is_some_and(has_labels) {
            return true;
        }
        let Some(known) = self.known.get(subject.namespace) else { return false };
        subject.workload.is_some_and(|workload| known.contains(workload))
    }
}

impl fmt::Display for ExemptedWorkloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(NamedWorkload { kind, name, .. }) => write!(f, "{kind}/{name}"),
            Self::Selected(SelectedWorkloads { selector, .. }) => {
                write!(f, "selector {}", excerpt(&selector.to_string()))
            }
        }
    }
}

impl CompiledPolicy {
    /// Whether an exemption is about the workloads that a selector selects.
    #[must_use]
    pub fn has_selectors(&self) -> bool {
        self.exemptions().is_some_and(Exemptions::have_selectors)
    }

    /// The same policy, for the pods of these workloads: an exemption with a selector exempts those of
    /// the workloads that it selects. What is filled in does not depend on it, as that is decided by
    /// the workload itself.
    #[must_use]
    pub fn selecting(&self, workloads: &[LabelledWorkload<'_>]) -> Self {
        let exemptions = self.exemptions().map(|all| Arc::new(all.selecting(workloads)));
        Self { exemptions, ..self.clone() }
    }
}
