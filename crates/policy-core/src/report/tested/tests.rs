use super::*;
use crate::admission::NamedPolicy;
use crate::manifest::documents;

const WEB: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: web, creationTimestamp: \"2026-01-01T00:00:00Z\"}
spec: {containers: [{name: c, image: nginx}]}
status: {phase: Pending}
";

/// The objects of files, each with its path.
fn judged(files: &[(&str, &str)], specs: &[&str], now: Option<&str>) -> Vec<JudgedObject> {
    let judged = specs.iter().map(|spec| {
        let rules = CompiledPolicy::compile(&serde_json::from_str(spec).unwrap()).unwrap();
        NamedPolicy { name: "strict".into(), rules: Ok(Arc::new(rules)) }
    });
    let policies = NamespacePolicies { judged: judged.collect(), ..NamespacePolicies::default() };
    let now = now.map(|now| now.parse().unwrap());
    let mut objects = Vec::new();
    for (file, text) in files {
        for document in documents(text.as_bytes()) {
            for object in document.read("default").objects {
                let place = (Arc::from(format!("x/{file}")), document.number, object.line);
                let path = (*file).to_owned();
                objects.push(
                    JudgedObject::of((&object.facts, None), None, place, path, &policies, now)
                        .unwrap(),
                );
            }
        }
    }
    objects
}

fn test_file(tests: &str) -> PolicyTest {
    let text = format!("policies: [{{bundle: x}}]\nobjects: [x]\ntests:\n{tests}");
    PolicyTest::read(text.as_bytes()).unwrap()
}

/// `passed` or the differences of each test, and the errors.
fn outcome(objects: &[JudgedObject], tests: &str) -> (Vec<String>, Vec<String>) {
    let (file, errors) = TestedFile::new(&"t.yaml".into(), &test_file(tests), objects);
    let one = |test: &TestedObject| {
        let missing = test.missing.iter().map(|f| format!(" -{}", f.check));
        let found = test.unexpected.iter().map(|f| format!(" +{}", f.check));
        format!("{:?}{}", test.result, missing.chain(found).collect::<String>())
    };
    let errors = errors.into_iter().map(|error| format!("{}: {}", error.source, error.reason));
    (file.tests.iter().map(one).collect(), errors.collect())
}

const STRICT: &str = r#"{"forbidLatestTag": true, "requireLivenessProbe": true,
    "severityOverrides": {"latestTag": "high"}}"#;

#[test]
fn every_difference_fails_a_test() {
    let objects = judged(&[("web.yaml", WEB)], &[STRICT], None);
    let latest = "{check: latest-tag, container: c, severity: high}";
    let liveness = "{check: missing-liveness, container: c}";
    for (expected, result) in [
        ("admission: denied", "Passed"),
        ("admission: warned", "Failed"),
        (&*format!("findings: [{liveness}, {latest}]"), "Passed"),
        (&*format!("findings: [{latest}]"), "Failed +missing-liveness"),
        ("findings: []", "Failed +latest-tag +missing-liveness"),
        (&*format!("findings: [{latest}, {liveness}, {{check: pending}}]"), "Failed -pending"),
        (
            &*format!("findings: [{liveness}, {}]", latest.replace("high", "low")),
            "Failed -latest-tag +latest-tag",
        ),
        (
            &*format!("findings: [{liveness}, {}]", latest.replace("container: c, ", "")),
            "Failed -latest-tag +latest-tag",
        ),
    ] {
        let tests = format!("- object: Pod/web\n  {expected}\n");
        assert_eq!(outcome(&objects, &tests), (vec![result.to_owned()], vec![]), "{expected}");
    }
}

#[test]
fn an_exempted_finding_is_expected_apart() {
    let exempting = r#"{"forbidLatestTag": true, "requireLivenessProbe": true, "exemptions": [
        {"checks": ["latest-tag"], "reason": "r", "workload": {"kind": "Pod", "name": "web"}}]}"#;
    let objects = judged(&[("web.yaml", WEB)], &[exempting], None);
    let latest = "[{check: latest-tag, container: c}]";
    for (expected, result) in [
        (format!("exempted: {latest}"), "Passed"),
        ("exempted: []".to_owned(), "Failed"),
        ("exempted: [{check: pending}]".to_owned(), "Failed"),
        (format!("findings: {latest}"), "Failed -latest-tag +missing-liveness"),
        (
            format!("findings: [{{check: missing-liveness, container: c}}]\n  exempted: {latest}"),
            "Passed",
        ),
    ] {
        let tests = format!("- object: Pod/web\n  {expected}\n");
        assert_eq!(outcome(&objects, &tests), (vec![result.to_owned()], vec![]), "{expected}");
    }
    let written = actual_verdicts(&test_file("- object: Pod/web\n  findings: []\n"), &objects);
    let exempted = written[0].exempted.as_deref().unwrap();
    assert_eq!((exempted.len(), exempted[0].check.label()), (1, "latest-tag"));
    let plain = actual_verdicts(
        &test_file("- object: Pod/web\n  findings: []\n"),
        &judged(&[("web.yaml", WEB)], &[STRICT], None),
    );
    assert_eq!(plain[0].exempted, None);
}

#[test]
fn the_findings_of_several_policies_count_once() {
    let other = r#"{"forbidLatestTag": true, "requireReadinessProbe": true,
        "severityOverrides": {"latestTag": "high"}}"#;
    let objects = judged(&[("web.yaml", WEB)], &[STRICT, other, STRICT], None);
    let found: Vec<&str> = objects[0].findings.iter().map(|found| found.check.label()).collect();
    assert_eq!(found, ["latest-tag", "missing-liveness", "missing-readiness"]);
}

#[test]
fn what_depends_on_the_time_needs_one() {
    let pending = r#"{"forbidPendingDuration": 300}"#;
    let found = |now| judged(&[("web.yaml", WEB)], &[pending], Some(now))[0].findings.len();
    assert_eq!((found("2026-01-01T00:05:00Z"), found("2026-01-01T00:05:01Z")), (0, 1));
    let document = &documents(WEB.as_bytes())[0];
    let facts = &document.read("default").objects[0].facts;
    let rules = CompiledPolicy::compile(&serde_json::from_str(pending).unwrap()).unwrap();
    let policy = NamedPolicy { name: "p".into(), rules: Ok(Arc::new(rules)) };
    let place = ("web.yaml".into(), 1, 1);
    let judged =
        JudgedObject::of((facts, None), None, place, "web.yaml".to_owned(), &policy.into(), None);
    assert_eq!(judged.map(drop), Err(NoTime));
}

#[test]
fn an_object_without_a_test_fails_and_a_test_without_an_object_is_a_mistake() {
    let other = WEB.replace("name: web", "name: web, namespace: shop");
    let files = [("a.yaml", WEB), ("b.yaml", &*other)];
    let objects = judged(&files, &[STRICT], None);
    let test = |more: &str| format!("- object: Pod/web\n  admission: denied\n{more}");
    let (tests, errors) = outcome(&objects, &test(""));
    assert_eq!(tests, ["Failed", "Failed"]);
    let several =
        "t.yaml:4: several objects are Pod/web: x/a.yaml:1, x/b.yaml:1; add `file` or `namespace`";
    assert_eq!(errors, [several]);
    for more in ["  file: b.yaml\n", "  file: ./b.yaml\n", "  namespace: shop\n"] {
        assert_eq!(outcome(&objects, &test(more)).0, ["Passed", "Failed"], "{more}");
    }
    let twice = format!("{0}{0}", test("  file: a.yaml\n"));
    assert_eq!(outcome(&objects, &twice).1, ["t.yaml:7: Pod/web is tested in line 4 already"]);
    let elsewhere = outcome(&objects, &test("  file: c.yaml\n")).1;
    let hint = "with that namespace and file; there is x/a.yaml:1, x/b.yaml:1";
    assert_eq!(elsewhere, [format!("t.yaml:4: no object is Pod/web {hint}")]);
    let gone = outcome(&objects, "- object: Pod/api\n  admission: denied\n").1;
    assert_eq!(gone, ["t.yaml:4: no object is Pod/api"]);
}

#[test]
fn the_written_tests_pass_and_keep_their_names() {
    let list = format!("{WEB}---\n{}", WEB.replace("{name: web,", "{name: web, namespace: shop,"));
    let system = WEB.replace("{name: web,", "{name: agent, namespace: kube-system,");
    let files = [("a.yaml", &*list), ("b.yaml", WEB), ("c.yaml", &*system)];
    let objects = judged(&files, &[STRICT], None);
    let mine = "- name: mine\n  object: Pod/web\n  file: b.yaml\n  admission: warned\n";
    let actual = actual_verdicts(&test_file(mine), &objects);
    let written = format!("  {}", serde_json::to_string(&actual).unwrap());
    let (tests, errors) = outcome(&objects, &written);
    assert_eq!((tests, errors), (vec!["Passed".to_owned(); 4], vec![]), "{written}");
    let names: Vec<Option<&str>> = actual.iter().map(|test| test.name.as_deref()).collect();
    assert_eq!(names, [None, None, Some("mine"), None]);
    let (system, of_b) = (&actual[3], &actual[2]);
    assert_eq!((&system.file, &system.namespace), (&None, &None), "one of that name");
    assert_eq!((of_b.file.as_deref(), &of_b.namespace), (Some("b.yaml"), &None));
    assert_eq!(system.findings, Some(Vec::new()), "of an excluded namespace");
}
