//! The kinds of panels, with their options
//! (<https://github.com/grafana/grafana/tree/main/public/app/plugins/panel>).

use std::collections::BTreeMap;

use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", content = "options", rename_all = "lowercase")]
pub(super) enum View {
    Stat(Stat),
    BarGauge(BarGauge),
    TimeSeries(TimeSeries),
    Table(Table),
    HeatMap(Box<HeatMap>),
    #[serde(rename = "state-timeline")]
    StateTimeline(StateTimeline),
}

/// Reduces each series to its last value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Reduce {
    calcs: [&'static str; 1],
    fields: &'static str,
    values: bool,
}

const LAST: Reduce = Reduce { calcs: ["lastNotNull"], fields: "", values: false };

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stat {
    reduce_options: Reduce,
    orientation: &'static str,
    color_mode: &'static str,
    graph_mode: &'static str,
    text_mode: &'static str,
    justify_mode: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BarGauge {
    reduce_options: Reduce,
    orientation: &'static str,
    display_mode: &'static str,
    value_mode: &'static str,
    name_placement: &'static str,
    show_unfilled: bool,
    sizing: &'static str,
    min_viz_height: u16,
    max_viz_height: u16,
    min_viz_width: u16,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct TimeSeries {
    legend: Legend,
    tooltip: Tooltip,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Legend {
    #[serde(rename = "showLegend")]
    is_shown: bool,
    display_mode: &'static str,
    placement: &'static str,
    calcs: [&'static str; 0],
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Tooltip {
    mode: &'static str,
    sort: &'static str,
}

const LEGEND: Legend =
    Legend { is_shown: true, display_mode: "list", placement: "bottom", calcs: [] };
const TOOLTIP: Tooltip = Tooltip { mode: "multi", sort: "desc" };

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Table {
    frame_index: u8,
    show_header: bool,
    cell_height: &'static str,
    sort_by: Vec<SortBy>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SortBy {
    display_name: &'static str,
    desc: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HeatMap {
    calculate: bool,
    cell_gap: u8,
    color: HeatMapColor,
    exemplars: Exemplars,
    legend: HeatMapLegend,
    rows_frame: RowsFrame,
    show_value: &'static str,
    tooltip: HeatMapTooltip,
    y_axis: YAxis,
    filter_values: Filter,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct HeatMapColor {
    mode: &'static str,
    scheme: &'static str,
    fill: &'static str,
    scale: &'static str,
    exponent: f64,
    steps: u8,
    reverse: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Exemplars {
    color: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct HeatMapLegend {
    show: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct RowsFrame {
    layout: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HeatMapTooltip {
    mode: &'static str,
    y_histogram: bool,
    show_color_scale: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct YAxis {
    unit: &'static str,
    axis_placement: &'static str,
    reverse: bool,
}

/// Leaves out what is less.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Filter {
    le: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StateTimeline {
    legend: Legend,
    tooltip: Tooltip,
    merge_values: bool,
    row_height: f64,
    show_value: &'static str,
    align_value: &'static str,
}

/// What a kind of panel keeps in the configuration of its fields.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Custom {
    #[serde(rename_all = "camelCase")]
    Lines {
        draw_style: &'static str,
        line_width: u8,
        fill_opacity: u8,
        show_points: &'static str,
        span_nulls: bool,
        stacking: Stacking,
        /// The axis reaches at least this far, unless `None`.
        #[serde(skip_serializing_if = "Option::is_none")]
        axis_soft_max: Option<f64>,
    },
    #[serde(rename_all = "camelCase")]
    Cells { align: &'static str, cell_options: Cell, inspect: bool, min_width: u16 },
    #[serde(rename_all = "camelCase")]
    States { fill_opacity: u8, line_width: u8 },
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Stacking {
    group: &'static str,
    mode: &'static str,
}

/// How a cell of a table looks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "type")]
pub(super) enum Cell {
    #[serde(rename = "auto")]
    Auto,
    #[serde(rename = "color-text")]
    ColorText,
    #[serde(rename = "gauge")]
    Gauge { mode: &'static str },
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "id", content = "options", rename_all = "camelCase")]
pub(super) enum Transformation {
    /// One row for each set of labels.
    Merge {},
    #[serde(rename_all = "camelCase")]
    Organize {
        exclude_by_name: BTreeMap<String, bool>,
        index_by_name: BTreeMap<String, usize>,
        rename_by_name: BTreeMap<String, &'static str>,
    },
}

impl View {
    pub(super) fn stat() -> Self {
        Self::Stat(Stat {
            reduce_options: LAST,
            orientation: "auto",
            color_mode: "value",
            graph_mode: "none",
            text_mode: "auto",
            justify_mode: "auto",
        })
    }

    /// With the names of the bars at their `left`, or at the `top` where there is the height for it.
    pub(super) fn bar_gauge(name_placement: &'static str) -> Self {
        Self::BarGauge(BarGauge {
            reduce_options: LAST,
            orientation: "horizontal",
            display_mode: "basic",
            value_mode: "color",
            name_placement,
            show_unfilled: true,
            // A single bar would fill the panel.
            sizing: "manual",
            min_viz_height: 16,
            max_viz_height: 32,
            min_viz_width: 8,
        })
    }

    pub(super) fn time_series() -> Self {
        Self::TimeSeries(TimeSeries { legend: LEGEND, tooltip: TOOLTIP })
    }

    pub(super) fn table(sorted_by: &'static str, is_descending: bool) -> Self {
        Self::Table(Table {
            frame_index: 0,
            show_header: true,
            cell_height: "sm",
            sort_by: vec![SortBy { display_name: sorted_by, desc: is_descending }],
        })
    }

    /// Of the buckets of a histogram of durations.
    pub(super) fn heat_map() -> Self {
        Self::HeatMap(Box::new(HeatMap {
            calculate: false,
            cell_gap: 1,
            color: HeatMapColor {
                mode: "scheme",
                scheme: "Oranges",
                fill: "dark-orange",
                scale: "exponential",
                exponent: 0.5,
                steps: 64,
                reverse: false,
            },
            exemplars: Exemplars { color: "rgba(255,0,255,0.7)" },
            legend: HeatMapLegend { show: true },
            rows_frame: RowsFrame { layout: "auto" },
            show_value: "never",
            tooltip: HeatMapTooltip { mode: "single", y_histogram: false, show_color_scale: true },
            y_axis: YAxis { unit: "s", axis_placement: "left", reverse: false },
            filter_values: Filter { le: 1e-9 },
        }))
    }

    pub(super) fn state_timeline() -> Self {
        Self::StateTimeline(StateTimeline {
            legend: LEGEND,
            tooltip: TOOLTIP,
            merge_values: true,
            row_height: 0.8,
            show_value: "auto",
            align_value: "left",
        })
    }

    /// The configuration of fields that this kind of panel starts with.
    pub(super) fn custom(&self) -> Option<Custom> {
        match self {
            Self::TimeSeries(_) => Some(Custom::lines()),
            Self::Table(_) => Some(Custom::cells()),
            Self::StateTimeline(_) => Some(Custom::States { fill_opacity: 70, line_width: 0 }),
            Self::Stat(_) | Self::BarGauge(_) | Self::HeatMap(_) => None,
        }
    }
}

impl Custom {
    fn cells() -> Self {
        // Grafana's own least width is 150, by which a table of a third of a page would be cut.
        Self::Cells { align: "auto", cell_options: Cell::Auto, inspect: false, min_width: 100 }
    }

    /// Without a fill: those of several lines mix to a color that no legend has.
    fn lines() -> Self {
        Self::Lines {
            draw_style: "line",
            line_width: 2,
            fill_opacity: 0,
            show_points: "never",
            span_nulls: false,
            stacking: Stacking { group: "A", mode: "none" },
            axis_soft_max: None,
        }
    }

    /// For events: how many there were between two points.
    pub(super) fn bars() -> Self {
        Self::Lines {
            draw_style: "bars",
            line_width: 1,
            fill_opacity: 60,
            show_points: "never",
            span_nulls: false,
            stacking: Stacking { group: "A", mode: "normal" },
            // Where nothing happened, the axis would go to 100.
            axis_soft_max: Some(1.0),
        }
    }

    /// For parts of a whole.
    pub(super) fn stacked() -> Self {
        Self::Lines {
            draw_style: "line",
            line_width: 1,
            fill_opacity: 40,
            show_points: "never",
            span_nulls: false,
            stacking: Stacking { group: "A", mode: "normal" },
            axis_soft_max: None,
        }
    }
}
