//! What all pages have in common: frame, notices, theme.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode, header};

use super::assets::revision;
use crate::api::ApiError;
use crate::api::params::Params;
use crate::queries::Run;
use crate::reply::Reply;
use crate::state::AppState;

/// The frame of a page.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) prefix: String,
    pub(crate) site: String,
    pub(crate) version: String,
    pub(crate) notices: Vec<String>,
    /// `light`, `dark`, or empty for what the reader's system prefers.
    pub(crate) theme: &'static str,
    pub(crate) assets: u64,
    /// The entry of the menu that the page belongs to.
    pub(crate) here: &'static str,
    /// The page's own address, to come back to.
    pub(crate) address: String,
}

/// Where the chosen theme is kept.
const COOKIE: &str = "theme";

impl Frame {
    pub(crate) fn new(state: &AppState, headers: &HeaderMap, here: &'static str, address: String) -> Self {
        Self {
            prefix: state.options.prefix.clone(),
            site: state.options.page_title.clone(),
            version: state.options.version.clone(),
            notices: state.server.notices(),
            theme: chosen(headers),
            assets: revision(),
            here,
            address,
        }
    }

    /// The element that shows a chart. The browser chooses the size and the theme, so it needs no script.
    pub(crate) fn chart(&self, chart: &Chart) -> String {
        let picture = Picture { prefix: &self.prefix, theme: self.theme, chart };
        picture.render().unwrap_or_else(|error| {
            tracing::error!(%error, "a picture's element could not be rendered");
            String::new()
        })
    }
}

/// A chart of a page.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    /// The query string of `/chart.svg`, less size and theme.
    pub(crate) query: String,
    /// What it shows, for who cannot see it.
    pub(crate) title: String,
    /// Pixels on a desktop.
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// Pixels of a chart's width on a telephone.
const NARROW: u32 = 340;

#[derive(Template)]
#[template(path = "picture.html")]
struct Picture<'p> {
    prefix: &'p str,
    /// Empty for what the reader's system prefers.
    theme: &'p str,
    chart: &'p Chart,
}

impl Picture<'_> {
    /// The attributes that keep a picture's place in the page until it has come.
    fn size(&self, narrow: bool) -> String {
        let width = if narrow { NARROW } else { self.chart.width };
        format!(" width=\"{width}\" height=\"{}\"", self.chart.height)
    }

    fn address(&self, theme: &str, narrow: bool) -> String {
        let Chart { query, width, height, .. } = self.chart;
        let width = if narrow { NARROW } else { *width };
        format!("{}/chart.svg?{query}&theme={theme}&width={width}&height={height}", self.prefix)
    }
}

/// The theme that the reader has chosen.
fn chosen(headers: &HeaderMap) -> &'static str {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let value = cookies.flat_map(|value| value.split(';')).find_map(|c| c.trim().strip_prefix("theme="));
    match value {
        Some("light") => "light",
        Some("dark") => "dark",
        _ => "",
    }
}

/// `/theme?to=light|dark|auto&back=…`: remembers the choice and goes back. Works without a script.
pub(crate) async fn theme(State(state): State<AppState>, params: Params) -> Response {
    let cookie = match params.get("to") {
        to @ ("light" | "dark") => format!("{COOKIE}={to}; Path=/; Max-Age=31536000; SameSite=Lax"),
        _ => format!("{COOKIE}=; Path=/; Max-Age=0; SameSite=Lax"),
    };
    // Only within this server.
    let back = params.get("back");
    let back = if is_inside(back) { back.to_owned() } else { format!("{}/", state.options.prefix) };
    ([(header::SET_COOKIE, cookie)], Redirect::to(&back)).into_response()
}

/// Whether an address is a path of this server for every browser. Browsers read a backslash as a slash, leave out tabs and
/// ends of lines, and take what begins with two slashes for another host.
fn is_inside(address: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    address.starts_with('/') && !address.starts_with("//") && address.bytes().all(is_plain)
}

/// A page from its template, rendered on a thread of queries.
pub(crate) async fn html(state: &AppState, status: StatusCode, page: impl Template + Send + 'static) -> Response {
    send(state, move |run| rendered(run, status, &page)).await
}

/// Answers with the page that `work` renders on a thread of queries.
pub(crate) async fn send(
    state: &AppState,
    work: impl FnOnce(Run) -> Result<Reply, ApiError> + Send + 'static,
) -> Response {
    match state.queries.moment(work).await {
        Ok(reply) => reply.send(&state.queries, state.options.query_timeout),
        Err(why) => (why.kind.status(), format!("the page could not be rendered: {}\n", why.message)).into_response(),
    }
}

/// The text of a page, whose memory `run` holds from now on.
///
/// # Errors
/// If it takes more than a query may hold.
pub(crate) fn rendered(mut run: Run, status: StatusCode, page: &impl Template) -> Result<Reply, ApiError> {
    let text = page.render().map_err(|error| {
        tracing::error!(%error, "a page could not be rendered");
        ApiError::internal("the log says more")
    })?;
    run.take(text.len())?;
    let text = without_noncharacters(text);
    Ok(Reply::whole(status, "text/html; charset=utf-8", text.into_bytes(), run.into_lease()))
}

/// The text with U+FFFD in the place of U+FFFE and U+FFFF, which neither HTML nor the SVG within it may hold.
fn without_noncharacters(text: String) -> String {
    const NONE: [char; 2] = ['\u{fffe}', '\u{ffff}'];
    if text.contains(NONE) { text.replace(NONE, "\u{fffd}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::{is_inside, without_noncharacters};

    #[test]
    fn the_way_back_never_leaves_the_server() {
        for inside in ["/", "/query?g0.expr=up%20&x=//y", "/prefix/d/host#a"] {
            assert!(is_inside(inside), "{inside}");
        }
        for outside in [
            "",
            "//evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "/\r\n//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "\t//evil.example",
            " //evil.example",
            "/ /evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "/\u{3000}/x",
        ] {
            assert!(!is_inside(outside), "{outside:?}");
        }
    }

    #[test]
    fn pages_hold_no_noncharacters() {
        assert_eq!(without_noncharacters("a\u{fffe}b\u{ffff}c\u{fffd}".into()), "a\u{fffd}b\u{fffd}c\u{fffd}");
        assert_eq!(without_noncharacters("läuft 🦍".into()), "läuft 🦍");
    }
}
