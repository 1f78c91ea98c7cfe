//! The chart, with Helm.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use e2e::{Run, Testbed, root};

use super::oci;

/// The namespace and the name of the release.
pub(super) const NAMESPACE: &str = "kube-devops";

/// Runs `helm VERB kube-devops CHART`.
pub(super) fn helm(testbed: &Testbed, verb: &str, options: &[&str]) -> Result<Run> {
    let mut helm = testbed.helm()?;
    helm.args([verb, NAMESPACE]).arg(root().join("charts/kube-devops"));
    Run::of(helm.args(["--namespace", NAMESPACE]).args(options), None)
}

/// Runs a verb of Helm that takes a release and no chart.
pub(super) fn helm_release(testbed: &Testbed, verb: &str, options: &[&str]) -> Result<Run> {
    let mut helm = testbed.helm()?;
    Run::of(helm.args([verb, NAMESPACE, "--namespace", NAMESPACE]).args(options), None)
}

/// Packs the images of the chart and that of pods into archives, which are named as the chart names
/// the images, and returns their folder.
pub(super) fn archives(testbed: &Testbed, layouts: &Path, pause: &Path) -> Result<PathBuf> {
    let folder = testbed.folder().join("images");
    fs::create_dir(&folder)?;
    let rendered = helm(testbed, "template", &[])?.succeeded()?;
    for (component, image) in images(&rendered) {
        let layout = layouts.join(component);
        let archive = folder.join(format!("{component}.tar"));
        oci::archive(&layout, image, &archive)
            .with_context(|| format!("the chart runs {image}, which --images has to hold"))?;
    }
    oci::archive(pause, oci::PAUSE, &folder.join("pause.tar"))?;
    Ok(folder)
}

/// The images in manifests, each by the last part of its repository.
fn images(manifests: &str) -> BTreeMap<&str, &str> {
    let lines = manifests.lines().map(|line| line.trim().trim_start_matches("- "));
    let images = lines.filter_map(|line| Some(line.strip_prefix("image: ")?.trim_matches('"')));
    images.filter_map(|image| Some((image.rsplit('/').next()?.split(':').next()?, image))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_by_the_name_of_their_component() {
        let text =
            "    - image: \"r.example.com:5000/a/policy-webhook:0.1.0\"\n      image: b/c:1\n";
        let expected =
            [("c", "b/c:1"), ("policy-webhook", "r.example.com:5000/a/policy-webhook:0.1.0")];
        assert_eq!(images(text), BTreeMap::from(expected));
    }
}
