//! Whole reports, from manifest to text: `golden/NAME.yaml`, judged by `golden/NAME.policy.yaml`
//! where there is one, in every format. `cargo insta review` shows what changed.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use policy_core::Timestamp;
use policy_core::checks::CheckId;
use policy_core::manifest::{Document, documents, read_policy};
use policy_core::namespaces::ExcludedNamespaces;
use policy_core::policy::CompiledPolicy;
use policy_core::report::{Assessment, Report, Source, json_schemas};
use serde_json::Value;

use super::{Format, TableStyle, write};

/// The report on a file, read at once, or in parts that are merged in another order.
fn report(manifest: &Path, is_split: bool) -> Report {
    let policy_file = manifest.with_extension("policy.yaml");
    let (policy, policy_name) = match fs::read(&policy_file) {
        Ok(text) => {
            let policy = read_policy(&text).unwrap().compiled;
            (policy, policy_file.file_name().unwrap().to_str().unwrap().to_owned())
        }
        Err(_) => (CompiledPolicy::default_profile(), "the built-in profile".to_owned()),
    };
    let now: Timestamp = "2026-06-01T12:00:00Z".parse().unwrap();
    let excluded = ExcludedNamespaces::default();
    let empty = || Assessment::new(&policy, &excluded, now);
    let name: Arc<str> = manifest.file_name().unwrap().to_str().unwrap().into();
    let bytes = fs::read(manifest).unwrap();
    let mut documents = documents(&bytes);
    let judged = |documents: &[Document<'_>]| {
        let mut assessment = empty();
        for document in documents {
            assessment.document(&name, document, "default", true);
        }
        assessment
    };
    if !is_split {
        return finished(judged(&documents), &name, policy_name);
    }
    // As several threads finish: in another order, two documents each.
    documents.reverse();
    let mut merged = empty();
    documents.chunks(2).for_each(|some| merged.merge(judged(some)));
    finished(merged, &name, policy_name)
}

fn finished(assessment: Assessment<'_>, file: &str, policy: String) -> Report {
    assessment.finish(Source::Files { paths: vec![file.to_owned()] }, policy)
}

fn table(report: &Report, width: Option<usize>) -> String {
    text(report, Format::Table(TableStyle { is_coloured: false, width }))
}

fn text(report: &Report, format: Format) -> String {
    let mut text = Vec::new();
    write(report, format, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// Runs on every case; one without cases would prove nothing, and `glob!` refuses that.
fn each_case(check: impl Fn(&Path, Report)) {
    insta::glob!("golden/*.yaml", |path| {
        if !path.to_string_lossy().ends_with(".policy.yaml") {
            check(path, report(path, false));
        }
    });
}

#[test]
fn every_format_is_as_before() {
    each_case(|_, report| {
        insta::assert_snapshot!("table", table(&report, None));
        insta::assert_snapshot!("json", text(&report, Format::Json));
        insta::assert_snapshot!("yaml", text(&report, Format::Yaml));
        insta::assert_snapshot!("sarif", text(&report, Format::Sarif));
        insta::assert_snapshot!("junit", text(&report, Format::Junit));
        insta::assert_snapshot!("markdown", text(&report, Format::Markdown));
        insta::assert_snapshot!("html", text(&report, Format::Html));
        insta::assert_snapshot!("code_quality", text(&report, Format::CodeQuality));
        insta::assert_snapshot!("open_reports", text(&report, Format::OpenReports));
    });
}

#[test]
fn the_order_of_the_work_changes_no_byte() {
    each_case(|path, report_at_once| {
        let merged = report(path, true);
        let table = Format::Table(TableStyle { is_coloured: true, width: Some(100) });
        let machines = [Format::Json, Format::Yaml, Format::Sarif, Format::Junit];
        for format in [table, Format::Markdown, Format::Html].into_iter().chain(machines) {
            assert_eq!(text(&merged, format), text(&report_at_once, format), "{}", path.display());
        }
    });
}

/// The schema with no room for fields that it does not name.
fn closed(schema: Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let is_object = fields.contains_key("properties");
            let mut fields: serde_json::Map<_, _> =
                fields.into_iter().map(|(name, below)| (name, closed(below))).collect();
            if is_object {
                fields.insert("additionalProperties".to_owned(), false.into());
            }
            Value::Object(fields)
        }
        Value::Array(members) => members.into_iter().map(closed).collect(),
        other => other,
    }
}

#[test]
fn json_is_what_its_schema_says_and_yaml_says_the_same() {
    let [_, ("analysis", schema), ..] = json_schemas() else { panic!("no schema") };
    let schema = closed(serde_json::to_value(schema).unwrap());
    let validator = jsonschema::validator_for(&schema).unwrap();
    each_case(|path, report| {
        let json: Value = serde_json::from_str(&text(&report, Format::Json)).unwrap();
        let errors: Vec<String> = validator.iter_errors(&json).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
        let yaml: Value = serde_saphyr::from_str(&text(&report, Format::Yaml)).unwrap();
        assert_eq!(yaml, json, "{}", path.display());
    });
    assert!(!validator.is_valid(&serde_json::json!({ "schemaVersion": "1" })));
}

/// What <https://docs.github.com/en/code-security/code-scanning> asks of a SARIF file.
#[test]
fn sarif_has_what_code_scanning_needs() {
    each_case(|path, report| {
        let sarif: Value = serde_json::from_str(&text(&report, Format::Sarif)).unwrap();
        let name = path.display();
        assert_eq!(sarif["version"], "2.1.0");
        assert!(sarif["$schema"].as_str().unwrap().ends_with("sarif-schema-2.1.0.json"));
        let run = &sarif["runs"][0];
        assert_eq!(run["tool"]["driver"]["name"], "policyctl");
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        for rule in rules {
            for text in ["shortDescription", "fullDescription", "help"] {
                let words = rule[text]["text"].as_str().unwrap();
                assert!(!words.is_empty() && words.chars().count() <= 1024, "{name}: {rule}");
            }
            assert!(rule["help"]["markdown"].is_string());
        }
        let results = run["results"].as_array().unwrap();
        assert_eq!(results.len(), report.findings.len());
        let mut fingerprints = Vec::new();
        for result in results {
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(rules[index]["id"], result["ruleId"]);
            assert!(["error", "warning", "note"].contains(&result["level"].as_str().unwrap()));
            assert!(!result["message"]["text"].as_str().unwrap().is_empty());
            let place = &result["locations"][0]["physicalLocation"];
            assert!(!place["artifactLocation"]["uri"].as_str().unwrap().starts_with('/'));
            assert!(place["region"]["startLine"].as_u64().unwrap() >= 1);
            let fingerprint = &result["partialFingerprints"]["primaryLocationLineHash"];
            fingerprints.push(fingerprint.as_str().unwrap().to_owned());
        }
        let all = fingerprints.len();
        fingerprints.sort();
        fingerprints.dedup();
        assert_eq!(fingerprints.len(), all, "{name}: fingerprints are unique");
        let is_complete = &run["invocations"][0]["executionSuccessful"];
        assert_eq!(*is_complete, report.coverage.failed.is_empty(), "{name}");
    });
}

#[test]
fn sarif_is_cut_at_what_code_scanning_shows_and_says_so() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: nginx}]}\n";
    let policy = CompiledPolicy::default_profile();
    let excluded = ExcludedNamespaces::default();
    let mut assessment = Assessment::new(&policy, &excluded, Timestamp::UNIX_EPOCH);
    for document in documents(vec![pod; 1300].join("---\n").as_bytes()) {
        assessment.document(&"many.yaml".into(), &document, "default", true);
    }
    let report = finished(assessment, "many.yaml", String::new());
    let sarif: Value = serde_json::from_str(&text(&report, Format::Sarif)).unwrap();
    let run = &sarif["runs"][0];
    assert_eq!(run["results"].as_array().unwrap().len(), 5000);
    assert_eq!(run["properties"]["resultsCut"], 200);
    let notice = &run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"];
    assert!(notice.as_str().unwrap().starts_with("200 more results"), "{notice}");
}

#[test]
fn junit_is_well_formed_and_its_numbers_add_up() {
    each_case(|path, report| {
        let text = text(&report, Format::Junit);
        let mut reader = quick_xml::Reader::from_str(&text);
        let (mut cases, mut failures, mut errors) = (0, 0, 0);
        loop {
            match reader.read_event().unwrap() {
                quick_xml::events::Event::Eof => break,
                quick_xml::events::Event::Start(tag) | quick_xml::events::Event::Empty(tag) => {
                    match tag.name().as_ref() {
                        "testcase" => cases += 1,
                        "failure" => failures += 1,
                        "error" => errors += 1,
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        let numbers = format!("tests=\"{cases}\" failures=\"{failures}\" errors=\"{errors}\"");
        assert!(text.contains(&numbers), "{}: {numbers}\n{text}", path.display());
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{}", path.display());
    });
}

/// Titles of objects hold file names to copy, so they are one line at any width.
fn is_title(line: &str) -> bool {
    !line.starts_with(' ') && line.contains("  ") && line.contains('/')
}

#[test]
fn tables_fit_the_terminal() {
    each_case(|path, report| {
        for width in [80, 100, 200] {
            for line in table(&report, Some(width)).lines() {
                let fits = line.chars().count() <= width || is_title(line);
                assert!(fits, "{width}: {}: {line}", path.display());
                assert!(!line.contains(char::is_control), "{}: {line:?}", path.display());
            }
        }
    });
}

#[test]
fn a_table_is_wrapped_no_sooner_than_needed() {
    each_case(|path, report| {
        let piped = table(&report, None);
        let widest = piped.lines().filter(|line| !is_title(line)).map(|line| line.chars().count());
        let widest = widest.max().unwrap();
        assert_eq!(table(&report, Some(widest)), piped, "{}", path.display());
        assert!(!piped.contains('…'), "{}", path.display());
    });
}

/// What the format gives of one file that could not be read.
fn unread(format: Format) -> String {
    let (policy, excluded) = (CompiledPolicy::default_profile(), ExcludedNamespaces::default());
    let mut assessment = Assessment::new(&policy, &excluded, Timestamp::UNIX_EPOCH);
    assessment.coverage.not_read(&"a.yaml".into(), None, "no such file or folder".to_owned());
    text(&finished(assessment, "a.yaml", String::new()), format)
}

#[test]
fn what_could_not_be_read_has_no_score() {
    let json: Value = serde_json::from_str(&unread(Format::Json)).unwrap();
    let Value::Object(summary) = &json["summary"] else { panic!("{json}") };
    assert_eq!((&summary["score"], &summary["classification"]), (&Value::Null, &Value::Null));
    assert_eq!(summary["pods"], 0);
    assert_eq!(json["coverage"]["failed"][0]["reason"], "no such file or folder");
    let text = unread(Format::Table(TableStyle { is_coloured: false, width: None }));
    let rows = "Cluster Health Score       : n/a (nothing could be read)
Cluster Status             : n/a (nothing could be read)
";
    assert!(text.contains(rows), "{text}");
}

#[test]
fn sarif_shows_no_control_character_of_a_name() {
    fn check(value: &Value) {
        match value {
            Value::String(text) => {
                let is_odd = |c: char| c.is_control() && c != '\n';
                assert!(!text.contains(is_odd), "{text:?}");
            }
            Value::Array(members) => members.iter().for_each(check),
            Value::Object(fields) => fields.values().for_each(check),
            _ => {}
        }
    }
    each_case(|_, report| {
        check(&serde_json::from_str(&text(&report, Format::Sarif)).unwrap());
    });
}

#[test]
fn each_check_has_a_case_that_it_finds_and_one_that_it_does_not() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/golden/checks.yaml");
    let report = report(&manifest, false);
    // What needs the budgets of a cluster is not found in files; the suite `operator::drains` finds it.
    let profile = CompiledPolicy::default_profile();
    let checks: Vec<_> = profile.enabled().map(|(check, _)| check).collect();
    assert_eq!(checks.len(), CheckId::all().len() - 1);
    for &check in &checks {
        let finds = |object: String| {
            report
                .findings
                .iter()
                .any(|found| found.check == check && *found.object.name == *object)
        };
        assert!(finds(format!("{check}-fail")), "{check} is not found where it should be");
        assert!(!finds(format!("{check}-pass")), "{check} is found where it should not be");
    }
    assert_eq!(report.coverage.evaluated, 2 * checks.len() as u64);
}
