//! Parameters of requests: from the query string, and from the body of a form.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http::{Method, header};
use model::parse_duration;
use tsdb::{Matcher, TimeRange, Timestamp};

use super::error::{ApiError, ErrorType};

/// The parameters of a request. Those of the body come before those of the query string, as in Prometheus.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let form =
            request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
                value
                    .split(';')
                    .next()
                    .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
            });
        let mut pairs = Vec::new();
        if request.method() == Method::POST && form {
            let body = Bytes::from_request(request, state).await;
            let body = body.map_err(|e| ApiError::bad(format!("error parsing form values: {e}")))?;
            pairs.extend(form_urlencoded::parse(&body).into_owned());
        }
        pairs.extend(form_urlencoded::parse(query.as_bytes()).into_owned());
        Ok(Self(pairs))
    }
}

impl Params {
    /// From a query string.
    pub(crate) fn parse(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// The first value of `name`; empty if there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// All values of `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
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
                let seconds = parse_seconds(text).map_err(|why| ApiError::parameter(name, why))?;
                Ok(Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)))
            }
        }
    }

    /// How many entries are asked for; `None` for all.
    pub(crate) fn limit(&self) -> Result<Option<usize>, ApiError> {
        match self.get("limit") {
            "" => Ok(None),
            text => match text.parse::<i64>() {
                Ok(0) => Ok(None),
                Ok(n) if n > 0 => Ok(Some(n as usize)),
                Ok(_) => Err(ApiError::parameter("limit", "limit must be non-negative")),
                // Prometheus passes on what its language says.
                Err(_) => Err(ApiError::parameter("limit", format!("strconv.Atoi: parsing {text:?}: invalid syntax"))),
            },
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

    /// `start` and `end`, all of time if not given.
    pub(crate) fn range(&self) -> Result<TimeRange, ApiError> {
        let start = self.time("start")?.unwrap_or(Timestamp::MIN);
        let end = self.time("end")?.unwrap_or(Timestamp::MAX);
        if end < start {
            return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
        }
        Ok(TimeRange { start, end })
    }

    /// The selectors given as `match[]`, each a list of matchers.
    pub(crate) fn selectors(&self) -> Result<Vec<Vec<Matcher>>, ApiError> {
        self.all("match[]")
            .map(|text| {
                let matchers = query::parse_selector(text).map_err(|why| ApiError::parameter("match[]", why))?;
                if matchers.iter().all(Matcher::matches_empty) {
                    let why = "match[] must contain at least one non-empty matcher";
                    return Err(ApiError::parameter("match[]", why));
                }
                Ok(matchers)
            })
            .collect()
    }
}

/// Unix seconds with a fraction, or RFC 3339.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, String> {
    let refused = || format!("cannot parse {text:?} to a valid timestamp");
    if let Ok(seconds) = text.parse::<f64>() {
        // NaN has no millisecond; what is beyond the range stops at its end.
        return if seconds.is_nan() {
            Err(refused())
        } else {
            Ok(Timestamp::from_millis((seconds * 1000.0).round() as i64))
        };
    }
    text.parse::<jiff::Timestamp>().map(|at| Timestamp::from_millis(at.as_millisecond())).map_err(|_| refused())
}

/// Seconds with a fraction, or a Prometheus duration.
pub(crate) fn parse_seconds(text: &str) -> Result<f64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        // As Prometheus, which counts nanoseconds in 64 bits.
        if seconds.is_nan() || seconds.abs() * 1e9 > i64::MAX as f64 {
            return Err(format!("cannot parse {text:?} to a valid duration. It overflows int64"));
        }
        return Ok(seconds);
    }
    let duration = parse_duration(text).map_err(|_| format!("cannot parse {text:?} to a valid duration"))?;
    Ok(duration.as_millis() as f64 / 1000.0)
}

impl ApiError {
    /// For what is not there.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self { kind: ErrorType::NotFound, message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        let ms = |text: &str| parse_time(text).map(Timestamp::millis);
        assert_eq!(ms("1435781451.781"), Ok(1_435_781_451_781));
        assert_eq!(ms("2015-07-01T20:10:51.781Z"), Ok(1_435_781_451_781));
        assert_eq!(ms("2015-07-01T22:10:51.781+02:00"), Ok(1_435_781_451_781));
        assert_eq!(ms("-5"), Ok(-5000));
        assert_eq!(ms("1793369760000000"), Ok(1_793_369_760_000_000_000), "Grafana sends milliseconds once");
        for bad in ["", "now", "NaN", "2015-07-01"] {
            assert_eq!(ms(bad), Err(format!("cannot parse {bad:?} to a valid timestamp")));
        }
    }

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
}
