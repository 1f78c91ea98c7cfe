//! What expressions give, and which are refused. A suite on a real API server compares the same with
//! Kubernetes.

use crate::{Bounded, MAX_LENGTH, MAX_STEPS, Program, ResultType, Shape, Value};
use proptest::prelude::*;

const OBJECT: &[(&str, Shape)] = &[(
    "object",
    Shape::Fields(&[
        ("metadata", Shape::Fields(&[("labels", Shape::Any), ("name", Shape::Any)])),
        ("spec", Shape::Any),
    ]),
)];

const POD: &str = r#"{"metadata": {"name": "web", "labels": {"team": "shop", "tier": "web"}}, "spec": {
    "hostNetwork": true, "priority": 7, "share": 0.5, "nodeSelector": {},
    "containers": [
        {"name": "app", "image": "reg.io/shop/app:1.2", "ports": [{"containerPort": 8080}],
         "env": [{"name": "A", "value": "é"}], "securityContext": {"privileged": false}},
        {"name": "side", "image": "busybox"}]}}"#;

fn value(json: &str) -> Value {
    serde_json::from_str::<Bounded>(json).unwrap().0.unwrap()
}

fn compiled(text: &str) -> Result<Program, String> {
    Program::compile(text, OBJECT, ResultType::Bool)
}

fn answer(text: &str) -> String {
    match compiled(text).map(|program| program.is_true(&[&value(POD)])) {
        Ok(Ok(value)) => value.to_string(),
        Ok(Err(failure)) => format!("fails: {failure}"),
        Err(why) => format!("refused: {why}"),
    }
}

#[test]
fn expressions_give_what_kubernetes_gives() {
    let table = [
        ("true", "object.spec.hostNetwork == true"),
        ("true", "object.spec.containers.all(c, c.image.contains('b') || c.name == 'app')"),
        (
            "fails: no such key: securityContext",
            "object.spec.containers.exists(c, has(c.securityContext.x))",
        ),
        (
            "false",
            "object.spec.containers.exists(c, has(c.securityContext) && has(c.securityContext.x))",
        ),
        ("true", "object.spec.containers.exists(c, has(c.ports))"),
        ("true", "object.spec.containers.exists_one(c, has(c.ports))"),
        ("true", "object.spec.containers.filter(c, has(c.ports)).size() == 1"),
        ("true", "object.spec.containers.map(c, c.name) == ['app', 'side']"),
        ("true", "object.spec.containers.map(c, has(c.ports), c.name) == ['app']"),
        (
            "true",
            "object.spec.containers.all(c, has(c.ports) ? c.ports.all(p, p.containerPort > 1024) : true)",
        ),
        ("true", "object.metadata.labels.exists(k, k == 'team')"),
        ("true", "'team' in object.metadata.labels && object.metadata.labels['team'] == 'shop'"),
        ("false", "'x' in object.metadata.labels"),
        ("true", "object.spec.priority + 1 == 8 && object.spec.priority % 2 == 1"),
        ("true", "object.spec.priority == 7.0 && object.spec.share < 1"),
        ("false", "object.spec.priority == '7'"),
        ("true", "object.spec.containers[0].image.matches('^reg[.]io/')"),
        ("true", "size(object.spec.containers[0].env[0].value) == 1"),
        ("true", "object.spec.containers[0].image.split('/')[1] == 'shop'"),
        ("true", "object.spec.containers.map(c, c.name).join('-').upperAscii() == 'APP-SIDE'"),
        ("true", "string(object.spec.priority) == '7' && -object.spec.priority < 0"),
        ("true", "object.spec.nodeSelector == {} || size(object.spec.nodeSelector) == 0"),
        // The side that decides does so whatever the other one is.
        ("true", "object.spec.none == 1 || true"),
        ("false", "object.spec.none == 1 && false"),
        ("true", "object.spec.containers.exists(c, c.ports[0].containerPort == 8080)"),
        ("true", "[1, 2] == [1, 2] && 1 in [1, 2] && !(3 in [1, 2])"),
        ("true", "[1] + [2] == [1, 2] && 'a' + 'b' == 'ab' && 7 / 2 == 3 && -7 / 2 == -3"),
        ("true", "'a' < 'b' && false < true && 1 < 2 && 1 < 1.5"),
        ("true", "object.spec.containers[0].securityContext.privileged != null"),
        ("true", "[].all(x, x == 1) && ![].exists(x, x == 1)"),
        ("false", "object.metadata.name in [object.spec.containers[0].name, object.spec.share]"),
        ("true", "[[], ['a'], []].size() == 3 && [['a'], ['b'] + []].size() == 2"),
        ("true", "'web' in ['a', string(object.metadata.name), 'b'.upperAscii()]"),
        ("fails: no such key: none", "object.spec.none == 1"),
        (
            "fails: no such key: ports",
            "object.spec.containers.all(c, c.ports[0].containerPort == 8080)",
        ),
        ("fails: no such key: ports", "object.spec.containers.exists_one(c, c.ports.size() == 1)"),
        ("fails: the index 2 is out of range", "object.spec.containers[2].name == 'x'"),
        (
            "fails: `+` has no meaning for int and string",
            "object.spec.priority + object.metadata.name == 'x'",
        ),
        (
            "fails: `<` has no meaning for int and string",
            "object.spec.priority < object.metadata.name",
        ),
        ("fails: division by zero", "1 / (object.spec.priority - 7) == 1"),
        (
            "fails: the result does not fit into an int",
            "9223372036854775807 + object.spec.priority > 0",
        ),
        ("fails: contains() takes no int", "object.metadata.name.contains(object.spec.priority)"),
        ("fails: a condition must be a bool, not string", "!object.metadata.name"),
        ("fails: int has no members to go through", "object.spec.priority.all(x, true)"),
        ("false", "has(object.metadata.name.x)"),
        ("fails: has() takes no list", "has(object.spec.containers.x)"),
        (
            "fails: `in` has no meaning for int and map",
            "object.spec.priority in object.metadata.labels",
        ),
    ];
    for (expected, text) in table {
        let found = answer(text);
        if text.contains("{}") {
            assert!(found.starts_with("refused: objects in braces"), "{text}: {found}");
            continue;
        }
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn what_is_not_the_same_everywhere_is_refused_with_its_name() {
    let table = [
        ("", "it is empty"),
        ("object.spec.hostNetwork", "its type is known only when it is evaluated"),
        ("'a'", "it is a string, and must be a bool"),
        (
            "object.status.phase == 'Running'",
            "the field `status` is not available there; there are `metadata`, `spec`",
        ),
        ("has(object.metadata.uid)", "the field `uid` is not available"),
        ("object['spec'].x == 1", "use a name after a dot there"),
        ("oldObject == null", "`oldObject` is not known; there are `object`"),
        ("1u == 1u", "unsigned numbers"),
        ("b'a' == b'a'", "bytes"),
        ("{'a': 1}.a == 1", "objects in braces"),
        ("object.?spec.x.orValue(1) == 1", "syntax error"),
        (
            "quantity('1Gi').isLessThan(quantity('2Gi'))",
            "is not supported, or not with these arguments; supported are",
        ),
        (
            "timestamp('2020-01-01T00:00:00Z') < timestamp('2021-01-01T00:00:00Z')",
            "timestamp() is not supported",
        ),
        ("type(1) == int", "type() is not supported"),
        ("'a'.matches('(?i)a')", "matches(): flags and named groups"),
        (
            "'a'.matches(object.metadata.name)",
            "matches() with a pattern that is no text in quotes is not supported",
        ),
        ("1 == 'a'", "`==` has no meaning for int and string"),
        ("1 == 1.0", "`==` has no meaning for int and double"),
        ("1 + 'a' == 2", "`+` has no meaning"),
        ("'a' && true", "a condition is a string"),
        ("[1, 'a'].size() == 2", "a list has members of one type"),
        (
            "'a' in ['pod', object.metadata.labels.app]",
            "a list has members of one type, not string and dyn; write `string(…)` around what is dyn",
        ),
        ("[object.metadata.name, 'a'].join('-') == 'a'", "not dyn and string; write `string(…)`"),
        ("[object.spec.hostNetwork, 1].size() == 2", "not dyn and int"),
        ("[[object.metadata.name], ['a']].size() == 2", "not list(dyn) and list(string)"),
        ("[null, object.spec.x].size() == 2", "not null and dyn"),
        ("[[], ['a'], [object]].size() == 3", "not list(string) and list(dyn)"),
        ("'a'.matches('^a{01}$')", "matches(): `{01` is no number of repetitions"),
        ("'a'.matches('(a{40}){40}')", "matches(): `{40}` makes 1600 repetitions"),
        ("(true ? 1 : 'a') == 1", "both results of `?:` have one type"),
        ("size(1) == 1", "size() takes no int"),
        ("'a'.contains(1)", "contains() takes a string, not an int"),
        ("1.all(x, true)", "an int has no members"),
        ("'a'.all(x, true)", "a string has no members"),
        ("[1].all(object, true)", "the variable `object` is there already"),
        ("[1].all(namespace, true)", "reserved identifier: namespace"),
        ("[1].all(a, [1].all(b, [1].all(c, true)))", "more than 2 macros"),
        ("object.spec.x ==", "syntax error at line 1, column 17"),
        ("[1].all(k, v, true)", "all() is not supported, or not with these arguments"),
        ("object.spec.`a-b` == 1", "syntax error"),
        ("google.protobuf.Duration{} == 1", "messages"),
    ];
    for (text, expected) in table {
        let found = answer(text);
        let why = found.strip_prefix("refused: ");
        assert!(why.is_some_and(|why| why.contains(expected)), "{text}: {found}");
    }
}

#[test]
fn a_message_is_a_text() {
    let message = |text| Program::compile(text, OBJECT, ResultType::String);
    let program = message("'priority ' + string(object.spec.priority)").unwrap();
    assert_eq!(program.text(&[&value(POD)]).unwrap(), "priority 7");
    assert!(program.uses(0) && !message("'fixed'").unwrap().uses(0));
    assert!(message("true").unwrap_err().contains("must be a string"));
    let hint = "write `string(…)` around it, so that it is a string";
    assert!(message("object.metadata.name").unwrap_err().contains(hint));
    let program = message("string(object.metadata.name)").unwrap();
    assert_eq!(program.text(&[&value(POD)]).unwrap(), "web");
}

#[test]
fn what_takes_too_long_has_no_result() {
    let numbers: Vec<_> = (0..1_000).map(|n| n.to_string()).collect();
    let large = value(&format!(r#"{{"spec": {{"l": [{}]}}}}"#, numbers.join(",")));
    // Nothing may do without it: neither `||` nor a macro.
    for text in [
        "object.spec.l.all(a, object.spec.l.exists(b, a + b == -1) || a >= 0)",
        "true && object.spec.l.map(a, object.spec.l).size() == object.spec.l.map(a, object.spec.l.map(b, a)).size()",
        "object.spec.l.map(a, object.spec.l.map(b, string(a))).size() == 1 || true",
    ] {
        let failure = compiled(text).unwrap().is_true(&[&large]).unwrap_err();
        let expected = format!("it takes more than {MAX_STEPS} steps");
        assert_eq!(failure.to_string(), expected);
    }
}

/// Texts as long as they may be, in the shapes that nest deeply. Neither the parser nor anything
/// after it may use up the stack of a thread of a service, 2 MiB.
#[test]
fn the_longest_texts_of_the_worst_shapes_are_refused_or_evaluated() {
    let fill = |start: &str, unit: &str, end: &str| {
        let times = (MAX_LENGTH - start.len() - end.len()) / unit.len();
        format!("{start}{}{end}", unit.repeat(times))
    };
    for text in [
        fill("", "(", ""),
        fill("1", " + 1", " == 1"),
        fill("true", " || true", ""),
        fill("true", " && true", ""),
        fill("object", ".a", " == 1"),
        fill("object", "[0]", " == 1"),
        fill("", "!", "true"),
        fill("", "-", "1 == 1"),
        fill("", "true ? ", "true"),
        fill("true", " ? true : true", ""),
        fill("", "[", "]"),
        fill("", "{", "}"),
        fill("'a'", ".size()", " == 1"),
        fill("", "size(", ")"),
        fill("[1]", ".map(x, x)", ".size() == 1"),
        fill("", "?", ""),
        fill("", "'", ""),
        fill("", "\"\"\"", ""),
        fill("", "a.b(", ""),
        fill("1", " < 1", ""),
        fill("1", " in 1", ""),
        fill("", "é", ""),
        fill("object.spec.x.matches('", "(a|b)*", "')"),
    ] {
        _ = answer(&text);
    }
}

/// Pieces of expressions, most of which fit together.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "1",
        "'a'",
        "true",
        "null",
        "1.5",
        "x",
        "object",
        "object.spec",
        "object.spec.l",
        "[]",
        "-1",
        "9223372036854775807",
        "object.metadata.labels",
        "''",
        "[1, 2]",
        "object.spec.l[0]",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(6, 40, 3, |inner| {
        let operator = prop::sample::select(vec![
            "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "in", "&&", "||",
        ]);
        let call = prop::sample::select(vec![
            "size",
            "contains",
            "startsWith",
            "endsWith",
            "split",
            "join",
            "lowerAscii",
            "all",
        ]);
        let looping = prop::sample::select(vec!["all", "exists", "exists_one", "map", "filter"]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, o, b)| format!("({a} {o} {b})")),
            (inner.clone(), call, inner.clone()).prop_map(|(a, c, b)| format!("{a}.{c}({b})")),
            (inner.clone(), looping, inner.clone())
                .prop_map(|(a, l, b)| format!("{a}.{l}(x, {b})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            inner.clone().prop_map(|a| format!("has({a}.f)")),
            inner.clone().prop_map(|a| format!("!{a}")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("{a}[{b}]")),
        ]
    })
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Value, json};
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 30, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-f]", inner, 0..5).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn no_expression_fails_in_another_way_than_by_its_result(
        text in expression(), labels in json(), list in json(),
    ) {
        let object = serde_json::json!({ "metadata": { "labels": labels }, "spec": { "l": list } });
        let object = value(&object.to_string());
        for text in [format!("{text} == true"), format!("object.spec.l.all(x, {text} == 1)"), text] {
            if let Ok(program) = compiled(&text) {
                let first = program.is_true(&[&object]);
                prop_assert_eq!(first, program.is_true(&[&object]));
            }
        }
    }

    #[test]
    fn no_text_stops_the_compiler(text in r#"[a-z0-9 .,()\[\]{}'"?:!&|<>=+*/%\\-]{0,60}|\PC{0,60}"#) {
        _ = compiled(&text);
        _ = compiled(&format!("object.spec.x.matches('{text}')"));
    }
}
