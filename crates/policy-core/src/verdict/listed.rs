//! The findings that statuses and audit results list: the most severe first, those of the pods of
//! one workload as one.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use crate::checks::CheckName;
use crate::evaluate::{Finding, FoundBy};
use crate::facts::{CheckedFacts, PodFacts};
use crate::policy::{CompiledPolicy, ExemptionId};
use crate::severity::Severity;
use crate::text::{clause, container_or_volume, counted, exempted};
use crate::workload::Workload;

/// A finding of the pods of one workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFinding {
    /// The check.
    pub check: CheckName,
    /// Its severity under the policy.
    pub severity: Severity,
    /// The namespace of the pods.
    pub namespace: Arc<str>,
    /// The workload of the pods; the pod itself where nothing controls it.
    pub workload: Workload,
    /// The container; `None` where the finding is about the pods.
    pub container: Option<Arc<str>>,
    /// The text, without names. It has no running seconds or ages, so that it does not change by
    /// itself.
    pub message: Cow<'static, str>,
    /// How many pods have the finding.
    pub pods: u64,
    /// The first of them, by name.
    pub first_pod: Box<str>,
    /// Why it is known and accepted; `None` where it counts.
    pub exempted_for: Option<Arc<str>>,
    /// When that ends; `None` where it does not.
    pub exempted_until: Option<Timestamp>,
}

impl ListedFinding {
    /// The finding in a Report, beside its workload, as `policyctl analyze` words it.
    #[must_use]
    pub fn clause(&self) -> String {
        let found = clause(self.container.as_deref(), &self.message);
        match &self.exempted_for {
            None => found,
            Some(reason) => format!("{found}; {}", exempted(self.exempted_until, reason)),
        }
    }

    /// Whether both are about one check on one workload.
    #[must_use]
    pub fn is_of_same_result(&self, other: &Self) -> bool {
        self.check == other.check
            && self.namespace == other.namespace
            && self.workload == other.workload
    }
}

/// By everything that Reports show. The name of the first pod is in none, and changes with each rollout.
impl Hash for ListedFinding {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self {
            check,
            severity,
            namespace,
            workload,
            container,
            message,
            pods,
            first_pod: _,
            exempted_for,
            exempted_until,
        } = self;
        (check, severity, namespace, workload, container).hash(state);
        (message, pods, exempted_for, exempted_until).hash(state);
    }
}

/// The findings that a Report may show, by the texts of reports; at most
/// [`MAX_REPORTED`](super::MAX_REPORTED) each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReportedFindings {
    /// The most severe ones.
    pub worst: Vec<ListedFinding>,
    /// Those that are known and accepted.
    pub exempted: Vec<ListedFinding>,
}

/// `Deployment/web: missing liveness probe (container web, 50 pods)`; for a pod that nothing
/// controls `pod/nginx-abc123: uses :latest image tag (container web)`.
impl fmt::Display for ListedFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workload, container, message, pods, .. } = self;
        let container = container.as_deref().map(|name| {
            let (what, name) = container_or_volume(name);
            format!("{what} {name}")
        });
        let pods = (!workload.is_pod()).then(|| counted(*pods, "pod"));
        let kind = if workload.is_pod() { "pod" } else { &workload.kind };
        write!(f, "{kind}/{}: {message}", workload.name)?;
        let details: Vec<String> = container.into_iter().chain(pods).collect();
        if !details.is_empty() {
            write!(f, " ({})", details.join(", "))?;
        }
        self.exempted_for.as_ref().map_or(Ok(()), |reason| write!(f, "; exempted: {reason}"))
    }
}

/// What the findings of a group have in common, but for the text. The order of the list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place<'a> {
    severity: Reverse<Severity>,
    check: FoundBy,
    namespace: &'a Arc<str>,
    workload: &'a Workload,
    container: Option<&'a Arc<str>>,
    exemption: Option<ExemptionId>,
}

/// The pods with the same finding.
struct Group<'a> {
    pods: u64,
    first: &'a str,
}

/// Collects the first groups of findings, independent of the order of the pods.
///
/// It never holds more groups than it lists: a group that is dropped comes after all that are kept,
/// and those are only ever replaced by earlier ones, so it can never be listed, and the pods of each
/// listed group were counted from its first.
pub(super) struct WorstFindings<'a> {
    policy: &'a CompiledPolicy,
    most: usize,
    text: Text,
    groups: BTreeMap<(Place<'a>, Cow<'static, str>), Group<'a>>,
}

/// The text of a finding.
type Text = fn(&Finding, &CheckedFacts, &CompiledPolicy) -> Cow<'static, str>;

impl<'a> WorstFindings<'a> {
    pub(super) const fn new(policy: &'a CompiledPolicy, most: usize) -> Self {
        Self { policy, most, text: Finding::message, groups: BTreeMap::new() }
    }

    /// With the texts of reports.
    pub(super) fn for_report(policy: &'a CompiledPolicy, most: usize) -> Self {
        Self { text: Finding::report_message, ..Self::new(policy, most) }
    }

    pub(super) fn add(
        &mut self,
        pod: &'a PodFacts,
        finding: &Finding,
        exemption: Option<ExemptionId>,
    ) {
        let place = Place {
            severity: Reverse(finding.severity),
            check: finding.check.clone(),
            namespace: &pod.namespace,
            workload: &pod.workload,
            container: finding.container(&pod.checked).map(|container| &container.name),
            exemption,
        };
        let is_full = self.groups.len() >= self.most;
        if is_full && self.groups.last_key_value().is_none_or(|((last, _), _)| place > *last) {
            return;
        }
        let key = (place, (self.text)(finding, &pod.checked, self.policy));
        let group = self.groups.entry(key).or_insert(Group { pods: 0, first: &pod.name });
        group.pods += 1;
        group.first = group.first.min(&pod.name);
        if self.groups.len() > self.most {
            self.groups.pop_last();
        }
    }

    pub(super) fn finish(self) -> Vec<ListedFinding> {
        let exemption = |id| self.policy.exemptions()?.get(id);
        let exempted_for = |id| Some(Arc::clone(exemption(id)?.reason()));
        let exempted_until = |id| Timestamp::from_second(exemption(id)?.ends()?).ok();
        let listed = self.groups.into_iter().map(|((place, message), group)| ListedFinding {
            check: place.check.name(),
            severity: place.severity.0,
            namespace: Arc::clone(place.namespace),
            workload: place.workload.clone(),
            container: place.container.cloned(),
            message,
            pods: group.pods,
            first_pod: group.first.into(),
            exempted_for: place.exemption.and_then(exempted_for),
            exempted_until: place.exemption.and_then(exempted_until),
        });
        listed.collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::evaluate::evaluate;
    use crate::verdict::{Lists, MAX_LISTED, Verdict};

    /// A pod with a container for each image, of that `StatefulSet` if any.
    fn pod(name: &str, owner: Option<&str>, images: &[&str]) -> PodFacts {
        let owners = owner.map_or(Value::Null, |owner| {
            json!([{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": owner,
                "controller": true }])
        });
        let containers = images.iter().enumerate();
        let containers: Vec<_> = containers
            .map(|(number, image)| json!({ "name": format!("c{number}"), "image": image }))
            .collect();
        let pod = json!({ "metadata": { "name": name, "ownerReferences": owners },
            "spec": { "containers": containers } });
        PodFacts::of_pod(&serde_json::from_value(pod).unwrap(), "shop")
    }

    fn verdict(pods: &[PodFacts]) -> Verdict {
        Verdict::of(pods, &CompiledPolicy::default_profile(), Timestamp::UNIX_EPOCH)
    }

    fn texts(pods: &[PodFacts]) -> Vec<String> {
        verdict(pods).worst.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn fifty_replicas_are_one_line_for_each_check_and_container() {
        let mut pods: Vec<_> = (0..50)
            .map(|number| pod(&format!("db-{number:02}"), Some("db"), &["postgres", "exporter:1"]))
            .collect();
        pods.push(pod("debug", None, &["busybox"]));
        assert_eq!(
            texts(&pods),
            [
                "pod/debug: uses :latest image tag (container c0)",
                "StatefulSet/db: uses :latest image tag (container c0, 50 pods)",
                "pod/debug: missing liveness probe (container c0)",
                "StatefulSet/db: missing liveness probe (container c0, 50 pods)",
                "StatefulSet/db: missing liveness probe (container c1, 50 pods)",
                "pod/debug: missing readiness probe (container c0)",
                "StatefulSet/db: missing readiness probe (container c0, 50 pods)",
                "StatefulSet/db: missing readiness probe (container c1, 50 pods)",
                "pod/debug: missing resource requests or limits (cpu request, memory request, memory limit) (container c0)",
                "StatefulSet/db: missing resource requests or limits (cpu request, memory request, memory limit) (container c0, 50 pods)",
                "StatefulSet/db: missing resource requests or limits (cpu request, memory request, memory limit) (container c1, 50 pods)",
            ]
        );
        assert_eq!(&*verdict(&pods).worst[1].first_pod, "db-00");
    }

    #[test]
    fn pods_with_different_texts_are_not_one_line() {
        let waiting = |name: &str, reason: &str| {
            let pod = json!({
                "metadata": { "name": name, "ownerReferences": [
                    { "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "controller": true }] },
                "status": { "phase": "Running",
                    "conditions": [{ "type": "Ready", "status": "False",
                        "lastTransitionTime": "1970-01-01T00:00:01Z" }],
                    "containerStatuses": [{ "name": "c", "state": { "waiting": { "reason": reason } } }] },
                "spec": { "containers": [{ "name": "c", "image": "a:1" }] } });
            PodFacts::of_pod(&serde_json::from_value(pod).unwrap(), "shop")
        };
        let pods = [
            waiting("db-0", "CrashLoopBackOff"),
            waiting("db-1", "ImagePullBackOff"),
            waiting("db-2", "CrashLoopBackOff"),
        ];
        let policy = r#"{"forbidNotReadyDuration": 300}"#;
        let policy = CompiledPolicy::compile(&serde_json::from_str(policy).unwrap()).unwrap();
        let now = Timestamp::from_second(1_000).unwrap();
        let worst = Verdict::of(&pods, &policy, now).worst;
        assert_eq!(
            worst.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "StatefulSet/db: not ready for longer than 300 s (CrashLoopBackOff) (2 pods)",
                "StatefulSet/db: not ready for longer than 300 s (ImagePullBackOff) (1 pod)",
            ]
        );
    }

    #[test]
    fn a_report_has_more_and_the_texts_of_reports() {
        let spec = r#"{"forbidLatestTag": true, "requireReadinessProbe": true, "exemptions": [
            {"checks": ["missing-readiness"], "reason": "no traffic",
             "workload": {"kind": "StatefulSet", "name": "db"}, "expires": "2027-01-01T00:00:00Z"}]}"#;
        let policy = CompiledPolicy::compile(&serde_json::from_str(spec).unwrap()).unwrap();
        let mut pods: Vec<_> =
            (0..200).map(|number| pod(&format!("web-{number:03}"), None, &["nginx"])).collect();
        pods.push(pod("db-0", Some("db"), &["db:1"]));
        let lists = Lists::StatusAndReport;
        let with = Verdict::listing(lists, &pods, &policy, Timestamp::UNIX_EPOCH);
        let ReportedFindings { worst, exempted } = with.reported.clone().unwrap();
        assert_eq!((with.worst.len(), worst.len()), (MAX_LISTED, 400));
        assert_eq!(worst[0].clause(), "container c0 uses :latest image tag (nginx has no tag)");
        assert_eq!(
            exempted.iter().map(ListedFinding::clause).collect::<Vec<_>>(),
            ["container c0 missing readiness probe; \
                exempted until 2027-01-01T00:00:00Z: no traffic"]
        );
        let without = Verdict::of(&pods, &policy, Timestamp::UNIX_EPOCH);
        assert_eq!(without, Verdict { reported: None, ..with });
    }

    #[test]
    fn no_more_are_listed_than_may_be() {
        let pods: Vec<_> =
            (0..60).map(|number| pod(&format!("web-{number:02}"), None, &["nginx"])).collect();
        let found = verdict(&pods);
        assert_eq!(found.tally.total_findings(), 240);
        assert_eq!(found.worst.len(), MAX_LISTED);
        assert_eq!(&*found.worst[0].workload.name, "web-00");
    }

    proptest! {
        /// Whatever the pods and their order: what is dropped while it is collected is what is cut
        /// from a list of everything.
        #[test]
        fn the_listed_groups_are_the_first_of_all(
            pods in prop::collection::btree_map(0_u8..60, (0_u8..4, any::<[bool; 2]>()), 0..60),
            most in 0_usize..12,
            order in any::<prop::sample::Index>(),
        ) {
            let mut pods: Vec<_> = pods.into_iter().map(|(number, (owner, pinned))| {
                let owner = (owner > 0).then(|| format!("db{owner}"));
                let images = pinned.map(|pinned| if pinned { "nginx:1" } else { "nginx" });
                pod(&format!("p{number}"), owner.as_deref(), &images)
            }).collect();
            let middle = order.index(pods.len() + 1).min(pods.len());
            pods.rotate_left(middle);
            let policy = CompiledPolicy::default_profile();
            let list = |most| {
                let mut worst = WorstFindings::new(&policy, most);
                for pod in &pods {
                    let findings = evaluate(pod, &policy, Timestamp::UNIX_EPOCH).findings;
                    for finding in &findings {
                        worst.add(pod, finding, None);
                    }
                }
                worst.finish()
            };
            let mut all = list(usize::MAX);
            let total: u64 = all.iter().map(|listed| listed.pods).sum();
            prop_assert_eq!(total, verdict(&pods).tally.total_findings());
            all.truncate(most);
            prop_assert_eq!(list(most), all);
        }
    }
}
