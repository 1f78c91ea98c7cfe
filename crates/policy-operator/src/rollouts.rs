//! The Deployments whose rollouts are stuck. Of all others nothing is kept: a cluster of 150 000 pods
//! has thousands of Deployments, and few that are stuck.

use policy_core::namespaces::ExcludedNamespaces;
use policy_core::text::stuck_rollout;
use policy_core::view::DeploymentView;
use policy_core::workload::Workload;

use crate::kept::{Kept, KeptSink};
use crate::notes::Notes;
use crate::policies::Policies;

/// The stuck rollouts: of each, the reason and message of its controller.
#[derive(Clone)]
pub(crate) struct Rollouts(Kept<Box<str>>);

impl Rollouts {
    /// No rollouts. Their changes add policies to the queue.
    pub(crate) fn new(excluded: ExcludedNamespaces, policies: Policies) -> Self {
        Self(Kept::new(excluded, policies))
    }

    /// How many are stuck.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Notes those of a namespace.
    pub(crate) fn note(&self, namespace: &str, notes: &mut Notes) {
        self.0.of(namespace, |(name, why)| notes.add(|| text(name, why)));
    }

    /// Notes those of the namespaces that a cluster policy selects.
    pub(crate) fn note_all(&self, is_selected: impl Fn(&str) -> bool, notes: &mut Notes) {
        self.0.for_each(|namespace, name, why| {
            if is_selected(namespace) {
                notes.add(|| format!("{namespace}/{}", text(name, why)));
            }
        });
    }

    /// The sink for a watch of all Deployments.
    pub(crate) fn sink(&self) -> KeptSink<Box<str>, DeploymentView> {
        self.0.sink(|deployment: DeploymentView| {
            let (namespace, name) = deployment.key();
            let why = deployment.stuck_rollout().map(Into::into);
            (namespace.to_owned(), name.to_owned(), why)
        })
    }
}

fn text(name: &str, why: &str) -> String {
    let Workload { kind, name, .. } = Workload::deployment(name);
    format!("{kind}/{name}: {}", stuck_rollout(why))
}

#[cfg(test)]
mod tests {
    use policy_runtime::watch::Sink as _;

    use super::*;

    #[test]
    fn a_stuck_rollout_is_a_note_of_its_namespace() {
        let rollouts = Rollouts::new(ExcludedNamespaces::default(), Policies::default());
        let mut sink = rollouts.sink();
        for (namespace, status) in [("bank", "False"), ("quiet", "True"), ("shop", "False")] {
            let deployment = serde_json::json!({
                "metadata": { "namespace": namespace, "name": "web" },
                "status": { "conditions": [{ "type": "Progressing", "status": status,
                    "reason": "ProgressDeadlineExceeded" }] },
            });
            sink.applied(serde_json::from_value(deployment).unwrap());
        }
        assert_eq!(rollouts.len(), 2);
        let mut notes = Notes::default();
        rollouts.note("shop", &mut notes);
        rollouts.note("quiet", &mut notes);
        let web = "Deployment/web: rollout is stuck: ProgressDeadlineExceeded";
        assert_eq!(notes.finish(), [web]);
        let mut notes = Notes::default();
        rollouts.note_all(|namespace| namespace == "bank", &mut notes);
        assert_eq!(notes.finish(), [format!("bank/{web}")]);
    }
}
