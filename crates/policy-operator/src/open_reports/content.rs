//! The Report of a judgement. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use policy_core::report::{CheckedWorkload, OpenReportResult, OpenReportSummary, ReportedBy};
use policy_core::verdict::{ListedFinding, MAX_REPORTED, ReportedFindings};
use policy_core::view::PolicyView;
use policy_kube::names::LONGEST_SUBDOMAIN;

use crate::audit_result::{owner, policy_name, short_uid};
use crate::judgement::{Judged, Judgement};
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

/// The Report that shows a judgement of a policy, for a namespace; `None` where the findings to show
/// were not listed.
pub(crate) fn content(
    policy: &PolicyView,
    namespace: &str,
    judgement: &Judgement,
) -> Option<Content> {
    let policy_name = policy_name(policy);
    let by = ReportedBy { writer: MANAGER, policy: &policy_name };
    let (passing, results, not_listed) = match judgement {
        Judgement::Rejected(rejection) => (0, vec![by.error(&rejection.to_string())], 0),
        Judgement::Judged(judged) => {
            let reported = judged.verdict.reported.as_ref()?;
            let (results, not_listed) = results(by, judged, reported);
            let by_check = judged.summary.violations_by_check.values();
            (by_check.filter(|found| **found == 0).count(), results, not_listed)
        }
    };
    let name = name(policy);
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        namespace: Some(namespace.to_owned()),
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
    judged: &Judged,
    ReportedFindings { worst, exempted }: &ReportedFindings,
) -> (Vec<OpenReportResult>, u64) {
    let tally = &judged.verdict.tally;
    let mut not_listed = tally.total_findings() + tally.total_exempted();
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
    use serde_json::{Value, json};

    use super::*;

    fn policy(name: &str, is_cluster: bool) -> PolicyView {
        let metadata = json!({ "name": name, "uid": "0123456789ab" });
        if is_cluster {
            let view = serde_json::from_value::<policy_core::view::ClusterPolicyView>(
                json!({ "metadata": metadata, "spec": {} }),
            );
            return view.unwrap().into();
        }
        let mut metadata = metadata;
        metadata["namespace"] = "shop".into();
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
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
        let content = content(&policy("strict", false), "shop", &judgement).unwrap();
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
}
