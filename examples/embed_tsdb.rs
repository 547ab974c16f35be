//! The store and the engine without the server: writes an hour of samples, asks for a rate, prints it.
//!
//! `cargo run --example embed_tsdb [DIRECTORY]`

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use query::{Engine, Request, Steps, StopFlag, Value};
use tsdb::{Db, DiskFs, Fs, Labels, Timestamp};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args().nth(1).map_or_else(|| PathBuf::from("data-of-the-example"), PathBuf::from);
    let fs: Arc<dyn Fs> = Arc::new(DiskFs);
    let db = Db::open(&fs, &dir, &tsdb::Options::default(), |_, _| {})?;

    // A counter of requests per instance, one sample every 15 s. What is committed together becomes readable together.
    let begin = Timestamp::from_millis(1_790_000_000_000);
    for step in 0..240 {
        let mut appender = db.appender();
        for instance in ["a", "b"] {
            let labels = Labels::from_pairs([("__name__", "requests_total"), ("instance", instance)]);
            let series = appender.series(&labels)?;
            let per_step = if instance == "a" { 30.0 } else { 45.0 };
            appender.append_at(series, begin.plus_millis(step * 15_000), None, step as f64 * per_step);
        }
        let committed = appender.commit()?;
        if committed.refused() > 0 {
            eprintln!("the directory holds these samples already");
        }
    }

    let engine = Engine::new(query::Options::default(), || Duration::ZERO);
    let expr = query::parse("sum(rate(requests_total[5m]))")?;
    let steps = Steps::Instant(begin.plus_millis(239 * 15_000));
    let answer = engine
        .run(&db, &Request { expr: &expr, steps, lookback: None, count_all: false, stop: StopFlag::default() })?;
    if let Value::Vector(samples) = answer.value {
        for sample in samples {
            println!("rate of all requests: {:?} per second", sample.point);
        }
    }
    db.close()?;
    Ok(())
}
