//! What a container gets, for a process. This file has all that differs:
//!
//! - `--addr 127.0.0.1:0` goes before the arguments of the container, as all pods share this machine's
//!   ports. The network leads to it from the port that the program would have chosen without it.
//! - The files of the `ServiceAccount` are in a folder of the pod, not at their mount path, and a
//!   kubeconfig names them. A client in a pod finds the path by itself; a client with `KUBECONFIG` reads
//!   the same files. Nothing else can be mounted.
//! - `KUBERNETES_SERVICE_HOST` and `_PORT` name the API server itself, not its Service.
//! - Requests, limits and the security context have no effect.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvVar, ObjectFieldSelector, Pod, PodSpec, ServiceAccount,
    ServiceAccountTokenProjection, VolumeProjection,
};
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};
use serde_json::Value;

use super::{ProcessKubelet, Slot};
use crate::kubeconfig::{self, Access, Credential};
use crate::{Launch, Run, Testbed, service_binary};

/// Where clients in a pod look for their token.
const ACCOUNT_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A container that is ready to start.
pub(super) struct Prepared {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, OsString)>,
}

impl Prepared {
    /// The start of a service.
    pub(super) fn launch<'a>(self, testbed: &'a Testbed, name: &str) -> Launch<'a> {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let launch = testbed.service(name, &self.program).arguments(&arguments);
        let environment = self.environment.into_iter();
        environment.fold(launch, |launch, (name, value)| launch.variable(&name, value))
    }

    /// The port that a service listens on in a container, which the service itself tells.
    pub(super) fn port(&self) -> Result<u16> {
        let mut asked = Command::new(&self.program);
        asked.args(&self.arguments).arg("--print-config").env_clear();
        asked.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let printed = Run::of(&mut asked, None)?.succeeded()?;
        let printed: Value = serde_saphyr::from_str(&printed)?;
        let addr = printed["addr"].as_str().and_then(|addr| addr.rsplit_once(':')?.1.parse().ok());
        addr.context("the program prints no addr")
    }
}

/// The only container of a pod of the platform.
pub(super) fn only(pod: &Pod) -> Result<&Container> {
    let spec = spec(pod)?;
    ensure!(spec.init_containers.is_none(), "init containers are not supported");
    match spec.containers.as_slice() {
        [container] => Ok(container),
        all => bail!("{} containers are not supported", all.len()),
    }
}

pub(super) fn prepare(kubelet: &ProcessKubelet<'_>, pod: &Pod, slot: &Slot) -> Result<Prepared> {
    let container = only(pod)?;
    ensure!(container.command.is_none(), "a command is not supported: an image has one program");
    ensure!(container.env_from.is_none(), "envFrom is not supported");
    let image = container.image.as_deref().context("there is no image")?;
    let program = program(image).with_context(|| format!("no program has the image {image}"))?;
    let program = service_binary(program)?;
    let mut environment = environment(kubelet, pod, container, slot)?;
    if let Some(kubeconfig) = mounts(kubelet, pod, container, slot)? {
        environment.push(("KUBECONFIG".to_owned(), kubeconfig.into_os_string()));
    }
    let arguments = container.args.clone().unwrap_or_default();
    Ok(Prepared { program, arguments, environment })
}

fn spec(pod: &Pod) -> Result<&PodSpec> {
    pod.spec.as_ref().context("the pod has no spec")
}

/// The name of the program that is in an image: `registry.example.com/kube-devops/policy-watcher:0.1.0`.
fn program(image: &str) -> Option<&str> {
    let name = image.rsplit('/').next()?;
    let end = name.find(['@', ':']).unwrap_or(name.len());
    name.get(..end)
}

fn environment(
    kubelet: &ProcessKubelet<'_>,
    pod: &Pod,
    container: &Container,
    slot: &Slot,
) -> Result<Vec<(String, OsString)>> {
    let server = kubelet.testbed.server_url().trim_start_matches("https://");
    let (host, port) = server.rsplit_once(':').context("the API server has no port")?;
    let of_kubelet = [
        ("HOSTNAME", slot.name.as_str()),
        ("KUBERNETES_SERVICE_HOST", host),
        ("KUBERNETES_SERVICE_PORT", port),
    ];
    let mut all: Vec<(String, OsString)> =
        of_kubelet.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    for variable in container.env.iter().flatten() {
        let value = value(variable, pod, slot)
            .with_context(|| format!("the variable {}", variable.name))?;
        all.push((variable.name.clone(), value.into()));
    }
    Ok(all)
}

fn value(variable: &EnvVar, pod: &Pod, slot: &Slot) -> Result<String> {
    match (&variable.value, &variable.value_from) {
        (Some(value), None) => {
            ensure!(!value.contains("$("), "references to other variables are not supported");
            Ok(value.clone())
        }
        (None, None) => Ok(String::new()),
        (_, Some(from)) => {
            let field = from.field_ref.as_ref().context("only fieldRef is supported")?;
            field_value(field, pod, slot)
        }
    }
}

/// A field of the pod, as the downward API gives it
/// (<https://kubernetes.io/docs/concepts/workloads/pods/downward-api/>).
fn field_value(field: &ObjectFieldSelector, pod: &Pod, slot: &Slot) -> Result<String> {
    let spec = spec(pod)?;
    Ok(match field.field_path.as_str() {
        "metadata.name" => pod.name_any(),
        "metadata.namespace" => pod.namespace().unwrap_or_default(),
        "metadata.uid" => pod.uid().unwrap_or_default(),
        "spec.nodeName" => spec.node_name.clone().unwrap_or_default(),
        "spec.serviceAccountName" => spec.service_account_name.clone().unwrap_or_default(),
        "status.podIP" => slot.address.to_string(),
        other => bail!("the field {other} is not supported"),
    })
}

/// Writes the files of the volumes, and returns the kubeconfig that names them.
fn mounts(
    kubelet: &ProcessKubelet<'_>,
    pod: &Pod,
    container: &Container,
    slot: &Slot,
) -> Result<Option<PathBuf>> {
    let mut kubeconfig = None;
    for mount in container.volume_mounts.iter().flatten() {
        ensure!(
            mount.mount_path == ACCOUNT_FOLDER,
            "nothing can be mounted at {}: a process has no file system of its own",
            mount.mount_path
        );
        let mut volumes = spec(pod)?.volumes.iter().flatten();
        let volume = volumes.find(|volume| volume.name == mount.name);
        let sources = volume
            .and_then(|volume| volume.projected.as_ref())
            .context("the token is no projected volume")?;
        let folder = kubelet.testbed.folder().join("pods").join(&slot.name).join(&mount.name);
        fs::create_dir_all(&folder)?;
        for source in sources.sources.iter().flatten() {
            project(kubelet, pod, slot, source, &folder)?;
        }
        kubeconfig = Some(write_kubeconfig(kubelet, &folder)?);
    }
    Ok(kubeconfig)
}

/// Writes the files of one source of a projected volume.
fn project(
    kubelet: &ProcessKubelet<'_>,
    pod: &Pod,
    slot: &Slot,
    source: &VolumeProjection,
    folder: &Path,
) -> Result<()> {
    let namespace = pod.namespace().unwrap_or_default();
    if let Some(wanted) = &source.service_account_token {
        fs::write(folder.join(&wanted.path), token(kubelet, pod, wanted)?)?;
    }
    if let Some(wanted) = &source.config_map {
        let maps: Api<ConfigMap> = Api::namespaced(kubelet.client.clone(), &namespace);
        let map = kubelet.call(maps.get(&wanted.name))?;
        for item in wanted.items.iter().flatten() {
            let text = map.data.as_ref().and_then(|data| data.get(&item.key));
            let text = text.with_context(|| format!("{} has no {}", wanted.name, item.key))?;
            fs::write(folder.join(&item.path), text)?;
        }
    }
    for item in source.downward_api.iter().flat_map(|wanted| wanted.items.iter().flatten()) {
        let field = item.field_ref.as_ref().context("only fieldRef is supported")?;
        fs::write(folder.join(&item.path), field_value(field, pod, slot)?)?;
    }
    ensure!(source.secret.is_none(), "Secrets are not supported");
    Ok(())
}

/// A token of the pod's `ServiceAccount`, bound to the pod. It is not renewed: the API server gives the
/// lifetime that it writes into pods itself a year more
/// (<https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/>,
/// `--service-account-extend-token-expiration`).
fn token(
    kubelet: &ProcessKubelet<'_>,
    pod: &Pod,
    wanted: &ServiceAccountTokenProjection,
) -> Result<String> {
    let account = spec(pod)?.service_account_name.as_deref().unwrap_or("default");
    let namespace = pod.namespace().unwrap_or_default();
    let accounts: Api<ServiceAccount> = Api::namespaced(kubelet.client.clone(), &namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: wanted.audience.clone().into_iter().collect(),
            expiration_seconds: wanted.expiration_seconds,
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(pod.name_any()),
                uid: pod.uid(),
            }),
        },
        ..TokenRequest::default()
    };
    let parameters = PostParams::default();
    let create = accounts.create_token_request(account, &parameters, &request);
    let issued = kubelet.call(create).with_context(|| format!("no token for {account}"))?;
    Ok(issued.status.context("the token request has no status")?.token)
}

fn write_kubeconfig(kubelet: &ProcessKubelet<'_>, folder: &Path) -> Result<PathBuf> {
    let namespace = fs::read_to_string(folder.join("namespace"))?;
    let access = Access {
        name: "pod",
        server: kubelet.testbed.server_url(),
        authority: &folder.join("ca.crt"),
        disable_compression: false,
    };
    let token = Credential::TokenFile(&folder.join("token"));
    kubeconfig::write(&folder.join("kubeconfig"), &access, "pod", token, Some(&namespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_of_an_image_is_its_last_part() {
        for image in
            ["policy-watcher", "a.example:5000/b/policy-watcher:1", "a/policy-watcher@sha256:0"]
        {
            assert_eq!(program(image), Some("policy-watcher"), "{image}");
        }
    }
}
