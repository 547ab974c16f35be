//! The path of a request: cleaned, looked up, and led to the route that was meant.

use std::collections::HashMap;

use http::Method;

use crate::routes::{API, Effect, Route};

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Way<'p> {
    /// To a route that takes the method.
    Route(Effect),
    /// To a route that does not; with the methods that it takes.
    WrongMethod(&'p str),
    /// To another path, by a permanent redirect that keeps the method if it is not GET.
    Moved(String),
    /// Nowhere.
    Nowhere,
}

/// The routes by their paths, below a prefix.
pub(crate) struct Addresses {
    prefix: String,
    plain: HashMap<&'static str, Known>,
    /// With `{name}` for a segment.
    patterns: Vec<Known>,
}

struct Known {
    route: Route,
    allow: String,
}

impl Addresses {
    pub(crate) fn new(prefix: &str, routes: impl IntoIterator<Item = Route>) -> Self {
        let known = routes.into_iter().map(|route| Known { allow: route.allow(), route });
        let (patterns, plain): (Vec<_>, Vec<_>) = known.partition(|known| known.route.path.contains('{'));
        let plain = plain.into_iter().map(|known| (known.route.path, known)).collect();
        Self { prefix: prefix.to_owned(), plain, patterns }
    }

    /// Whether a path is in the API.
    pub(crate) fn is_api(&self, path: &[u8]) -> bool {
        let below = path.strip_prefix(self.prefix.as_bytes()).and_then(|path| path.strip_prefix(API.as_bytes()));
        below.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    /// The prefix of all paths.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Where a clean path leads, after the rules of Prometheus: a trailing slash too many or missing and another case are
    /// mended by a redirect, where a route takes the method.
    pub(crate) fn way(&self, method: &Method, path: &str) -> Way<'_> {
        let below = path.strip_prefix(self.prefix.as_str()).filter(|below| below.starts_with('/'));
        if let Some(known) = below.and_then(|below| self.find(below)) {
            return if known.route.takes(method) {
                Way::Route(known.route.effect)
            } else {
                Way::WrongMethod(&known.allow)
            };
        }
        // The API is a directory, and so is the prefix.
        if self.is_api_root(path) {
            return Way::Moved(format!("{path}/"));
        }
        match self.meant(method, path) {
            Some(meant) => Way::Moved(meant),
            None => Way::Nowhere,
        }
    }

    /// Whether a path is the API's without the slash at its end.
    pub(crate) fn is_api_root(&self, path: &str) -> bool {
        path.strip_prefix(self.prefix.as_str()) == Some(API)
    }

    /// Whether requests to a path change something.
    pub(crate) fn effect(&self, path: &[u8]) -> Effect {
        let below = std::str::from_utf8(path).ok().and_then(|path| path.strip_prefix(self.prefix.as_str()));
        below.and_then(|below| self.find(below)).map_or(Effect::Reads, |known| known.route.effect)
    }

    fn find(&self, below: &str) -> Option<&Known> {
        let is_meant = |known: &&Known| fits(known.route.path, below, |pattern, segment| pattern == segment);
        self.plain.get(below).or_else(|| self.patterns.iter().find(is_meant))
    }

    /// The path of the route that differs from `path` by a slash at its end or by case only.
    fn meant(&self, method: &Method, path: &str) -> Option<String> {
        let bare = path.strip_suffix('/').unwrap_or(path);
        let below = bare.get(..self.prefix.len()).filter(|prefix| prefix.eq_ignore_ascii_case(&self.prefix));
        let below = below.map(|prefix| &bare[prefix.len()..])?;
        // The home page ends with a slash, all others do not.
        let below = if below.is_empty() { "/" } else { below };
        let mut routes = self.plain.values().chain(&self.patterns).map(|known| &known.route);
        let route = routes.find(|route| {
            let is_meant = fits(route.path, below, str::eq_ignore_ascii_case);
            is_meant && route.methods.contains(method)
        })?;
        let segments = route.path.split('/').zip(below.split('/'));
        let mended: Vec<&str> =
            segments.map(|(pattern, segment)| if pattern.starts_with('{') { segment } else { pattern }).collect();
        Some(format!("{}{}", self.prefix, mended.join("/")))
    }
}

/// Whether a path has the segments of a pattern, of which `{name}` stands for any.
fn fits(pattern: &str, path: &str, is_same: impl Fn(&str, &str) -> bool) -> bool {
    let mut segments = path.split('/');
    let all = pattern.split('/').all(|wanted| {
        segments
            .next()
            .is_some_and(|found| if wanted.starts_with('{') { !found.is_empty() } else { is_same(wanted, found) })
    });
    all && segments.next().is_none()
}

/// The bytes that a path of an address stands for; `None` if a percent sign begins none.
pub(crate) fn decode(path: &str) -> Option<Vec<u8>> {
    let mut bytes = path.bytes();
    let mut out = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        out.push(match byte {
            b'%' => (digit(bytes.next())? * 16 + digit(bytes.next())?) as u8,
            _ => byte,
        });
    }
    Some(out)
}

/// A path as it stands in an address.
pub(crate) fn encode(path: &[u8]) -> String {
    let mut out = String::with_capacity(path.len());
    for &byte in path {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The path without empty segments, `.` and `..`; with a slash at its end if it had one. `None` if it is so already.
pub(crate) fn clean(path: &[u8]) -> Option<Vec<u8>> {
    if is_clean(path) {
        return None;
    }
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let mut out = b"/".to_vec();
    out.extend_from_slice(&kept.join(&b'/'));
    if path.last() == Some(&b'/') && out.len() > 1 {
        out.push(b'/');
    }
    Some(out)
}

fn is_clean(path: &[u8]) -> bool {
    let Some(below) = path.strip_prefix(b"/") else { return false };
    let is_dots = |segment: &[u8]| segment == b"." || segment == b"..";
    let mut segments = below.split(|byte| *byte == b'/');
    let last = segments.next_back();
    segments.all(|segment| !segment.is_empty() && !is_dots(segment)) && !last.is_some_and(is_dots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::routes;

    #[test]
    fn paths_are_cleaned_as_go_cleans_them() {
        for (path, cleaned) in [
            ("/", None),
            ("/api/v1/query", None),
            ("/query/", None),
            ("//", Some("/")),
            ("/api//v1/query", Some("/api/v1/query")),
            ("/query//", Some("/query/")),
            ("/./query", Some("/query")),
            ("/a/../query/.", Some("/query")),
            ("/../..", Some("/")),
            ("//evil.example/", Some("/evil.example/")),
        ] {
            let found = clean(path.as_bytes()).map(|path| String::from_utf8(path).unwrap());
            assert_eq!(found.as_deref(), cleaned, "{path}");
        }
    }

    #[test]
    fn slashes_and_case_are_mended_where_a_route_takes_the_method() {
        let (bare, below) = (Addresses::new("", routes()), Addresses::new("/sb", routes()));
        let moved = |path: &str| Way::Moved(path.to_owned());
        for (method, path, way) in [
            (Method::GET, "/api/v1/query", Way::Route(Effect::Reads)),
            (Method::HEAD, "/api/v1/query", Way::WrongMethod("GET, OPTIONS, POST")),
            (Method::PUT, "/api/v1/write", Way::WrongMethod("OPTIONS, POST")),
            (Method::HEAD, "/query", Way::Route(Effect::Reads)),
            (Method::GET, "/api/v1/query/", moved("/api/v1/query")),
            (Method::POST, "/api/v1/query/", moved("/api/v1/query")),
            (Method::PUT, "/api/v1/query/", Way::Nowhere),
            (Method::GET, "/API/v1/Query/", moved("/api/v1/query")),
            (Method::GET, "/api/v1/LABEL/Job/values/", moved("/api/v1/label/Job/values")),
            (Method::GET, "/api/v1", moved("/api/v1/")),
            (Method::GET, "/api/v1/", Way::Nowhere),
            (Method::GET, "/api/v1/label//values", Way::Nowhere),
            (Method::GET, "/api/v1/label/x/y/values", Way::Nowhere),
            (Method::GET, "/nope/", Way::Nowhere),
        ] {
            assert_eq!(bare.way(&method, path), way, "{method} {path}");
        }
        for (method, path, way) in [
            (Method::GET, "/sb/", Way::Route(Effect::Reads)),
            (Method::GET, "/sb", moved("/sb/")),
            (Method::POST, "/sb", Way::Nowhere),
            (Method::GET, "/SB/", moved("/sb/")),
            (Method::GET, "/sb/targets/", moved("/sb/targets")),
            (Method::GET, "/sbx", Way::Nowhere),
            (Method::GET, "/targets", Way::Nowhere),
        ] {
            assert_eq!(below.way(&method, path), way, "{method} {path}");
        }
    }
}
