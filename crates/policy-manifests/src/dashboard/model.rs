//! The parts of Grafana's dashboard format that ours has
//! (<https://github.com/grafana/grafana/tree/main/kinds/dashboard>).

use std::collections::BTreeMap;

use serde::Serialize;

use super::view::{Transformation, View};

/// A dashboard, as Grafana imports and provisions it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dashboard {
    pub(super) uid: &'static str,
    pub(super) title: &'static str,
    pub(super) description: &'static str,
    pub(super) tags: Vec<&'static str>,
    pub(super) timezone: &'static str,
    pub(super) editable: bool,
    /// 1: the crosshair is shared by all panels.
    pub(super) graph_tooltip: u8,
    pub(super) refresh: &'static str,
    pub(super) time: TimeRange,
    pub(super) schema_version: u16,
    pub(super) templating: Listed<Variable>,
    pub(super) annotations: Listed<()>,
    pub(super) links: Vec<()>,
    pub(super) panels: Vec<Placed>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct TimeRange {
    pub(super) from: &'static str,
    pub(super) to: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Listed<T> {
    pub(super) list: Vec<T>,
}

/// A choice at the head of the dashboard.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Variable {
    DataSource(DataSourceVariable),
    Query(Box<QueryVariable>),
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct DataSourceVariable {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) query: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueryVariable {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) datasource: DataSource,
    pub(super) query: VariableQuery,
    pub(super) multi: bool,
    pub(super) include_all: bool,
    /// What "All" stands for. Also the empty value matches, so series without the label are in.
    pub(super) all_value: &'static str,
    pub(super) current: Choice,
    /// 1: when the dashboard is loaded.
    pub(super) refresh: u8,
    /// 1: by name.
    pub(super) sort: u8,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VariableQuery {
    pub(super) query: String,
    pub(super) ref_id: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Choice {
    pub(super) text: &'static str,
    pub(super) value: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct DataSource {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) uid: &'static str,
}

/// The Prometheus that the reader has chosen.
pub(super) const PROMETHEUS: DataSource = DataSource { kind: "prometheus", uid: "${datasource}" };

/// A panel or the head of a row, at its place.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Placed {
    pub(super) id: u32,
    pub(super) title: &'static str,
    pub(super) grid_pos: GridPos,
    #[serde(flatten)]
    pub(super) content: Content,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Content {
    Row(Row),
    Panel(Box<Shown>),
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) collapsed: bool,
    pub(super) panels: [(); 0],
}

/// Of 24 columns; a unit of height is 30 pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct GridPos {
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) w: u32,
    pub(super) h: u32,
}

/// What a panel shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    pub(super) description: &'static str,
    pub(super) datasource: DataSource,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_data_points: Option<u16>,
    pub(super) targets: Vec<Target>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) transformations: Vec<Transformation>,
    #[serde(flatten)]
    pub(super) view: View,
    pub(super) field_config: FieldConfig,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Target {
    pub(super) ref_id: String,
    pub(super) datasource: DataSource,
    pub(super) expr: String,
    pub(super) legend_format: &'static str,
    pub(super) format: Format,
    /// One value, of the end of the time range.
    pub(super) instant: bool,
    pub(super) range: bool,
    pub(super) editor_mode: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    TimeSeries,
    Table,
    Heatmap,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(super) struct FieldConfig {
    pub(super) defaults: Field,
    pub(super) overrides: Vec<Override>,
}

/// How values are shown.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Field {
    pub(super) unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) decimals: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) color: Option<Color>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thresholds: Option<Thresholds>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) mappings: Vec<Mapping>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) links: Vec<Link>,
    /// Shown where there are no values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) no_value: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) custom: Option<super::view::Custom>,
}

/// Colors have names, so that each theme has its own.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Color {
    pub(super) mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fixed_color: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Thresholds {
    pub(super) mode: &'static str,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Step {
    /// `None`: from the least value on.
    pub(super) value: Option<f64>,
    pub(super) color: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", content = "options", rename_all = "lowercase")]
pub(super) enum Mapping {
    Value(BTreeMap<&'static str, Mapped>),
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Mapped {
    pub(super) text: &'static str,
    pub(super) color: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Link {
    pub(super) title: &'static str,
    pub(super) url: &'static str,
}

/// What is different for a series or a column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Override {
    pub(super) matcher: Matcher,
    pub(super) properties: Vec<Property>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "id", content = "options", rename_all = "camelCase")]
pub(super) enum Matcher {
    ByName(&'static str),
    ByValue(Reduced),
}

/// Series of which a reduced value compares so.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Reduced {
    pub(super) reducer: &'static str,
    pub(super) op: &'static str,
    pub(super) value: f64,
}

/// Where a series is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct HideFrom {
    pub(super) legend: bool,
    pub(super) tooltip: bool,
    pub(super) viz: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "id", content = "value", rename_all = "camelCase")]
pub(super) enum Property {
    NoValue(&'static str),
    Unit(&'static str),
    Decimals(u8),
    Min(f64),
    Max(f64),
    Color(Color),
    Thresholds(Thresholds),
    Mappings(Vec<Mapping>),
    Links(Vec<Link>),
    #[serde(rename = "custom.width")]
    Width(u16),
    #[serde(rename = "custom.cellOptions")]
    Cell(super::view::Cell),
    #[serde(rename = "custom.hideFrom")]
    HideFrom(HideFrom),
}
