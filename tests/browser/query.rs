//! The query page: the box runs what is written, and a zoom stays.

use crate::common::{encode, wait_for};
use crate::driver::Browser;
use crate::{MEASURE, server};

#[test]
fn enter_runs_the_expression_as_it_is_written() {
    let server = server();
    let Some(browser) = Browser::open(true) else { return };
    for expr in ["up", "node_load1", "time()", "sum(node_load1)", "no", "node_l", "rate(node_cpu_seconds_total[1m])"] {
        browser.go(&format!("{}/query", server.url));
        browser.type_into("#expr", expr);
        // Typed at the speed of a person who waits for the list to open, and at once.
        if expr.len() % 2 == 0 {
            let settled = "return document.querySelector('.suggest') !== null || !/[a-z_]{2,}$/.test(document.getElementById('expr').value)";
            wait_for("the list", || browser.run(settled) == true);
        }
        browser.type_into("#expr", "\n");
        wait_for("the page of the answer", || browser.parameter("query").as_deref() == Some(expr));
    }
}

#[test]
fn enter_takes_a_suggestion_only_after_the_reader_has_moved_into_the_list() {
    let server = server();
    let Some(browser) = Browser::open(true) else { return };
    browser.go(&format!("{}/query", server.url));
    browser.type_into("#expr", "node_memory_MemTo");
    wait_for("the list", || browser.run("return document.querySelector('.suggest') !== null") == true);
    browser.type_into("#expr", "\u{e015}\n");
    let text = "return document.getElementById('expr').value";
    wait_for("the suggestion", || browser.run(text) == "node_memory_MemTotal_bytes");
    assert_eq!(browser.parameter("query"), None, "nothing ran");
    browser.type_into("#expr", "\n");
    wait_for("the answer", || browser.parameter("query").as_deref() == Some("node_memory_MemTotal_bytes"));
}

#[test]
fn escape_closes_the_list_until_more_is_typed() {
    let server = server();
    let Some(browser) = Browser::open(true) else { return };
    browser.go(&format!("{}/query", server.url));
    // Closed before the names have come from the server: the list must not open afterwards.
    browser.type_into("#expr", "node_loa\u{e00c}");
    let names = "return performance.getEntriesByType('resource').filter(r => r.name.endsWith('/api/v1/functions') && r.responseEnd > 0).length";
    wait_for("the names", || browser.run(names) == 1);
    assert_eq!(browser.run("return document.querySelector('.suggest')"), serde_json::Value::Null);
    browser.type_into("#expr", "d");
    wait_for("the list", || browser.run("return document.querySelector('.suggest') !== null") == true);
}

#[test]
fn a_zoom_may_leave_the_chart_and_stays_when_the_expression_is_executed_again() {
    let server = server();
    let Some(browser) = Browser::open(true) else { return };
    browser.resize(1280, 1000);
    browser.go(&format!("{}/query?{}", server.url, encode(&[("query", "node_load1"), ("range", "5m")])));
    wait_for("the picture", || browser.run(MEASURE)["drawn"] == 1);
    let place = browser.run(
        "const b = document.querySelector('picture.chart').getBoundingClientRect(); return [b.left, b.right, b.top]",
    );
    let at = |i: usize| place[i].as_f64().unwrap() as i64;
    let y = at(2) + 150;
    let tip = "return document.querySelector('.tip') !== null";
    wait_for("the values under the pointer", || {
        browser.point_at(at(0) + 398, y);
        browser.point_at(at(0) + 400, y);
        browser.run(tip) == true
    });
    // Above the chart and beyond its right edge.
    browser.drag(&[(at(0) + 600, y), (at(0) + 700, y), (at(1) - 100, 10), (at(1) + 20, 10)]);
    wait_for("the zoom", || browser.parameter("range").is_some_and(|range| range != "5m"));
    let (range, end) = (browser.parameter("range"), browser.parameter("end"));
    wait_for("the page", || browser.run("return document.readyState") == "complete");
    browser.type_into("#expr", "\u{e010} + 1\n");
    wait_for("the answer", || browser.parameter("query").as_deref() == Some("node_load1 + 1"));
    assert_eq!((browser.parameter("range"), browser.parameter("end")), (range, end));
}
