//! The log: to standard error, in the form asked for, one line for each message whatever it holds.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, filter::LevelFilter, fmt};

use crate::flags::{LeftOut, LogFormat, LogLevel};

/// Begins to log. Called once.
pub(crate) fn start(level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Info => Level::INFO,
        LogLevel::Warn => Level::WARN,
        LogLevel::Error => Level::ERROR,
    };
    let terminal = format == LogFormat::Text && io::IsTerminal::is_terminal(&io::stderr());
    let style = if terminal { Style::Colored } else { Style::Plain };
    let layer = layer(format, style, io::stderr).with_filter(LevelFilter::from_level(level));
    tracing_subscriber::registry().with(layer).init();
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        let (payload, text) = (panic.payload(), "without a message");
        let message = payload.downcast_ref::<&str>().copied();
        let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or(text);
        tracing::error!(location, thread, panic = message, "a thread panicked");
    }));
}

/// Whether the log may have colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    Colored,
}

/// What writes the log in `format` to what `writer` makes.
fn layer<S, W>(format: LogFormat, style: Style, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let lines = Lines { writer, style };
    match format {
        LogFormat::Text => {
            fmt::layer().with_writer(lines).with_target(false).with_ansi(style == Style::Colored).boxed()
        }
        LogFormat::Logfmt => tracing_logfmt::builder().with_target(false).layer().with_writer(lines).boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_target(false).with_writer(lines).boxed(),
    }
}

/// Makes writers of messages that stay one line each.
struct Lines<W> {
    writer: W,
    style: Style,
}

impl<'writer, W: MakeWriter<'writer>> MakeWriter<'writer> for Lines<W> {
    type Writer = Line<W::Writer>;

    fn make_writer(&'writer self) -> Self::Writer {
        Line { writer: self.writer.make_writer(), style: self.style }
    }
}

/// Writes one message, which comes whole and ends with a line end.
struct Line<W> {
    writer: W,
    style: Style,
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(message);
        self.writer.write_all(one_line(&text, self.style).as_bytes())?;
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// The message without characters that would end its line or move the cursor of a terminal: names of metrics, errors of
/// targets and headers of requests say what others want them to say. The escapes are those of JSON.
fn one_line(message: &str, style: Style) -> Cow<'_, str> {
    let (text, end) = message.strip_suffix('\n').map_or((message, ""), |text| (text, "\n"));
    let is_bad = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if !text.contains(is_bad) {
        return message.into();
    }
    let mut out = String::with_capacity(message.len() + 16);
    for (at, character) in text.char_indices() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{1b}' if style == Style::Colored && is_color(&text[at..]) => out.push(character),
            bad if is_bad(bad) => write!(out, "\\u{:04x}", u32::from(bad)).expect("writing to a string"),
            other => out.push(other),
        }
    }
    out.push_str(end);
    out.into()
}

/// Whether a text begins with one of the escapes that the library colours with. Others move the cursor or hide text.
fn is_color(text: &str) -> bool {
    let code = text.strip_prefix("\u{1b}[").and_then(|rest| rest.split_once('m')).map(|(code, _)| code);
    code.is_some_and(|code| matches!(code, "0" | "1" | "2" | "3" | "31" | "32" | "33" | "34" | "35" | "36"))
}

/// Tells which flags have no effect.
pub(crate) fn left_out(flags: &LeftOut) {
    if !flags.without_effect.is_empty() {
        tracing::warn!(flags = flags.without_effect.join(" "), "flags without effect in this version");
    }
    for flag in &flags.unknown {
        tracing::warn!(%flag, "unknown flag, left out");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_message_is_one_line_whatever_it_holds() {
        let forged = "up\n2026-01-01T00:00:00Z ERROR forged\r\nlevel=error msg=\"forged\"\u{85}\u{2028}\u{9b}2J\u{1b}[2J\u{1b}[8m\u{7f}\0";
        for format in [LogFormat::Text, LogFormat::Logfmt, LogFormat::Json] {
            for style in [Style::Plain, Style::Colored] {
                let kept = Kept::default();
                let writer = kept.clone();
                let subscriber = tracing_subscriber::registry().with(layer(format, style, move || writer.clone()));
                tracing::subscriber::with_default(subscriber, || {
                    tracing::warn!(metric = forged, shown = %forged, debug = ?forged, "refused {forged}");
                });
                let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
                let line = text.strip_suffix('\n').unwrap();
                let is_escape = |c: char| c == '\u{1b}' && style == Style::Colored;
                let is_bad = |c: char| c.is_control() && !is_escape(c) || matches!(c, '\u{2028}' | '\u{2029}');
                assert!(line.contains("forged") && !line.contains(is_bad), "{format:?}: {line:?}");
                assert!(!line.contains("\u{1b}[2J") && !line.contains("\u{1b}[8m"), "{format:?}: {line:?}");
                if format == LogFormat::Json {
                    let json: serde_json::Value = serde_json::from_str(line).unwrap();
                    assert_eq!(json["metric"], forged, "JSON says what the field held");
                }
            }
        }
    }
}
