//! What a dashboard file says. `examples/dashboards/` explains every key.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::chart::Unit;
use model::parse_duration;

/// A dashboard file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dashboard {
    pub(crate) title: String,
    #[serde(default)]
    pub(crate) description: String,
    /// Shown when the page is asked for without a range.
    #[serde(default = "hour", deserialize_with = "duration")]
    pub(crate) range: Duration,
    /// How often the page renews itself when not asked otherwise; 0 for never.
    #[serde(default, deserialize_with = "duration")]
    pub(crate) refresh: Duration,
    #[serde(default)]
    pub(crate) variables: Vec<Variable>,
    pub(crate) panels: Vec<Panel>,
}

/// Something that the reader chooses, and that expressions name as `$name`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Variable {
    pub(crate) name: String,
    /// The label whose values are the choices.
    pub(crate) label: String,
    /// A selector: only series that pass it count.
    #[serde(default)]
    pub(crate) of: String,
    /// What the page calls it; its name if not given.
    #[serde(default)]
    pub(crate) title: String,
}

/// One box of a dashboard.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Panel {
    pub(crate) title: String,
    #[serde(default)]
    pub(crate) description: String,
    #[serde(rename = "type")]
    pub(crate) kind: PanelKind,
    /// Twelfths of the page.
    #[serde(default = "half")]
    pub(crate) width: u8,
    /// In pixels.
    #[serde(default = "height")]
    pub(crate) height: u32,
    #[serde(default, deserialize_with = "unit")]
    pub(crate) unit: Unit,
    #[serde(default)]
    pub(crate) min: Option<f64>,
    #[serde(default)]
    pub(crate) max: Option<f64>,
    /// From where on a gauge or a number is amber, and from where on red.
    #[serde(default)]
    pub(crate) thresholds: Option<(f64, f64)>,
    /// For tables and stats: a column or a line of the latest values.
    #[serde(default)]
    pub(crate) show: ValueKind,
    pub(crate) queries: Vec<Query>,
}

/// How a panel shows its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PanelKind {
    /// Lines over time.
    Line,
    /// Areas on top of each other over time.
    StackedArea,
    /// Bars over time.
    Bar,
    /// The latest number, large, with its trend.
    Stat,
    /// The latest number on a half circle.
    Gauge,
    /// The latest numbers in rows.
    Table,
}

/// What a stat says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ValueKind {
    /// The number.
    #[default]
    Value,
    /// The value of the label of this panel's `legend`, for metrics that carry text in labels.
    Label,
}

/// An expression and what its series are called.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    pub(crate) expr: String,
    /// `{{label}}` stands for a label's value. All labels if empty.
    #[serde(default)]
    pub(crate) legend: String,
    /// For tables: the unit of this column, if it is another than the panel's.
    #[serde(default, deserialize_with = "some_unit")]
    pub(crate) unit: Option<Unit>,
}

const fn hour() -> Duration {
    Duration::from_secs(3600)
}

const fn half() -> u8 {
    6
}

const fn height() -> u32 {
    240
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text)
        .map_err(|_| serde::de::Error::custom(format!("{text:?} is not a duration like 15s, 5m or 1h30m")))
}

fn unit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Unit, D::Error> {
    let text = String::deserialize(deserializer)?;
    Unit::parse(&text)
        .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a unit; units are {}", Unit::NAMES)))
}

fn some_unit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Unit>, D::Error> {
    unit(deserializer).map(Some)
}

impl Dashboard {
    /// Reads and checks a file. The error says where and what.
    pub(crate) fn parse(yaml: &str) -> Result<Self, String> {
        let dashboard: Self = serde_saphyr::from_str(yaml).map_err(|e| e.to_string())?;
        for panel in &dashboard.panels {
            let wrong = |what: &str| Err(format!("panel {:?}: {what}", panel.title));
            if !(1..=12).contains(&panel.width) {
                return wrong("width is counted in twelfths of the page, 1 to 12");
            }
            if !(60..=2000).contains(&panel.height) {
                return wrong("height is 60 to 2000 pixels");
            }
            if panel.queries.is_empty() {
                return wrong("there is no query");
            }
        }
        Ok(dashboard)
    }
}
