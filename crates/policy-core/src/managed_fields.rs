//! `managedFields`: who has set which field of an object.
//!
//! An entry has the fields of a manager as a tree of keys: `f:spec` is the field `spec`,
//! `k:{"name":"web"}` the item of a list with that name, and `.` the object itself. Keys of other
//! forms are skipped, and what is no object has no fields, since anybody may write an entry:
//! <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>.

use serde_json::{Map, Value};

use crate::api::FIELD_MANAGER;

/// Whether an entry is about what the operator has applied of the object itself, not of a
/// subresource.
pub(crate) fn is_ours(manager: &str, operation: &str, subresource: &str) -> bool {
    manager == FIELD_MANAGER && operation == "Apply" && subresource.is_empty()
}

/// A set of fields, as `fieldsV1` has it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FieldSet<'a>(Option<&'a Map<String, Value>>);

impl<'a> FieldSet<'a> {
    pub(crate) fn of(fields_v1: &'a Value) -> Self {
        Self(fields_v1.as_object())
    }

    /// The set below a path of fields; `None` where the path is not in the set.
    pub(crate) fn at(self, path: &[&str]) -> Option<Self> {
        path.iter().try_fold(self, |at, name| {
            let below = at.0?.get(&format!("f:{name}"))?;
            Some(Self::of(below))
        })
    }

    /// Whether a path of fields is in the set, whole or in part.
    pub(crate) fn has(self, path: &[&str]) -> bool {
        self.at(path).is_some()
    }

    /// Whether it names a value as a whole.
    pub(crate) fn is_leaf(self) -> bool {
        self.0.is_none_or(Map::is_empty)
    }

    /// The fields of an object, each with the set below it.
    pub(crate) fn fields(self) -> impl Iterator<Item = (&'a str, Self)> {
        let keys = self.0.into_iter().flatten();
        keys.filter_map(|(key, below)| Some((key.strip_prefix("f:")?, Self::of(below))))
    }

    /// The named items of a list, each with the set below it.
    pub(crate) fn items(self) -> impl Iterator<Item = (String, Self)> {
        let keys = self.0.into_iter().flatten();
        keys.filter_map(|(key, below)| {
            let mut key: Value = serde_json::from_str(key.strip_prefix("k:")?).ok()?;
            let Value::String(name) = key.get_mut("name")?.take() else { return None };
            Some((name, Self::of(below)))
        })
    }

    /// The containers of a list of a pod template, as in `containers`.
    pub(crate) fn containers(self, list: &str) -> impl Iterator<Item = (String, Self)> {
        self.at(&["spec", "template", "spec", list]).into_iter().flat_map(Self::items)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::remediation::{Target, give_way, release};

    #[test]
    fn a_set_is_walked_by_fields_and_names() {
        let fields = json!({ "f:spec": { "f:template": { "f:spec": { "f:containers": {
            ".": {}, "k:{\"name\":\"web\"}": { ".": {}, "f:name": {},
                "f:readinessProbe": { "f:periodSeconds": {} } },
            "k:{\"containerPort\":80}": {}, "k:no json": {}, "k:{\"name\":7}": {},
            "v:\"web\"": {}, "i:0": {}, "": {} } } } } });
        let set = FieldSet::of(&fields);
        let containers: Vec<_> = set.containers("containers").collect();
        let [(name, web)] = &containers[..] else { panic!("{containers:?}") };
        assert_eq!(name, "web");
        assert_eq!(set.containers("initContainers").count(), 0);
        assert!(web.has(&["readinessProbe", "periodSeconds"]));
        assert!(!web.has(&["readinessProbe", "tcpSocket"]) && !web.has(&["livenessProbe"]));
        let names: Vec<_> = web.fields().map(|(name, below)| (name, below.is_leaf())).collect();
        assert_eq!(names, [("name", true), ("readinessProbe", false)]);
        assert!(FieldSet::of(&json!("f:spec")).is_leaf() && FieldSet::of(&json!([1])).is_leaf());
    }

    /// JSON whose keys are often those of `fieldsV1`.
    fn json_tree() -> impl Strategy<Value = Value> {
        let key = prop_oneof![
            "f:(spec|template|containers|initContainers|readinessProbe|tcpSocket|resources|\
             requests|cpu)",
            r#"k:\{"name":"[a-z]{0,2}"\}"#,
            r#"(k:|f:|v:|i:|\.)[\[\]{}":,a-z0-9 ]{0,8}"#,
            any::<String>(),
        ];
        let leaf = prop_oneof![
            Just(json!({})),
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(8, 64, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((key.clone(), inner), 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_can_be_walked(tree in json_tree()) {
            fn walk(set: FieldSet<'_>) -> usize {
                let fields = set.fields().map(|(_, below)| 1 + walk(below));
                let items = set.items().map(|(_, below)| 1 + walk(below));
                fields.chain(items).sum()
            }
            let set = FieldSet::of(&tree);
            let most = tree.to_string().matches(':').count();
            prop_assert!(walk(set) <= most);
            prop_assert_eq!(set.has(&["spec"]), tree.get("f:spec").is_some());
            // As the operator and `/mutate` read it.
            let ours = json!({ "manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": tree });
            let with = |entries: Value| json!({ "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": { "managedFields": entries },
                "spec": { "template": { "spec": { "containers": [{ "name": "a", "image": "a",
                    "readinessProbe": { "tcpSocket": { "port": 80 }, "exec": {} },
                    "resources": { "requests": { "cpu": "1" } } }] } } } });
            for entries in [json!([ours]), tree] {
                let workload = with(entries);
                if let Ok(target) = Target::read(&workload) {
                    let _ = release(&target, &workload);
                }
                let _ = give_way(&workload, &workload);
            }
        }
    }
}
