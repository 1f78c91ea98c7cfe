use proptest::prelude::*;

use super::stored::StoredSource;
use super::*;

fn report(findings: &[(&str, &str, u32)]) -> StoredReport {
    let findings: Vec<_> = findings
        .iter()
        .map(|(name, file, line)| {
            serde_json::json!({ "check": "latest-tag", "severity": "medium",
                "namespace": "shop", "kind": "Pod", "name": name, "container": "c",
                "message": format!("image {line}"), "file": file, "line": line })
        })
        .collect();
    let json = serde_json::json!({ "schemaVersion": "1", "source": { "type": "files", "paths": [] },
        "policy": "p", "summary": { "score": 90, "totalViolations": findings.len() },
        "findings": findings, "workloads": [] });
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
    of_cluster.source = StoredSource::Cluster {};
    let found = Changes::between(report(&[]), of_cluster);
    assert!(matches!(found, Err(NotComparable::OtherSource)));
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
