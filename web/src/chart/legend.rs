//! The legend of a chart: the names of its series, and how many have no room.

use plotters::element::Rectangle;
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor};

use super::line::Line;
use super::text::{Area, SMALL, fitted, put, style, width_of};
use super::theme::Colors;
use super::{ChartOptions, SCALE};

/// Height of a row, in pixels.
const ROW: u32 = 18;
/// Pixels between the edge of the picture and the first name.
const LEFT: u32 = 10;
/// Pixels that an entry takes beside its text.
const SWATCH: u32 = 32;

/// The names of the lines, laid out in rows below the plot.
#[derive(Default)]
pub(super) struct Legend {
    entries: Vec<Entry>,
    pub(super) rows: u32,
}

struct Entry {
    text: String,
    /// Which line it names; none for a note.
    line: Option<usize>,
    /// In pixels.
    left: u32,
    row: u32,
}

pub(super) fn legend(lines: &[Line], left_out: usize, options: &ChartOptions) -> Legend {
    let most_rows = (options.height / 3 / ROW).max(1);
    let room = options.width.saturating_sub(LEFT);
    let named = if options.legend { lines } else { &[] };
    let mut entries: Vec<Entry> = Vec::new();
    let (mut left, mut row) = (LEFT, 0);
    for (i, line) in named.iter().enumerate() {
        let text = fitted(&line.name, SMALL, room.min(420).saturating_sub(LEFT + SWATCH));
        let width = width_of(&text, SMALL) + SWATCH;
        if left > LEFT && left + width > room {
            (left, row) = (LEFT, row + 1);
        }
        if row >= most_rows {
            break;
        }
        entries.push(Entry { text, line: Some(i), left, row });
        left += width;
    }
    // The note gets its room from the last names.
    loop {
        let unnamed = named.len() - entries.len();
        let note = match (left_out, unnamed) {
            (0, 0) => break,
            (0, unnamed) => format!("and {unnamed} more"),
            (left_out, _) => format!("{left_out} more series not drawn"),
        };
        let note = fitted(&note, SMALL, room - LEFT.min(room));
        let (row, end) = entries.last().map_or((0, LEFT), |last| (last.row, last.end()));
        let fits = end + width_of(&note, SMALL) <= room;
        if fits || entries.is_empty() || row + 1 < most_rows {
            let (left, row) = if fits || entries.is_empty() { (end, row) } else { (LEFT, row + 1) };
            entries.push(Entry { text: note, line: None, left, row });
            break;
        }
        entries.pop();
    }
    Legend { rows: entries.last().map_or(0, |entry| entry.row + 1), entries }
}

impl Entry {
    /// Where the next one may begin, in pixels.
    fn end(&self) -> u32 {
        self.left + width_of(&self.text, SMALL) + SWATCH
    }
}

impl Legend {
    /// In pixels.
    pub(super) fn height(&self) -> u32 {
        self.rows * ROW + if self.rows > 0 { 6 } else { 0 }
    }

    pub(super) fn draw(&self, area: &Area<'_>, theme: &Colors, colors: &[RGBColor], options: &ChartOptions) {
        let top = options.height.saturating_sub(self.rows * ROW + 3);
        for Entry { text, line, left, row } in &self.entries {
            let y = top + row * ROW + ROW / 2;
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
