//! Values over time: lines, stacked areas, bars.

use plotters::chart::{ChartBuilder, ChartContext, LabelAreaPosition};
use plotters::coord::cartesian::Cartesian2d;
use plotters::element::{Circle, Polygon, Rectangle};
use plotters::prelude::SVGBackend;
use plotters::series::LineSeries;
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor, ShapeStyle};
use query::{Series, is_absent};
use tsdb::TimeRange;

use super::cut::{Point, flattened, within};
use super::legend::{Legend, legend};
use super::text::{SMALL, TITLE, fitted, picture, put, style, width_of};
use super::theme::{Colors, colors_for};
use super::time_axis::{Room, TimeAxis};
use super::value_axis::ValueAxis;
use super::{ChartOptions, Kind, SCALE};

/// Height of the title's row, in pixels.
const TITLE_ROW: u32 = 28;
/// Height of what stands in its place where there is no title, in pixels.
const NO_TITLE_ROW: u32 = 9;
/// Height of a plot that leaves room for a legend and a title, in pixels.
const LEAST_PLOT: u32 = 40;
/// Height of the time axis' labels, in pixels.
const TIME_ROW: u32 = 22;
/// Steps that show how far bars lie apart.
const BAR_STEPS: usize = 8;
/// How opaque stacked areas are.
const AREA_OPACITY: f64 = 0.65;

type Plot<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<TimeAxis, ValueAxis>>;

/// A series and what it is called.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Stands in the legend and decides the colour.
    pub name: String,
    /// The points.
    pub series: Series,
}

/// Where a chart's plot is in its picture, and what it spans: what it takes to find a point under the pointer.
#[derive(Clone, Debug, PartialEq)]
pub struct Geometry {
    /// Left, top, right, bottom edge of the plot, in pixels.
    pub plot: [u32; 4],
    /// Least and largest value.
    pub values: [f64; 2],
}

/// How a chart is laid out.
struct Layout {
    legend: Legend,
    title_row: u32,
    legend_height: u32,
    geometry: Geometry,
    heights: Option<Vec<Edges>>,
    values: ValueAxis,
}

/// Font size of the zone's name and its distance from the edge of the picture, in pixels.
const ZONE: u32 = SMALL - 2;
const ZONE_LEFT: u32 = 3;
/// Pixels to the right of the plot.
const RIGHT: u32 = 18;

fn lay_out(lines: &[Line], left_out: usize, options: &ChartOptions) -> Layout {
    let heights = heights(lines, options.kind);
    let (min, max) = bounds(lines, heights.as_deref(), options.kind);
    let mut title_row = if options.title.is_empty() { NO_TITLE_ROW } else { TITLE_ROW };
    let mut legend = legend(lines, left_out, options);
    let plot_height =
        |title_row: u32, legend: &Legend| options.height.saturating_sub(title_row + legend.height() + TIME_ROW);
    // A low picture has a plot before it has a legend and a title.
    if plot_height(title_row, &legend) < LEAST_PLOT {
        legend = Legend::default();
    }
    if plot_height(title_row, &legend) < LEAST_PLOT {
        title_row = NO_TITLE_ROW;
    }
    let plot_height = plot_height(title_row, &legend).max(20);
    let divisions = (plot_height / 45).clamp(2, 8) as usize;
    let mut values = ValueAxis::new(min, max, (options.min, options.max), options.unit, divisions);
    values.fit(plot_height);
    let widest = values.ticks().iter().map(|&tick| width_of(&values.label(tick), SMALL)).max().unwrap_or(0);
    let left = (widest + 12).clamp(24, (options.width / 3).max(60));
    let legend_height = legend.height();
    let plot = [left, title_row, options.width - RIGHT, title_row + plot_height];
    let (least, most) = values.bounds();
    Layout { legend, title_row, legend_height, geometry: Geometry { plot, values: [least, most] }, heights, values }
}

/// The lines that are drawn, and how many are not.
fn drawn<'l>(lines: &'l [Line], options: &ChartOptions) -> (&'l [Line], usize) {
    let left_out = lines.len().saturating_sub(options.max_series);
    (&lines[..lines.len() - left_out], left_out + options.left_out)
}

/// Where [`draw`] puts the plot.
#[must_use]
pub fn geometry(lines: &[Line], options: &ChartOptions) -> Geometry {
    let (lines, left_out) = drawn(lines, options);
    lay_out(lines, left_out, options).geometry
}

/// Draws `lines` over `range`. Holes stay holes; a point without neighbours is a dot; what is not finite is a hole.
/// Cost: about 0.7 ms for 20 series of 500 points.
#[must_use]
pub fn draw(lines: &[Line], range: TimeRange, options: &ChartOptions) -> String {
    let (lines, left_out) = drawn(lines, options);
    let Layout { legend, title_row, legend_height, geometry, heights, values } = lay_out(lines, left_out, options);
    let colors = colors_for(lines.iter().map(|line| line.name.as_str()));
    let left = geometry.plot[0];
    let pixels = options.width.saturating_sub(left + RIGHT);
    let zone = TimeAxis::zone_name(&options.zone, range.end.millis());
    let before = left.saturating_sub(ZONE_LEFT + width_of(&zone, ZONE) + 4);
    let room = Room { pixels, before, behind: RIGHT - 2 };
    let time = TimeAxis::new(range.start.millis(), range.end.millis(), options.zone.clone(), room);
    let label = if options.title.is_empty() { "Chart" } else { &options.title };
    let has_title = title_row == TITLE_ROW;
    picture(options, label, |area, theme| {
        if has_title {
            let style = style(TITLE, theme.text, HPos::Left, VPos::Center);
            put(
                area,
                &fitted(&options.title, TITLE, options.width.saturating_sub(20)),
                (10, TITLE_ROW / 2 + 1),
                &style,
            );
        }
        let mut chart = ChartBuilder::on(area);
        chart
            .margin_top(title_row * SCALE)
            .margin_right(RIGHT * SCALE)
            .margin_bottom(legend_height * SCALE)
            .x_label_area_size(TIME_ROW * SCALE)
            .y_label_area_size(left * SCALE);
        let mut plot = chart.build_cartesian_2d(time, values.clone()).expect("drawing into memory does not fail");
        axes(&mut plot, theme);
        let zone_style = style(ZONE, theme.muted, HPos::Left, VPos::Center);
        put(area, &zone, (ZONE_LEFT, options.height - legend_height - TIME_ROW / 2 + 2), &zone_style);
        let edges = heights.as_deref().unwrap_or_default();
        match options.kind {
            Kind::Lines => draw_lines(&mut plot, lines, &colors, &values),
            Kind::Stacked => draw_stacked(&mut plot, lines, edges, &colors, &values),
            Kind::Bars => draw_bars(&mut plot, lines, edges, &colors, &values, range),
        }
        legend.draw(area, theme, &colors, options);
    })
}

/// The grid and its labels.
fn axes(plot: &mut Plot<'_, '_>, theme: &Colors) {
    let line = ShapeStyle { color: theme.grid.to_rgba(), filled: false, stroke_width: SCALE };
    let none = ShapeStyle { color: theme.grid.mix(0.0), filled: false, stroke_width: 0 };
    plot.configure_mesh()
        .bold_line_style(line)
        .light_line_style(none)
        .axis_style(none)
        // Ticks are not drawn; their length keeps the labels off the plot.
        .set_tick_mark_size(LabelAreaPosition::Left, 3 * SCALE)
        .set_tick_mark_size(LabelAreaPosition::Bottom, SCALE)
        .x_label_style(style(SMALL, theme.muted, HPos::Center, VPos::Top))
        .y_label_style(style(SMALL, theme.muted, HPos::Right, VPos::Center))
        .draw()
        .expect("drawing into memory does not fail");
}

/// The points of a series, cut at its holes.
fn pieces(line: &Line) -> impl Iterator<Item = Vec<(i64, f64)>> {
    let drawable = |value: f64| !is_absent(value) && value.is_finite();
    let series = &line.series;
    let mut points = series.timestamps_ms.iter().copied().zip(series.values.iter().copied()).peekable();
    std::iter::from_fn(move || {
        while points.next_if(|&(_, value)| !drawable(value)).is_some() {}
        let mut piece = Vec::new();
        while let Some(point) = points.next_if(|&(_, value)| drawable(value)) {
            piece.push(point);
        }
        (!piece.is_empty()).then_some(piece)
    })
}

fn draw_lines(plot: &mut Plot<'_, '_>, lines: &[Line], colors: &[RGBColor], values: &ValueAxis) {
    let band = values.band();
    for (line, &color) in lines.iter().zip(colors) {
        let stroke = ShapeStyle { color: color.to_rgba(), filled: false, stroke_width: SCALE * 3 / 2 };
        for piece in pieces(line) {
            let piece: Vec<Point> = piece.into_iter().map(|(at, value)| (at, values.place(value))).collect();
            if let [(_, value)] = piece[..] {
                let within = (band.0..=band.1).contains(&value);
                let dot = piece.into_iter().filter(|_| within).map(|at| Circle::new(at, 2 * SCALE, stroke.filled()));
                plot.draw_series(dot).expect("drawing into memory does not fail");
                continue;
            }
            for part in within(piece, band) {
                plot.draw_series(LineSeries::new(part, stroke)).expect("drawing into memory does not fail");
            }
        }
    }
}

/// What is drawn of a series on top of those before it: lower and upper edge per step, `None` for a hole.
type Edges = Vec<Option<(f64, f64)>>;

/// The edges of every series, for what is stacked. Positive values go up from zero, negative ones down.
fn heights(lines: &[Line], kind: Kind) -> Option<Vec<Edges>> {
    if kind == Kind::Lines {
        return None;
    }
    let steps = lines.iter().map(|line| line.series.values.len()).max().unwrap_or(0);
    let (mut up, mut down) = (vec![0.0; steps], vec![0.0; steps]);
    let edges = |line: &Line| {
        let mut edge = |(step, &value): (usize, &f64)| {
            if is_absent(value) || !value.is_finite() {
                return None;
            }
            let level: &mut f64 = if value < 0.0 { &mut down[step] } else { &mut up[step] };
            let from = *level;
            *level = (*level + value).clamp(-f64::MAX, f64::MAX);
            Some((from, *level))
        };
        line.series.values.iter().enumerate().map(&mut edge).collect()
    };
    Some(lines.iter().map(edges).collect())
}

/// The least and the largest value that is drawn.
fn bounds(lines: &[Line], heights: Option<&[Edges]>, kind: Kind) -> (f64, f64) {
    let grow = |(min, max): (f64, f64), value: f64| (min.min(value), max.max(value));
    let none = (f64::INFINITY, f64::NEG_INFINITY);
    match heights {
        Some(heights) if kind != Kind::Lines => {
            heights.iter().flatten().flatten().fold(none, |b, &(from, to)| grow(grow(b, from), to))
        }
        _ => lines.iter().flat_map(pieces).flatten().fold(none, |b, (_, value)| grow(b, value)),
    }
}

fn draw_stacked(plot: &mut Plot<'_, '_>, lines: &[Line], heights: &[Edges], colors: &[RGBColor], values: &ValueAxis) {
    let band = values.band();
    for ((line, edges), &color) in lines.iter().zip(heights).zip(colors) {
        let steps: Vec<_> = line.series.timestamps_ms.iter().zip(edges).collect();
        for piece in steps.split(|(_, edge)| edge.is_none()).filter(|piece| !piece.is_empty()) {
            let edge = |upper: bool| {
                move |&(&at, edge): &(&i64, &Option<(f64, f64)>)| {
                    let (from, to) = edge.expect("holes were split off");
                    (at, values.place(if upper { to } else { from }))
                }
            };
            let top: Vec<Point> = piece.iter().map(edge(true)).collect();
            let bottom: Vec<Point> = piece.iter().map(edge(false)).collect();
            let (over, under) = (flattened(&top, band), flattened(&bottom, band));
            // An area that lies beyond the plot has nothing between its edges.
            if over != under {
                let outline: Vec<Point> = over.into_iter().chain(under.into_iter().rev()).collect();
                plot.draw_series([Polygon::new(outline, color.mix(AREA_OPACITY))])
                    .expect("drawing into memory does not fail");
            }
            let stroke = ShapeStyle { color: color.to_rgba(), filled: false, stroke_width: SCALE };
            for part in within(top, band) {
                plot.draw_series(LineSeries::new(part, stroke)).expect("drawing into memory does not fail");
            }
        }
    }
}

fn draw_bars(
    plot: &mut Plot<'_, '_>,
    lines: &[Line],
    heights: &[Edges],
    colors: &[RGBColor],
    values: &ValueAxis,
    range: TimeRange,
) {
    let (start, end) = (range.start.millis(), range.end.millis());
    // The newest point may follow sooner than in a step.
    let step = |line: &Line| {
        line.series.timestamps_ms.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).take(BAR_STEPS).max()
    };
    let whole = end.saturating_sub(start);
    let step = lines.iter().filter_map(step).max().unwrap_or(whole / 20).max(2);
    // Bars that would be too narrow for gaps touch.
    let half = if whole / step > 120 { step / 2 } else { step / 5 * 2 };
    let (least, most) = values.band();
    for ((line, edges), &color) in lines.iter().zip(heights).zip(colors) {
        let mut free_from = start;
        let bar = |(&at, edge): (&i64, &Option<(f64, f64)>)| {
            let left = at.saturating_sub(half).max(free_from);
            let right = at.saturating_add(half).min(end);
            free_from = right.max(start);
            let (from, to) = (*edge)?;
            let (from, to) = (values.place(from).clamp(least, most), values.place(to).clamp(least, most));
            let corners = [(left.min(right), to), (right, from)];
            (from != to).then(|| Rectangle::new(corners, color.mix(0.85).filled()))
        };
        plot.draw_series(line.series.timestamps_ms.iter().zip(edges).filter_map(bar))
            .expect("drawing into memory does not fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use query::ABSENT;
    use tsdb::Labels;

    fn series(name: &str, values: &[f64]) -> Line {
        let timestamps_ms: Vec<i64> = (0..values.len() as i64).map(|i| 1_790_000_000_000 + i * 15_000).collect();
        let series = Series {
            labels: Labels::empty(),
            timestamps_ms: timestamps_ms.into(),
            values: values.to_vec(),
            histograms: Vec::new(),
        };
        Line { name: name.into(), series }
    }

    fn range() -> TimeRange {
        TimeRange::from_millis(1_790_000_000_000, 1_790_000_600_000)
    }

    fn count(svg: &str, what: &str) -> usize {
        svg.matches(what).count()
    }

    #[test]
    fn holes_stay_holes_and_a_lonely_point_is_a_dot() {
        let values = [1.0, 2.0, ABSENT, 3.0, f64::NAN, f64::INFINITY, 4.0, 5.0, 6.0];
        let svg = draw(&[series("a", &values)], range(), &ChartOptions { legend: false, ..ChartOptions::default() });
        let colour = format!("stroke=\"{}\"", super::super::css(super::super::theme::PALETTE[0]).to_uppercase());
        assert_eq!((count(&svg, &colour), count(&svg, "<circle")), (2, 1), "{svg}");
    }

    #[test]
    fn labels_never_become_markup() {
        let evil = "</text><script>alert(1)</script>\"'&\u{1}";
        let one = series(evil, &[1.0, 2.0]);
        for kind in [Kind::Lines, Kind::Stacked, Kind::Bars] {
            let options = ChartOptions { title: evil.into(), kind, ..ChartOptions::default() };
            let svg = draw(std::slice::from_ref(&one), range(), &options);
            assert!(!svg.contains("<script") && svg.contains("&lt;script&gt;"), "{svg}");
            assert!(!svg.contains('\u{1}'));
            // Every text element is opened and closed once: nothing broke out.
            assert_eq!(count(&svg, "<text"), count(&svg, "</text>"));
        }
    }

    #[test]
    fn what_is_left_out_is_said() {
        let many: Vec<Line> = (0..60).map(|i| series(&format!("m{i}"), &[1.0, 2.0])).collect();
        let svg = draw(&many, range(), &ChartOptions { max_series: 7, ..ChartOptions::default() });
        assert!(svg.contains("53 more series not drawn"), "{svg}");
        let page =
            ChartOptions { max_series: 7, legend: false, theme: super::super::Theme::Page, ..ChartOptions::default() };
        let svg = draw(&many, range(), &page);
        assert!(svg.contains("53 more series not drawn") && svg.contains("var(--chart-grid"));
    }

    #[test]
    fn any_numbers_make_a_picture() {
        let wild = [f64::MAX, f64::MIN, 1e-300, 0.0, -0.0, f64::NAN, f64::NEG_INFINITY];
        for kind in [Kind::Lines, Kind::Stacked, Kind::Bars] {
            for values in [&wild[..], &wild[..1], &[], &[f64::NAN], &[0.0; 3], &[f64::MAX, f64::MAX, f64::MAX]] {
                for size in [(120, 60), (800, 300)] {
                    let options = ChartOptions { kind, width: size.0, height: size.1, ..ChartOptions::default() };
                    let svg = draw(&[series("a", values), series("b", values)], range(), &options);
                    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
                    assert!(!svg.contains("NaN\""), "{svg}");
                }
            }
        }
    }
}
