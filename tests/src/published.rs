//! Custom resource definitions of other projects, as they publish them: in the source of their Go
//! modules, which the module proxy stores for good.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::{Run, Testbed};

/// A folder with definitions in one version of a Go module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Module and version: `example.com/module@v1.2.3`.
    pub module: &'static str,
    /// The hash of its content, as in a go.sum.
    pub sum: &'static str,
    /// The file or folder in it.
    pub path: &'static str,
}

/// The answer of `go mod download -json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Downloaded {
    dir: PathBuf,
    sum: String,
}

impl Published {
    /// Its path in the module cache. The first call downloads the module, without its dependencies.
    pub fn fetched(&self) -> Result<PathBuf> {
        let mut go = Command::new("go");
        // Outside of any module, whose requirements would be read.
        go.args(["mod", "download", "-json", self.module]).current_dir("/").env("GOWORK", "off");
        let answer = Run::of(&mut go, None)?.succeeded()?;
        let Downloaded { dir, sum } = serde_json::from_str(&answer)
            .with_context(|| format!("go has not downloaded {}: {answer}", self.module))?;
        ensure!(sum == self.sum, "{} has the hash {sum}, not {}", self.module, self.sum);
        Ok(dir.join(self.path))
    }
}

impl Testbed {
    /// Installs definitions of other projects, and waits until they are served.
    pub fn install_published(&self, all: &[Published]) -> Result<()> {
        for published in all {
            let path = published.fetched()?;
            let path = path.to_str().context("the path of the module cache is not UTF-8")?;
            let applied = self.kubectl(&["apply", "--server-side", "-o", "name", "-f", path])?;
            self.wait_until_served(&applied.succeeded()?)?;
        }
        Ok(())
    }
}
