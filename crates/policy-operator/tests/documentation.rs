//! The page of the operator has every key, with its variable and its default.

use policy_operator::Config;
use policy_runtime::config::keys;

const PAGE: &str = include_str!("../../../docs/policy-operator.md");

#[test]
fn every_key_is_documented_with_its_variable_and_default() {
    let rows: Vec<Vec<&str>> =
        PAGE.lines().map(|line| line.split('|').map(str::trim).collect()).collect();
    for key in keys::<Config>() {
        let name = format!("`{}`", key.path);
        let row = rows.iter().find(|row| row.get(1) == Some(&name.as_str()));
        let row = row.unwrap_or_else(|| panic!("{name} has no row"));
        assert!(row[2].contains(&format!("`{}`", key.variable)), "{row:?}");
        let default = row[3].trim_matches('`');
        let expected = match key.default.as_str() {
            "null" | "[]" => "none",
            other => other.trim_matches('"'),
        };
        assert_eq!(default, expected, "{name}");
    }
}
