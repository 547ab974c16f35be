//! A document as YAML again, without its secrets.

use super::schema::{Section, Type};
use super::tree::{Node, Scalar, Tag, Value};

const HIDDEN: &str = "<secret>";

/// Writes `node`, a map of `section`.
pub(super) fn render(node: &Node, section: &'static Section) -> String {
    let mut out = String::new();
    write_section(&mut out, node, section, 0);
    out
}

fn write_section(out: &mut String, node: &Node, section: &'static Section, indent: usize) {
    for (key, value) in node.entries().iter().filter(|(_, value)| value.value != Value::Null) {
        let holds = section.field(&key.name).map_or(Type::Any, |field| field.holds);
        write_entry(out, &key.name, value, holds, indent);
    }
}

fn write_entry(out: &mut String, key: &str, value: &Node, holds: Type, indent: usize) {
    out.push_str(&" ".repeat(indent));
    out.push_str(&quoted(key, Tag::Text));
    out.push(':');
    write_value(out, value, holds, indent);
}

/// Writes what follows the colon of a key.
fn write_value(out: &mut String, node: &Node, holds: Type, indent: usize) {
    match &node.value {
        Value::Null | Value::Invalid => out.push_str(" null\n"),
        Value::Scalar(scalar) => {
            out.push(' ');
            out.push_str(&scalar_text(scalar, holds));
            out.push('\n');
        }
        Value::List(items) if items.is_empty() => out.push_str(" []\n"),
        Value::List(items) => {
            out.push('\n');
            let of = match holds {
                Type::List(of) => *of,
                _ => Type::Any,
            };
            for item in items {
                write_item(out, item, of, indent);
            }
        }
        Value::Map(entries) if entries.is_empty() => out.push_str(" {}\n"),
        Value::Map(_) => {
            out.push('\n');
            write_map(out, node, holds, indent + 2);
        }
    }
}

fn write_map(out: &mut String, node: &Node, holds: Type, indent: usize) {
    match holds {
        Type::Section(section) => write_section(out, node, section, indent),
        Type::Map(of) => {
            for (key, value) in node.entries() {
                write_entry(out, &key.name, value, *of, indent);
            }
        }
        _ => {
            for (key, value) in node.entries() {
                write_entry(out, &key.name, value, Type::Any, indent);
            }
        }
    }
}

/// Writes an item of a list. A map begins behind the dash.
fn write_item(out: &mut String, item: &Node, of: Type, indent: usize) {
    let mut text = String::new();
    match &item.value {
        Value::Map(entries) if !entries.is_empty() => {
            write_map(&mut text, item, of, indent + 2);
            if text.is_empty() {
                text = "{}\n".to_owned();
            }
            out.push_str(&" ".repeat(indent));
            out.push_str("- ");
            out.push_str(text.trim_start_matches(' '));
        }
        _ => {
            write_value(&mut text, item, of, indent + 2);
            out.push_str(&" ".repeat(indent));
            out.push('-');
            out.push_str(&text);
        }
    }
}

fn scalar_text(scalar: &Scalar, holds: Type) -> String {
    match holds {
        Type::Secret => HIDDEN.to_owned(),
        Type::Url => quoted(&without_password(&scalar.text), Tag::Text),
        _ => quoted(&scalar.text, scalar.tag),
    }
}

/// `url` with `xxxxx` instead of its password.
pub(super) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let Some((user, host)) = rest[..end].rsplit_once('@') else { return url.to_owned() };
    match user.split_once(':') {
        Some((name, _)) => format!("{scheme}://{name}:xxxxx@{host}{}", &rest[end..]),
        None => url.to_owned(),
    }
}

/// `text`, in quotes if YAML would take it for something else without.
fn quoted(text: &str, tag: Tag) -> String {
    let special = text.starts_with(|c: char| "-?:,[]{}#&*!|>'\"%@`~ .=<0123456789+".contains(c))
        || text.contains(": ")
        || text.contains(" #")
        || text.ends_with([' ', ':'])
        || text.chars().any(char::is_control);
    let word = ["", "true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let ambiguous = special || word.contains(&text.to_lowercase().as_str());
    let harmless = text.starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == '<')
        && text.parse::<f64>().is_err()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "./_<>".contains(c))
        && text.bytes().any(|b| b.is_ascii_alphabetic())
        && !text.starts_with("0x")
        && !text.starts_with("0o");
    if tag != Tag::Text || !ambiguous || harmless {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::ROOT;

    fn rendered(text: &str) -> String {
        render(&Node::parse(text).unwrap(), &ROOT)
    }

    #[test]
    fn secrets_are_hidden_wherever_they_are() {
        let text = rendered(
            "scrape_configs:\n- job_name: a\n  basic_auth: {username: u, password: hunter2}\n  authorization:\n    \
             credentials: hunter2\n  tls_config: {key: hunter2}\n  http_headers:\n    X-A:\n      values: [shown]\n      \
             secrets: [hunter2, hunter2]\n  http_sd_configs:\n  - url: http://u:hunter2@h/x?y\n  consul_sd_configs:\n  \
             - token: hunter2\n  oauth2: {client_secret: hunter2}\n  proxy_url: http://p:hunter2@h\n  \
             proxy_connect_header: {X: [hunter2]}\nremote_write:\n- url: https://a:hunter2@b\n  bearer_token: hunter2\n  \
             sigv4: {secret_key: hunter2}\n",
        );
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("username: u") && text.contains("- shown"));
        assert!(text.contains("url: http://u:xxxxx@h/x?y"), "{text}");
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let text = "global:\n  scrape_interval: 15s\n  external_labels:\n    a: \"yes\"\n    b: 1.10\n    c: \"x: y # z\"\n    \
                    d: \"\"\n    e: \"1.10\"\n    f: '\"\\'\n    g: \"-\"\n    h: \"0x1F\"\n    i: \"a\\nb\"\n    j: \"1e3\"\n\
                    scrape_configs:\n- job_name: a\n  params:\n    m: [\"1\", b]\n  static_configs:\n  - targets: [h:1, '[::1]:2']\n\
                    \x20   labels: {}\n  - targets: []\nrule_files: []\n";
        let shape = |text: &str| {
            fn strip(node: &Node) -> String {
                match &node.value {
                    Value::Null | Value::Invalid => "null".to_owned(),
                    Value::Scalar(s) => format!("{:?}", (&s.text, s.tag)),
                    Value::List(items) => format!("{:?}", items.iter().map(strip).collect::<Vec<_>>()),
                    Value::Map(entries) => {
                        format!("{:?}", entries.iter().map(|(k, v)| (k.name.clone(), strip(v))).collect::<Vec<_>>())
                    }
                }
            }
            strip(&Node::parse(text).unwrap())
        };
        let written = rendered(text);
        assert_eq!(shape(&written), shape(text), "{written}");
    }
}
