//! How far the wall clock is believed.
//!
//! A clock that is ahead once, by a dead battery or a wrong time server, must not make retention delete what it is told to keep.
//! So the time that the store goes by follows the wall clock only as long as that goes as the monotonic clock does; after a jump
//! ahead it goes on from before the jump until the wall clock has kept to its new time for a while. A clock that goes back is
//! believed at once: by an earlier time nothing is deleted.

use std::path::{Path, PathBuf};
use std::time::Duration;

use model::format_duration;
use rustix::time::{ClockId, clock_gettime};
use tsdb::{Clock, DiskFs, Fs, Future, Held, Timestamp};

/// The file in the data directory that holds what was believed last, so that a start can be told from a jump.
const FILE: &str = "clock";
/// Differences up to this are no jump: clocks drift and are corrected.
const STEP: Duration = Duration::from_secs(10 * 60);
/// Samples are judged and blocks are cut by the new time once it has held for so long.
const STEADY_WAIT: Duration = Duration::from_secs(15 * 60);
/// Retention deletes by the new time once it has held for this part of the jump…
const RETENTION_PART: u32 = 4;
/// …but for a day at the most.
const RETENTION_WAIT: Duration = Duration::from_secs(24 * 3600);
/// A start so long after the last stop is worth a notice on every page.
const LONG_STOP: Duration = Duration::from_secs(24 * 3600);
/// How often the file is written.
const SAVE_EVERY: Duration = Duration::from_secs(30);

/// Time since the machine was started, the time in which it was suspended included.
pub(super) fn uptime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or_default(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// The wall clock and the one that nobody sets, read together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) wall: Timestamp,
    pub(super) uptime: Duration,
}

impl Reading {
    pub(super) fn now() -> Self {
        Self { wall: super::now(), uptime: uptime() }
    }

    /// The time that it is now if it was this then.
    fn carried_to(self, now: Self) -> Timestamp {
        self.wall.plus_millis(millis(now.uptime.saturating_sub(self.uptime)))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The time from `from` to `to`; none if that is earlier.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(to.millis().saturating_sub(from.millis())).unwrap_or_default())
}

/// A time that follows the wall clock, but jumps ahead only after a wait.
#[derive(Clone, Copy, Debug)]
struct Timeline {
    believed: Reading,
    /// The wall clock as it was last while it was not believed, and for how long it had gone as it should by then.
    waiting: Option<(Reading, Duration)>,
}

impl Timeline {
    /// The time to go by, after a wait that depends on the length of a jump.
    fn follow(&mut self, now: Reading, wait: impl Fn(Duration) -> Duration) -> Timestamp {
        let expected = self.believed.carried_to(now);
        let jump = between(expected, now.wall);
        let held = match self.waiting {
            Some((last, held))
                if now.wall.millis().abs_diff(last.carried_to(now).millis()) <= STEP.as_millis() as u64 =>
            {
                held + now.uptime.saturating_sub(last.uptime)
            }
            _ => Duration::ZERO,
        };
        if jump <= STEP || held >= wait(jump) {
            *self = Self { believed: now, waiting: None };
            return now.wall;
        }
        self.waiting = Some((now, held));
        expected
    }

    fn held(&self) -> Duration {
        self.waiting.map_or(Duration::ZERO, |(_, held)| held)
    }
}

fn retention_wait(jump: Duration) -> Duration {
    (jump / RETENTION_PART).clamp(STEADY_WAIT, RETENTION_WAIT)
}

/// When the wall clock is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    Start,
    Running,
}

/// A wall clock that is ahead of the time that retention goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ahead {
    by: Duration,
    since: Since,
    /// How long it has to hold yet.
    left: Duration,
}

/// Decides which time it is.
#[derive(Debug)]
pub(super) struct ClockWatch {
    steady: Timeline,
    retention: Timeline,
    ahead: Option<Ahead>,
    last: Reading,
    saved: Option<Duration>,
    path: PathBuf,
    jumps: u64,
}

impl ClockWatch {
    /// Begins with what was believed when the store in `dir` was used last: what is noted there, else when its manifest was
    /// written. A new store believes the clock.
    pub(super) fn begin(dir: &Path, now: Reading) -> Self {
        let path = dir.join(FILE);
        let noted = std::fs::read_to_string(&path).ok().and_then(|text| Noted::parse(&text));
        let noted = noted.or_else(|| {
            let written = std::fs::metadata(dir.join("MANIFEST")).and_then(|manifest| manifest.modified()).ok()?;
            let since = written.duration_since(std::time::UNIX_EPOCH).ok()?;
            Some(Noted { believed: Timestamp::from_millis(millis(since)), waiting: None })
        });
        let believed = noted.map_or(now.wall, |noted| noted.believed);
        let steady = Timeline { believed: Reading { wall: believed, ..now }, waiting: None };
        // While the server was off the clock went on, and may have for any time; only one that went back is another.
        let waiting = noted.and_then(|noted| noted.waiting).filter(|(wall, _)| *wall <= now.wall);
        let retention = Timeline { waiting: waiting.map(|(_, held)| (now, held)), ..steady };
        let mut watch = Self { steady, retention, ahead: None, last: now, saved: None, path, jumps: 0 };
        watch.look(now, Since::Start);
        watch
    }

    /// Looks at the clocks.
    pub(super) fn tick(&mut self, now: Reading) -> Clock {
        let expected = self.last.carried_to(now);
        let ahead = between(expected, now.wall);
        let behind = between(now.wall, expected);
        if ahead > STEP {
            self.jumps += 1;
            tracing::warn!(
                by = format_duration(seconds(ahead)),
                "the wall clock jumped ahead: retention does not follow at once"
            );
        } else if behind > STEP {
            self.jumps += 1;
            tracing::warn!(by = format_duration(seconds(behind)), "the wall clock was set back");
        }
        let since = match self.ahead {
            Some(Ahead { since: Since::Start, .. }) if ahead <= STEP => Since::Start,
            _ => Since::Running,
        };
        let was_ahead = self.ahead.is_some();
        let clock = self.look(now, since);
        if was_ahead && self.ahead.is_none() {
            tracing::info!("the wall clock is believed again");
        }
        if self.saved.is_none_or(|saved| now.uptime.saturating_sub(saved) >= SAVE_EVERY) {
            self.save();
        }
        clock
    }

    fn look(&mut self, now: Reading, since: Since) -> Clock {
        let steady = self.steady.follow(now, |_| STEADY_WAIT).min(now.wall);
        let retention = self.retention.follow(now, retention_wait).min(steady);
        let by = between(self.retention.believed.carried_to(now), now.wall);
        let left = retention_wait(by).saturating_sub(self.retention.held());
        self.ahead = self.retention.waiting.map(|_| Ahead { by, since, left });
        self.last = now;
        Clock { wall: now.wall, steady, retention }
    }

    /// The time as of the last look.
    pub(super) fn clock(&self) -> Clock {
        let wall = self.last.wall;
        let steady = self.steady.believed.carried_to(self.last).min(wall);
        Clock { wall, steady, retention: self.retention.believed.carried_to(self.last).min(steady) }
    }

    /// Notes what is believed. A disk that refuses costs a wait after the next start, no more.
    pub(super) fn save(&mut self) {
        self.saved = Some(self.last.uptime);
        let noted = Noted {
            believed: self.retention.believed.carried_to(self.last).min(self.last.wall),
            waiting: self.retention.waiting.map(|(reading, held)| (reading.wall, held)),
        };
        if let Err(error) = noted.write(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "the time could not be noted");
        }
    }

    /// What there is to say of the clock and of what it has done.
    pub(super) fn report(&self, future: Future, held: Held) -> ClockReport {
        let Clock { wall, .. } = self.clock();
        ClockReport {
            ahead: self.ahead.map_or(Duration::ZERO, |ahead| ahead.by),
            jumps: self.jumps,
            future: future.newest.map_or(Duration::ZERO, |newest| between(wall, newest)),
            future_blocks: future.blocks,
            held,
            notices: self.notices(future, held),
        }
    }

    fn notices(&self, future: Future, held: Held) -> Vec<String> {
        let mut notices = Vec::new();
        let is_worth_it = |ahead: &Ahead| ahead.since == Since::Running || ahead.by >= LONG_STOP || held.blocks > 0;
        if let Some(Ahead { by, since, left }) = self.ahead.filter(is_worth_it) {
            let what = match since {
                Since::Start => "later than this store was last used",
                Since::Running => "ahead of where it should be",
            };
            let (by, left) = (format_duration(seconds(by)), format_duration(seconds(left)));
            let kept = match held {
                Held { blocks: 0, .. } => String::new(),
                Held { blocks, samples } => {
                    format!(" It holds back {blocks} blocks with {samples} samples until then.")
                }
            };
            notices.push(format!(
                "The wall clock is {by} {what}. If that is wrong, set it right; retention deletes by the new time only once it \
                 has held for another {left}.{kept}"
            ));
        }
        if let Some(newest) = future.newest {
            let by = format_duration(seconds(between(self.last.wall, newest)));
            let from = self.last.wall.plus_millis(tsdb::TOLERANCE_MS).millis() / 1000;
            notices.push(format!(
                "The store holds samples of the future, up to {by} ahead of the wall clock: a clock was ahead when they were \
                 taken, or this one is behind. They do not keep out samples of now, and can be deleted: \
                 /api/v1/admin/tsdb/delete_series?match[]={{__name__=~\".+\"}}&start={from}"
            ));
        }
        notices
    }
}

/// Whole seconds; a jump of less is none.
fn seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

/// What the clock has done, for the pages and the metrics.
#[derive(Clone, Debug, Default)]
pub(super) struct ClockReport {
    ahead: Duration,
    jumps: u64,
    future: Duration,
    future_blocks: u64,
    held: Held,
    /// For every page and `/-/ready`.
    pub(super) notices: Vec<String>,
}

impl ClockReport {
    /// Writes the metrics, in the classic text format.
    pub(super) fn metrics(&self, out: &mut String) {
        use std::fmt::Write as _;
        for (name, kind, help, value) in [
            (
                "silverback_clock_ahead_seconds",
                "gauge",
                "How far the wall clock is ahead of the time that retention goes by.",
                self.ahead.as_secs_f64(),
            ),
            (
                "silverback_clock_jumps_total",
                "counter",
                "Jumps of the wall clock against the monotonic clock, by more than ten minutes.",
                self.jumps as f64,
            ),
            (
                "silverback_future_samples_seconds",
                "gauge",
                "How far the newest sample lies ahead of the wall clock, where that is more than ten minutes.",
                self.future.as_secs_f64(),
            ),
            ("silverback_future_blocks", "gauge", "Blocks that lie in the future.", self.future_blocks as f64),
            (
                "silverback_retention_held_blocks",
                "gauge",
                "Blocks that retention would drop if the wall clock were believed.",
                self.held.blocks as f64,
            ),
            ("silverback_retention_held_samples", "gauge", "Samples in those blocks.", self.held.samples as f64),
        ] {
            // Writing to a string cannot fail.
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        }
    }
}

/// What the file holds: the time that was believed, and one that was waited for, with how long it had held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Noted {
    believed: Timestamp,
    waiting: Option<(Timestamp, Duration)>,
}

impl Noted {
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_whitespace().map(str::parse::<i64>);
        let believed = Timestamp::from_millis(numbers.next()?.ok()?);
        let waiting = match (numbers.next(), numbers.next()) {
            (Some(Ok(wall)), Some(Ok(held))) => {
                Some((Timestamp::from_millis(wall), Duration::from_millis(u64::try_from(held).ok()?)))
            }
            _ => None,
        };
        Some(Self { believed, waiting })
    }

    fn write(self, path: &Path) -> std::io::Result<()> {
        let waiting = self.waiting.map(|(wall, held)| format!(" {} {}", wall.millis(), held.as_millis()));
        let text = format!("{}{}\n", self.believed.millis(), waiting.unwrap_or_default());
        let new = path.with_extension("tmp");
        // What a crash has left of it is nothing.
        drop(DiskFs.remove(&new));
        DiskFs.create(&new)?.write_at(0, text.as_bytes())?;
        DiskFs.rename(&new, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 366 * DAY;
    const NOW: i64 = 1_790_000_000_000;

    fn at(wall: i64, uptime_s: u64) -> Reading {
        Reading { wall: Timestamp::from_millis(wall), uptime: Duration::from_secs(uptime_s) }
    }

    /// A watch in a new directory, which has looked at the clock for a minute.
    fn begun(dir: &Path) -> ClockWatch {
        let mut watch = ClockWatch::begin(dir, at(NOW, 0));
        assert_eq!(watch.clock(), Clock::trusted(Timestamp::from_millis(NOW)));
        for s in 0..=60 {
            watch.tick(at(NOW + s * 1000, s as u64));
        }
        watch
    }

    #[test]
    fn a_clock_that_jumps_ahead_is_not_believed_and_one_that_is_right_again_is_at_once() {
        let dir = tempfile::tempdir().unwrap();
        for jump in [HOUR / 2, 2 * HOUR, 20 * DAY, YEAR] {
            let mut watch = begun(dir.path());
            for s in 61..120 {
                let Clock { wall, steady, retention } = watch.tick(at(NOW + jump + s * 1000, s as u64));
                assert_eq!(wall.millis(), NOW + jump + s * 1000);
                assert_eq!((steady.millis(), retention.millis()), (NOW + s * 1000, NOW + s * 1000));
                assert_eq!(watch.report(Future::default(), Held::default()).notices.len(), 1);
            }
            let right = watch.tick(at(NOW + 120_000, 120));
            assert_eq!(right, Clock::trusted(Timestamp::from_millis(NOW + 120_000)));
            assert!(watch.report(Future::default(), Held::default()).notices.is_empty());
            // What came of it is told as long as it is there.
            let future = Future { newest: Some(Timestamp::from_millis(NOW + jump)), blocks: 0 };
            let report = watch.report(future, Held::default());
            assert!(report.notices[0].contains("samples of the future"), "{:?}", report.notices);
        }
    }

    #[test]
    fn a_new_time_that_holds_is_believed_the_later_the_longer_the_jump() {
        let dir = tempfile::tempdir().unwrap();
        for (jump, retention_s) in [(2 * HOUR, 1800), (12 * HOUR, 3 * 3600), (YEAR, 24 * 3600)] {
            let mut watch = begun(dir.path());
            let (mut steady_at, mut retention_at) = (None, None);
            for s in (61..100_000).step_by(10) {
                let clock = watch.tick(at(NOW + jump + s * 1000, s as u64));
                assert!(clock.retention <= clock.steady && clock.steady <= clock.wall);
                steady_at = steady_at.or((clock.steady == clock.wall).then_some(s));
                retention_at = retention_at.or((clock.retention == clock.wall).then_some(s));
            }
            assert!((900..980).contains(&steady_at.unwrap()), "{steady_at:?}");
            let waited = retention_at.unwrap() - 61;
            assert!((retention_s..retention_s + 20).contains(&waited), "{jump}: {waited}");
        }
    }

    #[test]
    fn clocks_that_drift_are_suspended_or_set_back_are_believed() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = begun(dir.path());
        // Nine minutes, then two days of suspension, which the uptime counts.
        for (wall, uptime_s) in [(NOW + 600_000, 61), (NOW + 600_000 + 2 * DAY, 61 + 2 * 86_400)] {
            let clock = watch.tick(at(wall, uptime_s));
            assert_eq!(clock, Clock::trusted(Timestamp::from_millis(wall)));
        }
        for wall in [NOW - 3 * HOUR, 0] {
            let clock = watch.tick(at(wall, 200_000));
            assert_eq!(clock, Clock::trusted(Timestamp::from_millis(wall)));
        }
        assert_eq!(watch.report(Future::default(), Held::default()).jumps, 2);
    }

    #[test]
    fn a_start_long_after_the_last_stop_is_a_jump_unless_it_is_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = begun(dir.path());
        watch.save();
        let again = ClockWatch::begin(dir.path(), at(NOW + 5 * 60_000, 0)).clock();
        assert_eq!(again, Clock::trusted(Timestamp::from_millis(NOW + 5 * 60_000)), "a restart");
        let ahead = ClockWatch::begin(dir.path(), at(NOW + YEAR, 0)).clock();
        assert_eq!((ahead.steady.millis(), ahead.retention.millis()), (NOW + 60_000, NOW + 60_000));
        // The time for which a new time holds adds up over restarts.
        let mut believed = false;
        for day in 0..6 {
            let start = NOW + YEAR + day * DAY;
            let mut watch = ClockWatch::begin(dir.path(), at(start, 0));
            for s in (0..6 * 3600).step_by(60) {
                let clock = watch.tick(at(start + s * 1000, s as u64));
                believed = clock.retention == clock.wall;
                assert!(!believed || day >= 3, "{day} {s}");
            }
            watch.save();
        }
        assert!(believed);
    }

    #[test]
    fn a_clock_that_is_ahead_again_and_again_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        drop(begun(dir.path()));
        for round in 0..20 {
            for (offset, believed) in [(YEAR, false), (0, true)] {
                let start = NOW + 100_000 + round * 60_000 + offset;
                let mut watch = ClockWatch::begin(dir.path(), at(start, 0));
                let mut clock = watch.clock();
                for s in 0..20 {
                    clock = watch.tick(at(start + s * 1000, s as u64));
                }
                assert_eq!(clock.retention == clock.wall, believed, "{round} {offset}");
                watch.save();
            }
        }
    }

    #[test]
    fn a_store_that_was_only_imported_knows_when() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("MANIFEST"), "x").unwrap();
        let wall = crate::wire::now();
        let right = ClockWatch::begin(dir.path(), Reading { wall, uptime: Duration::ZERO }).clock();
        assert_eq!(right, Clock::trusted(wall));
        let ahead = Reading { wall: wall.plus_millis(YEAR), uptime: Duration::ZERO };
        let ahead = ClockWatch::begin(dir.path(), ahead).clock();
        assert!(ahead.retention < wall.plus_millis(HOUR), "{ahead:?}");
    }
}
