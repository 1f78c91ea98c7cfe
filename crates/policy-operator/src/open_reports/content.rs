//! The Report of a judgement. Pure.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use policy_core::report::{CheckedWorkload, OpenReportResult, OpenReportSummary, ReportedBy};
use policy_core::verdict::{ListedFinding, MAX_REPORTED, ReportedFindings};
use policy_core::view::PolicyView;
use policy_kube::names::LONGEST_SUBDOMAIN;

use crate::audit_result::{owner, policy_name, short_uid};
use crate::judgement::Judgement;
use crate::limits::object_name;
use crate::writer::MANAGER;

/// The most bytes that the results of a Report take as JSON. etcd takes 1.5 MiB.
const MAX_BYTES: usize = 256 << 10;
/// The annotation of a Report that does not show everything: how many findings it lacks.
const NOT_LISTED: &str = "devops.stochastic.io/findings-not-listed";

/// A Report as it is written.
pub(crate) struct Content {
    /// The name of the Report.
    pub(crate) name: String,
    /// The Report as JSON.
    pub(crate) body: Vec<u8>,
    /// How many findings it lacks, because they are too many.
    pub(crate) not_listed: u64,
}

/// All that a Report is made of, so that nothing has to be made to know that nothing changed.
pub(crate) struct ReportSource<'a> {
    policy: &'a PolicyView,
    /// The namespace of the Report.
    namespace: &'a str,
    shown: Shown<'a>,
}

/// What a Report says of a judgement.
#[derive(Hash)]
enum Shown<'a> {
    /// Why nothing is judged.
    Error(String),
    Findings {
        /// How many checks found nothing.
        passing: usize,
        /// How many findings there are, with those that are accepted.
        total: u64,
        reported: &'a ReportedFindings,
    },
}

impl<'a> ReportSource<'a> {
    /// Of a judgement of a policy, for a namespace; `None` where the findings to show were not listed.
    pub(crate) fn of(
        policy: &'a PolicyView,
        namespace: &'a str,
        judgement: &'a Judgement,
    ) -> Option<Self> {
        let shown = match judgement {
            Judgement::Rejected(rejection) => Shown::Error(rejection.to_string()),
            Judgement::Judged(judged) => {
                let by_check = judged.summary.violations_by_check.values();
                let tally = &judged.verdict.tally;
                Shown::Findings {
                    passing: by_check.filter(|found| **found == 0).count(),
                    total: tally.total_findings() + tally.total_exempted(),
                    reported: judged.verdict.reported.as_ref()?,
                }
            }
        };
        Some(Self { policy, namespace, shown })
    }

    /// Another one where the Report is another. Only compared with that of the same process.
    pub(crate) fn identity(&self) -> u64 {
        let Self { policy, namespace, shown } = self;
        let ObjectMeta { namespace: of, name, uid, .. } = &policy.metadata;
        let mut hash = DefaultHasher::new();
        // What a Report has of the policy itself.
        (of, name, uid, policy.cluster.is_some()).hash(&mut hash);
        (namespace, shown).hash(&mut hash);
        hash.finish()
    }

    /// The Report.
    pub(crate) fn content(&self) -> Option<Content> {
        let Self { policy, namespace, shown } = self;
        let policy_name = policy_name(policy);
        let by = ReportedBy { writer: MANAGER, policy: &policy_name };
        let (passing, results, not_listed) = match shown {
            Shown::Error(message) => (0, vec![by.error(message)], 0),
            Shown::Findings { passing, total, reported } => {
                let (results, not_listed) = results(by, *total, reported);
                (*passing, results, not_listed)
            }
        };
        let name = name(policy);
        let metadata = ObjectMeta {
            name: Some(name.clone()),
            namespace: Some((*namespace).to_owned()),
            owner_references: owner(policy),
            annotations: (not_listed > 0)
                .then(|| BTreeMap::from([(NOT_LISTED.to_owned(), not_listed.to_string())])),
            ..ObjectMeta::default()
        };
        // A cluster policy is about many namespaces.
        let scope = policy.metadata.namespace.as_deref();
        let summary = OpenReportSummary::of(passing, &results);
        let report = by.report(metadata, scope, summary, results, MAX_REPORTED);
        Some(Content { name, body: serde_json::to_vec(&report).ok()?, not_listed })
    }
}

/// `dop-strict`; of a cluster policy `cdop-strict`. So a cluster policy's is no other policy's, and
/// none is `policyctl`, which `policyctl analyze` makes.
fn name(policy: &PolicyView) -> String {
    let kind = if policy.cluster.is_some() { "cdop" } else { "dop" };
    let name = format!("{kind}-{}", policy.metadata.name.as_deref().unwrap_or_default());
    if name.len() <= LONGEST_SUBDOMAIN {
        return name;
    }
    object_name(&name, &format!("-{}", short_uid(&policy.metadata)))
}

/// The results, the most severe first, those that are skipped at the end; and how many findings are
/// in none.
fn results(
    by: ReportedBy<'_>,
    total: u64,
    ReportedFindings { worst, exempted }: &ReportedFindings,
) -> (Vec<OpenReportResult>, u64) {
    let mut not_listed = total;
    let mut remaining = MAX_BYTES;
    let chunks = chunks(worst).chain(chunks(exempted)).take(MAX_REPORTED);
    let fitting = chunks.map_while(|chunk| {
        let result = result(by, chunk)?;
        let bytes = serde_json::to_string(&result).map_or(usize::MAX, |json| json.len());
        remaining = remaining.checked_sub(bytes.saturating_add(",".len()))?;
        let pods: u64 = chunk.iter().map(|found| found.pods).sum();
        not_listed = not_listed.saturating_sub(pods);
        Some(result)
    });
    (fitting.collect(), not_listed)
}

/// The findings of each check on each workload, which are one after another in a list.
fn chunks(list: &[ListedFinding]) -> impl Iterator<Item = &[ListedFinding]> {
    list.chunk_by(ListedFinding::is_of_same_result)
}

fn result(by: ReportedBy<'_>, chunk: &[ListedFinding]) -> Option<OpenReportResult> {
    let ListedFinding { namespace, workload, check, severity, exempted_for, .. } = chunk.first()?;
    let on = CheckedWorkload { namespace, workload, check, severity: *severity };
    let texts: Vec<_> = chunk.iter().map(ListedFinding::clause).collect();
    if exempted_for.is_some() {
        return Some(by.skipped(on, &texts));
    }
    let pods = chunk.iter().map(|found| found.pods).max();
    Some(by.failed(on, &texts, pods.filter(|_| !workload.is_pod())))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use policy_core::Timestamp;
    use policy_core::facts::PodFacts;
    use policy_core::policy::CompiledPolicy;
    use policy_core::verdict::{Lists, Verdict};
    use policy_core::view::ClusterPolicyView;
    use serde_json::{Value, json};

    use super::*;
    use crate::judgement::{Judged, Rejection};

    fn policy(name: &str, is_cluster: bool) -> PolicyView {
        let kind = if is_cluster { "ClusterDevOpsPolicy" } else { "DevOpsPolicy" };
        let namespace = (!is_cluster).then_some("shop");
        let metadata = json!({ "name": name, "namespace": namespace, "uid": "0123456789ab" });
        view(&json!({ "kind": kind, "metadata": metadata, "spec": {} }))
    }

    fn view(policy: &Value) -> PolicyView {
        if policy["kind"] == "ClusterDevOpsPolicy" {
            serde_json::from_value::<ClusterPolicyView>(policy.clone()).unwrap().into()
        } else {
            serde_json::from_value(policy.clone()).unwrap()
        }
    }

    /// The Report of pods without a tag, each with names of that length.
    fn report(pods: usize, length: usize) -> (Value, usize, u64) {
        let image = "i".repeat(length);
        let pods = (0..pods).map(|number| {
            let name = format!("{}-{number:04}", "p".repeat(length));
            let pod = json!({ "metadata": { "name": name },
                "spec": { "containers": [{ "name": "c", "image": image }] } });
            PodFacts::of_pod(&serde_json::from_value(pod).unwrap(), "shop")
        });
        let pods: Vec<_> = pods.collect();
        let rules = serde_json::from_value(json!({ "forbidLatestTag": true })).unwrap();
        let rules = Arc::new(CompiledPolicy::compile(&rules).unwrap());
        let lists = Lists::StatusAndReport;
        let verdict = Verdict::listing(lists, &pods, &rules, Timestamp::UNIX_EPOCH);
        let judgement = Judgement::Judged(Judged::new(&rules, verdict).into());
        let policy = policy("strict", false);
        let content = ReportSource::of(&policy, "shop", &judgement).unwrap().content().unwrap();
        let report = serde_json::from_slice(&content.body).unwrap();
        (report, content.body.len(), content.not_listed)
    }

    #[test]
    fn what_is_too_much_is_not_listed_and_the_report_says_so() {
        let listed = |report: &Value| report["results"].as_array().unwrap().len();
        let (few, _, none) = report(3, 10);
        assert_eq!((listed(&few), none, few["metadata"].get("annotations")), (3, 0, None));
        let (many, _, not_listed) = report(600, 10);
        assert_eq!((listed(&many), not_listed), (MAX_REPORTED, 100));
        assert_eq!(many["summary"]["fail"], MAX_REPORTED, "the results that it has");
        assert_eq!(many["metadata"]["annotations"][NOT_LISTED], "100");
        let (long, bytes, not_listed) = report(600, 240);
        assert!(bytes < MAX_BYTES + 2_000, "{bytes}");
        assert!(not_listed > 100, "{not_listed}");
        assert_eq!(listed(&long) as u64 + not_listed, 600);
    }

    #[test]
    fn each_policy_has_a_name_of_its_own() {
        assert_eq!(name(&policy("strict", false)), "dop-strict");
        assert_eq!(name(&policy("strict", true)), "cdop-strict");
        let long = format!("{}.{}", "a".repeat(229), "b".repeat(20));
        let cut = name(&policy(&long, true));
        assert_eq!(cut.len(), LONGEST_SUBDOMAIN);
        assert!(cut.ends_with("-01234567"), "{cut}");
    }

    /// A policy with two findings, one of them exempted, and two pods of a Deployment; changed at these
    /// places.
    fn world(changes: &Value) -> Value {
        let mut world = json!({
            "kind": "DevOpsPolicy",
            "metadata": { "namespace": "shop", "name": "strict", "uid": "u-1", "generation": 1 },
            "spec": { "forbidLatestTag": true, "requireReadinessProbe": true, "weights": null,
                "requireLivenessProbe": null, "maxRestartCount": null, "severityOverrides": null,
                "exemptions": [{ "checks": ["missing-readiness"], "container": "side",
                    "workload": { "kind": "Deployment", "name": "web" },
                    "reason": "no traffic", "expires": "2027-01-01T00:00:00Z" }] },
            "pod": {
                "metadata": { "namespace": "shop", "labels": { "pod-template-hash": "5d8" },
                    "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet",
                        "name": "web-5d8", "controller": true }] },
                "spec": { "containers": [
                    { "name": "c", "image": "nginx", "readinessProbe": { "tcpSocket": { "port": 80 } } },
                    { "name": "side", "image": "proxy:1" }] },
            },
            "podNames": ["web-5d8-a", "web-5d8-b"],
            "reportNamespace": "shop",
        });
        for (place, value) in changes.as_object().unwrap() {
            *world.pointer_mut(place).unwrap() = value.clone();
        }
        world
    }

    /// The Report of a world, and what identifies it.
    fn made(changes: &Value) -> (String, u64) {
        let world = world(changes);
        let policy = view(&world);
        let pods = world["podNames"].as_array().unwrap().iter().map(|name| {
            let mut pod = world["pod"].clone();
            pod["metadata"]["name"] = name.clone();
            PodFacts::of_pod(&serde_json::from_value(pod).unwrap(), "")
        });
        let pods: Vec<_> = pods.collect();
        let judgement = match &policy.rules {
            Ok(rules) => {
                let lists = Lists::StatusAndReport;
                let verdict = Verdict::listing(lists, &pods, rules, Timestamp::UNIX_EPOCH);
                Judgement::Judged(Judged::new(rules, verdict).into())
            }
            Err(refused) => Judgement::Rejected(Rejection::Policy(refused.clone())),
        };
        let namespace = world["reportNamespace"].as_str().unwrap();
        let source = ReportSource::of(&policy, namespace, &judgement).unwrap();
        (String::from_utf8(source.content().unwrap().body).unwrap(), source.identity())
    }

    /// What is no change of a Report would stay as it was.
    #[test]
    fn whatever_a_report_shows_makes_it_another_one() {
        let many = |pods: usize| (0..pods).map(|pod| format!("p-{pod:03}")).collect::<Vec<_>>();
        let (owner, none) = ("/pod/metadata/ownerReferences", "/spec/exemptions");
        let changes = [
            json!({}),
            json!({ "/metadata/name": "lax" }),
            json!({ "/metadata/uid": "u-2" }),
            json!({ "/metadata/namespace": "bank" }),
            json!({ "/metadata/namespace": null, "/kind": "ClusterDevOpsPolicy" }),
            json!({ "/reportNamespace": "platform" }),
            json!({ "/spec/maxRestartCount": -1 }),
            json!({ "/spec/maxRestartCount": -2 }),
            json!({ "/spec/maxRestartCount": 1 }),
            json!({ "/spec/requireLivenessProbe": true }),
            json!({ "/spec/severityOverrides": { "latestTag": "critical" } }),
            json!({ "/spec/exemptions/0/reason": "a copy" }),
            json!({ "/spec/exemptions/0/expires": "2028-01-01T00:00:00Z" }),
            json!({ "/spec/exemptions/0/expires": null }),
            json!({ none: [] }),
            json!({ none: [], "/pod/spec/containers/0/image": "redis" }),
            json!({ none: [], "/pod/spec/containers/0/name": "d" }),
            json!({ none: [], "/pod/metadata/namespace": "bank" }),
            json!({ none: [], format!("{owner}/0/name"): "api-5d8" }),
            json!({ none: [], format!("{owner}/0/kind"): "DaemonSet", format!("{owner}/0/name"): "web" }),
            json!({ none: [], "/podNames": ["web-5d8-a", "web-5d8-b", "web-5d8-c"] }),
            json!({ none: [], "/podNames": [] }),
            // Of what is too much, the number.
            json!({ none: [], owner: [], "/podNames": many(600) }),
            json!({ none: [], owner: [], "/podNames": many(601) }),
        ];
        let reports: Vec<_> = changes.iter().map(made).collect();
        for (number, (body, identity)) in reports.iter().enumerate() {
            for (other, (other_body, other_identity)) in reports[..number].iter().enumerate() {
                let both = format!("{} and {}", changes[number], changes[other]);
                assert_ne!(body, other_body, "{both}");
                assert_ne!(identity, other_identity, "{both}");
            }
        }
    }

    #[test]
    fn what_no_report_shows_is_no_change() {
        for change in [
            json!({ "/podNames": ["web-5d8-b", "web-5d8-c"] }),
            json!({ "/spec/weights": { "latestTag": 50 } }),
            json!({ "/metadata/generation": 2 }),
        ] {
            assert_eq!(made(&change), made(&json!({})), "{change}");
        }
    }
}
