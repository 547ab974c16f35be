//! Colours, and which series gets which.

use plotters::style::RGBColor;
use xxhash_rust::xxh3::xxh3_64;

/// What a chart is drawn for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Theme {
    /// A light background of its own.
    #[default]
    Light,
    /// A dark background of its own.
    Dark,
    /// The page that the chart stands in: no background, and colours that the page's style sheet sets.
    Page,
}

/// The colours of a chart beside those of its series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Colors {
    pub(crate) background: Option<RGBColor>,
    pub(crate) text: RGBColor,
    pub(crate) muted: RGBColor,
    pub(crate) grid: RGBColor,
    pub(crate) error: RGBColor,
}

/// Colours that stand for style sheet variables: what [`Theme::Page`] draws with, replaced once the picture is done.
/// No series has one of these.
const PAGE_VARIABLES: [(RGBColor, &str, &str); 4] = [
    (RGBColor(1, 1, 1), "#010101", "var(--chart-text,#334155)"),
    (RGBColor(1, 1, 2), "#010102", "var(--chart-muted,#64748b)"),
    (RGBColor(1, 1, 3), "#010103", "var(--chart-grid,#e2e8f0)"),
    (RGBColor(1, 1, 4), "#010104", "var(--chart-error,#dc2626)"),
];

impl Theme {
    /// From the text of a parameter.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "light" => Some(Self::Light),
            "dark" => Some(Self::Dark),
            "page" => Some(Self::Page),
            _ => None,
        }
    }

    pub(crate) fn colors(self) -> Colors {
        match self {
            Self::Light => Colors {
                background: Some(RGBColor(255, 255, 255)),
                text: RGBColor(30, 41, 59),
                muted: RGBColor(100, 116, 139),
                grid: RGBColor(226, 232, 240),
                error: RGBColor(220, 38, 38),
            },
            Self::Dark => Colors {
                background: Some(RGBColor(17, 24, 39)),
                text: RGBColor(226, 232, 240),
                muted: RGBColor(148, 163, 184),
                grid: RGBColor(44, 55, 72),
                error: RGBColor(248, 113, 113),
            },
            Self::Page => {
                let [text, muted, grid, error] = PAGE_VARIABLES.map(|(color, ..)| color);
                Colors { background: None, text, muted, grid, error }
            }
        }
    }

    /// Puts the style sheet's variables where they belong.
    pub(crate) fn finish(self, svg: String) -> String {
        if self != Self::Page {
            return svg;
        }
        PAGE_VARIABLES.iter().fold(svg, |svg, (_, stand_in, variable)| {
            // Only whole attributes: label text is escaped, so it holds no quotation marks.
            svg.replace(&format!("=\"{stand_in}\""), &format!("=\"{variable}\""))
        })
    }
}

/// Colours of series: told apart on white and on near-black, neighbours differ in hue and lightness.
pub(crate) const PALETTE: [RGBColor; 12] = [
    RGBColor(59, 130, 246),
    RGBColor(245, 158, 11),
    RGBColor(16, 185, 129),
    RGBColor(239, 68, 68),
    RGBColor(139, 92, 246),
    RGBColor(6, 182, 212),
    RGBColor(236, 72, 153),
    RGBColor(132, 204, 22),
    RGBColor(176, 96, 60),
    RGBColor(120, 138, 165),
    RGBColor(217, 70, 239),
    RGBColor(15, 140, 120),
];

/// A colour for each series, by its name. A name gets the colour that its hash asks for, so it keeps it when others come
/// and go; where two ask for the same one, the later takes the next that is free.
#[must_use]
pub fn colors_for<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> Vec<RGBColor> {
    let alone = names.len() == 1;
    let mut taken = [false; PALETTE.len()];
    let mut used = 0;
    names
        .map(|name| {
            if alone {
                return PALETTE[0];
            }
            if used == PALETTE.len() {
                (taken, used) = ([false; PALETTE.len()], 0);
            }
            let mut at = xxh3_64(name.as_bytes()) as usize % PALETTE.len();
            while taken[at] {
                at = (at + 1) % PALETTE.len();
            }
            taken[at] = true;
            used += 1;
            PALETTE[at]
        })
        .collect()
}

/// As style sheets write it.
#[must_use]
pub fn css(color: RGBColor) -> String {
    format!("#{:02x}{:02x}{:02x}", color.0, color.1, color.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_distinct_and_mostly_stay_when_others_go() {
        let all: Vec<String> = (0..10).map(|i| format!("series {i}")).collect();
        let colors = colors_for(all.iter().map(String::as_str));
        let distinct: std::collections::BTreeSet<String> = colors.iter().map(|&c| css(c)).collect();
        assert_eq!(distinct.len(), all.len());
        let fewer = colors_for(all.iter().map(String::as_str).step_by(2).collect::<Vec<_>>().into_iter());
        let kept = fewer.iter().zip(colors.iter().step_by(2)).filter(|(a, b)| a == b).count();
        assert!(kept >= 3, "{kept} of 5");
        assert_eq!(colors_for(["x"; 40].into_iter()).len(), 40);
    }

    #[test]
    fn no_series_has_a_stand_in_colour() {
        assert!(PALETTE.iter().all(|color| PAGE_VARIABLES.iter().all(|(stand_in, ..)| color != stand_in)));
    }
}
