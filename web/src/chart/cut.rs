//! Lines and areas cut at the edges of a plot.

/// A moment in milliseconds and a place on the value axis.
pub(super) type Point = (i64, f64);

/// The parts of a line that lie from `band.0` to `band.1`, cut where it crosses these.
pub(super) fn within(line: Vec<Point>, band: (f64, f64)) -> Vec<Vec<Point>> {
    if line.iter().all(|(_, value)| (band.0..=band.1).contains(value)) {
        return vec![line];
    }
    let (mut parts, mut part) = (Vec::new(), Vec::new());
    for pair in line.windows(2) {
        let Some((from, to)) = inside(pair[0], pair[1], band) else {
            parts.push(std::mem::take(&mut part));
            continue;
        };
        if part.last() != Some(&from) {
            parts.push(std::mem::take(&mut part));
            part.push(from);
        }
        part.push(to);
    }
    parts.push(part);
    parts.retain(|part| part.len() > 1);
    parts
}

/// The part of a straight line that lies within the band, if it is more than a point.
fn inside(a: Point, b: Point, (least, most): (f64, f64)) -> Option<(Point, Point)> {
    let within = |value: f64| (least..=most).contains(&value);
    if within(a.1) && within(b.1) {
        return Some((a, b));
    }
    let crossing = |edge: f64| (edge - a.1) / (b.1 - a.1);
    let (first, last) = (crossing(least).min(crossing(most)).max(0.0), crossing(least).max(crossing(most)).min(1.0));
    // A level line beyond the band crosses nothing.
    let is_crossing = first < last;
    is_crossing.then(|| (between(a, b, first, (least, most)), between(a, b, last, (least, most))))
}

/// The point at a part of the way from `a` to `b`.
fn between(a: Point, b: Point, part: f64, (least, most): (f64, f64)) -> Point {
    let at = a.0.saturating_add((b.0.saturating_sub(a.0) as f64 * part).round() as i64).min(b.0);
    (at, (a.1 + (b.1 - a.1) * part).clamp(least, most))
}

/// The line with everything beyond the band moved to its edge, and a corner where it crosses an edge: what bounds the part
/// of an area that lies within the band.
pub(super) fn flattened(line: &[Point], band: (f64, f64)) -> Vec<Point> {
    let clamped = |&(at, value): &Point| (at, value.clamp(band.0, band.1));
    if line.iter().all(|(_, value)| (band.0..=band.1).contains(value)) {
        return line.to_vec();
    }
    let mut flat: Vec<Point> = line.first().map(clamped).into_iter().collect();
    for pair in line.windows(2) {
        if let Some((from, to)) = inside(pair[0], pair[1], band) {
            flat.extend([from, to]);
        }
        flat.push(clamped(&pair[1]));
    }
    flat.dedup();
    flat
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAND: (f64, f64) = (0.0, 10.0);

    #[test]
    fn a_line_is_cut_where_it_crosses_an_edge() {
        let line = vec![(0, 5.0), (10, 15.0), (20, 15.0), (30, -5.0), (40, 5.0)];
        let parts = within(line.clone(), BAND);
        assert_eq!(
            parts,
            [vec![(0, 5.0), (5, 10.0)], vec![(23, 10.0), (28, 0.0)], vec![(35, 0.0), (40, 5.0)]],
            "rounded to milliseconds"
        );
        assert_eq!(
            flattened(&line, BAND),
            [(0, 5.0), (5, 10.0), (10, 10.0), (20, 10.0), (23, 10.0), (28, 0.0), (30, 0.0), (35, 0.0), (40, 5.0)]
        );
    }

    #[test]
    fn a_line_beyond_the_edges_leaves_nothing() {
        assert!(within(vec![(0, 11.0), (10, 12.0), (20, 11.0)], BAND).is_empty());
        assert_eq!(flattened(&[(0, 11.0), (10, 12.0)], BAND), [(0, 10.0), (10, 10.0)]);
        assert_eq!(within(vec![(0, 10.0), (10, 10.0)], BAND), [vec![(0, 10.0), (10, 10.0)]]);
    }
}
