//! Where the values of a Helm chart likely have what a rendered workload lacks: by what the template
//! says where it is at hand, else by names alone.

use std::path::{Component, Path, PathBuf};

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
pub(super) struct Values {
    keys: Value,
    /// `None` where the values are not in the folder of a chart.
    chart: Option<Chart>,
    max_file_size: u64,
}

/// A chart whose templates are at hand.
struct Chart {
    name: String,
    folder: PathBuf,
}

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
        let chart = file.parent().and_then(|folder| Chart::read(folder, max_file_size));
        if let Some(chart) = &chart {
            add_charts(&mut values, &chart.folder, max_file_size, MAX_CHARTS);
        }
        Ok(Self { keys: values, chart, max_file_size })
    }

    /// What to set where for a workload of a rendered document.
    pub(super) fn hints(&self, document: &[u8], workload: &FixedWorkload) -> Vec<Hint> {
        let source = Source::of(document);
        let text = self.chart.as_ref().and_then(|chart| chart.text(&source, self.max_file_size));
        let containers = workload.fields.0.iter();
        let each = containers
            .flat_map(|fields| self.of_container((&source, text.as_deref()), workload, fields));
        each.collect()
    }

    fn of_container(
        &self,
        template: (&Source<'_>, Option<&str>),
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
            let place = self.place(template, &workload.name, &fields.name, field);
            Hint {
                line: *line,
                subject: format!("{kind} {namespace}/{name}, container {}", fields.name),
                text: format!("{field} is missing ({value}): {place}"),
            }
        });
        each.collect()
    }

    /// Where to set a field: what the text of the template names, if that is at hand.
    fn place(
        &self,
        (source, text): (&Source<'_>, Option<&str>),
        workload: &str,
        container: &str,
        field: &str,
    ) -> String {
        let template = source.template.unwrap_or("the template");
        let mut keys = Vec::new();
        paths(&self.keys, field, &mut Vec::new(), &mut keys);
        let best = |paths: Vec<Vec<&str>>| source.best(&paths, [container, workload]);
        let Some(text) = text else {
            return match best(keys) {
                Some(path) => {
                    format!("perhaps .Values.{path} of {template}, which is not beside the values")
                }
                None => format!("the values have no key for it; set it in {template}"),
            };
        };
        let used: Vec<Vec<&str>> = used(text).collect();
        let named = used.iter().filter_map(|path| {
            let end = path.iter().position(|key| *key == field)?;
            path.get(..=end).map(|path| source.of_outermost(path))
        });
        if let Some(path) = best(named.collect()) {
            return format!("likely .Values.{path}, which {template} uses");
        }
        // It may pass on all that is below a key.
        keys.retain(|key| used.iter().any(|path| key.starts_with(&source.of_outermost(path))));
        match best(keys) {
            Some(path) => {
                format!("perhaps .Values.{path}: {template} uses a value above it, and not itself")
            }
            None => format!("{template} names no value for it; set it there"),
        }
    }
}

impl Chart {
    fn read(folder: &Path, max_file_size: u64) -> Option<Self> {
        let text = input::read_file(&folder.join("Chart.yaml"), max_file_size).ok()?;
        let chart: Value = serde_saphyr::from_slice(&text).ok()?;
        Some(Self { name: chart["name"].as_str()?.to_owned(), folder: folder.to_owned() })
    }

    /// The text of a template. It is named by the input, and so has to be one of this chart.
    fn text(&self, source: &Source<'_>, max_file_size: u64) -> Option<String> {
        let below = Path::new(source.template?).strip_prefix(&self.name).ok()?;
        let is_inside = below.components().all(|part| matches!(part, Component::Normal(_)));
        let file = is_inside.then(|| self.folder.join(below))?;
        String::from_utf8(input::read_file(&file, max_file_size).ok()?).ok()
    }
}

/// The paths that a template has after `.Values`; an empty one where it uses all of them.
fn used(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.split(".Values").skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'));
        let path = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        path.split('.').filter(|key| !key.is_empty()).collect()
    })
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

    /// A path of the chart of the template, in the values of the outermost chart.
    fn of_outermost<'p>(&self, path: &[&'p str]) -> Vec<&'p str>
    where
        'a: 'p,
    {
        self.charts.iter().chain(path).copied().collect()
    }

    /// The path of which the keys before the last one fit the workload best.
    fn best(&self, paths: &[Vec<&str>], [container, workload]: [&str; 2]) -> Option<String> {
        let words = [container, workload, self.component()].map(normalized);
        let fit = |path: &&Vec<&str>| {
            let keys = path.get(self.charts.len()..)?.split_last()?.1;
            let Some(last) = keys.last() else { return Some(1) };
            let key = normalized(last);
            let exact = words.iter().position(|word| *word == key).map(|index| 5 - index);
            let is_part = words.iter().any(|word| word.contains(&*key)) && !key.is_empty();
            exact.or_else(|| is_part.then_some(2))
        };
        let of_chart = paths.iter().filter(|path| path.starts_with(&self.charts));
        let fitting = of_chart.filter_map(|path| Some((fit(&path)?, path)));
        // Of several the shortest.
        let best = fitting.max_by_key(|(fit, path)| (*fit, std::cmp::Reverse(path.len())));
        best.map(|(_, path)| path.join("."))
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
    use serde_json::json;

    use super::*;

    /// Where a field of that container is set, by the text of the template if it is at hand.
    fn place(values: Value, template: &str, text: Option<&str>, of: [&str; 2]) -> String {
        let document = format!("---\n# Source: {template}\nkind: Deployment\n");
        let values = Values { keys: values, chart: None, max_file_size: 1 };
        let [container, field] = of;
        values.place((&Source::of(document.as_bytes()), text), "release-web", container, field)
    }

    #[test]
    fn without_the_template_the_key_of_the_component_is_a_guess() {
        let values = json!({
            "resources": {}, "repoServer": { "resources": {}, "metrics": { "resources": {} } },
            "web": { "resources": {}, "livenessProbe": {} }, "cache": { "resources": {} },
        });
        let path = |template: &str, container, field| {
            let place = place(values.clone(), template, None, [container, field]);
            let end = format!(" of {template}, which is not beside the values");
            let path = place.strip_prefix("perhaps .Values.")?.strip_suffix(&*end)?;
            Some(path.to_owned())
        };
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
        let only = place(json!({ "resources": {} }), web, None, ["x", "resources"]);
        assert!(only.starts_with("perhaps .Values.resources of "), "{only}");
    }

    #[test]
    fn with_the_template_only_what_it_uses_is_named() {
        let template = "shop/templates/deployment.yaml";
        let place = |text: &str| {
            let values = json!({ "resources": {}, "web": { "resources": {} } });
            place(values, template, Some(text), ["app", "resources"])
        };
        let none = format!("{template} names no value for it; set it there");
        let likely = |path: &str| format!("likely .Values.{path}, which {template} uses");
        let perhaps = |path: &str| {
            format!("perhaps .Values.{path}: {template} uses a value above it, and not itself")
        };
        for (text, expected) in [
            ("resources: {{ toYaml .Values.web.resources | nindent 4 }}", likely("web.resources")),
            ("{{ toYaml $.Values.resources }}", likely("resources")),
            ("cpu: {{ .Values.web.resources.limits.cpu }}", likely("web.resources")),
            // The values need not have it.
            ("{{ with .Values.frontend.web.resources }}", likely("frontend.web.resources")),
            ("{{ with .Values.web }}{{ toYaml .resources }}", perhaps("web.resources")),
            ("{{ index .Values \"web\" \"resources\" }}", perhaps("web.resources")),
            ("image: {{ .Values.web.image }}", none.clone()),
            ("{{ .Values.web.resourcesPreset }}", none.clone()),
            ("{{ .Values.database.resources }}", none.clone()),
            ("{{ include \"shop.resources\" . }}", none.clone()),
            ("", none),
        ] {
            assert_eq!(place(text), expected, "{text}");
        }
    }

    #[test]
    fn a_template_is_one_of_the_chart() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("shop/templates")).unwrap();
        std::fs::write(at("shop/Chart.yaml"), "name: shop").unwrap();
        std::fs::write(at("shop/templates/web.yaml"), "found").unwrap();
        std::fs::write(at("other.yaml"), "outside").unwrap();
        let chart = Chart::read(&at("shop"), 1).unwrap();
        let text = |template: &str| {
            let document = format!("# Source: {template}\n");
            chart.text(&Source::of(document.as_bytes()), 1)
        };
        assert_eq!(text("shop/templates/web.yaml").as_deref(), Some("found"));
        let outside = at("other.yaml").display().to_string();
        for other in ["shop/../other.yaml", "bank/templates/web.yaml", "shop/no.yaml", &outside] {
            assert_eq!(text(other), None, "{other}");
        }
    }
}
