//! Prometheus beside a control plane. It finds the pods of the platform by the API server, as everywhere.

mod grafana;
mod operator;
mod published;
mod scrape;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

pub use grafana::{Choices, PanelQuery, Viewed};
pub use published::{OPERATOR_DEFINITIONS, PROMETHEUS_DEFINITIONS};
use scrape::Scraped;

use crate::http::Address;
use crate::poll::wait_for;
use crate::{ProcessKubelet, Program, Signal, Testbed};

/// Deadline of its start and of a query, on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// Seconds since 1970, and values as text.
type Samples = Vec<(f64, String)>;

/// A running Prometheus.
pub struct Prometheus<'a> {
    testbed: &'a Testbed,
    /// Of its process, its configuration and its data.
    name: String,
    address: Address,
}

/// What Prometheus has beside the platform.
#[derive(Clone, Copy, Default)]
pub struct Surroundings<'a> {
    /// The API server, whose metrics about our webhooks it keeps.
    pub api_server: bool,
    /// Another cluster's, whose name is the label `cluster` of each series.
    pub cluster: Option<&'a str>,
}

impl Testbed {
    /// Starts Prometheus with the alerts of `rules` (the spec of a `PrometheusRule`). It scrapes what the
    /// platform's `ServiceMonitor`s select, every second, with the authority of the self-managed
    /// certificate.
    pub fn start_prometheus(
        &self,
        kubelet: &ProcessKubelet<'_>,
        rules: &Value,
        surroundings: Surroundings<'_>,
    ) -> Result<Prometheus<'_>> {
        let scraped = Scraped::new(self, kubelet)?;
        let file = self.folder().join("rules.json");
        fs::write(&file, rules.to_string())?;
        let configuration = json!({
            "global": { "scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s" },
            "rule_files": [file],
            "scrape_configs": scraped.configurations(surroundings)?,
        });
        let program = Program::Prometheus.name();
        let name = surroundings.cluster.map(|cluster| format!("{program}-of-{cluster}"));
        self.start_prometheus_with(name.as_deref().unwrap_or(program), &configuration)
    }

    /// Starts a Prometheus of this name with this configuration.
    pub fn start_prometheus_with(
        &self,
        name: &str,
        configuration: &Value,
    ) -> Result<Prometheus<'_>> {
        let file = self.folder().join(format!("{name}.json"));
        fs::write(&file, configuration.to_string())?;
        let arguments = [
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", self.folder().join(name).display()),
            "--web.listen-address=127.0.0.1:0".to_owned(),
        ];
        let program = Program::Prometheus.path()?;
        self.processes.start(name, &program, &arguments)?;
        let listening = wait_for("the address of Prometheus", SOON, || {
            self.processes.check(name)?;
            let log = fs::read_to_string(self.processes.log(name))?;
            let is_ready = log.contains("Server is ready to receive web requests");
            Ok(log.lines().find_map(address).filter(|_| is_ready))
        });
        let addr = listening.map_err(|error| self.processes.explain(name, &error))?;
        let address = Address { addr, tls: None };
        Ok(Prometheus { testbed: self, name: name.to_owned(), address })
    }
}

/// The address in the line `msg="Listening on" component=web address=127.0.0.1:33765`.
fn address(line: &str) -> Option<SocketAddr> {
    line.split_once(r#"msg="Listening on""#)?.1.split_once("address=")?.1.trim().parse().ok()
}

impl Prometheus<'_> {
    /// The page of its user interface.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address.addr)
    }

    /// Replaces its configuration.
    pub fn configure(&self, configuration: &Value) -> Result<()> {
        let file = self.testbed.folder().join(format!("{}.json", self.name));
        fs::write(file, configuration.to_string())?;
        self.testbed.processes.signal(&self.name, Signal::Hangup)
    }

    /// The `data` of a path of its API (<https://prometheus.io/docs/prometheus/latest/querying/api/>).
    pub fn api(&self, path: &str) -> Result<Value> {
        let (status, body) = self.address.get(&format!("/api/v1/{path}"), SOON)?;
        ensure!(status == 200, "{path}: {status} {body}");
        let mut answer: Value = serde_json::from_str(&body)?;
        Ok(answer["data"].take())
    }

    /// The values of an expression now, each with its labels.
    pub fn query(&self, expression: &str) -> Result<Vec<(Value, f64)>> {
        let data = self.api(&format!("query?query={}", encoded(expression)))?;
        let result = data["result"].as_array().with_context(|| format!("{data}"))?;
        let each = result.iter().map(|found| {
            let value = found["value"][1].as_str().and_then(|value| value.parse().ok());
            Ok((found["metric"].clone(), value.with_context(|| format!("{found}"))?))
        });
        each.collect()
    }

    /// The values of an expression now and at steps before, each series with its labels.
    pub fn query_range(
        &self,
        expression: &str,
        back: Duration,
        step: Duration,
    ) -> Result<Vec<(Value, Vec<f64>)>> {
        let end = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let [start, end, step] =
            [end.saturating_sub(back), end, step].map(|time| time.as_secs_f64());
        let query = encoded(expression);
        let path = format!("query_range?query={query}&start={start}&end={end}&step={step}");
        let each = self.series(&path)?.into_iter().map(|(labels, samples)| {
            let values = samples.iter().map(|(_, value)| value.parse());
            Ok((labels, values.collect::<Result<_, _>>()?))
        });
        each.collect()
    }

    /// The values that a label has in the series of a selector.
    pub fn label_values(&self, selector: &str, label: &str) -> Result<Vec<String>> {
        let values = self.api(&format!("label/{label}/values?match[]={}", encoded(selector)))?;
        Ok(serde_json::from_value(values)?)
    }

    /// The one value of an expression, if it has one.
    pub fn value(&self, expression: &str) -> Result<Option<f64>> {
        let found = self.query(expression)?;
        ensure!(found.len() < 2, "{expression} has {} values: {found:?}", found.len());
        Ok(found.first().map(|(_, value)| *value))
    }

    /// When each series of a selector had a sample in the last minutes, in seconds since 1970.
    pub fn times(&self, selector: &str) -> Result<Vec<(Value, Vec<f64>)>> {
        let path = format!("query?query={}", encoded(&format!("{selector}[10m]")));
        let times = |samples: Samples| samples.into_iter().map(|(time, _)| time);
        let series = self.series(&path)?.into_iter();
        Ok(series.map(|(labels, samples)| (labels, times(samples).collect())).collect())
    }

    /// The samples of each series in an answer.
    fn series(&self, path: &str) -> Result<Vec<(Value, Samples)>> {
        let data = self.api(path)?;
        let result = data["result"].as_array().with_context(|| format!("{data}"))?;
        let each = result.iter().map(|series| {
            Ok((series["metric"].clone(), serde_json::from_value(series["values"].clone())?))
        });
        each.collect()
    }

    /// The URL of each target, and why its last scrape failed.
    pub fn targets(&self) -> Result<BTreeMap<String, String>> {
        let targets = self.api("targets?state=active")?;
        let targets = targets["activeTargets"].as_array().context("no list of targets")?.iter();
        let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
        Ok(targets.map(|each| (text(&each["scrapeUrl"]), text(&each["lastError"]))).collect())
    }

    /// The names of the alerts that fire.
    pub fn firing(&self) -> Result<Vec<String>> {
        let firing = self.query(r#"ALERTS{alertstate="firing"}"#)?;
        let names = firing.iter().filter_map(|(labels, _)| labels["alertname"].as_str());
        Ok(names.map(str::to_owned).collect())
    }
}

/// Makes every rule fire when its condition has held for two seconds, instead of minutes.
pub fn hold_briefly(rules: &mut Value) {
    for group in rules["groups"].as_array_mut().into_iter().flatten() {
        for rule in group["rules"].as_array_mut().into_iter().flatten() {
            rule["for"] = "2s".into();
        }
    }
}

/// For the query of a URL.
fn encoded(text: &str) -> String {
    let each = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    });
    each.collect()
}
