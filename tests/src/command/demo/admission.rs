//! The admission step of the demo.

use std::fs;

use anyhow::Result;
use e2e::{Service, Testbed, service_binary};

use super::Demo;
use super::replicas::SOON;

/// Starts a webhook that issues its own certificate, registers it with the API server, and shows
/// the answers that users get. The webhook runs until the returned value is dropped.
pub(super) fn start(demo: &Demo) -> Result<Service<'_>> {
    let webhook = launch(&demo.testbed)?;
    let url = format!("https://{}", webhook.addr());
    demo.show(&format!("policyctl webhook install-config --url {url}"), 0)?;
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

fn launch(testbed: &Testbed) -> Result<Service<'_>> {
    testbed.install_base()?;
    fs::write(testbed.folder().join("fine.yaml"), include_str!("fine.yaml"))?;
    testbed
        .service("policy-webhook", &service_binary("policy-webhook")?)
        .kubeconfig(&testbed.account_kubeconfig("kube-devops", "policy-webhook")?)
        .variable("GOV_CERTIFICATE__NAMES", "127.0.0.1")
        .start()
}
