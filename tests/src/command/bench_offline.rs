//! `e2e bench-offline`: processor time and memory of `policyctl analyze` of many small files against
//! those of kube-score, a linter of manifests in Go: <https://github.com/zegl/kube-score>.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Result, ensure};
use e2e::{Program, released_program, say};
use serde_json::{Value, json};

use super::measure::median;
use super::process::{ended_cpu, peak_memory};

const FILES: usize = 5000;
const REPEATS: usize = 5;
/// Runs of policyctl beside one of kube-score: the kernel counts processor time in units of 10 ms.
const RUNS: usize = 5;

pub(crate) fn run() -> Result<()> {
    let policyctl = released_program("policyctl")?;
    let kube_score = Program::KubeScore.path()?;
    let folder = env::temp_dir().join(format!("bench-offline-{}", std::process::id()));
    let measured =
        files(&folder).and_then(|files| measure((&policyctl, &folder), (&kube_score, &files)));
    fs::remove_dir_all(&folder)?;
    writeln!(io::stdout(), "{}", measured?)?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "KiB and runs are far below 2^52")]
fn measure(
    (policyctl, folder): (&Path, &Path),
    (kube_score, files): (&Path, &[PathBuf]),
) -> Result<Value> {
    let (mut times, mut memories) = (Vec::new(), Vec::new());
    for _ in 0..REPEATS {
        let before = ended_cpu()?;
        let mut memory = 0;
        for _ in 0..RUNS {
            let mut analyze = Command::new(policyctl);
            memory =
                memory.max(peak(analyze.args(["analyze", "-o", "json", "-f"]).arg(folder), 0)?);
        }
        let between = ended_cpu()?;
        let mut score = Command::new(kube_score);
        // It exits with 1 where it finds something.
        let its_memory = peak(score.args(["score", "--output-format", "json"]).args(files), 1)?;
        let time = (between - before) / RUNS as f64;
        let its_time = ended_cpu()? - between;
        say(&format!(
            "policyctl {time:.2} s, {memory} KiB; kube-score {its_time:.2} s, {its_memory} KiB"
        ));
        times.push(time / its_time);
        memories.push(memory as f64 / its_memory as f64);
    }
    Ok(json!({ "offline_ratio": median(times), "offline_memory_ratio": median(memories) }))
}

/// The peak of resident memory in KiB of a program that ends with this code.
fn peak(command: &mut Command, code: i32) -> Result<u64> {
    let (status, peak) = peak_memory(&mut command.stdout(Stdio::null()).spawn()?)?;
    ensure!(status.code() == Some(code), "{} ended with {status}", command.get_program().display());
    Ok(peak)
}

/// Writes a Deployment and a Service into each file, 10 MB in all.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder)?;
    // Always the same choices.
    let mut random = fastrand::Rng::with_seed(7);
    let one = |number| {
        let file = folder.join(format!("app-{number:05}.yaml"));
        fs::write(&file, documents(number, &mut random))?;
        Ok(file)
    };
    (0..FILES).map(one).collect()
}

fn documents(number: usize, random: &mut fastrand::Rng) -> String {
    let team = number % 50;
    let replicas = 1 + number % 4;
    let tag = ["v1.2.3", "latest", "1.0"][random.usize(..3)];
    let proxy = [":v1.31.0", "", ":latest"][random.usize(..3)];
    let mut settings = String::new();
    for setting in 0..10 {
        // Writing into a String cannot fail.
        let _ = write!(
            settings,
            "        - name: SETTING_{setting}\n          value: \"value-{setting}-{number}\"\n"
        );
    }
    let probes = if number.is_multiple_of(3) {
        ""
    } else {
        "        livenessProbe:
          httpGet: {path: /healthz, port: http}
        readinessProbe:
          httpGet: {path: /ready, port: http}
"
    };
    format!(
        r#"apiVersion: apps/v1
kind: Deployment
metadata:
  name: app-{number}
  namespace: team-{team}
  labels: {{app.kubernetes.io/name: app-{number}, app.kubernetes.io/part-of: team-{team}}}
spec:
  replicas: {replicas}
  selector:
    matchLabels:
      app: app-{number}
  template:
    metadata:
      labels:
        app: app-{number}
        version: v{replicas}
    spec:
      serviceAccountName: app-{number}
      initContainers:
      - name: migrate
        image: registry.example.com:5000/team-{team}/migrate:{tag}
        command: ["/bin/migrate", "--wait", "--timeout=30s"]
      containers:
      - name: app
        image: registry.example.com:5000/team-{team}/app-{number}:{tag}
        ports:
        - containerPort: 8080
          name: http
        env:
{settings}        resources:
          requests: {{cpu: 100m, memory: 128Mi}}
          limits: {{memory: 256Mi}}
{probes}      - name: proxy
        image: envoyproxy/envoy{proxy}
        args: ["-c", "/etc/envoy.yaml", "--log-level", "info"]
        volumeMounts:
        - name: config
          mountPath: /etc/envoy
      volumes:
      - name: config
        configMap:
          name: app-{number}
---
apiVersion: v1
kind: Service
metadata:
  name: app-{number}
  namespace: team-{team}
spec:
  selector: {{app: app-{number}}}
  ports:
  - port: 80
    targetPort: http
"#
    )
}
