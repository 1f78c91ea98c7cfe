//! The exemptions of a policy, as expressions on a pod.

use policy_core::checks::CheckId;
use policy_core::policy::{CompiledExemption, ExemptionId, Exemptions};
use policy_core::workload::ObjectKind;

use crate::validating_policy::quoted;

/// The exemptions of a policy that are about workloads for which something is filled in.
pub(super) struct Exempted<'a> {
    all: Vec<(ExemptionId, &'a CompiledExemption)>,
    /// Those about something that is filled in nevertheless.
    left_out: Vec<ExemptionId>,
}

impl<'a> Exempted<'a> {
    pub(super) fn of(namespace: &str, exemptions: Option<&'a Exemptions>) -> Self {
        let is_filled_in = |exemption: &CompiledExemption| {
            let Some(named) = exemption.workloads().named() else { return true };
            let is_here = named.namespace.as_deref().is_none_or(|only| only == namespace);
            // The pods of the others have no owner of apps/v1.
            let other = [ObjectKind::ReplicationController, ObjectKind::Job, ObjectKind::CronJob];
            is_here && named.object_kind.is_none_or(|kind| !other.contains(&kind))
        };
        let all = exemptions.into_iter().flat_map(Exemptions::iter);
        let all = all.filter(|(_, exemption)| is_filled_in(exemption)).collect();
        Self { all, left_out: Vec::new() }
    }

    /// That no exemption is about a finding of container `c`, as a further condition; nothing where
    /// none can be.
    pub(super) fn counts(&mut self, check: &str) -> String {
        let Some(check) = CheckId::from_name(check) else { return String::new() };
        let mut conditions = Vec::new();
        for (id, exemption) in &self.all {
            if !exemption.has_check(&check.into()) {
                continue;
            }
            match condition(exemption) {
                Some(condition) => conditions.push(condition),
                None if !self.left_out.contains(id) => self.left_out.push(*id),
                None => {}
            }
        }
        if conditions.is_empty() {
            String::new()
        } else {
            format!(" && !({})", conditions.join(" || "))
        }
    }

    /// Which exemptions are not respected.
    pub(super) fn remark(self) -> Option<String> {
        let Self { mut left_out, .. } = self;
        left_out.sort();
        let names: Vec<_> =
            left_out.iter().map(|id| format!("spec.exemptions[{}]", id.index())).collect();
        (!names.is_empty()).then(|| {
            format!(
                "{}: not respected, so that what the workloads lack is filled in. No expression on \
                 a pod knows the time at which an exemption ends, the labels of a workload, or the \
                 workloads of another project's kind.",
                names.join(", ")
            )
        })
    }
}

/// Whether an exemption is about container `c` of the pod; `None` where an expression cannot know it.
fn condition(exemption: &CompiledExemption) -> Option<String> {
    let named = exemption.workloads().named().filter(|_| exemption.ends().is_none())?;
    let name = &*named.name;
    let (owner, owner_name) = match named.object_kind? {
        ObjectKind::Pod => {
            return Some(with_container(
                exemption,
                &format!("object.metadata.?name.orValue('') == {}", quoted(name)),
            ));
        }
        // It names its ReplicaSet `<deployment>-<pod-template-hash>`.
        ObjectKind::Deployment => {
            let hash = "object.metadata.?labels[?'pod-template-hash'].orValue('')";
            (ObjectKind::ReplicaSet, format!("{} + {hash}", quoted(&format!("{name}-"))))
        }
        kind @ (ObjectKind::ReplicaSet | ObjectKind::StatefulSet | ObjectKind::DaemonSet) => {
            (kind, quoted(name))
        }
        _ => return None,
    };
    let is_owner = format!(
        "object.metadata.?ownerReferences.orValue([]).exists(owner, \
         owner.?controller.orValue(false) && owner.apiVersion == 'apps/v1' && \
         owner.kind == '{owner}' && owner.name == {owner_name})"
    );
    Some(with_container(exemption, &is_owner))
}

fn with_container(exemption: &CompiledExemption, condition: &str) -> String {
    match exemption.container() {
        Some(name) => format!("({condition} && c.name == {})", quoted(name)),
        None => format!("({condition})"),
    }
}
