//! Keys and certificates of one control plane.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// The common name of the certificate that the API server presents to webhooks.
pub const WEBHOOK_CLIENT: &str = "kube-apiserver-webhooks";

/// The paths of the PEM files.
pub(crate) struct Keys {
    /// The certificate authority that clients trust.
    pub(crate) authority: PathBuf,
    /// The API server's certificate, for 127.0.0.1.
    pub(crate) certificate: PathBuf,
    pub(crate) certificate_key: PathBuf,
    /// The API server's client certificate for webhooks.
    pub(crate) client: PathBuf,
    pub(crate) client_key: PathBuf,
    /// Signs the tokens of `ServiceAccounts`.
    pub(crate) token_key: PathBuf,
    pub(crate) token_public_key: PathBuf,
}

impl Keys {
    /// Generates keys and certificates into `folder`. Elliptic-curve keys, as generating an RSA key
    /// takes half a second.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            Ok::<_, anyhow::Error>(path)
        };
        let mut params = named("kube-devops testbed", Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let authority = write("ca.pem", params.self_signed(&key)?.pem())?;
        let issuer = Issuer::new(params, key);

        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"].map(str::to_owned);
        let mut params = named("kube-apiserver", names.to_vec())?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = write("server.pem", params.signed_by(&key, &issuer)?.pem())?;
        let certificate_key = write("server-key.pem", key.serialize_pem())?;

        let mut params = named(WEBHOOK_CLIENT, Vec::new())?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let client = write("client.pem", params.signed_by(&key, &issuer)?.pem())?;
        let client_key = write("client-key.pem", key.serialize_pem())?;

        let key = KeyPair::generate()?;
        Ok(Self {
            authority,
            certificate,
            certificate_key,
            client,
            client_key,
            token_key: write("token-key.pem", key.serialize_pem())?,
            token_public_key: write("token-public-key.pem", key.public_key_pem())?,
        })
    }
}

fn named(common_name: &str, names: Vec<String>) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}
