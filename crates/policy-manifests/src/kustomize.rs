//! The files of `deploy/kustomize/base`: what every installation has.

use serde::Serialize;
use serde_saphyr::ser::Error;

use crate::{COMPONENTS, namespace, yaml};

/// A file, by its name in the folder.
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

/// The folder's files: the namespace, one for each component, and the list of them all that
/// kustomize reads. An overlay of somebody's own names the folder, and changes what it likes.
///
/// # Errors
/// As for [`yaml`].
pub fn base() -> Result<Vec<File>, Error> {
    let mut files = vec![File { name: "namespace.yaml".to_owned(), text: yaml(&[namespace()])? }];
    for component in COMPONENTS {
        let name = format!("{}.yaml", component.name());
        files.push(File { name, text: yaml(&component.objects())? });
    }
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
                "policy-webhook.yaml"
            ]
        );
    }
}
