//! Which text an edit changes, and that it changes no other place.

use super::*;

const SPEC: &str = "containers: [{name: c, image: a:1, ports: [{containerPort: 80}]}]";

fn left(text: &str) -> Vec<String> {
    let (edited, left) = fixed(text);
    assert_eq!(edited, text, "{left:?}");
    left
}

#[test]
fn what_another_workload_repeats_is_left_wherever_its_anchor_is() {
    let pod = |name: &str, more: &str| {
        format!("- apiVersion: v1\n  kind: Pod\n  metadata: {{name: {name}}}\n{more}")
    };
    let list = |items: &str| format!("apiVersion: v1\nkind: List\n{items}");
    let of_spec = format!("  spec: &pod\n    {SPEC}\n");
    let merged = "  spec:\n    <<: *pod\n";
    for (second, why) in [("  spec: *pod\n", Obstacle::Alias("spec")), (merged, Obstacle::MergeKey)]
    {
        let items = format!("items:\n{}{}", pod("a", &of_spec), pod("b", second));
        let left = left(&list(&items));
        assert!(left[0].ends_with(&Obstacle::SharedAnchor.to_string()), "{left:?}");
        assert!(left[1].ends_with(&why.to_string()), "{left:?}");
    }
    let items = format!("items: &all\n{}other: *all\n", pod("a", &of_spec.replace(" &pod", "")));
    assert!(left(&list(&items))[0].ends_with(&Obstacle::SharedAnchor.to_string()));
    let object = pod("a", &of_spec.replace(" &pod", "")).replacen("- ", "- &one\n  ", 1);
    let left = left(&list(&format!("items:\n{object}- *one\n")));
    assert!(left[0].ends_with(&Obstacle::SharedAnchor.to_string()), "{left:?}");
}

#[test]
fn containers_that_are_written_elsewhere_are_left_for_that_reason() {
    let base = "x: &c {name: c, image: a:1, ports: [{containerPort: 80}]}\n";
    for (containers, why) in
        [("[*c]", Obstacle::Alias("containers")), ("[{<<: *c}]", Obstacle::MergeKey)]
    {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\n{base}spec: {{containers: {containers}}}\n"
        );
        let left = left(&text);
        assert!(left[0].ends_with(&why.to_string()), "{left:?}");
    }
}

#[test]
fn workloads_on_one_line_are_told_apart_by_name() {
    let pod = |name: &str, resources: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{containers: [{{name: c, image: a:1, ports: [{{containerPort: 80}}]{resources}}}]}}}}"
        )
    };
    let list = |a: &str, b: &str| format!("{{apiVersion: v1, kind: List, items: [{a}, {b}]}}\n");
    let whole = format!(", {IN_BRACES}");
    let is_filled = |a: &str, b: &str| {
        let (text, left) = fixed(&list(&pod("a", a), &pod("b", b)));
        assert_eq!((text, left.len()), (list(&pod("a", &whole), &pod("b", &whole)), 0));
    };
    is_filled("", "");
    is_filled(&whole, "");
    is_filled("", &whole);
    let left = left(&list(&pod("a", ""), &pod("a", &whole)));
    assert!(left[0].ends_with(&Obstacle::NotFound.to_string()), "{left:?}");
}

#[test]
fn a_document_that_would_take_much_memory_is_left() {
    let pod =
        format!("- apiVersion: v1\n  kind: Pod\n  metadata: {{name: a}}\n  spec: {{{SPEC}}}\n");
    let list =
        format!("apiVersion: v1\nkind: List\nitems:\n{}", pod.repeat((2 << 20) / pod.len() + 1));
    let left = left(&list);
    assert!(left[0].ends_with("larger than 2 MiB; split it, and it is edited"), "{}", left[0]);
}
