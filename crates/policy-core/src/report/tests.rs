use crate::Timestamp;
use crate::manifest::documents;
use crate::namespaces::ExcludedNamespaces;
use crate::policy::CompiledPolicy;
use crate::report::{Assessment, Source};

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
                assessment.document(&"a.yaml".into(), document.number, &document.read("default"));
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
