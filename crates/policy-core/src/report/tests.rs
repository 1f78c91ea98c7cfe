use crate::Timestamp;
use crate::manifest::documents;
use crate::namespaces::ExcludedNamespaces;
use crate::policy::CompiledPolicy;
use crate::report::{Assessment, Source, Summary};
use crate::score::Classification;

#[test]
fn failures_beyond_ten_thousand_are_counted() {
    let policy = CompiledPolicy::default_profile();
    let excluded = ExcludedNamespaces::default();
    let whole = vec!["- a\n"; 25_000].join("---\n");
    let mut halves = documents(whole.as_bytes())
        .chunks(12_500)
        .map(|half| {
            let mut assessment = Assessment::new(&policy, &excluded, Timestamp::UNIX_EPOCH);
            for document in half {
                assessment.document(&"a.yaml".into(), document, "default", true);
            }
            assessment
        })
        .collect::<Vec<_>>();
    let (second, mut first) = (halves.pop().unwrap(), halves.pop().unwrap());
    first.merge(second);
    let failed = first.finish(Source::Files { paths: Vec::new() }, String::new()).coverage.failed;
    assert_eq!(failed.len(), 10_001);
    assert_eq!(failed[9_999].source, "a.yaml:19999", "those of the first lines are named");
    assert_eq!(
        (&*failed[10_000].source, &*failed[10_000].reason),
        ("and", "15000 more could not be read")
    );
}

/// The score of a report on these documents, of which one could not be read if `is_unread`.
fn summary(text: &str, is_unread: bool) -> Summary {
    let (policy, excluded) = (CompiledPolicy::default_profile(), ExcludedNamespaces::default());
    let mut assessment = Assessment::new(&policy, &excluded, Timestamp::UNIX_EPOCH);
    for document in documents(text.as_bytes()) {
        assessment.document(&"a.yaml".into(), &document, "default", true);
    }
    if is_unread {
        assessment.coverage.not_read(&"b.yaml".into(), None, "no such file".to_owned());
    }
    assessment.finish(Source::Files { paths: Vec::new() }, String::new()).summary
}

#[test]
fn unread_is_not_empty() {
    let config_map = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}";
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: \"x:1\"}]}}";
    let healthy = Some(Classification::Healthy);
    for (text, is_unread, pods, score, class) in [
        ("", false, 0, Some(100), healthy),
        (config_map, false, 0, Some(100), healthy),
        ("", true, 0, None, None),
        (config_map, true, 0, None, None),
        (pod, true, 1, Some(95), healthy),
    ] {
        let found = summary(text, is_unread);
        assert_eq!((found.pods, found.score, found.classification), (pods, score, class), "{text}");
    }
}
