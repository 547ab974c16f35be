//! One number on a half circle.

use std::f64::consts::PI;

use plotters::element::Polygon;
use plotters::style::RGBColor;
use plotters::style::text_anchor::{HPos, VPos};

use super::text::{SMALL, picture, put, style, width_of};
use super::value_axis::scale_of;
use super::{ChartOptions, SCALE};

/// Colours from `min` up to each threshold and beyond the last.
const LEVELS: [RGBColor; 3] = [RGBColor(16, 185, 129), RGBColor(245, 158, 11), RGBColor(239, 68, 68)];

/// Draws `value` between the options' `min` (0 if not given) and `max` (100, or 1 for a ratio): green, from
/// `thresholds.0` on amber, from `thresholds.1` on red.
#[must_use]
pub fn gauge(value: f64, thresholds: (f64, f64), options: &ChartOptions) -> String {
    let min = options.min.unwrap_or(0.0);
    let full = if options.unit == super::Unit::Ratio { 1.0 } else { 100.0 };
    let max = options.max.unwrap_or(full);
    let scale = scale_of(value.abs().max(min.abs()).max(max.abs()).min(f64::MAX));
    let part = (value * scale - min * scale) / (max * scale - min * scale);
    let part = if part.is_nan() { 0.0 } else { part.clamp(0.0, 1.0) };
    let level = if value >= thresholds.1 {
        LEVELS[2]
    } else if value >= thresholds.0 {
        LEVELS[1]
    } else {
        LEVELS[0]
    };
    // Three digits are what one takes in at a glance.
    let text = options.unit.format_step(value, value.abs() / 100.0);
    picture(options, &text, |area, colors| {
        let scale = f64::from(SCALE);
        let (width, height) = (f64::from(options.width), f64::from(options.height));
        let outer = (width / 2.0 - 12.0).min(height - 34.0).max(16.0);
        let inner = outer * 0.74;
        let (x, y) = (width / 2.0, (height + outer) / 2.0 - 6.0);
        let arc = |radius: f64, from: f64, to: f64| {
            (0..=48).map(move |i| {
                let angle = PI * (1.0 - (from + (to - from) * f64::from(i) / 48.0));
                let (dx, dy) = (angle.cos() * radius, angle.sin() * radius);
                (((x + dx) * scale).round() as i32, ((y - dy) * scale).round() as i32)
            })
        };
        let ring = |from: f64, to: f64| arc(outer, from, to).chain(arc(inner, to, from)).collect::<Vec<_>>();
        area.draw(&Polygon::new(ring(0.0, 1.0), colors.grid)).expect("drawing into memory does not fail");
        if part > 0.0 {
            area.draw(&Polygon::new(ring(0.0, part), level)).expect("drawing into memory does not fail");
        }
        let room = inner * 1.6;
        let size = (10..=30).rev().find(|&size| f64::from(width_of(&text, size)) <= room).unwrap_or(10);
        let at = |dx: f64, dy: f64| ((x + dx).max(0.0) as u32, (y + dy).max(0.0) as u32);
        put(area, &text, at(0.0, -outer * 0.16), &style(size, colors.text, HPos::Center, VPos::Center));
        let ends = style(SMALL, colors.muted, HPos::Center, VPos::Center);
        let middle = (outer + inner) / 2.0;
        put(area, &options.unit.format(min), at(-middle, 12.0), &ends);
        put(area, &options.unit.format(max), at(middle, 12.0), &ends);
    })
}
