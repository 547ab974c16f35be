//! Pages of other origins: which may read the API, and what none may do.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use model::{Regex, RegexError};

/// Set by browsers, out of the reach of scripts: how the page that asks is related to the server.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A regular expression for the whole of an origin, as `--web.cors.origin` gives it, and the origin under which others reach
/// this server.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    readers: Regex,
    external: Option<String>,
}

impl Origins {
    pub(crate) fn new(readers: &str, external_url: Option<&str>) -> Result<Self, RegexError> {
        let external = external_url.and_then(origin_of);
        Ok(Self { readers: Regex::pasted(readers)?, external })
    }

    /// Lets a page of another origin read an answer, as Prometheus does.
    pub(crate) fn open_to_readers(&self, request: Option<&HeaderValue>, answer: &mut HeaderMap) {
        vary(answer, "Origin");
        let Some(origin) = request.filter(|origin| origin.to_str().is_ok_and(|text| self.readers.is_match(text)))
        else {
            return;
        };
        let all = self.readers.source() == ".*";
        let allowed = if all { HeaderValue::from_static("*") } else { origin.clone() };
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin"),
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
        ] {
            answer.insert(name, HeaderValue::from_static(value));
        }
    }

    /// The origin of the page that a browser says a request comes from, if that is not this server. Programs say nothing of
    /// that kind and are never foreign.
    pub(crate) fn foreign(&self, request: &HeaderMap) -> Option<String> {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let host = request.get(header::HOST).and_then(|host| host.to_str().ok());
        let is_own = |origin: &str| {
            let is_host = host.is_some_and(|host| {
                origin.split_once("://").is_some_and(|(scheme, of)| of == without_port(scheme, host))
            });
            is_host || self.external.as_deref() == Some(origin)
        };
        let mut origins = request.get_all(header::ORIGIN).iter().peekable();
        let is_told = origins.peek().is_some();
        for origin in origins {
            let origin = text(origin);
            if !origin_of(&origin).is_some_and(|origin| is_own(&origin)) {
                return Some(origin);
            }
        }
        for site in request.get_all(SEC_FETCH_SITE) {
            let site = text(site);
            if site != "same-origin" && site != "none" {
                return Some(site);
            }
        }
        // Browsers that send no origin with a form send where it was.
        let referer = request.get(header::REFERER).filter(|_| !is_told).map(text)?;
        let is_own = origin_of(&referer).is_some_and(|origin| is_own(&origin));
        (!is_own).then_some(referer)
    }
}

/// Adds a header that an answer depends on.
pub(crate) fn vary(answer: &mut HeaderMap, name: &'static str) {
    let is_there =
        answer.get_all(header::VARY).iter().any(|value| value.as_bytes().eq_ignore_ascii_case(name.as_bytes()));
    if !is_there {
        answer.append(header::VARY, HeaderValue::from_static(name));
    }
}

/// Scheme, host and port of an address in small letters, without the port that the scheme implies.
fn origin_of(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().filter(|authority| !authority.is_empty())?;
    let scheme = scheme.to_ascii_lowercase();
    Some(format!("{scheme}://{}", without_port(&scheme, authority)))
}

fn without_port(scheme: &str, authority: &str) -> String {
    let implied = if scheme == "https" { ":443" } else { ":80" };
    let authority = authority.to_ascii_lowercase();
    authority.strip_suffix(implied).map(str::to_owned).unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("prom.example:9090"));
        for &(name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_pages_of_this_server_are_its_own() {
        let origins = Origins::new(".*", Some("https://Metrics.example:443/prom/")).unwrap();
        for own in [
            &[][..],
            &[("origin", "http://prom.example:9090")],
            &[("origin", "HTTP://Prom.Example:9090")],
            &[("origin", "https://prom.example:9090"), ("sec-fetch-site", "same-origin")],
            &[("origin", "https://metrics.example")],
            &[("sec-fetch-site", "none")],
            &[("referer", "http://prom.example:9090/targets?x=1")],
        ] {
            assert_eq!(origins.foreign(&headers(own)), None, "{own:?}");
        }
        for foreign in [
            &[("origin", "http://evil.example")][..],
            &[("origin", "http://prom.example")],
            &[("origin", "http://prom.example:9090.evil.example")],
            &[("origin", "null")],
            &[("origin", "")],
            &[("origin", "http://prom.example:9090"), ("origin", "http://evil.example")],
            &[("origin", "http://prom.example:9090"), ("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "cross-site")],
            &[("referer", "http://evil.example/http://prom.example:9090/")],
        ] {
            assert!(origins.foreign(&headers(foreign)).is_some(), "{foreign:?}");
        }
        let mut default_port = headers(&[("origin", "http://prom.example")]);
        default_port.insert(header::HOST, HeaderValue::from_static("prom.example:80"));
        assert_eq!(origins.foreign(&default_port), None);
    }

    #[test]
    fn readers_are_let_in_by_the_whole_of_their_origin() {
        let origins = Origins::new("https?://(a|b)\\.example", None).unwrap();
        let allowed = |origin: &'static str| {
            let mut answer = HeaderMap::new();
            origins.open_to_readers(Some(&HeaderValue::from_static(origin)), &mut answer);
            assert_eq!(answer[header::VARY], "Origin");
            answer.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).cloned()
        };
        assert_eq!(allowed("https://a.example").unwrap(), "https://a.example");
        assert_eq!(allowed("https://a.example.evil.example"), None);
    }
}
