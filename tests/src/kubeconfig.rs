//! Kubeconfig files, and clients of the API server by them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use tempfile::NamedTempFile;

/// How to reach one control plane.
pub(crate) struct Access<'a> {
    /// Name of the context and of the cluster.
    pub(crate) name: &'a str,
    pub(crate) server: &'a str,
    /// The file of the certificate authority, which exists as long as the server runs.
    pub(crate) authority: &'a Path,
    /// Whether the client asks for uncompressed responses: the default of clients is compression,
    /// which only costs time on the loopback address.
    pub(crate) disable_compression: bool,
}

/// What a user proves its name with.
#[derive(Clone, Copy)]
pub(crate) enum Credential<'a> {
    Token(&'a str),
    /// A file, which clients read again when the token in it is replaced.
    TokenFile(&'a Path),
}

/// A client of the API server that a kubeconfig names.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Writes a kubeconfig with one context for a user.
pub(crate) fn write(
    path: &Path,
    access: &Access<'_>,
    user: &str,
    credential: Credential<'_>,
    namespace: Option<&str>,
) -> Result<PathBuf> {
    let name = access.name;
    // Unique, so that KUBECONFIG can list files of several control planes.
    let entry = format!("{user}@{name}");
    let mut context = json!({ "cluster": name, "user": entry });
    if let Some(namespace) = namespace {
        context["namespace"] = json!(namespace);
    }
    let credential = match credential {
        Credential::Token(token) => json!({ "token": token }),
        Credential::TokenFile(file) => json!({ "tokenFile": file }),
    };
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{ "name": name, "context": context }],
        "clusters": [{ "name": name, "cluster": {
            "server": access.server,
            "certificate-authority": access.authority,
            "disable-compression": access.disable_compression,
        }}],
        "users": [{ "name": entry, "user": credential }],
    });
    let text = serde_saphyr::to_string(&config)?;
    // At once: several tests may want the same one, and read it meanwhile.
    let folder = path.parent().unwrap_or(path);
    let unfinished = NamedTempFile::new_in(folder)
        .with_context(|| format!("cannot write in {}", folder.display()))?;
    fs::write(&unfinished, text)?;
    unfinished.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.to_owned())
}
