//! What real kubelets and kube-proxies need: see [`crate::Parts::with_kubelets`].

use std::path::PathBuf;

use anyhow::Result;

use crate::Testbed;
pub use crate::tokens::NODES;
use crate::tokens::{PROXY, kubelet};

impl Testbed {
    /// The kubeconfig of the kubelet of one of [`NODES`].
    pub fn kubelet_kubeconfig(&self, node: &str) -> Result<PathBuf> {
        self.user_kubeconfig(&kubelet(node), None)
    }

    /// The kubeconfig of kube-proxy, on any node.
    pub fn proxy_kubeconfig(&self) -> Result<PathBuf> {
        self.user_kubeconfig(PROXY, None)
    }
}
