//! What RBAC grants to an account, and which of it the account needs: a right is needed if a request
//! that was answered is granted by nothing else, and so would be refused without it.

use std::collections::BTreeSet;
use std::fmt::{Display, Formatter};
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use crate::{AuditedCall, Testbed};

/// The log is written a moment after the response.
const LOGGED: Duration = Duration::from_secs(60);

/// The rights of an account.
#[derive(Debug, Clone)]
pub struct Rights {
    user: String,
    /// Those that the account has to need.
    own: Vec<Right>,
    /// Those that it also has, such as those of every user.
    others: Vec<Right>,
}

/// One verb on one resource.
#[derive(Debug, Clone)]
struct Right {
    role: String,
    verb: String,
    group: String,
    /// With a subresource after a slash.
    resource: String,
    /// The only object.
    name: Option<String>,
    /// The only namespace.
    namespace: Option<String>,
}

/// As RBAC's words are: `patch devopspolicies/status`, `get secrets NAME in NAMESPACE`.
impl Display for Right {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { verb, group, resource, name, namespace, .. } = self;
        let dot = if group.is_empty() { "" } else { "." };
        write!(f, "{verb} {resource}{dot}{group}")?;
        name.iter().try_for_each(|name| write!(f, " {name}"))?;
        namespace.iter().try_for_each(|namespace| write!(f, " in {namespace}"))
    }
}

impl Right {
    /// Whether it grants a request, sent with that verb.
    fn grants(&self, verb: &str, call: &AuditedCall) -> bool {
        let slash = if call.subresource.is_empty() { "" } else { "/" };
        let resource = format!("{}{slash}{}", call.resource, call.subresource);
        self.verb == verb
            && self.group == call.group
            && self.resource == resource
            && self.name.as_ref().is_none_or(|name| *name == call.name)
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == call.namespace)
    }
}

/// A role or a binding, in the cluster or in a namespace.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    kind: String,
    metadata: ObjectMeta,
    role_ref: Option<RoleRef>,
    subjects: Option<Vec<Subject>>,
    rules: Option<Vec<PolicyRule>>,
}

#[derive(Deserialize)]
struct List {
    items: Vec<Object>,
}

impl Testbed {
    /// The rights that a `ServiceAccount` has now.
    pub fn rights(&self, namespace: &str, account: &str) -> Result<Rights> {
        let kinds = "clusterroles,roles,clusterrolebindings,rolebindings";
        let get = self.kubectl(&["get", kinds, "--all-namespaces", "-o", "json"])?;
        let List { items } = serde_json::from_str(&get.succeeded()?)?;
        rights(&items, namespace, account)
    }

    /// Waits until the audit log shows that the account was refused nothing, and that it needs each
    /// of these rights but those, which are written as `watch pods` or
    /// `get leases.coordination.k8s.io NAME in NAMESPACE`. It has to have ended: a watch is logged
    /// when it ends.
    pub fn needs_all_but(&self, unneeded: &[&str], rights: &Rights) -> Result<()> {
        let wanted: BTreeSet<String> = unneeded.iter().map(|&right| right.to_owned()).collect();
        let (mut found, mut before) = (BTreeSet::new(), None);
        let logged = self.wait_for("requests that need each right", LOGGED, || {
            let calls = self.audit(&rights.user)?;
            found = rights.unneeded(&calls)?;
            Ok(before.replace(calls.len()) == Some(calls.len()) && found == wanted)
        });
        logged.map_err(|error| {
            error.context(format!("{} does not need {found:?}; expected {wanted:?}", rights.user))
        })
    }
}

impl Rights {
    /// Only the rights of one role have to be needed.
    #[must_use]
    pub fn of_role(mut self, role: &str) -> Self {
        let (own, others): (Vec<_>, _) = self.own.into_iter().partition(|one| one.role == role);
        self.others.extend(others);
        Self { own, ..self }
    }

    /// The rights without which all of these requests would have been answered as well.
    fn unneeded(&self, calls: &[AuditedCall]) -> Result<BTreeSet<String>> {
        let mut needed = vec![false; self.own.len()];
        // Paths that are no resource, such as `/version`, are everybody's.
        for call in calls.iter().filter(|call| !call.resource.is_empty()) {
            ensure!(call.code != 403, "{} was refused {call:?}", self.user);
            let verbs: &[&str] = match (call.verb.as_str(), call.code) {
                // A server-side apply that has made the object.
                ("patch", 201) => &["patch", "create"],
                // To read what is not there yet takes the right as well.
                (verb, 200..300 | 404) => &[verb],
                _ => continue,
            };
            for verb in verbs {
                let is_other = self.others.iter().any(|right| right.grants(verb, call));
                let own = self.own.iter().enumerate();
                let own = own.filter(|(_, right)| right.grants(verb, call)).map(|(index, _)| index);
                match (own.collect::<Vec<_>>().as_slice(), is_other) {
                    ([only], false) => needed[*only] = true,
                    (granted, _) => {
                        ensure!(is_other || !granted.is_empty(), "no right grants {call:?}");
                    }
                }
            }
        }
        let unneeded = self.own.iter().zip(needed).filter(|(_, is_needed)| !is_needed);
        Ok(unneeded.map(|(right, _)| right.to_string()).collect())
    }
}

fn rights(objects: &[Object], namespace: &str, account: &str) -> Result<Rights> {
    let everybody = ["system:authenticated", "system:serviceaccounts"];
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for object in objects {
        let Some(role) = &object.role_ref else { continue };
        let subjects = object.subjects.as_deref().unwrap_or_default();
        let is_own = |subject: &&Subject| {
            subject.kind == "ServiceAccount"
                && subject.name == account
                && subject.namespace.as_deref() == Some(namespace)
        };
        let is_group = |subject: &Subject| {
            subject.kind == "Group" && everybody.contains(&subject.name.as_str())
        };
        let rights = if subjects.iter().any(|subject| is_own(&subject)) {
            &mut own
        } else if subjects.iter().any(is_group) {
            &mut others
        } else {
            continue;
        };
        let within = object.metadata.namespace.as_ref();
        let is_role = |found: &&Object| {
            let of_cluster = role.kind == "ClusterRole";
            found.kind == role.kind
                && found.metadata.name.as_ref() == Some(&role.name)
                && (of_cluster || found.metadata.namespace.as_ref() == within)
        };
        let rules = objects.iter().find(is_role).and_then(|found| found.rules.as_deref());
        for rule in rules.unwrap_or_default() {
            rights.extend(each_right(&role.name, within, rule));
        }
    }
    ensure!(!own.is_empty(), "{account} in {namespace} has no rights");
    let user = format!("system:serviceaccount:{namespace}:{account}");
    Ok(Rights { user, own, others })
}

/// A wildcard grants nothing here, so a test that meets one fails.
fn each_right(of_role: &str, namespace: Option<&String>, rule: &PolicyRule) -> Vec<Right> {
    let each = |texts: &Option<Vec<String>>| texts.clone().unwrap_or_default();
    let names = each(&rule.resource_names);
    let names = if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
    let mut rights = Vec::new();
    for group in each(&rule.api_groups) {
        for resource in each(&rule.resources) {
            for verb in &rule.verbs {
                rights.extend(names.iter().map(|name| Right {
                    role: of_role.to_owned(),
                    verb: verb.clone(),
                    group: group.clone(),
                    resource: resource.clone(),
                    name: name.clone(),
                    namespace: namespace.cloned(),
                }));
            }
        }
    }
    rights
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn granted(rules: &serde_json::Value) -> Rights {
        let object = |kind: &str, more: serde_json::Value| {
            let mut object = json!({ "kind": kind, "metadata": { "name": "a", "namespace": "n" } });
            let fields = object.as_object_mut().unwrap();
            fields.extend(more.as_object().unwrap().clone());
            serde_json::from_value::<Object>(object).unwrap()
        };
        let role = json!({ "apiGroup": "", "kind": "Role", "name": "a" });
        let subject = json!({ "kind": "ServiceAccount", "name": "a", "namespace": "n" });
        let objects = [
            object("RoleBinding", json!({ "roleRef": role, "subjects": [subject] })),
            object("Role", json!({ "rules": rules })),
        ];
        rights(&objects, "other", "a").unwrap_err();
        rights(&objects, "n", "a").unwrap()
    }

    fn call(verb: &str, resource: &str, name: &str, code: u16) -> AuditedCall {
        AuditedCall {
            verb: verb.to_owned(),
            group: String::new(),
            resource: resource.to_owned(),
            subresource: String::new(),
            namespace: "n".to_owned(),
            name: name.to_owned(),
            url: String::new(),
            code,
            annotations: BTreeMap::new(),
            body: None,
        }
    }

    #[test]
    fn a_right_is_needed_by_a_request_that_was_answered_and_that_nothing_else_grants() {
        let names = json!(["b", "c"]);
        let rights = granted(&json!([
            { "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "patch", "create"] },
            { "apiGroups": [""], "resources": ["secrets"], "resourceNames": names, "verbs": ["get"] },
        ]));
        let unneeded = |calls: &[AuditedCall]| {
            rights.unneeded(calls).unwrap().into_iter().collect::<Vec<_>>().join(", ")
        };
        let calls = [
            call("get", "pods", "a", 200),
            call("patch", "pods", "a", 201),
            call("get", "secrets", "b", 200),
        ];
        assert_eq!(unneeded(&calls), "get secrets c in n");
        let calls = [call("patch", "pods", "a", 200), call("get", "pods", "a", 500)];
        assert_eq!(
            unneeded(&calls),
            "create pods in n, get pods in n, get secrets b in n, get secrets c in n"
        );
        for call in [call("get", "pods", "a", 403), call("get", "secrets", "d", 200)] {
            rights.unneeded(&[call]).unwrap_err();
        }
        let elsewhere = AuditedCall { namespace: String::new(), ..call("get", "pods", "a", 200) };
        rights.unneeded(&[elsewhere]).unwrap_err();
    }

    #[test]
    fn of_two_rights_that_grant_the_same_none_is_needed() {
        let rule = json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] });
        let rights = granted(&json!([rule, rule]));
        let calls = [call("get", "pods", "a", 200)];
        assert_eq!(rights.unneeded(&calls).unwrap().len(), 1);
        let rights = granted(&json!([rule]));
        assert_eq!(rights.unneeded(&calls).unwrap().len(), 0);
        let of_other_role = rights.clone().of_role("b");
        assert_eq!(of_other_role.unneeded(&calls).unwrap().len(), 0, "nothing is to be needed");
    }
}
