//! Kubeconfig files.

use std::path::{MAIN_SEPARATOR, Path};

use kube::config::{Kubeconfig, KubeconfigError};

use crate::files;

/// No kubeconfig is larger.
const LARGEST: u64 = 16 << 20;

/// Reads a kubeconfig file as kube does, and also where kube cannot: it keeps comments while it
/// parses, of which serde-saphyr allows 32 lines between a key and its value.
///
/// # Errors
/// Those of [`Kubeconfig::read_from`].
pub fn read(path: &Path) -> Result<Kubeconfig, KubeconfigError> {
    match Kubeconfig::read_from(path) {
        Err(KubeconfigError::Parse(error)) => {
            read_without_comments(path).ok_or(KubeconfigError::Parse(error))
        }
        read => read,
    }
}

fn read_without_comments(path: &Path) -> Option<Kubeconfig> {
    let text = files::read_text(path, LARGEST).ok()?;
    let options = serde_saphyr::options! { emit_comments: false, with_snippet: false };
    let documents: Vec<Kubeconfig> =
        serde_saphyr::from_multiple_with_options(&text, options).ok()?;
    let mut merged =
        documents.into_iter().try_fold(Kubeconfig::default(), Kubeconfig::merge).ok()?;
    if let Some(folder) = path.parent() {
        make_absolute(&mut merged, folder);
    }
    Some(merged)
}

/// Paths of a kubeconfig are relative to its folder. As in [`Kubeconfig::read_from`], a command
/// without a slash is not a path.
fn make_absolute(kubeconfig: &mut Kubeconfig, folder: &Path) {
    let absolute = |file: &mut Option<String>| {
        if let Some(path) =
            file.as_deref().and_then(|file| folder.join(file).to_str().map(str::to_owned))
        {
            *file = Some(path);
        }
    };
    for cluster in kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        absolute(&mut cluster.certificate_authority);
    }
    for user in kubeconfig.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
        absolute(&mut user.client_certificate);
        absolute(&mut user.client_key);
        absolute(&mut user.token_file);
        let command = user.exec.as_mut().map(|exec| &mut exec.command);
        if let Some(command) = command
            && command.as_ref().is_some_and(|command| command.contains(MAIN_SEPARATOR))
        {
            absolute(command);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_do_not_change_what_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let text = "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters:\n- name: a\n  cluster:\n\
                    # comment\n    server: https://127.0.0.1:1\n    certificate-authority: ca.crt\n\
                    contexts:\n- {name: a, context: {cluster: a, user: a}}\n\
                    users:\n- name: a\n  user: {client-certificate: /tmp/a, client-key: a.key, tokenFile: token, exec: {command: bin/login}}\n\
                    - {name: b, user: {exec: {command: login}}}\n";
        let read = |comments: usize| {
            std::fs::write(&path, text.replace("# comment\n", &"# comment\n".repeat(comments)))
                .unwrap();
            serde_json::to_value(super::read(&path).unwrap()).unwrap()
        };
        let expected = read(1);
        assert!(Kubeconfig::read_from(&path).is_ok());
        assert_eq!(read(100), expected);
        assert!(Kubeconfig::read_from(&path).is_err(), "no longer needed");
    }

    #[test]
    fn what_is_broken_stays_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, "clusters: {").unwrap();
        assert!(matches!(read(&path), Err(KubeconfigError::Parse(_))));
        assert!(matches!(read(&path.join("gone")), Err(KubeconfigError::ReadConfig(..))));
    }
}
