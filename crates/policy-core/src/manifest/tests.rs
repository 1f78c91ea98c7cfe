mod limits;

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

/// What a whole file holds, as text: `kind namespace/name @line [container lines]`, skipped
/// objects after `-`, failures after `!`, notes after `~`.
fn read(text: &str) -> Vec<String> {
    read_bytes(text.as_bytes())
}

fn read_bytes(bytes: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    for document in documents(bytes) {
        let content = document.read("default");
        lines.extend(content.objects.iter().map(|object| {
            let ManifestObject { facts, line, container_lines, .. } = object;
            format!("{} {}/{} @{line} {container_lines:?}", facts.kind, facts.namespace, facts.name)
        }));
        lines.extend(content.skipped.iter().map(|skip| format!("- {} @{}", skip.kind, skip.line)));
        lines.extend(
            content.failures.iter().map(|fail| format!("! {}: {}", fail.line, fail.reason)),
        );
        lines.extend(content.notes.iter().map(|note| format!("~ {}: {}", note.line, note.message)));
    }
    lines
}

const POD: &str =
    "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  containers:\n  - name: c\n";

#[test]
fn objects_and_containers_know_their_lines() {
    let text = "# head\n---\n# Source: x\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\n\
                spec:\n  template:\n    spec:\n      initContainers:\n      - name: i\n      containers:\n      - image: a\n        name: c\n\
                      # two\n      -\n        name: d\n";
    assert_eq!(read(text), ["Deployment shop/web @4 [13, 17, 11]"]);
}

#[test]
fn kinds_of_configuration_are_read_wherever_their_template_and_kind_are() {
    crate::workload::for_tests();
    let rollout = "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: web}\nspec:\n  \
                   template:\n    spec:\n      containers:\n      - name: c\n        image: x\n";
    assert_eq!(read(rollout), ["Rollout default/web @1 [8]"]);
    let spec = "spec: {jobTargetRef: {template: {spec: {containers: [{name: c, image: x}]}}}}\n";
    let head = "apiVersion: keda.sh/v1alpha1\nkind: ScaledJob\nmetadata: {name: batch}\n";
    assert_eq!(read(&format!("{head}{spec}")), ["ScaledJob default/batch @1 [4]"]);
    let result = read(&format!("{spec}{head}"));
    assert!(result[0].contains("apiVersion and kind have to come before spec"), "{result:?}");
    // A kind that is built in keeps its own place, also where its type comes last.
    let pod = "spec: {containers: [{name: c}]}\nmetadata: {name: a}\nkind: Pod\napiVersion: v1\n";
    assert!(read(pod)[0].starts_with("Pod default/a @1"), "{:?}", read(pod));
    let none = "apiVersion: keda.sh/v1alpha1\nkind: ScaledJob\nmetadata: {name: b}\nspec: {template: {}}\n";
    assert_eq!(read(none), ["- keda.sh/v1alpha1 ScaledJob @1"]);
}

#[test]
fn one_bad_document_hides_no_other() {
    let text =
        format!("{POD}---\na: [1, 2\n---\n{POD}---\nkind: {{{{ .x }}}}\n---\n- a\n---\n{POD}");
    let result = read(&text);
    assert_eq!(result.iter().filter(|line| line.starts_with("Pod")).count(), 3, "{result:#?}");
    assert_eq!(result.iter().filter(|line| line.starts_with('!')).count(), 3, "{result:#?}");
    assert!(result.contains(&"! 21: expected an object".to_owned()), "{result:#?}");
}

#[test]
fn bytes_that_are_no_text_harm_their_document_only() {
    let mut bytes = format!("{POD}---\na: 1\nb: ").into_bytes();
    bytes.extend(b"\xff\n---\n");
    bytes.extend(POD.as_bytes());
    assert_eq!(
        read_bytes(&bytes),
        ["Pod default/a @1 [7]", "! 10: is not UTF-8 text", "Pod default/a @12 [18]"]
    );
}

#[test]
fn other_kinds_are_skipped_whatever_they_hold() {
    assert_eq!(
        read(
            "apiVersion: v1\nkind: Service\nspec: {containers: nonsense}\n---\na: 1\n---\n---\nnull\n"
        ),
        ["- v1 Service @1", "- object without apiVersion and kind @5"]
    );
    let foreign = POD.replace("v1", "metrics.k8s.io/v1");
    assert_eq!(read(&foreign), ["- metrics.k8s.io/v1 Pod @1"]);
    assert_eq!(read("apiVersion: x/v1\nkind: AllowList\nitems: 5\n"), ["- x/v1 AllowList @1"]);
}

#[test]
fn half_a_type_is_an_error() {
    assert_eq!(read("kind: Pod\nspec: {containers: [{}]}\n"), ["! 1: Pod without apiVersion"]);
    assert_eq!(read("\napiVersion: v1\nspec: {}\n"), ["! 2: object of v1 without kind"]);
}

#[test]
fn a_workload_of_the_wrong_shape_is_an_error_at_its_line() {
    for (spec, expected) in [
        ("containers: nginx", "! 5: expected a list"),
        ("containers: [nginx]", "! 5: expected an object"),
        ("containers: []", "! 1: Pod a has no containers"),
        ("template: {}", "! 1: Pod a has no containers"),
        ("{containers: [{name: [a]}]}", "! 5: expected a string"),
    ] {
        let text = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  {spec}\n");
        assert_eq!(read(&text), [expected], "{spec}");
    }
}

#[test]
fn null_and_missing_fields_are_the_same() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata:\nspec:\n  initContainers:\n  containers:\n  - image:\n    livenessProbe:\n    resources:\n      limits:\nstatus:\n";
    assert_eq!(read(text), ["Pod default/(unnamed) @1 [7]"]);
}

#[test]
fn lists_are_read_member_by_member() {
    let json = r#"{"apiVersion": "v1", "items": [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [
            {"name": "c"}]}},
        {"apiVersion": "v1", "kind": "Service"}
    ], "kind": "List"}"#;
    assert_eq!(read(json), ["Pod default/a @2 [3]", "- v1 Service @4"]);
    let typed = "apiVersion: apps/v1\nkind: DeploymentList\nitems:\n- metadata: {name: a}\n  spec: {template: {spec: {containers: [{name: c}]}}}\n";
    assert_eq!(read(typed), ["Deployment default/a @4 [5]"]);
}

#[test]
fn a_bad_member_hides_no_other() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c}]}}\n\
                - {apiVersion: v1, kind: Pod, metadata: {name: b}, spec: {containers: 5}}\n\
                - {apiVersion: v1, kind: Secret, metadata: 5}\n\
                - {apiVersion: v1, kind: Pod, metadata: {name: d}, spec: {containers: [{name: c}]}}\n";
    let result = read(text);
    assert_eq!(result.len(), 4, "{result:#?}");
    let by_the_same_rules =
        text.replace("name: d}", "name: 12}").replace("{name: c}", "{name: c, image: 1.5}");
    assert!(read(&by_the_same_rules).contains(&"Pod default/12 @7 [7]".to_owned()));
    assert!(result.contains(&"Pod default/a @4 [4]".to_owned()), "{result:#?}");
    assert!(result.contains(&"Pod default/d @7 [7]".to_owned()), "{result:#?}");
    assert!(result.contains(&"- v1 Secret @6".to_owned()), "{result:#?}");
    assert!(result.iter().any(|line| *line == "! 5: expected a list"), "{result:#?}");
}

#[test]
fn a_bad_member_of_a_list_in_a_list_hides_no_other() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: List\n  items:\n  - {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c}]}}\n\
                \x20 - {apiVersion: v1, kind: Pod, spec: {containers: 5}}\n";
    assert_eq!(read(text), ["Pod default/a @7 [7]", "! 8: expected a list"]);
}

#[test]
fn an_odd_object_of_another_kind_costs_its_neighbours_nothing() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n  spec:\n    containers:\n    - name: c\n\
                - {apiVersion: example.com/v1, kind: Foo, metadata: 5, spec: {template: text}, status: []}\n";
    assert_eq!(read(text), ["Pod default/a @4 [9]", "- example.com/v1 Foo @10"]);
}

#[test]
fn many_aliases_of_short_values_are_fine() {
    let mut text = "x: &i nginx:1.27\napiVersion: v1\nkind: Pod\nspec:\n  containers:\n".to_owned();
    for i in 0..150 {
        writeln!(text, "  - {{name: c{i}, image: *i}}").unwrap();
    }
    assert!(read(&text)[0].starts_with("Pod default/(unnamed) @1 [6, 7, 8,"), "{:?}", read(&text));
}

#[test]
fn json_keys_may_be_longer_than_those_of_yaml() {
    let json = format!(
        r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"annotations": {{"{}": "x"}}}}, "spec": {{"containers": [{{}}]}}}}"#,
        "k".repeat(5000)
    );
    assert_eq!(read(&json), ["Pod default/(unnamed) @1 [1]"]);
}

#[test]
fn aliases_point_to_where_the_container_is_written() {
    let text = "x:\n  - &c\n    name: c\napiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - *c\n";
    assert_eq!(read(text), ["Pod default/(unnamed) @1 [3]"]);
}

#[test]
fn of_a_repeated_key_the_last_value_counts_and_its_line_is_noted() {
    let noted = |line: u32, key: &str| {
        format!("~ {line}: `{key}` is repeated; its last value counts, as for kubectl")
    };
    let text = POD.replace("  - name: c\n", "  - name: c\n    env: {x: 1, x: 2}\n    name: d\n");
    assert_eq!(read(&text), ["Pod default/a @1 [7]", &noted(8, "x"), &noted(9, "name")]);
    let kind = "apiVersion: v1\nkind: Secret\nspec: {containers: [{}]}\nkind: Pod\n";
    assert_eq!(read(kind), ["Pod default/(unnamed) @1 [3]", &noted(4, "kind")]);
    let json = "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"a\",\n\"labels\": {\"x\": \"1\", \"x\": \"2\"}},\n\"spec\": {\"containers\": []}, \"spec\": {\n\"containers\":\n[{}]}}";
    assert_eq!(read(json), ["Pod default/a @1 [5]", &noted(2, "x"), &noted(3, "spec")]);
    let image = "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - image: a:1\n    image: a\n";
    for text in
        [image, &image.replace("  - image: a:1\n    image: a\n", "  - {image: a:1, image: a}\n")]
    {
        let content = documents(text.as_bytes())[0].read("default");
        let facts = &content.objects[0].facts.checked;
        let not_pinned = crate::facts::ImageFact::NotPinned("a".into());
        assert_eq!(facts.containers[0].image, not_pinned, "{text}");
    }
}

/// Each text is broken or odd in its own way, and none of it is a workload.
#[test]
fn what_is_skipped_need_not_be_readable() {
    let mut deep =
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n".to_owned();
    for depth in 0..80 {
        writeln!(deep, "{}a:", " ".repeat(depth)).unwrap();
    }
    for (kind, text) in [
        ("ConfigMap", "data:\n  a: 1\n  a: 2\n"),
        ("ConfigMap", "data: {}\nmetadata: {name: s}\ndata: {}\n"),
        ("ConfigMap", "data:\n  a: \"\u{7f}\u{7}\u{0}\"\n"),
        ("ConfigMap", "data:\n  a: [\n"),
        ("ConfigMap", "data:\n  a: *nothing\n"),
        ("ConfigMap", "metadata: 5\nspec: [\n"),
        ("ConfigMap", "metadata:\n  name: {{ .x }}\n"),
    ] {
        let text = format!("apiVersion: v1\nkind: {kind}\n{text}");
        let found = read(&format!("---\n{text}---\n{POD}"));
        let pod = text.lines().count() + 3;
        let pod = format!("Pod default/a @{pod} [{}]", pod + 6);
        assert_eq!(found, [format!("- v1 {kind} @2"), pod], "{text}");
        let text = text.lines().collect::<Vec<_>>().join("\n  ");
        let pod = POD.lines().collect::<Vec<_>>().join("\n  ");
        let list = format!("apiVersion: v1\nkind: List\nitems:\n- {text}\n- {pod}\n");
        let found = read(&list);
        assert!(found[0].starts_with("Pod default/a @"), "{list}: {found:?}");
        assert_eq!(found[1..], [format!("- v1 {kind} @4")], "{list}");
    }
    assert_eq!(read(&deep), ["- apiextensions.k8s.io/v1 CustomResourceDefinition @1"]);
    let mut bytes = b"apiVersion: v1\nkind: Secret\ndata: \xff\n---\n".to_vec();
    bytes.extend(POD.as_bytes());
    assert_eq!(read_bytes(&bytes), ["- v1 Secret @1", "Pod default/a @5 [11]"]);
}

#[test]
fn json_is_read_by_the_rules_of_json() {
    let deep = format!("{}{}", "[".repeat(3000), "]".repeat(3000));
    let list = format!(
        "{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [\n\
         {{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"data\": {{\"a\": \"\u{7f}\u{9b}\u{fffe}\u{feff}\\u0000\\ud800\"}}}},\n\
         {{\"apiVersion\": \"x/v1\", \"kind\": \"Deep\", \"spec\": {deep}}},\n\
         {{\"apiVersion\": 1, \"kind\": \"Pod\"}},\n\
         {{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"spec\": {{\"containers\": [\n5]}}}},\n\
         7, null,\n\
         {{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {{\"name\": \"a\\u007f\"}}, \"spec\": {{\"containers\": [\n\t{{\"name\": \"\u{7f}\"}}]}}}}\n\
         ]}}"
    );
    let found = read(&list);
    let expected = [
        "Pod default/a\u{7f} @8 [9]",
        "- v1 ConfigMap @2",
        "- x/v1 Deep @3",
        "- object without apiVersion and kind @7",
        "! 4: expected a string",
        "! 6: expected an object",
        "! 7: expected an object",
    ];
    assert_eq!(found, expected);
    let mut bytes = br#"{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Secret", "data": {"a": ""#.to_vec();
    bytes.extend(b"\xff\"}}, {\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"spec\": {\"containers\": [{}]}}]}");
    assert_eq!(read_bytes(&bytes), ["Pod default/(unnamed) @1 [1]", "- v1 Secret @1"]);
    let lists = |levels| {
        let open = r#"{"apiVersion": "v1", "kind": "List", "items": ["#.repeat(levels);
        read(&format!("{open}{}", "]}".repeat(levels)))
    };
    assert_eq!(lists(8), [""; 0]);
    assert_eq!(lists(1000), ["! 1: Lists are nested deeper than 8 levels"]);
}

#[test]
fn comment_lines_are_as_many_as_one_likes() {
    let comments = "    # no\n".repeat(500);
    let text = POD.replace("containers:\n", &format!("containers:\n{comments}"));
    assert_eq!(read(&text), ["Pod default/a @1 [507]"]);
}

#[test]
fn what_kubectl_reads_though_yaml_does_not_is_read() {
    let tabs = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {\n\tcontainers: [\n\t\t{name: c}\n\t]\n}\n";
    assert_eq!(read(tabs), ["Pod default/a @1 [6]"]);
    let text = POD.replace("  name: a\n", "  name: a\n  annotations:\n    b: \"one\n    two\"\n");
    assert_eq!(read(&text), ["Pod default/a @1 [10]"]);
    let merge = "x: &x {name: c}\napiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: own\n    <<: *x\n";
    let found = read(merge);
    assert_eq!((found.len(), &*found[0]), (2, "Pod default/(unnamed) @1 [6]"));
    assert!(found[1].starts_with("~ 7: kubectl lets this `<<` replace `name`"), "{found:?}");
    assert_eq!(read(&merge.replace("kind: Pod", "kind: Secret")), ["- v1 Secret @1"]);
}

#[test]
fn patches_of_kustomize_are_no_workloads() {
    let text = "$patch: delete\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n";
    assert_eq!(read(text), ["- apps/v1 Deployment @1"]);
    let json = r#"{"$patch": "delete", "apiVersion": "apps/v1", "kind": "Deployment"}"#;
    assert_eq!(read(json), ["- apps/v1 Deployment @1"]);
}

#[test]
fn only_what_claims_to_be_an_object_is_a_manifest() {
    for (text, is_manifest) in [
        ("- hosts: all\n", false),
        ("42\n", false),
        ("apiVersion: v2\nname: shop\n", false),
        ("// comments\n{\"a\": [}\n", false),
        ("apiVersion: v1\nkind: Pod\nspec: {}\n", true),
        ("kind: Pod\nspec: {}\n", true),
        ("apiVersion: apps/v1\nkind: {{ .kind }}\n", true),
        ("{{ if x }}\napiVersion: apps/v1\nkind: Deployment\n{{ end }}\n", true),
    ] {
        let mut content = documents(text.as_bytes())[0].read("default");
        assert_eq!(content.failures.len(), 1, "{text}");
        assert_eq!(content.failures[0].is_manifest, is_manifest, "{text}");
        content.skip_what_is_no_manifest();
        let count = (content.failures.len(), content.skipped_objects());
        assert_eq!(count, if is_manifest { (1, 0) } else { (0, 1) });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_give_a_result(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        read_bytes(&bytes);
    }

    #[test]
    fn any_yaml_like_text_gives_a_result(
        text in "(apiVersion|kind|spec|containers|items|List|Pod|v1|[\\[\\]{}:,*&!|>'\"#%@`\n\t -]|---|a0){0,60}",
    ) {
        read(&text);
    }

    #[test]
    fn a_damaged_document_harms_only_itself(at in 0..80_usize, byte in any::<u8>()) {
        let mut damaged = POD.as_bytes().to_vec();
        let at = at % damaged.len();
        damaged[at] = byte;
        let whole = [POD.as_bytes(), b"---\n", &damaged, b"\n---\n", POD.as_bytes()].concat();
        let pods = read_bytes(&whole).iter().filter(|line| line.starts_with("Pod default/a ")).count();
        prop_assert!(pods >= 2);
    }
}
