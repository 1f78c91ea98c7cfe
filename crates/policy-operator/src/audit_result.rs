//! The audit result of a verdict: its contents and its name. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource as _;
use policy_core::Timestamp;
use policy_core::api::{
    AuditViolation, AuditWorkload, ClusterDevOpsPolicy, PolicyAuditResult, PolicyAuditResultSpec,
    VERDICT,
};
use policy_core::verdict::{ListedFinding, Verdict};
use policy_core::view::PolicyView;

use crate::audit_queue::{WaitingResult, start_of};
use crate::limits::object_name;
use crate::policy_key::PolicyKey;
use crate::status::{signed, whole_seconds};

/// The most bytes that the violations of an audit result take as JSON.
const MAX_BYTES: usize = 32 << 10;
/// How much of the policy's uid is part of the name: enough to distinguish it from an earlier
/// policy of the same name.
const UID_LENGTH: usize = 8;

/// The spec of the audit result of a verdict.
pub(crate) fn spec(
    policy: &PolicyView,
    cluster: Option<&str>,
    verdict: &Verdict,
    now: Timestamp,
) -> PolicyAuditResultSpec {
    let total = verdict.tally.total_findings();
    let is_cluster = policy.cluster.is_some();
    let violation = |listed| violation(listed, is_cluster);
    let mut remaining = MAX_BYTES - "[]".len();
    let violations = fitting(verdict.worst.iter().map(violation), &mut remaining);
    let listed: i64 = violations.iter().map(|violation| violation.pods).sum();
    PolicyAuditResultSpec {
        policy_name: policy_name(policy),
        cluster_name: cluster.map(str::to_owned),
        timestamp: whole_seconds(now),
        health_score: verdict.score.value().into(),
        classification: verdict.score.classification(),
        total_pods: signed(verdict.tally.pods()),
        total_violations: signed(total),
        truncated: listed < signed(total),
        exempted_violations: signed(verdict.tally.total_exempted()),
        exempted: fitting(verdict.exempted.iter().map(violation), &mut remaining),
        violations,
    }
}

/// `strict`, or `ClusterDevOpsPolicy/strict`.
pub(crate) fn policy_name(policy: &PolicyView) -> String {
    match policy.cluster {
        None => policy.metadata.name.clone().unwrap_or_default(),
        Some(_) => PolicyKey::of(&policy.metadata).to_string(),
    }
}

fn violation(listed: &ListedFinding, is_cluster: bool) -> AuditViolation {
    AuditViolation {
        namespace: is_cluster.then(|| listed.namespace.to_string()),
        workload: Some(AuditWorkload {
            kind: listed.workload.kind.to_string(),
            name: listed.workload.name.to_string(),
        }),
        pods: signed(listed.pods),
        pod_name: listed.first_pod.to_string(),
        container_name: listed.container.as_deref().map(str::to_owned),
        violation_type: listed.check.violation_type().into_owned(),
        severity: listed.severity,
        message: listed.message.to_string(),
        reason: listed.exempted_for.as_deref().map(str::to_owned),
    }
}

/// The first violations that fit into what remains of [`MAX_BYTES`].
fn fitting(
    violations: impl Iterator<Item = AuditViolation>,
    remaining: &mut usize,
) -> Vec<AuditViolation> {
    let fits = |violation: &AuditViolation| {
        let length = serde_json::to_string(violation).map_or(usize::MAX, |json| json.len());
        let left = remaining.checked_sub(length.saturating_add(",".len()));
        *remaining = left.unwrap_or(0);
        left.is_some()
    };
    violations.take_while(fits).collect()
}

/// The object of an audit result for a namespace, owned by its policy so that it is deleted with it.
pub(crate) fn object(
    policy: &PolicyView,
    namespace: &str,
    waiting: &WaitingResult,
) -> PolicyAuditResult {
    let metadata = &policy.metadata;
    let mut object = PolicyAuditResult::new(&name(metadata, waiting.minute), waiting.spec.clone());
    object.metadata.namespace = Some(namespace.to_owned());
    object.metadata.owner_references = owner(policy);
    object.metadata.annotations =
        Some(BTreeMap::from([(VERDICT.to_owned(), waiting.fingerprint.to_string())]));
    object
}

/// The policy as the owner of an object.
pub(crate) fn owner(policy: &PolicyView) -> Option<Vec<OwnerReference>> {
    let mut owner = policy.controller_owner_ref(&())?;
    if policy.cluster.is_some() {
        owner.kind = ClusterDevOpsPolicy::kind(&()).into_owned();
    }
    Some(vec![owner])
}

/// The beginning of the uid of a policy.
pub(crate) fn short_uid(policy: &ObjectMeta) -> String {
    policy.uid.iter().flat_map(|uid| uid.chars()).take(UID_LENGTH).collect()
}

/// One name for each policy and minute, so that two leaders in a row cannot write the same minute
/// twice. The order of the names is the order of time.
fn name(policy: &ObjectMeta, minute: i64) -> String {
    let time = start_of(minute);
    let end = format!("-{}-{}", time.strftime("%Y%m%d-%H%M"), short_uid(policy));
    object_name(policy.name.as_deref().unwrap_or_default(), &end)
}

/// Sample policies and audit results.
#[cfg(test)]
pub(crate) mod samples {
    use policy_core::facts::PodFacts;
    use policy_core::policy::CompiledPolicy;

    use super::*;

    pub(crate) fn policy(name: &str) -> PolicyView {
        let metadata =
            serde_json::json!({ "name": name, "namespace": "shop", "uid": "0123456789ab" });
        serde_json::from_value(serde_json::json!({ "metadata": metadata })).unwrap()
    }

    pub(crate) fn verdict(pods: usize) -> Verdict {
        let container = serde_json::json!({ "name": "c".repeat(63), "image": "nginx" });
        let pods = (0..pods).map(|number| {
            let name = format!("{}-{number:04}", "p".repeat(240));
            let pod = serde_json::json!({
                "metadata": { "name": name }, "spec": { "containers": [container] },
            });
            PodFacts::of_pod(&serde_json::from_value(pod).unwrap(), "shop")
        });
        let pods: Vec<_> = pods.collect();
        Verdict::of(&pods, &CompiledPolicy::default_profile(), Timestamp::UNIX_EPOCH)
    }

    pub(crate) fn waiting(minute: i64) -> WaitingResult {
        let verdict = verdict(1);
        let spec = spec(&policy("strict"), Some("blue"), &verdict, start_of(minute));
        WaitingResult { minute, fingerprint: verdict.fingerprint, spec }
    }
}

#[cfg(test)]
mod tests {
    use super::samples::{policy, verdict, waiting};
    use super::*;

    #[test]
    fn a_thousand_violations_are_truncated_and_the_result_says_so() {
        let large = spec(&policy("strict"), None, &verdict(250), Timestamp::UNIX_EPOCH);
        assert_eq!((large.total_violations, large.truncated), (1_000, true));
        let bytes = serde_json::to_string(&large.violations).unwrap().len();
        assert!(bytes <= MAX_BYTES && bytes > MAX_BYTES - 1_000, "{bytes}");
        assert!(large.violations.len() <= 100);
        let small = spec(&policy("strict"), None, &verdict(1), Timestamp::UNIX_EPOCH);
        assert_eq!((small.violations.len(), small.truncated), (4, false));
    }

    #[test]
    fn the_name_says_policy_and_minute_and_the_policy_is_the_owner() {
        let made = object(&policy("strict"), "shop", &waiting(29_672_011));
        assert_eq!(made.metadata.name.as_deref(), Some("strict-20260601-1331-01234567"));
        assert_eq!(made.metadata.namespace.as_deref(), Some("shop"));
        let owner = &made.metadata.owner_references.unwrap()[0];
        assert_eq!(
            (&*owner.name, &*owner.uid, owner.controller),
            ("strict", "0123456789ab", Some(true))
        );
        assert_eq!(made.spec.cluster_name.as_deref(), Some("blue"));
        let long = format!("{}.{}", "a".repeat(229), "b".repeat(23));
        let name = name(&policy(&long).metadata, 0);
        assert_eq!(name, format!("{}-19700101-0000-01234567", "a".repeat(229)));
    }
}
