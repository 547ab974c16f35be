//! A line without axes, as large as a word.

use plotters::element::{PathElement, Polygon};
use plotters::style::{Color, ShapeStyle};
use query::is_absent;

use super::text::picture;
use super::theme::PALETTE;
use super::value_axis::scale_of;
use super::{ChartOptions, SCALE};

/// Draws `values`, one per step, over the whole picture. Holes stay holes.
#[must_use]
pub fn sparkline(values: &[f64], options: &ChartOptions) -> String {
    let drawable = |value: &f64| !is_absent(*value) && value.is_finite();
    let finite = values.iter().copied().filter(drawable);
    let (min, max) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), v| (min.min(v), max.max(v)));
    // Differences of what is left stay within the range of floats.
    let scale = scale_of(min.abs().max(max.abs()));
    let (min, max) = (min * scale, max * scale);
    let min = if min > 0.0 && min <= max * 0.6 { 0.0 } else { min };
    let (width, height) = (f64::from(options.width * SCALE), f64::from(options.height * SCALE));
    let margin = f64::from(SCALE) * 1.5;
    let place = |(step, &value): (usize, &f64)| {
        let part = if max > min { (value * scale - min) / (max - min) } else { 0.5 };
        let x = step as f64 / (values.len() - 1).max(1) as f64 * width;
        (x.round() as i32, (height - margin - part * (height - 2.0 * margin)).round() as i32)
    };
    let svg = picture(options, "Trend", |area, _| {
        let steps: Vec<_> = values.iter().enumerate().collect();
        for piece in steps.split(|(_, value)| !drawable(value)).filter(|piece| piece.len() > 1) {
            let line: Vec<_> = piece.iter().copied().map(place).collect();
            let mut outline = line.clone();
            outline.extend([(line[line.len() - 1].0, height as i32), (line[0].0, height as i32)]);
            let stroke = ShapeStyle { color: PALETTE[0].to_rgba(), filled: false, stroke_width: SCALE * 3 / 2 };
            area.draw(&Polygon::new(outline, PALETTE[0].mix(0.15))).expect("drawing into memory does not fail");
            area.draw(&PathElement::new(line, stroke)).expect("drawing into memory does not fail");
        }
    });
    // It fills whatever box it is put into.
    svg.replacen("<svg ", "<svg preserveAspectRatio=\"none\" ", 1)
}
