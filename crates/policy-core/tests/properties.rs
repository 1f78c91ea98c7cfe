//! What holds for any input: reports are the same whatever the order of the work, and the
//! score of a report is the one of its findings.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use std::fmt::Write as _;
use std::sync::Arc;

use policy_core::Timestamp;
use policy_core::manifest::documents;
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::CompiledPolicy;
use policy_core::report::{Assessment, Source};
use proptest::prelude::*;

/// A pod manifest; few names, so that objects collide.
fn pod() -> impl Strategy<Value = String> {
    let container = (0..3_usize, any::<bool>(), 0..9_u32);
    (0..3_usize, 0..3_usize, proptest::collection::vec(container, 0..4)).prop_map(
        |(namespace, name, containers)| {
            let mut text = format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{name}, namespace: n{namespace}}}\nspec:\n  containers:\n"
            );
            let mut status = String::from("status:\n  containerStatuses:\n");
            for (i, (image, probe, restarts)) in containers.iter().enumerate() {
                let image = ["nginx", "nginx:1", "::"][*image];
                let probe = if *probe { "livenessProbe: {exec: {}}, " } else { "" };
                writeln!(text, "  - {{name: c{i}, {probe}image: \"{image}\"}}").unwrap();
                writeln!(status, "  - {{name: c{i}, restartCount: {restarts}}}").unwrap();
            }
            text + &status
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_the_work_changes_nothing(
        pods in proptest::collection::vec(pod(), 0..12), order in any::<u64>(), pieces in 1..4_usize,
    ) {
        let policy = CompiledPolicy::default_profile();
        let excluded = ExcludedNamespaces::default();
        let empty = || Assessment::new(&policy, &excluded, Timestamp::UNIX_EPOCH);
        let file: Arc<str> = "all.yaml".into();
        let text = pods.join("---\n");
        let documents = documents(text.as_bytes());

        let mut in_order = empty();
        for document in &documents {
            in_order.document(&file, document, "default", true);
        }

        let mut shuffled: Vec<_> = documents.iter().collect();
        shuffled.sort_by_key(|document| u64::from(document.number).wrapping_mul(order | 1));
        let mut merged = empty();
        for piece in shuffled.chunks(shuffled.len().div_ceil(pieces).max(1)) {
            let mut part = empty();
            for document in piece {
                part.document(&file, document, "default", true);
            }
            merged.merge(part);
        }
        let source = || Source::Files { paths: vec!["all.yaml".to_owned()] };
        let [in_order, merged] = [in_order, merged].map(|assessment| assessment.finish(source(), String::new()));
        prop_assert_eq!(in_order, merged);
    }

    #[test]
    fn the_summary_is_the_one_of_the_findings(pods in proptest::collection::vec(pod(), 0..12)) {
        let policy = CompiledPolicy::default_profile();
        let excluded = ExcludedNamespaces::default();
        let mut assessment = Assessment::new(&policy, &excluded, Timestamp::UNIX_EPOCH);
        let file: Arc<str> = "all.yaml".into();
        for document in documents(pods.join("---\n").as_bytes()) {
            assessment.document(&file, &document, "default", true);
        }
        let report = assessment.finish(Source::Files { paths: Vec::new() }, String::new());
        let points: u64 = report
            .findings
            .iter()
            .map(|found| policy.points_of(&found.check, found.count.into()))
            .sum();
        let summary = &report.summary;
        let expected = 100 - points.checked_div(summary.pods).unwrap_or(0).min(100);
        // A pod without containers cannot be read, and where there is no other there is no score.
        let is_unread = summary.pods == 0 && !report.coverage.failed.is_empty();
        prop_assert_eq!(summary.score.map(u64::from), (!is_unread).then_some(expected));
        prop_assert_eq!(summary.total_violations, report.findings.len() as u64);
        for (check, _) in policy.enabled() {
            let found = report.findings.iter().filter(|found| found.check == check).count();
            prop_assert_eq!(summary.violations_by_check[check.as_str()], found as u64);
        }
        prop_assert_eq!(summary.pods, report.coverage.evaluated);
        let pods: u64 = report.namespaces.iter().map(|namespace| namespace.summary.pods).sum();
        prop_assert_eq!(pods, summary.pods);
    }
}
