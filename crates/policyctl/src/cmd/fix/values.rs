//! Where the values of a Helm chart likely have what a rendered workload lacks.

use std::path::Path;

use anyhow::Context as _;
use policy_core::manifest::FixedWorkload;
use policy_core::remediation::ContainerFields;
use policy_core::text::printable;
use serde_json::Value;

use super::files::Hint;
use crate::input;

/// How `helm template` names the template of what follows.
const SOURCE: &str = "# Source: ";

/// The values of a chart.
pub(super) struct Values(Value);

/// How deep charts are nested at most.
const MAX_CHARTS: usize = 8;

impl Values {
    /// Those of a `values.yaml`, with the values of the charts below its own, which are keys of its
    /// values whether it has them or not.
    pub(super) fn read(file: &Path, max_file_size: u64) -> anyhow::Result<Self> {
        let name = file.display().to_string();
        let context = || format!("the values {}", printable(&name));
        let bytes = input::read_file(file, max_file_size).with_context(context)?;
        let mut values = serde_saphyr::from_slice(&bytes).with_context(context)?;
        let chart = file.parent().filter(|folder| folder.join("Chart.yaml").is_file());
        if let Some(chart) = chart {
            add_charts(&mut values, chart, max_file_size, MAX_CHARTS);
        }
        Ok(Self(values))
    }

    /// What to set where for a workload of a rendered document.
    pub(super) fn hints(&self, document: &[u8], workload: &FixedWorkload) -> Vec<Hint> {
        let source = Source::of(document);
        let containers = workload.fields.0.iter();
        containers.flat_map(|fields| self.of_container(&source, workload, fields)).collect()
    }

    fn of_container(
        &self,
        source: &Source<'_>,
        workload: &FixedWorkload,
        fields: &ContainerFields,
    ) -> Vec<Hint> {
        let FixedWorkload { line, kind, namespace, name, .. } = workload;
        let probes = fields.probes().map(|(field, probe)| (field, probe.to_string()));
        let amounts: Vec<String> = fields
            .amounts()
            .map(|(list, resource, amount)| format!("{list}.{resource}={amount}"))
            .collect();
        let resources = (!amounts.is_empty()).then(|| ("resources", amounts.join(" ")));
        let each = probes.chain(resources).map(|(field, value)| {
            let template = source.template.unwrap_or("the template");
            let place = match self.likely(source, workload, &fields.name, field) {
                Some(path) => format!("likely .Values.{path} of {template}"),
                None => format!("the values have no key for it; set it in {template}"),
            };
            Hint {
                line: *line,
                subject: format!("{kind} {namespace}/{name}, container {}", fields.name),
                text: format!("{field} is missing ({value}): {place}"),
            }
        });
        each.collect()
    }

    /// The path to a field of that name, of which the keys before it fit the workload best.
    fn likely(
        &self,
        source: &Source<'_>,
        workload: &FixedWorkload,
        container: &str,
        field: &str,
    ) -> Option<String> {
        let mut found = Vec::new();
        paths(&self.0, field, &mut Vec::new(), &mut found);
        let words = [container, &workload.name, source.component()].map(normalized);
        let fit = |path: &&Vec<&str>| {
            let keys = path.get(source.charts.len()..)?.split_last()?.1;
            let Some(last) = keys.last() else { return Some(1) };
            let key = normalized(last);
            let exact = words.iter().position(|word| *word == key).map(|index| 5 - index);
            let is_part = words.iter().any(|word| word.contains(&*key)) && !key.is_empty();
            exact.or_else(|| is_part.then_some(2))
        };
        let of_chart = found.iter().filter(|path| path.starts_with(&source.charts));
        let fitting = of_chart.filter_map(|path| Some((fit(&path)?, path)));
        // Of several the shortest.
        let best = fitting.max_by_key(|(fit, path)| (*fit, std::cmp::Reverse(path.len())));
        best.map(|(_, path)| path.join("."))
    }
}

/// Adds the values of the charts that a chart has in its folder. What cannot be read has no values.
fn add_charts(values: &mut Value, chart: &Path, max_file_size: u64, levels: usize) {
    let Some(levels) = levels.checked_sub(1) else { return };
    let below = std::fs::read_dir(chart.join("charts")).into_iter().flatten().flatten();
    for folder in below.map(|entry| entry.path()) {
        let Some(name) = folder.file_name().and_then(|name| name.to_str()) else { continue };
        let text = input::read_file(&folder.join("values.yaml"), max_file_size);
        let Ok(mut own) = serde_saphyr::from_slice(&text.unwrap_or_default()) else { continue };
        add_charts(&mut own, &folder, max_file_size, levels);
        if values.is_null() {
            *values = Value::Object(<_>::default());
        }
        if let Some(values) = values.as_object_mut() {
            merge(values.entry(name).or_insert(Value::Null), own);
        }
    }
}

/// Adds what the values of a chart below do not have from above.
fn merge(values: &mut Value, own: Value) {
    match (values, own) {
        (values @ Value::Null, own) => *values = own,
        (Value::Object(values), Value::Object(own)) => {
            for (key, own) in own {
                merge(values.entry(key).or_insert(Value::Null), own);
            }
        }
        _ => {}
    }
}

/// The paths to all keys of that name.
fn paths<'a>(
    value: &'a Value,
    field: &str,
    above: &mut Vec<&'a str>,
    found: &mut Vec<Vec<&'a str>>,
) {
    for (key, below) in value.as_object().into_iter().flatten() {
        above.push(key);
        if key == field {
            found.push(above.clone());
        } else {
            paths(below, field, above, found);
        }
        above.pop();
    }
}

/// Letters and digits in lower case: `repo-server` is `repoServer`.
fn normalized(word: &str) -> String {
    word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The template of a rendered document.
struct Source<'a> {
    /// Such as `shop/charts/cache/templates/deployment.yaml`.
    template: Option<&'a str>,
    /// The charts below the outermost one, which are keys in its values.
    charts: Vec<&'a str>,
}

impl<'a> Source<'a> {
    fn of(document: &'a [u8]) -> Self {
        let text = std::str::from_utf8(document).unwrap_or_default();
        let template = text.lines().find_map(|line| line.strip_prefix(SOURCE)).map(str::trim);
        let parts: Vec<&str> = template.unwrap_or_default().split('/').collect();
        let charts = parts.windows(2).filter(|pair| pair[0] == "charts").map(|pair| pair[1]);
        Self { template, charts: charts.collect() }
    }

    /// The folder or file of the template that names a component, such as `web` of
    /// `shop/templates/web/deployment.yaml`.
    fn component(&self) -> &'a str {
        let Some((_, below)) = self.template.and_then(|name| name.rsplit_once("templates/")) else {
            return "";
        };
        let first = below.split('/').next().unwrap_or(below);
        first.split_once('.').map_or(first, |(stem, _)| stem)
    }
}

#[cfg(test)]
mod tests {
    use policy_core::remediation::Fields;
    use policy_core::workload::ObjectKind;
    use serde_json::json;

    use super::*;

    fn likely(values: Value, template: &str, container: &str, field: &str) -> Option<String> {
        let document = format!("---\n# Source: {template}\nkind: Deployment\n");
        let workload = FixedWorkload {
            line: 3,
            kind: ObjectKind::Deployment,
            namespace: "shop".to_owned(),
            name: "release-web".to_owned(),
            fields: Fields::default(),
            left: Vec::new(),
        };
        Values(values).likely(&Source::of(document.as_bytes()), &workload, container, field)
    }

    #[test]
    fn the_key_of_the_component_is_likely() {
        let values = json!({
            "resources": {}, "repoServer": { "resources": {}, "metrics": { "resources": {} } },
            "web": { "resources": {}, "livenessProbe": {} }, "cache": { "resources": {} },
        });
        let path = |template, container, field| likely(values.clone(), template, container, field);
        let web = "shop/templates/deployment.yaml";
        assert_eq!(path(web, "repo-server", "resources").as_deref(), Some("repoServer.resources"));
        assert_eq!(path(web, "app", "resources").as_deref(), Some("web.resources"));
        assert_eq!(path(web, "app", "livenessProbe").as_deref(), Some("web.livenessProbe"));
        assert_eq!(path(web, "app", "readinessProbe"), None);
        let cache = "shop/templates/cache/stateful-set.yaml";
        assert_eq!(path(cache, "redis", "resources").as_deref(), Some("cache.resources"));
        let below = "shop/charts/cache/templates/stateful-set.yaml";
        assert_eq!(path(below, "redis", "resources").as_deref(), Some("cache.resources"));
        assert_eq!(path(below, "redis", "livenessProbe"), None, "of another chart");
        let only = likely(json!({ "resources": {} }), web, "x", "resources");
        assert_eq!(only.as_deref(), Some("resources"));
    }
}
