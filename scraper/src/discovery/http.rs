//! Targets listed by a server.

use std::sync::Arc;
use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{ACCEPT, HeaderName, HeaderValue};
use tokio::time::{MissedTickBehavior, interval};

use super::provider::Reporter;
use super::written;
use crate::fetch::{Client, decompress};
use crate::metrics::Metrics;
use crate::options::{HttpDiscovery, TargetGroup};
use crate::url::without_user;

/// Larger lists are refused.
const MAX_LIST_BYTES: u64 = 256 << 20;

/// Asks now and at each refresh interval. When the server does not answer well, what it said before stays.
pub(super) async fn run(options: HttpDiscovery, metrics: Arc<Metrics>, reporter: Reporter) {
    let mut client = Client::new(options.http.clone());
    let mut ticks = interval(options.refresh_interval.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match ask(&mut client, &options).await {
            Ok(groups) => reporter.found(groups, None),
            Err(error) => {
                Metrics::add(&metrics.http_failures);
                tracing::error!(url = %without_user(&options.url), %error, "unable to refresh target groups");
                reporter.failed(error);
            }
        }
    }
}

async fn ask(client: &mut Client, options: &HttpDiscovery) -> Result<Vec<TargetGroup>, String> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let seconds =
        HeaderValue::try_from(options.refresh_interval.as_secs_f64().to_string()).map_err(|e| e.to_string())?;
    headers.insert(HeaderName::from_static("x-prometheus-refresh-interval-seconds"), seconds);
    let lend = |announced: Option<usize>| Vec::with_capacity(announced.unwrap_or_default());
    let fetched = client.get(&options.url, &headers, options.refresh_interval, MAX_LIST_BYTES, lend).await;
    let mut fetched = fetched.map_err(|e| e.to_string())?;
    let mut body = std::mem::take(&mut fetched.body);
    if fetched.gzip {
        let compressed = std::mem::take(&mut body);
        decompress(&compressed, MAX_LIST_BYTES, &mut body).map_err(|e| e.to_string())?;
    }
    let content_type = fetched.content_type.unwrap_or_default();
    if !is_json(&content_type) {
        return Err(format!("unsupported content type {content_type:?}"));
    }
    // Labels are shown and stored: without the password.
    written::from_json(&body, &without_user(&options.url), "__meta_url")
}

/// Accepts the content types of a list: `application/json`, if with a charset then UTF-8, and nothing else.
fn is_json(content_type: &str) -> bool {
    let content_type = content_type.trim().to_ascii_lowercase();
    let (media_type, charset) = content_type.split_once(';').unwrap_or((&content_type, "charset=utf-8"));
    media_type == "application/json" && matches!(charset.trim_start(), "charset=utf-8" | "charset=\"utf-8\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_in_utf_8_is_read() {
        for (content_type, good) in [
            ("application/json", true),
            ("Application/JSON; charset=UTF-8", true),
            ("application/json;charset=\"utf-8\"", true),
            (" application/json ", true),
            ("application/json ; charset=utf-8", false),
            ("application/json;", false),
            ("application/json; charset = utf-8", false),
            ("application/json; charset=utf-8; q=1", false),
            ("application/json; charset='utf-8'", false),
            ("application/json; charset=latin1", false),
            ("text/plain", false),
            ("", false),
        ] {
            assert_eq!(is_json(content_type), good, "{content_type}");
        }
    }
}
