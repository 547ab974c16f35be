//! The log: to standard error, in the form asked for.

use tracing::Level;
use tracing_subscriber::layer::SubscriberExt;
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
    let layer = match format {
        LogFormat::Text => {
            let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(terminal).boxed()
        }
        LogFormat::Logfmt => tracing_logfmt::builder().with_target(false).layer().with_writer(std::io::stderr).boxed(),
        LogFormat::Json => {
            fmt::layer().json().flatten_event(true).with_target(false).with_writer(std::io::stderr).boxed()
        }
    };
    tracing_subscriber::registry().with(layer.with_filter(LevelFilter::from_level(level))).init();
}

/// Tells which flags have no effect.
pub(crate) fn left_out(flags: &LeftOut) {
    if !flags.without_effect.is_empty() {
        tracing::warn!(flags = flags.without_effect.join(" "), "flags without effect in this version");
    }
    for (flag, nearest) in &flags.unknown {
        match nearest {
            Some(nearest) => tracing::warn!(%flag, did_you_mean = %nearest, "unknown flag, left out"),
            None => tracing::warn!(%flag, "unknown flag, left out"),
        }
    }
}
