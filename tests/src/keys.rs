//! Keys and certificates of one control plane.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// The common name of the certificate that the API server presents to webhooks.
pub const WEBHOOK_CLIENT: &str = "kube-apiserver-webhooks";

/// The first address of `--service-cluster-ip-range`: that of the Service of the API server.
const SERVICE_ADDRESS: &str = "10.0.0.1";

/// The paths of the PEM files.
pub(crate) struct Keys {
    /// The certificate authority that clients trust.
    pub(crate) authority: PathBuf,
    /// The API server's certificate, for its addresses.
    pub(crate) certificate: PathBuf,
    pub(crate) certificate_key: PathBuf,
    /// The API server's client certificate for webhooks.
    pub(crate) client: PathBuf,
    pub(crate) client_key: PathBuf,
    /// The API server's client certificate for kubelets, of a cluster administrator.
    pub(crate) kubelet_client: PathBuf,
    pub(crate) kubelet_client_key: PathBuf,
    /// Signs the tokens of `ServiceAccounts`.
    pub(crate) token_key: PathBuf,
    pub(crate) token_public_key: PathBuf,
}

impl Keys {
    /// Generates keys and certificates into `folder`. Elliptic-curve keys, as generating an RSA key
    /// takes half a second.
    pub(crate) fn create(folder: &Path, address: Ipv4Addr) -> Result<Self> {
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

        let mut names = ["127.0.0.1", SERVICE_ADDRESS, "localhost", "kubernetes.default.svc"]
            .map(str::to_owned)
            .to_vec();
        if !address.is_loopback() {
            names.push(address.to_string());
        }
        let mut params = named("kube-apiserver", names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = write("server.pem", params.signed_by(&key, &issuer)?.pem())?;
        let certificate_key = write("server-key.pem", key.serialize_pem())?;

        let client = |name: &str, mut params: CertificateParams| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.use_authority_key_identifier_extension = true;
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &issuer)?.pem();
            let certificate = write(&format!("{name}.pem"), certificate)?;
            Ok::<_, anyhow::Error>((
                certificate,
                write(&format!("{name}-key.pem"), key.serialize_pem())?,
            ))
        };
        let (webhook_client, webhook_client_key) =
            client("client", named(WEBHOOK_CLIENT, Vec::new())?)?;
        let mut params = named("kube-apiserver-kubelet-client", Vec::new())?;
        params.distinguished_name.push(DnType::OrganizationName, "system:masters");
        let (kubelet_client, kubelet_client_key) = client("kubelet-client", params)?;

        let key = KeyPair::generate()?;
        Ok(Self {
            authority,
            certificate,
            certificate_key,
            client: webhook_client,
            client_key: webhook_client_key,
            kubelet_client,
            kubelet_client_key,
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
