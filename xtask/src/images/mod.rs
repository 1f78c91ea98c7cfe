//! `cargo xtask images`: the images of the components, built from deploy/images/Dockerfile by buildah.
//!
//! The programs are compiled by this machine's cargo, which has the dependencies already, and take the
//! place of the Dockerfile's builder stage. Every image is checked before it is handed over.

mod layout;
mod programs;
mod rules;
mod store;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};

use crate::cargo::root;
use layout::Image;
use store::Store;

#[derive(Args)]
pub(crate) struct Options {
    /// Folder that gets an OCI layout and a bill of materials of each image
    #[arg(long, value_name = "DIR", default_value = "target/images/oci")]
    out: PathBuf,
    /// Push the images to this registry, over HTTP where it is on this machine
    #[arg(long, value_name = "HOST:PORT")]
    registry: Option<String>,
    /// Only this one; can be given several times
    #[arg(long, value_name = "COMPONENT")]
    only: Vec<Component>,
    /// Tag of the images
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    tag: String,
    /// Compile the programs, and stop before the images
    #[arg(long, conflicts_with_all = ["out", "registry", "tag"])]
    programs: bool,
}

/// What has an image: a stage of the Dockerfile, a program and a crate of that name.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Component {
    PolicyWatcher,
    PolicyOperator,
    PolicyWebhook,
    Policyctl,
}

impl Component {
    const fn name(self) -> &'static str {
        match self {
            Self::PolicyWatcher => "policy-watcher",
            Self::PolicyOperator => "policy-operator",
            Self::PolicyWebhook => "policy-webhook",
            Self::Policyctl => "policyctl",
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let components = match options.only.as_slice() {
        [] => Component::value_variants(),
        only => only,
    };
    tools::needed_for_programs()?;
    if !options.programs {
        tools::needed_for_images()?;
    }
    let programs = programs::compile(components)?;
    if options.programs {
        for component in components {
            println!("{}", programs.join("out").join(component.name()).display());
        }
        return Ok(());
    }
    let store = Store::open(&programs)?;
    let mut rows = Vec::new();
    for component in components {
        let image = build(*component, options, &store, &programs)?;
        rows.push((component.name(), image.compressed, image.digest));
    }
    println!("{:<16} {:>10}  DIGEST", "IMAGE", "COMPRESSED");
    for (name, bytes, digest) in rows {
        println!("{name:<16} {:>10}  {digest}", megabytes(bytes));
    }
    Ok(())
}

/// Builds the image of a component into its layout, checks it, and hands it to the registry.
fn build(component: Component, options: &Options, store: &Store, programs: &Path) -> Result<Image> {
    let name = component.name();
    let folder = root().join(&options.out);
    let layout = folder.join(name);
    remove_layout(&layout)?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    store.build(name, &layout, &options.tag)?;
    let image = Image::read(&layout, &options.tag)?;
    let broken = rules::broken(name, &image);
    if !broken.is_empty() {
        fs::remove_dir_all(&layout)?;
        bail!("the image {name} breaks the rules of its Dockerfile: {}", broken.join("; "));
    }
    programs::bill_of_materials(&programs.join("out").join(name), &folder)?;
    if let Some(registry) = &options.registry {
        store::push(&layout, &options.tag, registry, name)?;
    }
    Ok(image)
}

/// Removes the layout of an earlier run, and nothing else.
fn remove_layout(layout: &Path) -> Result<()> {
    if !layout.exists() {
        return Ok(());
    }
    ensure!(
        layout.join("oci-layout").is_file(),
        "{} exists and is no OCI layout: name another folder by --out",
        layout.display()
    );
    fs::remove_dir_all(layout).with_context(|| format!("cannot remove {}", layout.display()))
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{:02} MB", bytes / 1_000_000, bytes % 1_000_000 / 10_000)
}
