use super::*;

fn axis(start: &str, hours: f64, zone: &str, pixels: u32) -> TimeAxis {
    let zone = TimeZone::get(zone).unwrap();
    let start: Moment = start.parse().unwrap();
    let end = start.as_millisecond() + (hours * HOUR as f64) as i64;
    TimeAxis::new(start.as_millisecond(), end, zone, Room { pixels, before: 30, behind: 18 })
}

fn labels(start: &str, hours: f64, zone: &str, pixels: u32) -> Vec<String> {
    let axis = axis(start, hours, zone, pixels);
    axis.ticks.iter().map(|t| axis.format_ext(t)).collect()
}

#[test]
fn time_is_divided_where_the_clock_of_the_zone_divides_it() {
    assert_eq!(labels("2026-11-22T10:06:13Z", 1.0, "UTC", 500), ["10:10", "10:20", "10:30", "10:40", "10:50", "11:00"]);
    assert_eq!(labels("2026-11-22T20:00:00Z", 12.0, "UTC", 340), ["21:00", "Nov 23", "03:00", "06:00"]);
    // Six-hour divisions fall on the same hours in a zone that is off by half an hour.
    assert_eq!(labels("2026-11-22T10:00:00Z", 24.0, "Asia/Kolkata", 340), ["18:00", "Nov 23", "06:00", "12:00"]);
    assert_eq!(labels("2026-11-22T10:00:00Z", 0.002, "UTC", 340), ["10:00:02", "10:00:04", "10:00:06"]);
    assert_eq!(
        labels("2026-01-15T00:00:00Z", 24.0 * 365.0, "UTC", 420),
        ["Apr 2026", "Jul 2026", "Oct 2026", "Jan 2027"]
    );
    assert_eq!(labels("2000-01-01T00:00:00Z", 24.0 * 365.0 * 4000.0, "UTC", 340), ["3000", "4000", "5000"]);
}

#[test]
fn summer_time_moves_no_division_off_its_hour() {
    // Clocks in Berlin go from 2:00 to 3:00 on 29 March 2026, and from 3:00 back to 2:00 on 27 October 2024.
    assert_eq!(
        labels("2026-03-28T22:00:00Z", 12.0, "Europe/Berlin", 500),
        ["Mar 29", "04:00", "06:00", "08:00", "10:00"]
    );
    let autumn = labels("2024-10-26T16:00:00Z", 77.7, "Europe/Berlin", 640);
    assert_eq!(autumn, ["Oct 27", "12:00", "Oct 28", "12:00", "Oct 29", "12:00"]);
}

#[test]
fn a_day_without_midnight_begins_late_and_the_next_one_does_not() {
    // 8 September 2024 begins at 1:00 in Santiago.
    let days = axis("2024-09-04T05:00:00Z", 240.0, "America/Santiago", 1130);
    let times: Vec<String> = days
        .ticks
        .iter()
        .map(|&t| Moment::from_millisecond(t).unwrap().to_zoned(days.zone.clone()).strftime("%d %H:%M").to_string())
        .collect();
    let expected = ["05 00:00", "06 00:00", "07 00:00", "08 01:00", "09 00:00", "10 00:00", "11 00:00", "12 00:00"];
    assert_eq!(times[..8], expected);
    assert_eq!(
        labels("2024-09-07T22:00:00Z", 18.0, "America/Santiago", 500),
        ["21:00", "Sep 8", "03:00", "06:00", "09:00", "12:00"]
    );
}

/// Days on which clocks change, by zone: forward and back, by an hour and by half, at midnight and not, and a whole day
/// left out.
const CHANGES: [(&str, &str); 12] = [
    ("Europe/Berlin", "2024-03-31T01:00:00Z"),
    ("Europe/Berlin", "2024-10-27T01:00:00Z"),
    ("Australia/Lord_Howe", "2024-04-06T15:00:00Z"),
    ("Australia/Lord_Howe", "2024-10-05T15:30:00Z"),
    ("America/Santiago", "2024-09-08T04:00:00Z"),
    ("America/Santiago", "2024-04-07T03:00:00Z"),
    ("Africa/Cairo", "2024-04-25T22:00:00Z"),
    ("Africa/Cairo", "2024-10-31T21:00:00Z"),
    ("America/Havana", "2024-11-03T05:00:00Z"),
    ("America/St_Johns", "2006-10-29T02:31:00Z"),
    ("Pacific/Apia", "2011-12-30T10:00:00Z"),
    ("Asia/Kathmandu", "1985-12-31T18:30:00Z"),
];

#[test]
fn around_every_change_of_clocks_labels_are_on_the_grid_and_apart() {
    let spans = [10, 60, 300, 900, 3600, 7200, 20_000, 43_200, 86_400, 200_000, 604_800, 2_592_000, 31_536_000];
    for (zone, change) in CHANGES {
        let change: Moment = change.parse().unwrap();
        for span_s in spans.map(|span: i64| span * 3) {
            for (before, pixels) in [(2, 640), (3, 1130), (5, 300), (7, 62), (11, 3900)] {
                let start = change.as_millisecond() - span_s * 1000 * before / 12;
                let room = Room { pixels, before: 30, behind: 18 };
                let zone = TimeZone::get(zone).unwrap();
                let axis = TimeAxis::new(start, start + span_s * 1000, zone.clone(), room);
                check_grid(&axis, &zone, pixels);
            }
        }
    }
}

/// Every tick is where the clock or the calendar has a division, and its label is apart from its neighbour's.
fn check_grid(axis: &TimeAxis, zone: &TimeZone, pixels: u32) {
    for &tick in &axis.ticks {
        let at = Moment::from_millisecond(tick).unwrap().to_zoned(zone.clone());
        let since_midnight = (i64::from(at.hour()) * 60 + i64::from(at.minute())) * 60 + i64::from(at.second());
        let on_grid = match axis.divided_by.unwrap() {
            Clock(unit) => axis.begins_day(tick) || (since_midnight * 1000 + i64::from(at.millisecond())) % unit == 0,
            _ => axis.begins_day(tick),
        };
        assert!(on_grid, "{at} of {:?}", axis.divided_by);
    }
    for pair in axis.ticks.windows(2) {
        let apart = (axis.part(pair[1]) - axis.part(pair[0])) * f64::from(pixels);
        let wide = |tick: i64| f64::from(width_of(&axis.format_ext(&tick), SMALL));
        assert!(apart >= (wide(pair[0]) + wide(pair[1])) / 2.0, "{pair:?} of {:?}", axis.divided_by);
    }
    assert!(pixels < 640 || !axis.ticks.is_empty(), "{axis:?}");
}

#[test]
fn axes_beyond_the_calendar_have_no_divisions_but_do_not_fail() {
    let room = Room { pixels: 500, before: 30, behind: 18 };
    for (start, end) in [(i64::MIN / 2, i64::MAX / 2), (i64::MIN, i64::MAX), (i64::MAX, i64::MAX), (i64::MIN, i64::MIN)]
    {
        let axis = TimeAxis::new(start, end, TimeZone::UTC, room);
        assert!(axis.ticks.is_empty());
        assert_eq!(axis.map(&start, (0, 100)), 0);
    }
    let all = TimeAxis::new(-62_135_596_800_000, 253_402_207_200_000, TimeZone::UTC, room);
    assert!(all.ticks.len() > 2, "{all:?}");
}
