//! `e2e gitops`: Flux applies `deploy` to a control plane, and the webhook then writes what Git does
//! not contain.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::{FLUX_DEFINITIONS, Parts, Testbed, say, service_binary};

const NAMESPACE: &str = "flux-system";
const KUSTOMIZATIONS: [&str; 2] = ["kube-devops-crds", "kube-devops"];
const EXAMPLE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/gitops/flux-kustomization.yaml");
/// For what takes a moment, on a busy machine.
const SURELY: Duration = Duration::from_secs(180);
/// The kinds of `deploy/crds` and `deploy/kustomize/base`.
const KINDS: &str = "customresourcedefinitions,namespaces,serviceaccounts,roles,rolebindings,\
                     clusterroles,clusterrolebindings,services,deployments,poddisruptionbudgets,secrets,\
                     validatingwebhookconfigurations,validatingadmissionpolicies,\
                     validatingadmissionpolicybindings";
const SECRET: [&str; 5] =
    ["get", "secret", "policy-webhook-self-managed", "--namespace=kube-devops", "-o"];
const CONFIGURATION: [&str; 4] =
    ["get", "validatingwebhookconfiguration", "kube-devops-policy-webhook", "-o"];

pub(crate) fn run() -> Result<()> {
    let testbed = Testbed::start(&Parts::new("gitops").with_controllers().with_nodes(3))?;
    testbed.install_published(&FLUX_DEFINITIONS)?;
    testbed.kubectl(&["create", "namespace", NAMESPACE])?.succeeded()?;
    testbed.kubectl(&["apply", "--server-side", "-f", EXAMPLE])?.succeeded()?;
    testbed.store_artifact("kube-devops")?;
    let start = Instant::now();
    testbed.start_flux()?;
    for name in KUSTOMIZATIONS {
        wait_ready(&testbed, name)?;
    }
    say(&format!("Flux has applied deploy, and all is ready, after {:.0?}", start.elapsed()));
    let webhook = service_binary("policy-webhook")?;
    let account = testbed.account_kubeconfig("kube-devops", "policy-webhook")?;
    let _webhook = testbed.service("policy-webhook", &webhook).kubeconfig(&account).start()?;
    testbed.wait_for("the webhook to write its certificate", SURELY, || {
        let (data, authority) = written(&testbed)?;
        Ok(!data.is_empty() && !authority.is_empty())
    })?;
    let (before, certificate) = (objects(&testbed)?, written(&testbed)?);
    say("the webhook has written caBundle and the data of its Secret");
    for name in KUSTOMIZATIONS {
        reconcile(&testbed, name)?;
    }
    let after = objects(&testbed)?;
    ensure!(after == before, "the second reconcile has changed something:\n{before}\n{after}");
    ensure!(written(&testbed)? == certificate, "the second reconcile has changed the certificate");
    let count = after.lines().count();
    say(&format!("a second reconcile has changed none of {count} objects (resourceVersion)"));
    Ok(())
}

fn wait_ready(testbed: &Testbed, name: &str) -> Result<()> {
    let name = format!("kustomization.kustomize.toolkit.fluxcd.io/{name}");
    let wait = ["wait", "--for=condition=Ready", &name, "-n", NAMESPACE, "--timeout=180s"];
    let ready = testbed.kubectl(&wait)?.succeeded();
    ready.with_context(|| testbed.log_tail("kustomize-controller"))?;
    Ok(())
}

/// Asks for a reconcile, and waits for its end.
fn reconcile(testbed: &Testbed, name: &str) -> Result<()> {
    let kustomization = format!("kustomization.kustomize.toolkit.fluxcd.io/{name}");
    let ask =
        ["annotate", &kustomization, "-n", NAMESPACE, "reconcile.fluxcd.io/requestedAt=again"];
    testbed.kubectl(&ask)?.succeeded()?;
    let handled =
        ["get", &kustomization, "-n", NAMESPACE, "-o", "jsonpath={.status.lastHandledReconcileAt}"];
    testbed.wait_for("the second reconcile", SURELY, || {
        Ok(testbed.kubectl(&handled)?.succeeded()? == "again")
    })?;
    wait_ready(testbed, name)
}

/// The objects that Flux has applied, one a line, with their version.
fn objects(testbed: &Testbed) -> Result<String> {
    let line = "jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.resourceVersion}{'\\n'}{end}";
    let label = "--selector=kustomize.toolkit.fluxcd.io/name";
    testbed.kubectl(&["get", KINDS, "--all-namespaces", label, "-o", line])?.succeeded()
}

/// What the webhook writes: the data of its Secret, and `caBundle`.
fn written(testbed: &Testbed) -> Result<(String, String)> {
    let data = testbed.kubectl(&[&SECRET[..], &["jsonpath={.data}"]].concat())?.succeeded()?;
    let authority = "jsonpath={.webhooks[0].clientConfig.caBundle}";
    let authority = testbed.kubectl(&[&CONFIGURATION[..], &[authority]].concat())?.succeeded()?;
    Ok((data, authority))
}
