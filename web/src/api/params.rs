//! Parameters of requests: from the query string, and from the body of a form.

use std::num::IntErrorKind;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http::{Method, StatusCode, header};
use query::quote;
use tsdb::{Matcher, TimeRange, Timestamp};

use super::error::{ApiError, ErrorType};
use super::time::{parse_nanos, parse_time};

/// Why a selector without a condition is refused, in the words of Prometheus.
const NO_MATCH: &str = "match[] must contain at least one non-empty matcher";

/// The parameters of a request. Those of the body come before those of the query string, as in Prometheus.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
    /// The first pair that could not be read and was left out.
    malformed: Option<String>,
}

/// The query string of a request whose address is too long for [`http::Uri`].
#[derive(Clone, Debug)]
pub(crate) struct LongQuery(pub(crate) String);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let long = request.extensions().get::<LongQuery>().map(|query| query.0.clone());
        let query = long.unwrap_or_else(|| request.uri().query().unwrap_or_default().to_owned());
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
        let mut params = Self::default();
        let has_body = [Method::POST, Method::PUT, Method::PATCH].contains(request.method());
        if has_body && kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            let body = Bytes::from_request(request, state).await.map_err(|why| ApiError {
                kind: if why.status() == StatusCode::PAYLOAD_TOO_LARGE {
                    ErrorType::TooLarge
                } else {
                    ErrorType::BadData
                },
                message: format!("error parsing form values: {why}"),
            })?;
            params.read(&body);
        }
        params.read(query.as_bytes());
        Ok(params)
    }
}

impl Params {
    /// From a query string.
    pub(crate) fn parse(query: &str) -> Self {
        let mut params = Self::default();
        params.read(query.as_bytes());
        params
    }

    /// Adds the pairs of a form, without those that Go leaves out: with a semicolon, or with a percent sign that begins no
    /// byte.
    fn read(&mut self, form: &[u8]) {
        for pair in form.split(|byte| *byte == b'&') {
            match malformed(pair) {
                None => self.pairs.extend(form_urlencoded::parse(pair).into_owned()),
                Some(why) => self.malformed = self.malformed.take().or(Some(why)),
            }
        }
    }

    /// Refuses a form of which a part could not be read, where Prometheus does.
    pub(crate) fn well_formed(&self) -> Result<(), ApiError> {
        match &self.malformed {
            Some(why) => Err(ApiError::bad(format!("error parsing form values: {why}"))),
            None => Ok(()),
        }
    }

    /// The first value of `name`; empty if there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.pairs.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// All values of `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The moment that `name` gives, if it is there.
    pub(crate) fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        match self.get(name) {
            "" => Ok(None),
            text => parse_time(text)
                .map(Some)
                .map_err(|why| ApiError::parameter(name, format!("invalid time value for '{name}': {why}"))),
        }
    }

    /// The moment that `name` gives, which must be there.
    pub(crate) fn required_time(&self, name: &str) -> Result<Timestamp, ApiError> {
        parse_time(self.get(name)).map_err(|why| ApiError::parameter(name, why))
    }

    /// The duration that `name` gives, if it is there.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<Duration>, ApiError> {
        match self.get(name) {
            "" => Ok(None),
            text => {
                let nanos = parse_nanos(text).map_err(|why| ApiError::parameter(name, why))?;
                Ok(Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))))
            }
        }
    }

    /// How long a sample counts as current; `None` for the server's own.
    pub(crate) fn lookback(&self) -> Result<Option<Duration>, ApiError> {
        match self.get("lookback_delta") {
            "" => Ok(None),
            text => {
                let nanos = parse_nanos(text);
                let nanos =
                    nanos.map_err(|why| ApiError::bad(format!("error parsing lookback delta duration: {why}")))?;
                Ok(u64::try_from(nanos).ok().filter(|nanos| *nanos > 0).map(Duration::from_nanos))
            }
        }
    }

    /// How many entries are asked for; `None` for all.
    pub(crate) fn limit(&self) -> Result<Option<usize>, ApiError> {
        let text = self.get("limit");
        if text.is_empty() {
            return Ok(None);
        }
        let limit = text.parse::<i64>().map_err(|why| {
            // Prometheus passes on what its language says.
            let is_number = matches!(why.kind(), IntErrorKind::PosOverflow | IntErrorKind::NegOverflow);
            let why = if is_number { "value out of range" } else { "invalid syntax" };
            ApiError::parameter("limit", format!("strconv.Atoi: parsing {}: {why}", quote(text.as_bytes())))
        })?;
        let limit = usize::try_from(limit).map_err(|_| ApiError::parameter("limit", "limit must be non-negative"))?;
        Ok((limit > 0).then_some(limit))
    }

    /// The switch `name`; off if it is not there.
    pub(crate) fn switch(&self, name: &str) -> Result<bool, String> {
        match self.get(name) {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            text => Err(format!("strconv.ParseBool: parsing {}: invalid syntax", quote(text.as_bytes()))),
        }
    }

    /// How many entries `name` asks for where a negative number stands for all; `None` if it does not.
    pub(crate) fn count(&self, name: &str) -> Result<Option<usize>, ApiError> {
        match self.get(name) {
            "" => Ok(None),
            text => match text.parse::<i64>() {
                Ok(n) => Ok(usize::try_from(n).ok()),
                Err(_) => Err(ApiError::bad(format!("{name} must be a number"))),
            },
        }
    }

    /// `start` and `end`, all of time if not given. As in Prometheus, a range that ends before it begins is none to complain
    /// of: nothing lies within it.
    pub(crate) fn range(&self) -> Result<TimeRange, ApiError> {
        let start = self.time("start")?.unwrap_or(Timestamp::MIN);
        let end = self.time("end")?.unwrap_or(Timestamp::MAX);
        Ok(TimeRange { start, end })
    }

    /// The selectors given as `match[]`, each a list of matchers.
    ///
    /// # Errors
    /// Why one cannot be used, for the caller to name the parameter or not, as Prometheus does at its place.
    pub(crate) fn selectors(&self) -> Result<Vec<Vec<Matcher>>, String> {
        let one = |text: &str| {
            if text.is_empty() {
                return Err("unknown position: parse error: unexpected end of input".into());
            }
            let matchers = query::parse_matchers(text).map_err(|why| why.to_string())?;
            if matchers.iter().all(Matcher::matches_empty) {
                return Err(NO_MATCH.into());
            }
            Ok(matchers)
        };
        self.all("match[]").map(one).collect()
    }
}

/// What is wrong with a pair of a form, in the words of Go.
fn malformed(pair: &[u8]) -> Option<String> {
    if pair.contains(&b';') {
        return Some("invalid semicolon separator in query".into());
    }
    let is_escape = |at: usize| pair.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
    let at = (0..pair.len()).find(|&at| pair[at] == b'%' && !is_escape(at))?;
    Some(format!("invalid URL escape {}", quote(&pair[at..pair.len().min(at + 3)])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_in_the_body_comes_before_the_query_string() {
        let params = Params::parse("query=up&match[]=a&match%5B%5D=b&limit=-1");
        assert_eq!((params.get("query"), params.get("missing")), ("up", ""));
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["a", "b"]);
        assert!(params.limit().unwrap_err().message.contains("non-negative"));
        assert_eq!(params.count("limit"), Ok(None));
        assert_eq!(Params::parse("n=0").count("n"), Ok(Some(0)));
        assert_eq!(Params::parse("n=x").count("n").unwrap_err().message, "n must be a number");
    }

    #[test]
    fn pairs_that_cannot_be_read_are_left_out_and_told_of() {
        let params = Params::parse("query=%zz&a=1;2&b=%e4%b8%ad&c=5%");
        assert_eq!((params.get("query"), params.get("a"), params.get("b"), params.get("c")), ("", "", "中", ""));
        let why = params.well_formed().unwrap_err().message;
        assert_eq!(why, "error parsing form values: invalid URL escape \"%zz\"");
        assert_eq!(Params::parse("a=1").well_formed(), Ok(()));
    }

    #[test]
    fn selectors_must_select_something() {
        let why = |query: &str| Params::parse(query).selectors().unwrap_err();
        assert_eq!(why("match[]="), "unknown position: parse error: unexpected end of input");
        for empty in ["match[]={}", "match[]={job=~\".*\"}", "match[]=up&match[]={}"] {
            assert_eq!(why(empty), NO_MATCH);
        }
    }

    #[test]
    fn limits_and_switches_are_refused_in_the_words_of_prometheus() {
        let limit = |text: &str| Params::parse(&format!("limit={text}")).limit().map_err(|why| why.message);
        assert_eq!((limit("0"), limit("7"), limit("%2B7")), (Ok(None), Ok(Some(7)), Ok(Some(7))));
        let atoi =
            |text: &str, why: &str| Err(format!("invalid parameter \"limit\": strconv.Atoi: parsing {text:?}: {why}"));
        assert_eq!(limit("1.5"), atoi("1.5", "invalid syntax"));
        assert_eq!(limit("99999999999999999999"), atoi("99999999999999999999", "value out of range"));
        let switch = |text: &str| Params::parse(&format!("on={text}")).switch("on");
        assert_eq!((switch("T"), switch("0"), switch("")), (Ok(true), Ok(false), Ok(false)));
        assert_eq!(switch("x"), Err("strconv.ParseBool: parsing \"x\": invalid syntax".into()));
    }
}
