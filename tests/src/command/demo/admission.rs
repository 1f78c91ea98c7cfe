//! The admission step of the demo.

use std::fs;

use anyhow::Result;

use super::component::SOON;
use super::{Demo, install};

/// Switches admission on, and shows the answers that users get.
pub(super) fn show(demo: &Demo) -> Result<()> {
    fs::write(demo.testbed.folder().join("fine.yaml"), include_str!("fine.yaml"))?;
    install::switch_on(demo, "admission.enabled")?;
    demo.testbed.wait_for("the webhook to be called", SOON, || {
        let pod = ["run", "probe", "--image=nginx", "-n", "shop", "--dry-run=server"];
        Ok(demo.testbed.kubectl(&pod)?.code != Some(0))
    })?;
    demo.show("kubectl run bad --image=nginx -n shop", 1)?;
    demo.show("kubectl create deployment web --image=nginx -n billing", 0)?;
    demo.show("policyctl admit -n billing -f fine.yaml", 0)?;
    demo.show("kubectl create -n billing -f fine.yaml", 0)
}
