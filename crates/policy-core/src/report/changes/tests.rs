use proptest::prelude::*;
use serde_json::json;

use super::stored::StoredSource;
use super::*;

fn report(findings: &[(&str, &str, u32)]) -> StoredReport {
    let findings: Vec<_> = findings
        .iter()
        .map(|(name, file, line)| {
            json!({ "check": "latest-tag", "severity": "medium",
                "namespace": "shop", "kind": "Pod", "name": name, "container": "c",
                "message": format!("image {line}"), "file": file, "line": line })
        })
        .collect();
    let json = json!({ "schemaVersion": "1", "source": { "type": "files", "paths": [] },
        "policy": "p", "summary": { "score": 90, "totalViolations": findings.len() },
        "findings": findings, "workloads": [], "coverage": { "failed": [] } });
    StoredReport::read(json.to_string().as_bytes()).unwrap()
}

fn names(findings: &[ChangedFinding]) -> Vec<(&str, &str)> {
    findings.iter().map(|one| (&*one.name, one.file.as_deref().unwrap_or_default())).collect()
}

#[test]
fn lines_messages_and_files_move_without_a_finding_becoming_new() {
    let earlier = report(&[("web", "a.yaml", 3), ("api", "a.yaml", 9)]);
    let later = report(&[("web", "b.yaml", 30), ("job", "a.yaml", 9)]);
    let changes = Changes::between(earlier, later).unwrap();
    assert_eq!(changes.unchanged, 1);
    assert_eq!(names(&changes.new), [("job", "a.yaml")]);
    assert_eq!(names(&changes.fixed), [("api", "a.yaml")]);
}

/// An object of two overlays has the same names in both.
#[test]
fn of_findings_known_by_the_same_that_of_the_new_file_is_new() {
    let earlier = report(&[("web", "dev.yaml", 3)]);
    let later = report(&[("web", "prod.yaml", 3), ("web", "dev.yaml", 5)]);
    let changes = Changes::between(earlier, later).unwrap();
    assert_eq!((changes.unchanged, names(&changes.new)), (1, vec![("web", "prod.yaml")]));
}

#[test]
fn what_is_no_report_or_of_another_source_is_refused() {
    assert!(matches!(StoredReport::read(b"{}"), Err(NotComparable::NoReport(_))));
    let mut of_cluster = report(&[]);
    of_cluster.source = StoredSource::Cluster { namespace: None };
    let found = Changes::between(report(&[]), of_cluster);
    assert!(matches!(found, Err(NotComparable::OtherSource)));
}

/// The same report, which could not read these.
fn without(mut report: StoredReport, sources: &[&str]) -> StoredReport {
    let failed = sources.iter().map(|source| json!({ "source": source, "reason": "it is broken" }));
    let failed = failed.map(|failed| serde_json::from_value(failed).unwrap());
    report.coverage.failed = failed.collect();
    report
}

#[test]
fn what_could_not_be_read_is_not_fixed() {
    let found = [("web", "deploy/a.yaml", 3), ("api", "b.yaml", 9)];
    for (source, unread) in [
        ("deploy/a.yaml", "web"),
        ("deploy/a.yaml:12", "web"),
        ("deploy", "web"),
        ("./deploy/", "web"),
        ("deploy/*.yaml", "web"),
        ("./b.yaml", "api"),
        ("and", "api web"),
        ("deploy/a.yam", ""),
        ("a.yaml", ""),
    ] {
        let changes = Changes::between(report(&found), without(report(&[]), &[source])).unwrap();
        let known = |findings: &[ChangedFinding]| {
            let mut known: Vec<_> = names(findings).into_iter().map(|(name, _)| name).collect();
            known.sort_unstable();
            known.join(" ")
        };
        assert_eq!(known(&changes.not_read), unread, "{source}");
        assert_eq!(changes.not_read.len() + changes.fixed.len(), 2, "{source}");
        assert_eq!(changes.failed[0].source, source);
        assert_eq!(changes.not_compared, 0);
        assert_eq!((changes.newly_read, changes.new.len()), (0, 0));
        // What nobody knew before is new, and it is said that it may be old.
        let back = Changes::between(without(report(&[]), &[source]), report(&found)).unwrap();
        assert_eq!((back.newly_read, back.new.len()), (changes.not_read.len() as u64, 2));
        assert!(back.failed.is_empty());
    }
    // What was read all the same is compared.
    let later = without(report(&found), &["deploy", "b.yaml:1"]);
    let changes = Changes::between(report(&found), later).unwrap();
    assert_eq!((changes.unchanged, changes.not_read.len()), (2, 0));
}

#[test]
fn of_a_cluster_what_could_not_be_read_is_not_fixed() {
    let of_namespace = |namespace: &str| {
        let finding = |check: &str| json!({ "check": check, "severity": "low", "message": "" });
        json!({ "namespace": namespace, "kind": "Deployment", "name": "web",
            "findings": [finding("latest-tag"), finding("drain-blocked")] })
    };
    let cluster = |namespaces: &[&str], only: Option<&str>| -> StoredReport {
        let workloads: Vec<_> = namespaces.iter().copied().map(of_namespace).collect();
        let source = json!({ "type": "cluster", "context": "c", "server": "s", "namespace": only });
        serde_json::from_value(json!({ "schemaVersion": "1", "source": source, "policy": "p",
            "summary": { "score": 90, "totalViolations": 0 }, "findings": [],
            "workloads": workloads, "coverage": { "failed": [] } }))
        .unwrap()
    };
    for (source, unread) in [
        ("cluster", "a drain-blocked, a latest-tag, b drain-blocked, b latest-tag"),
        ("namespace a", "a drain-blocked, a latest-tag"),
        ("namespaces other than a", "b drain-blocked, b latest-tag"),
        ("pod a/web-7d9f-x", "a drain-blocked, a latest-tag"),
        ("pod a/api-7d9f-x", ""),
        ("disruption budgets of cluster", "a drain-blocked, b drain-blocked"),
        ("disruption budgets of namespace b", "b drain-blocked"),
        ("disruption budget a/web", "a drain-blocked"),
        ("pods of disruption budget a/web", "a drain-blocked"),
        ("namespace c", ""),
    ] {
        let later = without(cluster(&[], None), &[source]);
        let changes = Changes::between(cluster(&["a", "b"], None), later).unwrap();
        let known = changes.not_read.iter().map(|one| format!("{} {}", one.namespace, one.check));
        assert_eq!(known.collect::<Vec<_>>().join(", "), unread, "{source}");
        assert_eq!(changes.not_read.len() + changes.fixed.len(), 4, "{source}");
    }
    // Nobody asked for the others.
    let changes = Changes::between(cluster(&["a", "b"], None), cluster(&[], Some("a"))).unwrap();
    assert_eq!((changes.not_read.len(), changes.fixed.len()), (2, 2));
}

proptest! {
    /// Nothing is lost, and the other way round new is fixed.
    #[test]
    fn each_finding_is_new_fixed_or_unchanged(
        before in prop::collection::vec((0_u8..4, 0_u8..3, 1_u32..5), 0..12),
        after in prop::collection::vec((0_u8..4, 0_u8..3, 1_u32..5), 0..12),
    ) {
        let text = |of: &[(u8, u8, u32)]| -> Vec<(String, String, u32)> {
            of.iter().map(|(name, file, line)| (name.to_string(), file.to_string(), *line)).collect()
        };
        let (before, after) = (text(&before), text(&after));
        let stored = |of: &[(String, String, u32)]| {
            report(&of.iter().map(|(name, file, line)| (&**name, &**file, *line)).collect::<Vec<_>>())
        };
        let there = Changes::between(stored(&before), stored(&after)).unwrap();
        let back = Changes::between(stored(&after), stored(&before)).unwrap();
        prop_assert_eq!(there.unchanged + there.new.len() as u64, after.len() as u64);
        prop_assert_eq!(there.unchanged + there.fixed.len() as u64, before.len() as u64);
        prop_assert_eq!(there.unchanged, back.unchanged);
        prop_assert_eq!(there.new.len(), back.fixed.len());
        let same = Changes::between(stored(&after), stored(&after)).unwrap();
        prop_assert!(same.new.is_empty() && same.fixed.is_empty());
    }
}
