//! The files of `deploy/kustomize/base`.

use serde::Serialize;
use serde_saphyr::ser::Error;

use crate::{COMPONENTS, Object, namespace, user_roles, yaml};

/// A file of the folder.
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
}

/// The folder's files: the namespace, one file for each component, the roles of namespace users,
/// and kustomization.yaml, which lists them. An overlay refers to the folder and patches it.
///
/// # Errors
/// As for [`yaml`].
pub fn base() -> Result<Vec<File>, Error> {
    let file = |name: &str, objects: &[Object]| {
        yaml(objects).map(|text| File { name: format!("{name}.yaml"), text })
    };
    let mut files = vec![file("namespace", &[namespace()])?];
    for component in COMPONENTS {
        files.push(file(component.name, &component.objects())?);
    }
    files.push(file("user-roles", &user_roles())?);
    let list = Kustomization {
        api_version: "kustomize.config.k8s.io/v1beta1",
        kind: "Kustomization",
        resources: files.iter().map(|file| file.name.clone()).collect(),
    };
    let text = serde_saphyr::to_string(&list)?;
    files.push(File { name: "kustomization.yaml".to_owned(), text });
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_every_other_file() {
        let files = base().unwrap();
        let (list, others) = files.split_last().unwrap();
        let list: serde_json::Value = serde_saphyr::from_str(&list.text).unwrap();
        let names: Vec<&str> = others.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(list["resources"], serde_json::json!(names));
        assert_eq!(
            names,
            [
                "namespace.yaml",
                "policy-watcher.yaml",
                "policy-operator.yaml",
                "policy-webhook.yaml",
                "user-roles.yaml"
            ]
        );
    }
}
