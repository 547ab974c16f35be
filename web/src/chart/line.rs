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

use super::axes::{TimeAxis, ValueAxis};
use super::text::{Area, SMALL, TITLE, fitted, picture, put, style, width_of};
use super::theme::{Colors, colors_for};
use super::{ChartOptions, Kind, SCALE};

/// Height of a row of the legend, in pixels.
const LEGEND_ROW: u32 = 18;
/// Height of the title's row, in pixels.
const TITLE_ROW: u32 = 28;
/// Height of the time axis' labels, in pixels.
const TIME_ROW: u32 = 22;
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

/// Pixels to the right of the plot.
const RIGHT: u32 = 18;

fn lay_out(lines: &[Line], left_out: usize, options: &ChartOptions) -> Layout {
    let heights = heights(lines, options.kind);
    let (min, max) = bounds(lines, heights.as_deref(), options.kind);
    let legend = legend(lines, left_out, options);
    let title_row = if options.title.is_empty() { 9 } else { TITLE_ROW };
    let legend_height = legend.rows * LEGEND_ROW + if legend.rows > 0 { 6 } else { 0 };
    let plot_height = options.height.saturating_sub(title_row + legend_height + TIME_ROW).max(20);
    let divisions = (plot_height / 45).clamp(2, 8) as usize;
    let values = ValueAxis::new(min, max, (options.min, options.max), options.unit, divisions);
    let widest = values.ticks().iter().map(|&tick| width_of(&values.label(tick), SMALL)).max().unwrap_or(0);
    let left = (widest + 12).clamp(24, options.width / 3);
    let plot = [left, title_row, options.width - RIGHT, title_row + plot_height];
    let (least, most) = values.bounds();
    Layout { legend, title_row, legend_height, geometry: Geometry { plot, values: [least, most] }, heights, values }
}

/// The lines that are drawn, and how many are not.
fn drawn<'l>(lines: &'l [Line], options: &ChartOptions) -> (&'l [Line], usize) {
    let left_out = lines.len().saturating_sub(options.max_series);
    (&lines[..lines.len() - left_out], left_out)
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
    let time = TimeAxis::new(range.start.millis(), range.end.millis(), options.zone.clone(), pixels);
    let zone = time.zone_name();
    let label = if options.title.is_empty() { "Chart" } else { &options.title };
    picture(options, label, |area, theme| {
        if !options.title.is_empty() {
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
        let zone_style = style(SMALL - 2, theme.muted, HPos::Left, VPos::Center);
        put(area, &zone, (3, options.height - legend_height - TIME_ROW / 2 + 2), &zone_style);
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
    for (line, &color) in lines.iter().zip(colors) {
        let stroke = ShapeStyle { color: color.to_rgba(), filled: false, stroke_width: SCALE * 3 / 2 };
        for piece in pieces(line) {
            let points = piece.iter().map(|&(at, value)| (at, values.clamp(value)));
            if piece.len() == 1 {
                plot.draw_series(points.map(|at| Circle::new(at, 2 * SCALE, stroke.filled())))
            } else {
                plot.draw_series(LineSeries::new(points, stroke))
            }
            .expect("drawing into memory does not fail");
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
            *level += value;
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
    for ((line, edges), &color) in lines.iter().zip(heights).zip(colors) {
        let steps: Vec<_> = line.series.timestamps_ms.iter().zip(edges).collect();
        for piece in steps.split(|(_, edge)| edge.is_none()).filter(|piece| !piece.is_empty()) {
            let edge = |upper: bool| {
                move |&(&at, edge): &(&i64, &Option<(f64, f64)>)| {
                    let (from, to) = edge.expect("holes were split off");
                    (at, values.clamp(if upper { to } else { from }))
                }
            };
            let top: Vec<_> = piece.iter().map(edge(true)).collect();
            let outline: Vec<_> = top.iter().copied().chain(piece.iter().rev().map(edge(false))).collect();
            let stroke = ShapeStyle { color: color.to_rgba(), filled: false, stroke_width: SCALE };
            plot.draw_series([Polygon::new(outline, color.mix(AREA_OPACITY))])
                .expect("drawing into memory does not fail");
            plot.draw_series(LineSeries::new(top, stroke)).expect("drawing into memory does not fail");
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
    let step = |line: &Line| line.series.timestamps_ms.windows(2).map(|pair| pair[1] - pair[0]).min();
    let whole = range.end.millis() - range.start.millis();
    let step = lines.iter().filter_map(step).min().unwrap_or(whole / 20).max(2);
    // Bars that would be too narrow for gaps touch.
    let half = if whole / step > 120 { step / 2 } else { step * 2 / 5 };
    for ((line, edges), &color) in lines.iter().zip(heights).zip(colors) {
        let bar = |(&at, edge): (&i64, &Option<(f64, f64)>)| {
            let (from, to) = (*edge)?;
            let clip = |ms: i64| ms.clamp(range.start.millis(), range.end.millis());
            let corners = [(clip(at - half), values.clamp(to)), (clip(at + half), values.clamp(from))];
            Some(Rectangle::new(corners, color.mix(0.85).filled()))
        };
        plot.draw_series(line.series.timestamps_ms.iter().zip(edges).filter_map(bar))
            .expect("drawing into memory does not fail");
    }
}

/// The names of the lines, laid out in rows below the plot.
struct Legend {
    entries: Vec<Entry>,
    rows: u32,
}

struct Entry {
    text: String,
    /// Which line it names; none for a note.
    line: Option<usize>,
    /// In pixels.
    left: u32,
    row: u32,
}

/// Pixels that the note of what is left out takes.
const NOTE_WIDTH: u32 = 160;

fn legend(lines: &[Line], left_out: usize, options: &ChartOptions) -> Legend {
    let most_rows = (options.height / 3 / LEGEND_ROW).max(1);
    let room = options.width.saturating_sub(20);
    let mut entries: Vec<Entry> = Vec::new();
    let (mut left, mut row) = (10, 0);
    let mut unnamed = 0;
    for (i, line) in lines.iter().enumerate().filter(|_| options.legend) {
        let text = fitted(&line.name, SMALL, room.min(420).saturating_sub(32));
        let width = width_of(&text, SMALL) + 32;
        if left > 10 && left + width > room {
            (left, row) = (10, row + 1);
        }
        // The last row keeps room for a note unless this is the last to be named.
        let reserve = if row + 1 < most_rows || i + 1 == lines.len() && left_out == 0 { 0 } else { NOTE_WIDTH };
        if row >= most_rows || left > 10 && left + width + reserve > room {
            unnamed = lines.len() - i;
            break;
        }
        entries.push(Entry { text, line: Some(i), left, row });
        left += width;
    }
    let note = match (left_out, unnamed) {
        (0, 0) => None,
        (0, unnamed) => Some(format!("and {unnamed} more")),
        (left_out, _) => Some(format!("{left_out} more series not drawn")),
    };
    if let Some(text) = note {
        let row = row.min(most_rows - 1);
        let left =
            entries.iter().filter(|e| e.row == row).map(|e| e.left + width_of(&e.text, SMALL) + 32).max().unwrap_or(10);
        entries.push(Entry { text, line: None, left, row });
    }
    Legend { rows: entries.last().map_or(0, |entry| entry.row + 1), entries }
}

impl Legend {
    fn draw(&self, area: &Area<'_>, theme: &Colors, colors: &[RGBColor], options: &ChartOptions) {
        let top = options.height.saturating_sub(self.rows * LEGEND_ROW + 3);
        for Entry { text, line, left, row } in &self.entries {
            let y = top + row * LEGEND_ROW + LEGEND_ROW / 2;
            let (color, indent) = if let Some(line) = line {
                let scaled = |x: u32, y: u32| ((x * SCALE) as i32, (y * SCALE) as i32);
                let swatch = Rectangle::new([scaled(*left, y - 2), scaled(left + 12, y + 2)], colors[*line].filled());
                area.draw(&swatch).expect("drawing into memory does not fail");
                (theme.text, 17)
            } else {
                (theme.muted, 0)
            };
            put(area, text, (left + indent, y), &style(SMALL, color, HPos::Left, VPos::Center));
        }
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
