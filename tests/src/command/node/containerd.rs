//! containerd, with runc and the bridge plug-in of CNI.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::json;

use super::network::{BRIDGE, pods};
use super::oci::{PAUSE, text};
use super::requirements::CNI;

/// Below `/run`, which each node has for itself.
pub(super) const SOCKET: &str = "/run/containerd/containerd.sock";

/// Writes the configuration of containerd and of CNI into the folder of a node.
pub(super) fn configure(folder: &Path, node: usize) -> Result<PathBuf> {
    let cni = folder.join("cni");
    fs::create_dir_all(&cni)?;
    let bridge = json!({
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": true,
        "ipMasq": false,
        // A pod may reach itself through its Service.
        "hairpinMode": true,
        "ipam": {
            "type": "host-local",
            "ranges": [[{ "subnet": pods(node) }]],
            "routes": [{ "dst": "0.0.0.0/0" }],
        },
    });
    let ports = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    let network = json!({ "cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, ports] });
    fs::write(cni.join("10-bridge.conflist"), network.to_string())?;
    let path = folder.join("containerd.toml");
    fs::write(&path, toml(text(&cni)?))?;
    Ok(path)
}

/// Of version 2, which containerd 1.6 and later ones read.
fn toml(cni: &str) -> String {
    format!(
        r#"version = 2
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  # No profile is loaded here, and a container may lack the rights to lower its score.
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI}"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"#
    )
}
