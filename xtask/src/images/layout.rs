//! Reading an image from an OCI layout:
//! <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// An image of a layout, with all files of all its layers.
#[derive(Debug, Default)]
pub(super) struct Image {
    /// Of its manifest: what `NAME@sha256:…` pulls.
    pub(super) digest: String,
    pub(super) run: RunConfig,
    pub(super) layers: usize,
    pub(super) files: Vec<Entry>,
    /// Of everything that a node loads.
    pub(super) compressed: u64,
}

/// How a container of the image starts.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct RunConfig {
    pub(super) user: String,
    pub(super) entrypoint: Vec<String>,
    pub(super) cmd: Vec<String>,
    pub(super) volumes: BTreeMap<String, serde_json::Value>,
    pub(super) labels: BTreeMap<String, String>,
}

/// A file, folder or link of a layer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) is_file: bool,
    pub(super) mode: u32,
    /// User and group.
    pub(super) owner: (u64, u64),
    pub(super) content: Vec<u8>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    config: RunConfig,
}

impl Image {
    pub(super) fn read(layout: &Path, tag: &str) -> Result<Self> {
        const TAG: &str = "org.opencontainers.image.ref.name";
        let index: Index = read_json(&layout.join("index.json"))?;
        let tagged = |found: &Descriptor| found.annotations.get(TAG).is_some_and(|of| of == tag);
        let found = index.manifests.into_iter().find(tagged);
        let digest = found.with_context(|| format!("{} has no {tag}", layout.display()))?.digest;
        let manifest: Manifest = read_json(&blob(layout, &digest)?)?;
        let Config { config: run } = read_json(&blob(layout, &manifest.config.digest)?)?;
        let mut files = Vec::new();
        for layer in &manifest.layers {
            files.extend(entries(layout, layer)?);
        }
        let sizes = manifest.layers.iter().map(|layer| layer.size);
        let compressed = manifest.config.size + sizes.sum::<u64>();
        Ok(Self { digest, run, layers: manifest.layers.len(), files, compressed })
    }
}

fn read_json<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not as OCI wants", file.display()))
}

/// The file of a digest such as `sha256:0f3c…`.
fn blob(layout: &Path, digest: &str) -> Result<PathBuf> {
    let (kind, hash) = digest.split_once(':').with_context(|| format!("{digest} is no digest"))?;
    Ok(layout.join("blobs").join(kind).join(hash))
}

fn entries(layout: &Path, layer: &Descriptor) -> Result<Vec<Entry>> {
    if !layer.media_type.ends_with("tar+gzip") {
        bail!("cannot read a layer of the type {}", layer.media_type);
    }
    let mut entries = Vec::new();
    for entry in
        tar::Archive::new(GzDecoder::new(File::open(blob(layout, &layer.digest)?)?)).entries()?
    {
        let mut entry = entry?;
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        let header = entry.header();
        entries.push(Entry {
            path: Path::new("/").join(entry.path()?),
            is_file: header.entry_type().is_file(),
            mode: header.mode()?,
            owner: (header.uid()?, header.gid()?),
            content,
        });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_image_has_the_files_of_all_its_layers() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = folder.path().join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let layer = |name: &str, path: &str| {
            let file = File::create(blobs.join(name)).unwrap();
            let mut tar = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
            let mut header = tar::Header::new_gnu();
            header.set_size(1);
            header.set_mode(0o755);
            header.set_uid(0);
            header.set_gid(0);
            tar.append_data(&mut header, path, b"x".as_slice()).unwrap();
            tar.into_inner().unwrap().finish().unwrap();
            let media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
            json!({"mediaType": media_type, "digest": format!("sha256:{name}"), "size": 100})
        };
        let config = json!({"config": {"User": "1000:1000", "Entrypoint": ["/a"]}});
        fs::write(blobs.join("c"), config.to_string()).unwrap();
        let manifest = json!({
            "config": {"mediaType": "", "digest": "sha256:c", "size": 10},
            "layers": [layer("1", "a"), layer("2", "bin/sh")],
        });
        fs::write(blobs.join("m"), manifest.to_string()).unwrap();
        let tag = json!({"org.opencontainers.image.ref.name": "1.0"});
        let index = json!({"manifests": [
            {"mediaType": "", "digest": "sha256:m", "size": 1, "annotations": tag},
        ]});
        fs::write(folder.path().join("index.json"), index.to_string()).unwrap();

        let image = Image::read(folder.path(), "1.0").unwrap();
        let paths: Vec<_> = image.files.iter().map(|file| file.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/a", "/bin/sh"]);
        assert_eq!((image.digest.as_str(), image.layers, image.compressed), ("sha256:m", 2, 210));
        assert_eq!(
            (image.run.user.as_str(), image.run.entrypoint),
            ("1000:1000", vec!["/a".into()])
        );
        let none = Image::read(folder.path(), "2.0").unwrap_err().to_string();
        assert!(none.ends_with("has no 2.0"), "{none}");
    }
}
