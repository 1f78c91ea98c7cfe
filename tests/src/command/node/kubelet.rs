//! Configuration of kubelet and kube-proxy.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};

use super::containerd::SOCKET;
use super::network::PODS;

/// Writes the configuration of the kubelet into the folder of its node.
pub(super) fn configure(folder: &Path, authority: &Path) -> Result<PathBuf> {
    let configuration = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": authority },
        },
        "authorization": { "mode": "Webhook" },
        // No systemd runs in the namespaces of the node.
        "cgroupDriver": "cgroupfs",
        // Kubernetes 1.35 refuses cgroup v1 otherwise (<https://kep.k8s.io/5573>).
        "failCgroupV1": false,
        "failSwapOn": false,
        "seccompDefault": true,
        // There is no DNS server: containers get an empty resolv.conf.
        "resolvConf": "",
        // The disk of this machine may be fuller than that of a node.
        "evictionHard": { "memory.available": "100Mi", "nodefs.available": "1%",
            "imagefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.inodesFree": "1%" },
    });
    write(folder.join("kubelet.json"), &configuration)
}

/// Writes the configuration of kube-proxy into the folder of its node.
pub(super) fn configure_proxy(folder: &Path, kubeconfig: &Path) -> Result<PathBuf> {
    let configuration = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": PODS,
        "clientConnection": { "kubeconfig": kubeconfig },
        // A pod would answer another pod of its node directly, from its own address instead of the
        // Service's.
        "nftables": { "masqueradeAll": true },
        // These settings are of the whole machine.
        "conntrack": { "maxPerCore": 0, "min": 0 },
    });
    write(folder.join("kube-proxy.json"), &configuration)
}

fn write(path: PathBuf, configuration: &Value) -> Result<PathBuf> {
    fs::write(&path, configuration.to_string())?;
    Ok(path)
}
