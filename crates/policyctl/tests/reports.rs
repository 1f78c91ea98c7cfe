//! Inputs that users reported as read wrongly, each with the values that `kubectl` and the API
//! server give it. Built with the features of the whole program: kube-client turns on the capture
//! of comments in the YAML parser, whose budget is 32 lines.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its case has failed")]

use std::fmt::Write as _;
use std::process::Command;

use serde_json::Value;

/// What `policyctl analyze -f INPUT` reports: `evaluated/skipped/failed exit code`, then a line
/// for each failure (`!`), note (`~`) and finding of latest-tag.
fn report(input: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_policyctl"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reports"))
        .args(["analyze", "-o", "json", "-f", input])
        .output()
        .unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let coverage = &json["coverage"];
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let failed = list(&coverage["failed"]);
    let code = output.status.code().unwrap();
    let (evaluated, skipped) = (&coverage["evaluated"], &coverage["skipped"]);
    let mut text = format!("{evaluated}/{skipped}/{} {code}", failed.len());
    for failure in failed {
        write!(
            text,
            "\n! {}: {}",
            failure["source"].as_str().unwrap(),
            failure["reason"].as_str().unwrap()
        )
        .unwrap();
    }
    for note in list(&coverage["notes"]) {
        write!(
            text,
            "\n~ {}: {}",
            note["source"].as_str().unwrap(),
            note["message"].as_str().unwrap()
        )
        .unwrap();
    }
    for finding in list(&json["findings"]) {
        if finding["check"] == "latest-tag" {
            write!(
                text,
                "\n{} {} at {}",
                finding["name"].as_str().unwrap(),
                finding["container"].as_str().unwrap(),
                finding["line"]
            )
            .unwrap();
        }
    }
    text
}

fn repeated(file: &str, line: u32, key: &str) -> String {
    format!("\n~ {file}:{line}: `{key}` is repeated; its last value counts, as for kubectl")
}

#[test]
fn each_reported_input_has_the_right_values() {
    let merge = |file: &str, line: u32, keys: &str| {
        format!(
            "\n~ {file}:{line}: kubectl lets this `<<` replace {keys} of the lines before it; here the earlier value counts, as in YAML: write `<<` first, and once"
        )
    };
    for (input, expected) in [
        // JSON by RFC 8259.
        ("01-surrogate.json", "1/0/0 0\nrocket rocket at 25".to_owned()),
        ("01f-json-raw-controls.json", "1/0/0 0\nraw rocket at 1".to_owned()),
        ("16-tabs.json", "1/0/0 0\nrocket rocket at 25".to_owned()),
        ("31-del-in-json-list.json", "1/1/0 0\nweb web at 37".to_owned()),
        ("31-c1b-in-json-list.json", "1/1/0 0\nweb web at 37".to_owned()),
        ("31-nonchar-in-json-list.json", "1/1/0 0\nweb web at 37".to_owned()),
        (
            "16d-tabs-list-with-bad-member.json",
            "1/0/1 2\n! 16d-tabs-list-with-bad-member.json:69: expected a list\nrocket rocket at 29".to_owned(),
        ),
        // Encodings.
        ("02-bom-second-document.yaml", "2/0/0 0\nfirst first at 10\nsecond second at 25".to_owned()),
        ("02d-concatenated-bom-marker.yaml", "2/0/0 0\nfirst first at 10\nsecond second at 25".to_owned()),
        ("02e-utf16le.yaml", "1/0/0 0\nfirst first at 10".to_owned()),
        // Repeated keys.
        ("03-duplicate-label.yaml", format!("1/0/0 0{}\nweb web at 16", repeated("03-duplicate-label.yaml", 9, "release"))),
        ("03b-duplicate-key-in-configmap.yaml", "1/1/0 0".to_owned()),
        ("03c-duplicate-image.yaml", format!("1/0/0 0{}\nweb web at 10", repeated("03c-duplicate-image.yaml", 12, "image"))),
        ("03d-duplicate-in-a-list.yaml", "1/1/0 0\nweb web at 16".to_owned()),
        ("03e-duplicate.json", format!("1/0/0 0{}\na c at 1", repeated("03e-duplicate.json", 1, "app"))),
        ("03f-duplicate-top-level.yaml", "1/1/0 0\nweb web at 18".to_owned()),
        (
            "03g-duplicate-env-in-skipped-field.yaml",
            format!("1/0/0 0{}\nweb web at 10", repeated("03g-duplicate-env-in-skipped-field.yaml", 12, "runAsUser")),
        ),
        ("dup.yaml", format!("1/0/0 0{}", repeated("dup.yaml", 8, "image"))),
        // Kinds that are skipped.
        ("24-deep-crd.yaml", "1/1/0 0\nweb web at 86".to_owned()),
        ("31c-del-in-quotes.yaml", "1/1/0 0\nweb web at 16".to_owned()),
        // YAML that kubectl reads.
        ("tab-in-flow.yaml", "1/0/0 0\np c at 6".to_owned()),
        ("quoted-continuation.yaml", "1/0/0 0".to_owned()),
        ("c-after-containers-key.yaml", "1/0/0 0".to_owned()),
        ("c-configmap-data.yaml", "0/1/0 0".to_owned()),
        ("c-list.yaml", "1/0/0 0\np c at 47".to_owned()),
        ("comments-seq.yaml", "1/0/0 0".to_owned()),
        (
            "32-merge-after-own-key.yaml",
            format!("1/0/0 0{}\nmerged base at 8", merge("32-merge-after-own-key.yaml", 13, "`image`, `name`")),
        ),
        (
            "32b-two-merge-keys-conflict.yaml",
            format!(
                "1/0/0 0{}{}\nmerged d at 11",
                merge("32b-two-merge-keys-conflict.yaml", 10, "`image`, `name`"),
                merge("32b-two-merge-keys-conflict.yaml", 12, "`image`")
            ),
        ),
        // Objects that stand for the same pods, and Jobs that ended.
        ("06-get-all.json", "2/8/0 0\nreindex reindex at 285".to_owned()),
        // Folders.
        (
            "19-tree",
            "1/6/0 0\n~ 19-tree/overlays/prod: has a kustomization (and another folder); files are read without it, \
             and its patches are skipped. To judge what it renders: kubectl kustomize 19-tree/overlays/prod | policyctl analyze -f -"
                .to_owned(),
        ),
        (
            "19b-chart",
            "0/3/1 2\n! 19b-chart/templates/web.yaml:4: expected a string (a template? render it first)".to_owned(),
        ),
        ("19c-repo", "1/10/0 0".to_owned()),
        ("19c-repo/playbook.yml", "0/0/1 2\n! 19c-repo/playbook.yml:1: expected an object".to_owned()),
    ] {
        assert_eq!(report(input), expected, "{input}");
    }
}
