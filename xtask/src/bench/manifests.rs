//! `policyctl analyze` of many large files, and of a single small one.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::de::IgnoredAny;

use super::measure::{median, ratio, time};
const TOTAL_BYTES: usize = 100_000_000;
const DOCUMENTS_PER_FILE: usize = 40;
const REPEATS: usize = 3;
const COLD_STARTS: usize = 41;

/// policyctl on 100 MB of manifests in many files, as a whole process, against only parsing the
/// same files with the same YAML crate on one thread.
pub(super) fn analyze_ratio(policyctl: &Path) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let files = write_manifests(folder.path())?;
    analyze(policyctl, folder.path())?;
    let analysis = || {
        // The command was checked once above; here only its time counts.
        let _ = analyze(policyctl, folder.path());
    };
    Ok(ratio(REPEATS, analysis, || parse_only(&files)))
}

/// `fix` of the same files against `analyze`, in processor time.
pub(super) fn fix_ratio(policyctl: &Path) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    write_manifests(folder.path())?;
    let mut ratios = Vec::new();
    for _ in 0..REPEATS {
        let fix = ticks(|| fix(policyctl, folder.path()))?;
        let analyze = ticks(|| analyze(policyctl, folder.path()))?;
        ratios.push(fix / analyze);
    }
    Ok(median(ratios))
}

/// The processor time of the processes that end in this call, in units of the kernel.
fn ticks(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let before = ticks_of_ended()?;
    work()?;
    Ok(ticks_of_ended()? - before)
}

/// The fields `cutime` and `cstime` of `/proc/self/stat`, see proc(5).
fn ticks_of_ended() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, behind_name) = stat.rsplit_once(')').context("no name in /proc/self/stat")?;
    let times = behind_name.split_whitespace().skip(13).take(2).map(str::parse::<f64>);
    Ok(times.sum::<Result<f64, _>>()?)
}

fn fix(policyctl: &Path, input: &Path) -> Result<()> {
    let status = Command::new(policyctl)
        .args(["fix", "--bundle", "restricted", "--quiet", "-f"])
        .arg(input)
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.code() == Some(1), "policyctl found nothing to fill in: {status}");
    Ok(())
}

/// policyctl on a small file, from start to end of the process.
pub(super) fn cold_milliseconds(policyctl: &Path) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("app.yaml");
    fs::write(&file, document(0))?;
    analyze(policyctl, &file)?;
    let starts = (0..COLD_STARTS).map(|_| time(|| analyze(policyctl, &file)).as_secs_f64() * 1e3);
    Ok(median(starts.collect()))
}

fn analyze(policyctl: &Path, input: &Path) -> Result<()> {
    let status = Command::new(policyctl)
        .args(["analyze", "-o", "json", "-f"])
        .arg(input)
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "policyctl ended with {status}");
    Ok(())
}

fn parse_only(files: &[PathBuf]) {
    for file in files {
        let text = fs::read_to_string(file).unwrap_or_default();
        let options = serde_saphyr::options! { with_snippet: false };
        let parsed = serde_saphyr::from_multiple_with_options::<IgnoredAny>(&text, options);
        std::hint::black_box(parsed.is_ok());
    }
}

fn write_manifests(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let (mut written, mut number) = (0, 0);
    while written < TOTAL_BYTES {
        let mut text = String::new();
        for _ in 0..DOCUMENTS_PER_FILE {
            text += &document(number);
            number += 1;
        }
        let file = folder.join(format!("app-{:05}.yaml", files.len()));
        fs::write(&file, &text)?;
        written += text.len();
        files.push(file);
    }
    Ok(files)
}

/// A typical Deployment; every third lacks a probe, every fifth has an unpinned image.
fn document(number: usize) -> String {
    let tag = if number.is_multiple_of(5) { "latest" } else { "v1.24.3" };
    let mut text = format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: service-{number}\n  namespace: team-{}\n  labels:\n    app.kubernetes.io/name: service-{number}\n\
         spec:\n  replicas: 3\n  selector:\n    matchLabels:\n      app: service-{number}\n  template:\n    metadata:\n      labels:\n        app: service-{number}\n    spec:\n      containers:\n",
        number % 50
    );
    for container in ["app", "proxy"] {
        // Writing into a String cannot fail.
        let _ = write!(
            text,
            "      - name: {container}\n        image: registry.example.com/team/{container}:{tag}\n        ports:\n        - containerPort: 8080\n          name: http\n        env:\n"
        );
        for setting in 0..12 {
            let _ = write!(
                text,
                "        - name: SETTING_{setting}\n          value: \"http://backend-{setting}.svc.cluster.local:8080\"\n"
            );
        }
        text += "        resources:\n          requests:\n            cpu: 100m\n            memory: 128Mi\n          limits:\n            memory: 256Mi\n        readinessProbe:\n          httpGet:\n            path: /readyz\n            port: http\n";
        if !number.is_multiple_of(3) {
            text += "        livenessProbe:\n          httpGet:\n            path: /healthz\n            port: http\n";
        }
    }
    text
}
