//! Texts that would take much time or memory.

use std::fmt::Write as _;

use super::super::documents;
use super::super::parse::MAX_TOLERANT;
use super::{POD, read};

#[test]
fn bombs_are_refused_in_no_time() {
    let mut laughs = String::from("a0: &a0 lol\n");
    for i in 1..12 {
        let refs = vec![format!("*a{}", i - 1); 10].join(", ");
        writeln!(laughs, "a{i}: &a{i} [{refs}]").unwrap();
    }
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(65_536), "*a,".repeat(8000));
    let mut block = String::new();
    for depth in 0..5000 {
        writeln!(block, "{}a:", " ".repeat(depth)).unwrap();
    }
    for (what, text) in [
        ("billion laughs", laughs),
        ("long scalar", long),
        ("brackets", "[".repeat(100_000)),
        ("braces", "{\"a\":".repeat(100_000)),
        ("blocks", block),
        ("dashes", "- ".repeat(100_000)),
        ("items", "{\"kind\":\"List\",\"apiVersion\":\"v1\",\"items\":[".repeat(1000)),
        ("self", "a: &a [*a]\n".to_owned()),
    ] {
        let result = read(&text);
        assert_eq!(result.len(), 1, "{what}: {:?}", result.first());
        assert!(result[0].starts_with("! "), "{what}: {result:?}");
        assert!(result[0].len() < 200, "{what}: {result:?}");
    }
}

#[test]
fn containers_beyond_what_a_node_runs_are_judged_as_one() {
    let text = |members| format!("apiVersion: v1\nkind: Pod\nspec: {{containers: [{members}]}}");
    let [most, more, many] = [16_384, 16_385, 65_537].map(|n| read(&text("{},".repeat(n))));
    assert!(most.len() == 1 && most[0].starts_with("Pod "));
    let note = "~ 1: has a list of more than 16384 containers or image volumes; the last of them are judged together";
    assert_eq!(more[1..], [note]);
    assert!(more[0] != most[0] && more == many, "the list grows no further, and the pod is kept");
}

#[test]
fn a_list_may_have_any_number_of_members() {
    let odd = "{},".repeat(500_001);
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c}]}}";
    let json_pod = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}}"#;
    let block = "- {}\n".repeat(500_001);
    for text in [
        format!("apiVersion: v1\nkind: List\nitems: [{odd}{pod}]\n"),
        format!(r#"{{"apiVersion": "v1", "kind": "List", "items": [{odd}{json_pod}]}}"#),
        format!("apiVersion: v1\nitems:\n{block}- {pod}\nkind: List\n"),
    ] {
        let content = documents(text.as_bytes())[0].read("default");
        let names: Vec<&str> = content.objects.iter().map(|object| &*object.facts.name).collect();
        assert_eq!(names, ["p"], "the last one is not lost");
        assert_eq!((content.failures.len(), content.skipped.len()), (0, 10_000));
        assert_eq!(content.skipped_objects(), 500_001);
    }
}

#[test]
fn merge_keys_are_refused_before_they_are_expanded() {
    let keys = (0..500).map(|i| format!("k{i}: v")).collect::<Vec<_>>().join(", ");
    let merges = "  <<: *big\n".repeat(20_000);
    let text = format!(
        "x: &big {{{keys}}}\napiVersion: v1\nkind: Pod\nspec:\n{merges}  containers: [{{}}]\n"
    );
    let found = read(&text);
    assert_eq!(
        found,
        [
            "! 65: its anchors, aliases and merge keys (`<<`) take more than 32 MiB of memory up to here; write their values out, or split the document"
        ]
    );
    let other = text.replace("kind: Pod", "kind: Secret");
    assert_eq!(read(&other), ["- v1 Secret @1"], "skipped kinds cost nobody anything");
}

#[test]
fn large_texts_are_read_in_parts_or_refused() {
    let padding = format!("  # {}\n", "x".repeat(MAX_TOLERANT + 1));
    let large = POD.replace("spec:\n", &format!("spec:\n{padding}"));
    assert!(read(&large)[0].starts_with("Pod default/a "));
    let larger = POD.replace("spec:\n", &format!("spec:\n{padding}{padding}"));
    assert_eq!(
        read(&larger),
        ["! 1: is larger than 4 MiB, and no API server stores such an object"]
    );
    let other = larger.replace("kind: Pod", "kind: ConfigMap");
    assert_eq!(read(&other), ["- v1 ConfigMap @1"]);
    let list = format!(
        "apiVersion: v1\nkind: List\n{padding}{padding}items:\n- {}",
        POD.replace('\n', "\n  ")
    );
    assert!(read(&list)[0].starts_with("Pod default/a @6"), "{:?}", read(&list));
    let anchored = format!("x: &x 1\n{list}");
    assert!(read(&anchored)[0].starts_with("! 1: a List of more than 4 MiB is read as JSON"));
}
