//! Panels, from a title and queries to what Grafana reads.

use std::collections::BTreeMap;

use super::model::{
    Color, Content, Field, FieldConfig, Format, GridPos, HideFrom, Link, Mapped, Mapping, Matcher,
    Override, PROMETHEUS, Placed, Property, Reduced, Row, Shown, Step, Target, Thresholds,
};
use super::view::{Custom, Transformation, View};
use crate::promql::{Expr, Histogram, Range, Selector};

/// The steps of a panel that reads every namespace or policy at each of them: 10 000 namespaces with
/// 7 checks are 70 000 series, and Prometheus refuses a query that loads more than 50 million samples
/// (<https://prometheus.io/docs/prometheus/latest/command-line/prometheus/>, `--query.max-samples`).
const FEW_STEPS: u16 = 60;

/// A panel of a row.
#[must_use]
#[derive(Debug, Clone)]
pub(super) struct Panel {
    title: &'static str,
    at: GridPos,
    shown: Shown,
    /// The names of the columns of the queries; `None` where only a label of the query is shown.
    columns: Vec<Option<&'static str>>,
}

/// A row: its title and its panels, placed relative to it.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) panels: Vec<Panel>,
}

/// `x`, `y`, width and height.
type Place = (u32, u32, u32, u32);

impl Panel {
    fn new(
        title: &'static str,
        description: &'static str,
        (x, y, w, h): Place,
        view: View,
    ) -> Self {
        let field = Field { custom: view.custom(), ..Field::default() };
        Self {
            title,
            at: GridPos { x, y, w, h },
            shown: Shown {
                description,
                datasource: PROMETHEUS,
                max_data_points: None,
                targets: Vec::new(),
                transformations: Vec::new(),
                view,
                field_config: FieldConfig { defaults: field, overrides: Vec::new() },
            },
            columns: Vec::new(),
        }
    }

    /// Single values.
    pub(super) fn stat(title: &'static str, description: &'static str, at: Place) -> Self {
        Self::new(title, description, at, View::stat())
    }

    /// Values to be compared.
    pub(super) fn bars(title: &'static str, description: &'static str, at: Place) -> Self {
        Self::new(title, description, at, View::bar_gauge("left"))
    }

    /// A few values to be compared, which have names of any length.
    pub(super) fn named_bars(title: &'static str, description: &'static str, at: Place) -> Self {
        Self::new(title, description, at, View::bar_gauge("top"))
    }

    /// Values over time.
    pub(super) fn lines(title: &'static str, description: &'static str, at: Place) -> Self {
        Self::new(title, description, at, View::time_series())
    }

    /// Counts of events over time. There are few bars: one that is narrower than the range of its
    /// increase, which is at least four scrapes, shows events that the next one shows again.
    pub(super) fn events(title: &'static str, description: &'static str, at: Place) -> Self {
        let panel = Self::lines(title, description, at).unit("short").decimals(0).min(0.0);
        let mut panel = panel.few_steps();
        panel.shown.field_config.defaults.custom = Some(Custom::bars());
        let nothing = Matcher::ByValue(Reduced { reducer: "max", op: "lte", value: 0.0 });
        let from_legend = HideFrom { legend: true, tooltip: false, viz: false };
        panel.looks(nothing, vec![Property::HideFrom(from_legend)])
    }

    /// Durations over time.
    pub(super) fn heat_map(title: &'static str, description: &'static str, at: Place) -> Self {
        Self::new(title, description, at, View::heat_map()).unit("reqps")
    }

    /// States over time.
    pub(super) fn states(title: &'static str, description: &'static str, at: Place) -> Self {
        Self::new(title, description, at, View::state_timeline()).unit("none")
    }

    /// One row for each set of labels, the greatest values of a column first.
    pub(super) fn table(
        title: &'static str,
        description: &'static str,
        at: Place,
        sorted_by: &'static str,
    ) -> Self {
        Self::new(title, description, at, View::table(sorted_by, true)).unit("none")
    }

    /// A query over the time range.
    pub(super) fn query(self, legend: &'static str, expr: &Expr) -> Self {
        let format = match self.shown.view {
            View::HeatMap(_) => Format::Heatmap,
            _ => Format::TimeSeries,
        };
        self.target(legend, expr, format, false)
    }

    /// The median and the 99th percentile of durations.
    pub(super) fn quantiles(self, of: &Selector<Histogram>) -> Self {
        self.query("p50", &of.quantile(0.5, Range::RateInterval))
            .query("p99", &of.quantile(0.99, Range::RateInterval))
            .unit("s")
            .min(0.0)
    }

    /// A query of the present.
    pub(super) fn now(self, legend: &'static str, expr: &Expr) -> Self {
        self.target(legend, expr, Format::TimeSeries, true)
    }

    /// A column, of the values of a query of the present.
    pub(super) fn column(mut self, name: &'static str, expr: &Expr, look: Vec<Property>) -> Self {
        self.columns.push(Some(name));
        self = self.target(name, expr, Format::Table, true);
        // The text for an empty table would be that of an empty cell.
        let empty = Property::NoValue("–");
        self.styled(name, [vec![empty], look].concat())
    }

    /// A query of the present of which a column shows a label, not the values.
    pub(super) fn labels(mut self, expr: &Expr) -> Self {
        self.columns.push(None);
        self.target("", expr, Format::Table, true)
    }

    fn target(
        mut self,
        legend_format: &'static str,
        expr: &Expr,
        format: Format,
        instant: bool,
    ) -> Self {
        let named = legend_format.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
        for label in named {
            assert!(expr.labels().contains(label), "no label {label} for the legend of {expr}");
        }
        let ref_id = ref_id(self.shown.targets.len());
        self.shown.targets.push(Target {
            ref_id,
            datasource: PROMETHEUS,
            expr: expr.to_string(),
            legend_format,
            format,
            instant,
            range: !instant,
            editor_mode: "code",
        });
        self
    }

    pub(super) fn unit(mut self, unit: &'static str) -> Self {
        self.shown.field_config.defaults.unit = unit;
        self
    }

    pub(super) fn decimals(mut self, decimals: u8) -> Self {
        self.shown.field_config.defaults.decimals = Some(decimals);
        self
    }

    pub(super) fn min(mut self, min: f64) -> Self {
        self.shown.field_config.defaults.min = Some(min);
        self
    }

    /// From 0 to 100.
    pub(super) fn percent(self) -> Self {
        let mut panel = self.unit("percent").decimals(0).min(0.0);
        panel.shown.field_config.defaults.max = Some(100.0);
        panel
    }

    /// Lines one above the other.
    pub(super) fn stacked(mut self) -> Self {
        self.shown.field_config.defaults.custom = Some(Custom::stacked());
        self
    }

    /// For a query that reads many series at each step, or counts events.
    pub(super) fn few_steps(mut self) -> Self {
        self.shown.max_data_points = Some(FEW_STEPS);
        self
    }

    /// What is said where there is nothing to show.
    pub(super) fn or_else(mut self, text: &'static str) -> Self {
        self.shown.field_config.defaults.no_value = Some(text);
        self
    }

    /// Colors by value, from the least on.
    pub(super) fn thresholds(mut self, steps: &[(f64, &'static str)]) -> Self {
        let field = &mut self.shown.field_config.defaults;
        field.thresholds = Some(thresholds(steps));
        field.color = Some(Color { mode: "thresholds", fixed_color: None });
        self
    }

    /// Texts and colors for values.
    pub(super) fn mapped(mut self, values: &[(&'static str, &'static str, &'static str)]) -> Self {
        self.shown.field_config.defaults.mappings = vec![mapping(values)];
        self
    }

    pub(super) fn link(mut self, link: Link) -> Self {
        self.shown.field_config.defaults.links.push(link);
        self
    }

    /// One color for the series of a name.
    pub(super) fn colored(self, name: &'static str, color: &'static str) -> Self {
        self.styled(name, vec![fixed(color)])
    }

    /// One color for the value of a name, unless it is 0.
    pub(super) fn colored_if_any(self, name: &'static str, color: &'static str) -> Self {
        let by_value = Color { mode: "thresholds", fixed_color: None };
        let steps = thresholds(&[(0.0, "text"), (1.0, color)]);
        self.styled(name, vec![Property::Color(by_value), Property::Thresholds(steps)])
    }

    /// How a series or a column looks, by its name.
    pub(super) fn styled(self, name: &'static str, properties: Vec<Property>) -> Self {
        self.looks(Matcher::ByName(name), properties)
    }

    fn looks(mut self, matcher: Matcher, properties: Vec<Property>) -> Self {
        self.shown.field_config.overrides.push(Override { matcher, properties });
        self
    }

    /// The columns of a table: these labels, then the queries, in this order.
    pub(super) fn of(mut self, labels: &[&'static str]) -> Self {
        let field = |position: usize| match self.columns.len() {
            // The name of the only value has no letter.
            1 => "Value".to_owned(),
            _ => format!("Value #{}", ref_id(position)),
        };
        let mut columns = Vec::new();
        let mut exclude_by_name = BTreeMap::from([("Time".to_owned(), true)]);
        for (position, name) in self.columns.iter().enumerate() {
            match name {
                Some(name) => columns.push((field(position), *name)),
                None => {
                    exclude_by_name.insert(field(position), true);
                }
            }
        }
        let order = labels.iter().map(|label| (*label).to_owned());
        let order = order.chain(columns.iter().map(|(field, _)| field.clone()));
        let index_by_name = order.enumerate().map(|(position, name)| (name, position)).collect();
        let titles = labels.iter().map(|label| ((*label).to_owned(), title(label)));
        self.shown.transformations = vec![
            Transformation::Merge {},
            Transformation::Organize {
                exclude_by_name,
                index_by_name,
                rename_by_name: titles.chain(columns).collect(),
            },
        ];
        self
    }

    fn placed(self, id: u32, below: u32) -> Placed {
        let grid_pos = GridPos { y: self.at.y + below, ..self.at };
        Placed { id, title: self.title, grid_pos, content: Content::Panel(self.shown.into()) }
    }
}

impl Section {
    fn height(&self) -> u32 {
        self.panels.iter().map(|panel| panel.at.y + panel.at.h).max().unwrap_or_default()
    }
}

/// The panels of all rows, one row below the other, with their ids.
pub(super) fn placed(sections: Vec<Section>) -> Vec<Placed> {
    let mut panels = Vec::new();
    let mut y = 0;
    let mut ids = 1..;
    for section in sections {
        let height = section.height();
        let head = GridPos { x: 0, y, w: 24, h: 1 };
        let row = Content::Row(Row { kind: "row", collapsed: false, panels: [] });
        y += head.h;
        let heads =
            ids.next().map(|id| Placed { id, title: section.title, grid_pos: head, content: row });
        panels.extend(heads);
        panels.extend(
            section.panels.into_iter().zip(&mut ids).map(|(panel, id)| panel.placed(id, y)),
        );
        y += height;
    }
    panels
}

/// A, B, C, …
fn ref_id(position: usize) -> String {
    ('A'..='Z').nth(position).map(String::from).unwrap_or_default()
}

fn title(label: &str) -> &'static str {
    match label {
        "cluster" => "Cluster",
        "namespace" => "Namespace",
        "policy" => "Policy",
        "check" => "Most often",
        "reason" => "Reason",
        "service" => "Service",
        "version" => "Version",
        _ => "",
    }
}

fn fixed(color: &'static str) -> Property {
    Property::Color(Color { mode: "fixed", fixed_color: Some(color) })
}

pub(super) fn thresholds(steps: &[(f64, &'static str)]) -> Thresholds {
    let step = |(position, (value, color)): (usize, &(f64, &'static str))| Step {
        value: (position > 0).then_some(*value),
        color,
    };
    Thresholds { mode: "absolute", steps: steps.iter().enumerate().map(step).collect() }
}

pub(super) fn mapping(values: &[(&'static str, &'static str, &'static str)]) -> Mapping {
    let mapped = values.iter().map(|(value, text, color)| (*value, Mapped { text, color }));
    Mapping::Value(mapped.collect())
}
