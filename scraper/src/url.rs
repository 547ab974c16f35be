//! A URL of a target or a discovery server, taken apart as Go's `net/url` does.

use std::borrow::Cow;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::secret::Secret;

/// Reason why a text is no URL that can be asked. It quotes nothing of the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// The scheme is not one of HTTP.
    #[error("unsupported protocol scheme, it must be 'http' or 'https'")]
    Scheme,
    /// Nothing stands where the host should.
    #[error("no host in URL")]
    NoHost,
    /// A control character, or a blank in the host.
    #[error("invalid character in URL")]
    Character,
    /// A percent sign without two digits, or one that hides an ASCII character of the host.
    #[error("invalid URL escape")]
    Escape,
    /// Text after the host that is no port.
    #[error("invalid port after host")]
    Port,
    /// Text in brackets that is no address of version 6.
    #[error("no IPv6 address in the brackets of the host")]
    Address,
    /// An address of version 6 without its closing bracket.
    #[error("missing ']' in host")]
    Bracket,
}

/// A URL of `http` or `https`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    scheme: Scheme,
    user: Option<User>,
    /// Without brackets and zone.
    host: String,
    zone: Option<String>,
    /// `None` for the scheme's own.
    port: Option<u16>,
    path_and_query: String,
}

/// Protocol of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// Name and password of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: Secret,
}

impl HttpUrl {
    /// Takes `text` apart.
    ///
    /// # Errors
    /// If it is no URL of http or https.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err(UrlError::Character);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(UrlError::Scheme),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user_of(user)?), place),
            None => (None, authority),
        };
        let (host, zone, port) = place_of(place)?;
        let (path, fragment) = path.split_once('#').unwrap_or((path, ""));
        // A query may hold anything.
        let escaped = path.split('?').next().unwrap_or_default();
        unescape(escaped)?;
        unescape(fragment)?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self { scheme, user, host, zone, port, path_and_query: format!("{slash}{}", path.replace(' ', "%20")) })
    }

    pub(crate) fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub(crate) fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.unwrap_or(match self.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        })
    }

    pub(crate) fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// Scheme, host and port: credentials are for one origin only.
    pub(crate) fn origin(&self) -> String {
        let zone = self.zone.as_ref().map_or_else(String::new, |zone| format!("%{zone}"));
        format!("{}://[{}{zone}]:{}", self.scheme.as_str(), self.host, self.port())
    }

    /// Value of the `Host` header: never a user, a password or a zone.
    pub(crate) fn host_header(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        self.port.map_or(host.clone(), |port| format!("{host}:{port}"))
    }

    /// Address of a host that names a network interface; `None` if it names none.
    ///
    /// # Errors
    /// If there is no such interface.
    pub(crate) fn scoped_address(&self) -> Result<Option<SocketAddr>, String> {
        let Some(zone) = &self.zone else { return Ok(None) };
        let missing = || format!("dial tcp: lookup {}%{zone}: no such network interface", self.host);
        let address: Ipv6Addr = self.host.parse().map_err(|_| missing())?;
        let index = interface_index(zone).ok_or_else(missing)?;
        Ok(Some(SocketAddrV6::new(address, self.port(), 0, index).into()))
    }

    /// The URL that `location` means on the page of this one.
    pub(crate) fn join(&self, location: &str) -> Result<Self, UrlError> {
        let location = location.split('#').next().unwrap_or_default();
        if location.split(['/', '?']).next().is_some_and(|start| start.contains(':')) {
            return Self::parse(location);
        }
        if location.starts_with("//") {
            return Self::parse(&format!("{}:{location}", self.scheme.as_str()));
        }
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        let path_and_query = if location.starts_with('/') {
            location.to_owned()
        } else if location.is_empty() {
            self.path_and_query.clone()
        } else if location.starts_with('?') {
            format!("{path}{location}")
        } else {
            format!("{}/{location}", path.rsplit_once('/').map_or("", |(folder, _)| folder))
        };
        Ok(Self { path_and_query: path_and_query.replace(' ', "%20"), ..self.clone() })
    }
}

impl Scheme {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// `url` without user and password, also where it is malformed.
#[must_use]
pub(crate) fn without_user(url: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = url.split_once("://") else { return Cow::Borrowed(url) };
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    match authority.rfind('@') {
        Some(at) => Cow::Owned(format!("{scheme}://{}", &rest[at + 1..])),
        None => Cow::Borrowed(url),
    }
}

fn user_of(text: &str) -> Result<User, UrlError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
    if !text.bytes().all(allowed) {
        return Err(UrlError::Character);
    }
    let (name, password) = text.split_once(':').unwrap_or((text, ""));
    Ok(User { name: decode(name)?, password: Secret::new(decode(password)?) })
}

/// Host, zone and port.
fn place_of(text: &str) -> Result<(String, Option<String>, Option<u16>), UrlError> {
    let (host, zone, port) = if let Some(inside) = text.strip_prefix('[') {
        let (address, after) = inside.rsplit_once(']').ok_or(UrlError::Bracket)?;
        let (address, zone) = match address.split_once("%25") {
            Some((address, zone)) => (address, Some(decode(zone)?)),
            None => (address, None),
        };
        let host = host_of(address)?;
        host.parse::<Ipv6Addr>().map_err(|_| UrlError::Address)?;
        (host, zone, after)
    } else {
        let (host, port) = text.split_at(text.rfind(':').unwrap_or(text.len()));
        (host_of(host)?, None, port)
    };
    if host.is_empty() {
        return Err(UrlError::NoHost);
    }
    let port = match port.strip_prefix(':') {
        Some("") => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().map_err(|_| UrlError::Port)?)
        }
        None if port.is_empty() => None,
        _ => return Err(UrlError::Port),
    };
    Ok((host, zone, port))
}

/// Decodes a host, in which only other than ASCII characters may be escaped.
fn host_of(text: &str) -> Result<String, UrlError> {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"-_.~!$&'()*+,;=:[]<>\"%".contains(&byte);
    if !text.bytes().all(allowed) {
        return Err(UrlError::Character);
    }
    let decoded = decode(text)?;
    let escapes = text.match_indices('%');
    let hides_ascii = |(at, _): (usize, &str)| text[at + 1..].starts_with(|c| ('0'..='7').contains(&c));
    if escapes.into_iter().any(hides_ascii) { Err(UrlError::Escape) } else { Ok(decoded) }
}

/// Decodes percent escapes of a text in UTF-8.
fn decode(text: &str) -> Result<String, UrlError> {
    String::from_utf8(unescape(text)?).map_err(|_| UrlError::Escape)
}

/// Decodes percent escapes.
fn unescape(text: &str) -> Result<Vec<u8>, UrlError> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or(UrlError::Escape)?;
        let value = |digit: u8| char::from(digit).to_digit(16).ok_or(UrlError::Escape);
        out.push((value(digits[0])? * 16 + value(digits[1])?) as u8);
        rest = after;
    }
    Ok(out)
}

/// Index of a network interface by its name or number.
fn interface_index(zone: &str) -> Option<u32> {
    if zone.contains(['/', '.']) {
        return None;
    }
    let named = std::fs::read_to_string(format!("/sys/class/net/{zone}/ifindex")).ok();
    named.and_then(|text| text.trim().parse().ok()).or_else(|| zone.parse().ok())
}

#[cfg(test)]
mod tests;
