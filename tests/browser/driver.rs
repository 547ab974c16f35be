//! A browser window, driven over the WebDriver protocol.

use std::process::Command;

use serde_json::{Value, json};

use crate::common::{self, Process, free_port, program, skip, wait_for};

/// A browser window.
pub(crate) struct Browser {
    _driver: Process,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Opens a window; `None`, told of, where there is no browser.
    pub(crate) fn open(script: bool) -> Option<Self> {
        let (Some(browser), Some(driver)) = (program("chromium"), program("chromedriver")) else {
            skip("chromium or chromedriver is not installed");
            return None;
        };
        let port = free_port();
        let driver = Process::start(Command::new(driver).arg(format!("--port={port}")));
        let url = format!("http://127.0.0.1:{port}");
        wait_for("chromedriver", || common::fetch(&format!("{url}/status")).status == 200);
        let profile = tempfile::tempdir().unwrap();
        let mut arguments: Vec<String> =
            ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
                .into_iter()
                .chain(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
                .map(str::to_owned)
                .collect();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let preferences =
            if script { json!({}) } else { json!({"profile.managed_default_content_settings.javascript": 2}) };
        let options = json!({"binary": browser, "args": arguments, "prefs": preferences});
        let session =
            call(&format!("{url}/session"), &json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}));
        let id = session["sessionId"].as_str().unwrap_or_else(|| panic!("{session}"));
        Some(Self { _driver: driver, session: format!("{url}/session/{id}"), _profile: profile })
    }

    pub(crate) fn resize(&self, width: u32, height: u32) {
        // The window's frame takes some of what is asked for.
        let set = |w: u32| call(&format!("{}/window/rect", self.session), &json!({"width": w, "height": height}));
        set(width);
        let inner = self.run("return innerWidth").as_u64().unwrap() as u32;
        set(width + width.saturating_sub(inner));
    }

    pub(crate) fn go(&self, url: &str) {
        call(&format!("{}/url", self.session), &json!({"url": url}));
    }

    /// Runs a script and returns its value.
    pub(crate) fn run(&self, script: &str) -> Value {
        call(&format!("{}/execute/sync", self.session), &json!({"script": script, "args": []}))
    }

    /// Types `text` into the element that `selector` finds, key by key; `\n` is Enter.
    pub(crate) fn type_into(&self, selector: &str, text: &str) {
        let found = call(&format!("{}/element", self.session), &json!({"using": "css selector", "value": selector}));
        let id = found.as_object().and_then(|element| element.values().next()).and_then(Value::as_str).unwrap();
        let text = text.replace('\n', "\u{e007}");
        call(&format!("{}/element/{id}/value", self.session), &json!({"text": text}));
    }

    /// Presses the mouse button at the first of `path`, moves along it and lets go at its end; coordinates of the viewport.
    pub(crate) fn drag(&self, path: &[(i64, i64)]) {
        let step = |&(x, y): &(i64, i64)| json!({"type": "pointerMove", "duration": 50, "x": x, "y": y});
        let mut actions: Vec<Value> = path.iter().map(step).collect();
        actions.insert(1, json!({"type": "pointerDown", "button": 0}));
        actions.push(json!({"type": "pointerUp", "button": 0}));
        let mouse =
            json!({"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": actions});
        call(&format!("{}/actions", self.session), &json!({"actions": [mouse]}));
    }

    /// Moves the mouse to a point of the viewport.
    pub(crate) fn point_at(&self, x: i64, y: i64) {
        let actions = [json!({"type": "pointerMove", "duration": 0, "x": x, "y": y})];
        let mouse =
            json!({"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": actions});
        call(&format!("{}/actions", self.session), &json!({"actions": [mouse]}));
    }

    /// Parameter `name` of the address of the page, if it is there.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let value = self.run(&format!("return new URL(location.href).searchParams.get('{name}')"));
        value.as_str().map(str::to_owned)
    }

    pub(crate) fn keep_picture(&self, name: &str) {
        // For a person to look at: only where one asks for it.
        let Some(dir) = std::env::var_os("SILVERBACK_SCREENSHOTS") else { return };
        let answer = common::fetch(&format!("{}/screenshot", self.session)).json();
        let png = base64(answer["value"].as_str().unwrap());
        std::fs::write(std::path::Path::new(&dir).join(name), png).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = ureq::delete(&self.session).call();
    }
}

fn call(url: &str, body: &Value) -> Value {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let body = body.to_string();
    let mut response = agent.post(url).header("Content-Type", "application/json").send(body.as_bytes()).unwrap();
    let text = response.body_mut().read_to_string().unwrap();
    let mut answer: Value = serde_json::from_str(&text).unwrap();
    assert!(answer["value"]["error"].is_null(), "{url}: {answer}");
    answer["value"].take()
}

fn base64(text: &str) -> Vec<u8> {
    let digit =
        |c: u8| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".iter().position(|&d| d == c);
    let digits: Vec<u32> = text.bytes().filter_map(digit).map(|d| d as u32).collect();
    let group = |g: &[u32]| {
        let bits = g.iter().fold(0, |bits, d| bits << 6 | d) << (6 * (4 - g.len()));
        bits.to_be_bytes()[1..g.len()].to_vec()
    };
    digits.chunks(4).flat_map(group).collect()
}
