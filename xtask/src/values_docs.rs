//! The table of values in the README of the chart, from the comments of values.yaml.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::cargo::root;

const CHART: &str = "charts/kube-devops";
/// The lines around the table.
const START: &str = "<!-- The table is written by `cargo xtask gen`. -->\n";
const END: &str = "<!-- End of the table. -->\n";

/// Path and text of the README with the table.
pub(crate) fn readme() -> Result<(String, String)> {
    let read = |name: &str| {
        let path = format!("{CHART}/{name}");
        fs::read_to_string(root().join(&path)).with_context(|| format!("cannot read {path}"))
    };
    let (path, text) = (format!("{CHART}/README.md"), read("README.md")?);
    let (before, rest) = text.split_once(START).context("the README has no start of the table")?;
    let (_, after) = rest.split_once(END).context("the README has no end of the table")?;
    let table = table(&read("values.yaml")?).context("values.yaml")?;
    Ok((path, format!("{before}{START}{table}{END}{after}")))
}

fn table(values: &str) -> Result<String> {
    let all: Value = serde_saphyr::from_str(values)?;
    let mut table = "\n| key | default | meaning |\n|---|---|---|\n".to_owned();
    let (mut path, mut description) = (Vec::new(), String::new());
    for line in values.lines() {
        let text = line.trim_start();
        if let Some(comment) = text.strip_prefix('#') {
            let comment = comment.trim();
            if let Some(first) = comment.strip_prefix("-- ") {
                first.clone_into(&mut description);
            } else if !description.is_empty() {
                description = format!("{description} {comment}");
            }
            continue;
        }
        let Some((key, _)) = text.split_once(':') else {
            ensure!(text.is_empty(), "no key in the line `{line}`");
            continue;
        };
        path.truncate((line.len() - text.len()) / 2);
        path.push(key);
        if description.is_empty() {
            continue;
        }
        let value = all.pointer(&format!("/{}", path.join("/"))).context("no value")?;
        writeln!(table, "| `{}` | `{value}` | {description} |", path.join("."))?;
        description.clear();
    }
    Ok(table + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_commented_key_has_a_row_with_its_default() {
        let values = "\
# No comment of a key.

image:
  # -- The tag; empty
  # for the version
  tag: \"\"
# -- Pods
replicaCount: 2
# -- Limits
resources:
  limits: {cpu: 1}
";
        assert_eq!(
            table(values).unwrap(),
            "
| key | default | meaning |
|---|---|---|
| `image.tag` | `\"\"` | The tag; empty for the version |
| `replicaCount` | `2` | Pods |
| `resources` | `{\"limits\":{\"cpu\":1}}` | Limits |

"
        );
    }
}
