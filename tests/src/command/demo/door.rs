//! The webhook at the door of the demo's cluster.

use std::fs;

use anyhow::{Context as _, Result};
use e2e::{Service, Testbed, service_binary};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::Demo;
use super::replicas::SOON;

/// Makes certificates, starts a webhook with them, has the API server call it, and shows what
/// people are told. It runs as long as what is given back is there.
pub(super) fn open(demo: &Demo) -> Result<Service<'_>> {
    demo.show("policyctl webhook cert-generate --output-dir certificates --ip-san 127.0.0.1", 0)?;
    let webhook = start(&demo.testbed)?;
    let url = format!("https://{}", webhook.addr());
    demo.show(
        &format!(
            "policyctl webhook install-config --ca-bundle-path certificates/ca.crt --url {url}"
        ),
        0,
    )?;
    demo.testbed.wait_for("the webhook to be called", SOON, || {
        let pod = ["run", "probe", "--image=nginx", "-n", "shop", "--dry-run=server"];
        Ok(demo.testbed.kubectl(&pod)?.code != Some(0))
    })?;
    demo.show("kubectl run bad --image=nginx -n shop", 1)?;
    demo.show("kubectl create deployment web --image=nginx -n billing", 0)?;
    demo.show("policyctl admit -n billing -f fine.yaml", 0)?;
    demo.show("kubectl create -n billing -f fine.yaml", 0)?;
    Ok(webhook)
}

fn start(testbed: &Testbed) -> Result<Service<'_>> {
    testbed.install_base()?;
    fs::write(testbed.folder().join("fine.yaml"), include_str!("fine.yaml"))?;
    let certificates = testbed.folder().join("certificates");
    let path =
        |name| Ok(certificates.join(name).to_str().context("a path that is no text")?.to_owned());
    let [cert, key]: [Result<String>; 2] = ["tls.crt", "tls.key"].map(path);
    let ca = fs::read(certificates.join("ca.crt")).context("cannot read ca.crt")?;
    let ca = CertificateDer::pem_slice_iter(&ca).collect::<Result<Vec<_>, _>>()?;
    let webhook = testbed
        .service("policy-webhook", &service_binary("policy-webhook")?)
        .kubeconfig(&testbed.account_kubeconfig("kube-devops", "policy-webhook")?)
        .arguments(&["--tls-cert", &cert?, "--tls-key", &key?])
        .https(&ca)?
        .start()?;
    webhook.wait_ready(SOON)?;
    Ok(webhook)
}
