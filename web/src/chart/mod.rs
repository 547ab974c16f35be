//! Pictures of query results, as SVG, drawn with plotters. Pure: knows no HTTP.
//!
//! plotters places everything on whole pixels; the pictures are drawn ten times as large and shown through a view box,
//! so that lines are smooth.

mod cut;
mod gauge;
mod legend;
mod line;
mod sparkline;
mod text;
mod theme;
mod time_axis;
mod unit;
mod value_axis;

use jiff::tz::TimeZone;

pub use gauge::gauge;
pub use line::{Geometry, Line, draw, geometry};
pub use sparkline::sparkline;
pub use text::{draw_error, draw_message};
pub use theme::{Theme, colors_for, css};
pub use unit::Unit;

/// Units of the view box per pixel.
const SCALE: u32 = 10;

/// The least and the largest picture, in pixels, wide and high.
pub const SIZES: (std::ops::RangeInclusive<u32>, std::ops::RangeInclusive<u32>) = (120..=4000, 60..=3000);

/// How series are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A line per series.
    #[default]
    Lines,
    /// Areas on top of each other.
    Stacked,
    /// Bars on top of each other, one per step.
    Bars,
}

impl Kind {
    /// From the text of a parameter.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "line" | "lines" => Some(Self::Lines),
            "area" | "stacked" | "stacked_area" => Some(Self::Stacked),
            "bar" | "bars" => Some(Self::Bars),
            _ => None,
        }
    }
}

/// What a chart looks like.
#[derive(Clone, Debug)]
pub struct ChartOptions {
    /// In pixels.
    pub width: u32,
    /// In pixels, legend and title included.
    pub height: u32,
    /// Colours.
    pub theme: Theme,
    /// Stands above the chart, if not empty.
    pub title: String,
    /// What the values measure.
    pub unit: Unit,
    /// How series are drawn.
    pub kind: Kind,
    /// Whose clock and calendar the time axis shows.
    pub zone: TimeZone,
    /// Where the value axis begins; by the values if not given.
    pub min: Option<f64>,
    /// Where the value axis ends; by the values if not given.
    pub max: Option<f64>,
    /// Series drawn; the picture says how many were left out.
    pub max_series: usize,
    /// Series that were left out before.
    pub left_out: usize,
    /// Whether the picture names its series. A page does it better, in HTML.
    pub legend: bool,
}

impl Default for ChartOptions {
    fn default() -> Self {
        Self {
            width: 800,
            height: 300,
            theme: Theme::Light,
            title: String::new(),
            unit: Unit::Number,
            kind: Kind::Lines,
            zone: TimeZone::UTC,
            min: None,
            max: None,
            max_series: 50,
            left_out: 0,
            legend: true,
        }
    }
}
