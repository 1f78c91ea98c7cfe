//! Images as OCI layouts (<https://github.com/opencontainers/image-spec/blob/main/image-layout.md>).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use e2e::Run;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::network::command;

/// The image whose process keeps the namespaces of a pod.
pub(super) const PAUSE: &str = "localhost/pause:1";

/// The layout of that image in a folder.
pub(super) fn pause_layout(folder: &Path) -> PathBuf {
    folder.join("pause")
}

/// Compiles the program of [`PAUSE`], and makes an image of it.
pub(super) fn pause(folder: &Path) -> Result<()> {
    let root = folder.join("pause-root");
    fs::create_dir(&root)?;
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/pause.rs");
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition=2024", "-Copt-level=s", "-Cstrip=symbols"]);
    // Without an interpreter, which an image of one file lacks.
    rustc.args(["-Ctarget-feature=+crt-static", source, "-o"]).arg(root.join("pause"));
    Run::of(&mut rustc, None)?.succeeded().context("cannot compile the pause image")?;
    write(&pause_layout(folder), &root, "/pause")
}

/// Writes an image with the files of a folder.
fn write(layout: &Path, root: &Path, entrypoint: &str) -> Result<()> {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let layer = layout.with_extension("layer");
    tar(&layer, root, &[])?;
    let layer = add(&blobs, "application/vnd.oci.image.layer.v1.tar", &fs::read(layer)?)?;
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": { "Entrypoint": [entrypoint], "User": "65535:65535" },
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
    });
    let config =
        add(&blobs, "application/vnd.oci.image.config.v1+json", config.to_string().as_bytes())?;
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({ "schemaVersion": 2, "mediaType": media_type, "config": config,
        "layers": [layer] });
    let manifest = add(&blobs, media_type, manifest.to_string().as_bytes())?;
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(layout.join("index.json"), index.to_string())?;
    fs::write(layout.join("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }).to_string())?;
    Ok(())
}

/// Writes a blob, and returns its descriptor.
fn add(blobs: &Path, media_type: &str, bytes: &[u8]) -> Result<Value> {
    let digest = format!("{:x}", Sha256::digest(bytes));
    fs::write(blobs.join(&digest), bytes)?;
    Ok(
        json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len() }),
    )
}

/// Packs a layout for `ctr images import`, which names the image by an annotation.
pub(super) fn archive(layout: &Path, name: &str, archive: &Path) -> Result<()> {
    let path = layout.join("index.json");
    let index = fs::read(&path).with_context(|| format!("{} is no image", layout.display()))?;
    let mut index: Value = serde_json::from_slice(&index)?;
    let manifests = index["manifests"].as_array_mut().map(Vec::as_mut_slice);
    let Some([manifest]) = manifests else {
        bail!("{} holds more or fewer than one image", path.display());
    };
    manifest["annotations"]["io.containerd.image.name"] = json!(name);
    let named = archive.with_extension("index");
    fs::create_dir_all(&named)?;
    fs::write(named.join("index.json"), index.to_string())?;
    tar(archive, layout, &["--exclude=./index.json"])?;
    let (archive, named) = (text(archive)?, text(&named)?);
    command("tar", &["--append", "--file", archive, "--directory", named, "index.json"])
}

fn tar(archive: &Path, folder: &Path, options: &[&str]) -> Result<()> {
    let create = ["--create", "--owner=0", "--group=0", "--file", text(archive)?];
    command("tar", &[&create[..], options, &["--directory", text(folder)?, "."]].concat())
}

pub(super) fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
