//! The files of `deploy/kustomize` and of the chart.

use serde::Serialize;
use serde_saphyr::ser::Error;

use crate::admission::{Admission, Server};
use crate::components::{OPEN_REPORTS, WEBHOOK_WITH_CERTIFICATE};
use crate::monitoring::{INTERVAL, prometheus_rule, service_monitors};
use crate::{
    COMPONENTS, NAMESPACE, OPERATOR, Object, Settings, WEBHOOK, namespace, open_reports,
    remediation, user_roles, yaml,
};

/// A file of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Such as `namespace.yaml`.
    pub name: String,
    /// YAML.
    pub text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Kustomization {
    api_version: &'static str,
    kind: &'static str,
    resources: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    patches: Vec<Patch>,
}

impl Default for Kustomization {
    fn default() -> Self {
        Self {
            api_version: "kustomize.config.k8s.io/v1beta1",
            kind: "Kustomization",
            resources: Vec::new(),
            patches: Vec::new(),
        }
    }
}

#[derive(Serialize)]
struct Patch {
    patch: String,
}

/// The files of the base: the namespace, one file for each component, the roles of namespace users,
/// the validating webhook configuration, and kustomization.yaml, which lists them. An overlay refers to the folder and patches it.
///
/// # Errors
/// As for [`yaml`].
pub fn base() -> Result<Vec<File>, Error> {
    let mut files = vec![file("namespace", &[namespace()])?];
    for component in COMPONENTS {
        let objects = [component.rights(), component.run(&Settings::default())].concat();
        files.push(file(component.name, &objects)?);
    }
    files.push(file("user-roles", &user_roles())?);
    let admission = [to_be_completed().configuration().into()];
    files.push(file("admission", &admission)?);
    listed(files)
}

/// The files of what enforce mode needs beside the base: the operator's rights to patch workloads,
/// and the mutating webhook configuration, to which the webhook adds its `caBundle`.
///
/// # Errors
/// As for [`yaml`].
pub fn for_remediation() -> Result<Vec<File>, Error> {
    let configuration = [to_be_completed().mutating_configuration().into()];
    listed(vec![file(OPERATOR.name, &remediation())?, file(WEBHOOK.name, &configuration)?])
}

/// The files of what Reports of openreports.io need beside the base: the operator's rights to write
/// them, and the setting, as a component for the kustomization that has the base.
///
/// # Errors
/// As for [`yaml`].
pub fn for_open_reports() -> Result<Vec<File>, Error> {
    let (name, value) = OPEN_REPORTS;
    let operator = OPERATOR.name;
    let patch = serde_json::json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": operator, "namespace": NAMESPACE },
        "spec": { "template": { "spec": { "containers": [{
            "name": operator, "env": [{ "name": name, "value": value }] }] } } },
    });
    let component = Kustomization {
        api_version: "kustomize.config.k8s.io/v1alpha1",
        kind: "Component",
        patches: vec![Patch { patch: serde_saphyr::to_string(&patch)? }],
        ..Kustomization::default()
    };
    listed_in(component, vec![file(operator, &open_reports())?])
}

/// The files of the chart that its templates read: the rights of each component, those of namespace
/// users and of enforce mode, the webhook configurations, and what the
/// Prometheus operator reads. What depends on values is in its
/// templates.
///
/// # Errors
/// As for [`yaml`].
pub fn for_chart() -> Result<Vec<File>, Error> {
    let rights = COMPONENTS.iter().map(|component| {
        let rights = [component.rights(), (component.others)()].concat();
        file(component.name, &rights)
    });
    let mut files = rights.collect::<Result<Vec<_>, _>>()?;
    let admission = to_be_completed();
    let monitors: Vec<Object> = service_monitors(INTERVAL).into_iter().map(Object::from).collect();
    files.extend([
        file("policy-webhook-with-certificate", &WEBHOOK_WITH_CERTIFICATE.rights())?,
        file("user-roles", &user_roles())?,
        file("enforcement", &remediation())?,
        file("open-reports", &open_reports())?,
        file("validating", &[admission.configuration().into()])?,
        file("mutating", &[admission.mutating_configuration().into()])?,
        file("prometheus-rule", &[prometheus_rule().into()])?,
        file("service-monitors", &monitors)?,
    ]);
    Ok(files)
}

/// Without `caBundle`, which the webhook adds. Until then the API server cannot call it, and admits
/// everything.
fn to_be_completed() -> Admission {
    Admission {
        server: Server::installed(),
        authority: None,
        excluded: Vec::new(),
        kinds: Vec::new(),
    }
}

fn file(name: &str, objects: &[Object]) -> Result<File, Error> {
    yaml(objects).map(|text| File { name: format!("{name}.yaml"), text })
}

/// The files, and kustomization.yaml last, which lists them.
fn listed(files: Vec<File>) -> Result<Vec<File>, Error> {
    listed_in(Kustomization::default(), files)
}

fn listed_in(list: Kustomization, mut files: Vec<File>) -> Result<Vec<File>, Error> {
    let resources = files.iter().map(|file| file.name.clone()).collect();
    let list = Kustomization { resources, ..list };
    let text = serde_saphyr::to_string(&list)?;
    files.push(File { name: "kustomization.yaml".to_owned(), text });
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_every_other_file() {
        let names_of = |files: &[File]| {
            let (list, others) = files.split_last().unwrap();
            let list: serde_json::Value = serde_saphyr::from_str(&list.text).unwrap();
            let names: Vec<String> = others.iter().map(|file| file.name.clone()).collect();
            assert_eq!(list["resources"], serde_json::json!(names));
            names
        };
        let files = for_remediation().unwrap();
        assert_eq!(names_of(&files), ["policy-operator.yaml", "policy-webhook.yaml"]);
        assert_eq!(names_of(&for_open_reports().unwrap()), ["policy-operator.yaml"]);
        assert_eq!(
            names_of(&base().unwrap()),
            [
                "namespace.yaml",
                "policy-watcher.yaml",
                "policy-operator.yaml",
                "policy-webhook.yaml",
                "user-roles.yaml",
                "admission.yaml"
            ]
        );
    }
}
