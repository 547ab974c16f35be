//! Text in pictures: escaped by plotters, measured by guess, since an SVG's reader chooses the font.

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::Text;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, RGBColor, TextStyle};

use super::theme::Colors;
use super::{ChartOptions, SCALE};

/// What text is set in.
const FAMILY: &str = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif";

/// Font sizes, in pixels.
pub(super) const SMALL: u32 = 11;
pub(super) const TITLE: u32 = 14;

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A text style; `size` in pixels.
pub(super) fn style(size: u32, color: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    // The SVG back end divides by 1.24.
    let size = f64::from(size * SCALE) * 1.24;
    let font = (FAMILY, size).into_font();
    TextStyle { font, color: color.to_backend_color(), pos: Pos::new(h, v) }
}

/// About how wide `text` is, in pixels: as in DejaVu Sans, the widest of the fonts in [`FAMILY`].
pub(super) fn width_of(text: &str, size: u32) -> u32 {
    let ems: f64 = text.chars().map(ems).sum();
    (ems * f64::from(size)).ceil() as u32
}

/// The width of a character, in font sizes.
const fn ems(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | '\'' => 0.28,
        'I' | ' ' | '.' | ',' | ':' | ';' | '|' | '!' | '-' | '/' => 0.34,
        'f' | 't' | 'r' | '(' | ')' | '[' | ']' => 0.4,
        's' | 'c' | 'z' | '_' | '*' | '"' | '?' => 0.53,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.98,
        '=' | '+' | '<' | '>' | '~' | '&' | 'O' | 'Q' | 'N' | 'D' | 'G' | 'H' | 'U' => 0.84,
        'A'..='Z' => 0.7,
        '\0'..='\x7f' => 0.64,
        _ => 1.0,
    }
}

/// A character as XML can hold it: a space for a control character, U+FFFD for the noncharacters U+FFFE and U+FFFF.
const fn printable(c: char) -> char {
    match c {
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => ' ',
        '\u{fffe}' | '\u{ffff}' => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

/// `text` cut to about `width` pixels, without what XML cannot hold.
pub(super) fn fitted(text: &str, size: u32, width: u32) -> String {
    let (mut kept, mut used) = (String::new(), 0.0);
    // Where to cut, should the rest not fit.
    let mut cut = None;
    for c in text.chars().map(printable) {
        if cut.is_none() && used * f64::from(size) + f64::from(2 * size) > f64::from(width) {
            cut = Some(kept.len());
        }
        used += ems(c);
        if (used * f64::from(size)).ceil() > f64::from(width) {
            kept.truncate(cut.unwrap_or(0));
            kept.push('…');
            break;
        }
        kept.push(c);
    }
    kept
}

/// Writes `text` at a place in pixels.
pub(super) fn put(area: &Area<'_>, text: &str, at: (u32, u32), style: &TextStyle<'static>) {
    let at = ((at.0 * SCALE) as i32, (at.1 * SCALE) as i32);
    let text: String = text.chars().map(printable).collect();
    area.draw(&Text::new(text, at, style.clone())).expect("drawing into memory does not fail");
}

/// Draws into an empty picture and finishes it.
pub(super) fn picture(options: &ChartOptions, label: &str, draw: impl FnOnce(&Area<'_>, &Colors)) -> String {
    let (width, height) = (options.width, options.height);
    let colors = options.theme.colors();
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width * SCALE, height * SCALE)).into_drawing_area();
        if let Some(background) = colors.background {
            area.fill(&background).expect("drawing into memory does not fail");
        }
        draw(&area, &colors);
        area.present().expect("drawing into memory does not fail");
    }
    // The size in pixels; the view box stays as large as what was drawn.
    let drawn = format!("width=\"{}\" height=\"{}\"", width * SCALE, height * SCALE);
    let shown = format!(
        "width=\"{width}\" height=\"{height}\" stroke-linejoin=\"round\" role=\"img\" aria-label=\"{}\"",
        attribute(label)
    );
    options.theme.finish(svg.replacen(&drawn, &shown, 1))
}

/// Text within the quotation marks of an attribute.
pub(super) fn attribute(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().map(printable) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

/// A picture that says what went wrong.
#[must_use]
pub fn draw_error(message: &str, options: &ChartOptions) -> String {
    picture(options, message, |area, colors| lines(area, message, options, colors.error))
}

/// A picture that says something else than a chart can: that there are no data, for one.
#[must_use]
pub fn draw_message(message: &str, options: &ChartOptions) -> String {
    picture(options, message, |area, colors| lines(area, message, options, colors.muted))
}

/// `message` in the middle, in as many lines as it takes and there is room for.
fn lines(area: &Area<'_>, message: &str, options: &ChartOptions, color: RGBColor) {
    let (size, height) = (13, 18);
    let room = options.width.saturating_sub(24).max(40);
    let mut lines: Vec<String> = Vec::new();
    for word in message.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width_of(line, size) + width_of(word, size) + size <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.truncate((options.height / height).max(1) as usize);
    let top = options.height.saturating_sub(lines.len() as u32 * height) / 2 + height / 2;
    let style = style(size, color, HPos::Center, VPos::Center);
    for (line, i) in lines.iter().zip(0..) {
        put(area, &fitted(line, size, room), (options.width / 2, top + i * height), &style);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_holds_nothing_that_xml_does_not() {
        let odd = "a\u{0}b\u{fffe}c\u{ffff}d\u{9f}e\u{10ffff}f";
        assert_eq!(fitted(odd, SMALL, 1000), "a b\u{fffd}c\u{fffd}d e\u{10ffff}f");
        assert_eq!(attribute(odd), "a b\u{fffd}c\u{fffd}d e\u{10ffff}f");
    }

    #[test]
    fn text_is_cut_where_there_is_no_room_for_all_of_it() {
        assert_eq!(fitted("short", SMALL, 100), "short");
        let cut = fitted(&"long ".repeat(1000), SMALL, 100);
        assert!(cut.ends_with('…') && width_of(&cut, SMALL) <= 100 && cut.len() > 12, "{cut}");
    }
}
