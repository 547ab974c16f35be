use super::{HttpUrl, Scheme, UrlError, without_user};

fn parse(text: &str) -> HttpUrl {
    HttpUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn urls_are_taken_apart() {
    for (text, origin, host, path) in [
        ("http://h", "http://[h]:80", "h", "/"),
        ("HTTPS://h:1/a?b#c", "https://[h]:1", "h:1", "/a?b"),
        ("http://h?x=y", "http://[h]:80", "h", "/?x=y"),
        ("http://[::1]:9100/m", "http://[::1]:9100", "[::1]:9100", "/m"),
        ("http://[fe80::1%25eth0]/m", "http://[fe80::1%eth0]:80", "[fe80::1]", "/m"),
        ("http://u:p@h:9/", "http://[h]:9", "h:9", "/"),
        ("http://a@b@h/", "http://[h]:80", "h", "/"),
        ("http://h:/x", "http://[h]:80", "h", "/x"),
        ("http://h/%41%ff?%zz=%", "http://[h]:80", "h", "/%41%ff?%zz=%"),
        ("http://b%C3%BCcher/", "http://[bücher]:80", "bücher", "/"),
    ] {
        let url = parse(text);
        let found = (url.origin(), url.host_header(), url.path_and_query());
        assert_eq!(found, (origin.to_owned(), host.to_owned(), path), "{text}");
    }
    assert_eq!(parse("https://h").scheme(), Scheme::Https);
}

#[test]
fn user_and_password_are_decoded_and_never_printed() {
    let url = parse("http://us%40er:hunt%3Aer2@h/");
    let user = url.user().unwrap();
    assert_eq!((user.name.as_str(), user.password.expose()), ("us@er", "hunt:er2"));
    assert!(!format!("{url:?}").contains("hunt"));
    for (text, clean) in [
        ("http://u:hunter2@h:1/x?y@z", "http://h:1/x?y@z"),
        ("http://u:hunter2@h:x y", "http://h:x y"),
        ("http://u:hu@nter2@h", "http://h"),
        ("http://h/@", "http://h/@"),
        ("h", "h"),
    ] {
        assert_eq!(without_user(text), clean);
    }
}

#[test]
fn malformed_urls_say_why_without_quoting_anything() {
    for (text, error) in [
        ("", UrlError::Scheme),
        ("ftp://h", UrlError::Scheme),
        ("h:80", UrlError::Scheme),
        ("http://", UrlError::NoHost),
        ("http:///x", UrlError::NoHost),
        ("http://:80/", UrlError::NoHost),
        ("http://u:p@/", UrlError::NoHost),
        ("http://user:pw%40127.0.0.1:9100/metrics", UrlError::Escape),
        ("http://h%20/", UrlError::Escape),
        ("http://h%/", UrlError::Escape),
        ("http://h%zz/", UrlError::Escape),
        ("http://u:%zz@h/", UrlError::Escape),
        ("http://h/%zz", UrlError::Escape),
        ("http://h/a%", UrlError::Escape),
        ("http://h/a%4?b", UrlError::Escape),
        ("http://h/a?b#%zz", UrlError::Escape),
        ("http://u p@h/", UrlError::Character),
        ("http://ü@h/", UrlError::Character),
        ("http://[h]/", UrlError::Address),
        ("http://[127.0.0.1]/", UrlError::Address),
        ("http://h:x/", UrlError::Port),
        ("http://h:65536/", UrlError::Port),
        ("http://[::1]x/", UrlError::Port),
        ("http://[::1/", UrlError::Bracket),
        ("http://h h/", UrlError::Character),
        ("http://h\\h/", UrlError::Character),
        ("http://h/\n", UrlError::Character),
    ] {
        assert_eq!(HttpUrl::parse(text), Err(error), "{text:?}");
    }
}

#[test]
fn locations_resolve_against_the_page() {
    let page = parse("http://h:1/a/b?c=d");
    for (location, origin, path) in [
        ("https://x/y", "https://[x]:443", "/y"),
        ("//x/y", "http://[x]:80", "/y"),
        ("/y?z#f", "http://[h]:1", "/y?z"),
        ("y", "http://[h]:1", "/a/y"),
        ("?q=1", "http://[h]:1", "/a/b?q=1"),
        ("", "http://[h]:1", "/a/b?c=d"),
    ] {
        let url = page.join(location).unwrap();
        assert_eq!((url.origin(), url.path_and_query()), (origin.to_owned(), path), "{location}");
    }
    assert_eq!(page.join("ftp://x/"), Err(UrlError::Scheme));
}

#[test]
fn zones_name_an_interface() {
    let address = parse("http://[::1%25lo]:9100/").scoped_address().unwrap().unwrap();
    assert!(address.to_string().starts_with("[::1%") && address.port() == 9100, "{address}");
    assert_eq!(parse("http://[::1]/").scoped_address(), Ok(None));
    assert!(parse("http://[::1%25nosuch]/").scoped_address().is_err());
    assert!(parse("http://[::1%25..]/").scoped_address().is_err());
}
