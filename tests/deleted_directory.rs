//! A data directory that somebody deletes, and files of it that somebody cuts, while the server runs.

mod common;
#[path = "common/push.rs"]
mod push;

use common::{Answer, Server, now, wait_for};

fn push(server: &Server, at: i64) -> Answer {
    let body = push::request(&[(&[("__name__", "pushed")], &[(at, 1.5)])]);
    server.post("/api/v1/write", "application/x-protobuf", &body)
}

fn receiver() -> Server {
    Server::with_config("scrape_configs: []\n", &["--web.enable-remote-write-receiver", "--storage.tsdb.path=data"])
}

#[test]
fn a_deleted_data_directory_stops_acknowledging_at_once_and_queries_go_on() {
    let mut server = receiver();
    let at = (now() * 1000.0) as i64 - 60_000;
    assert_eq!(push(&server, at).status, 204);
    let data = server.dir.join("data");
    std::fs::remove_dir_all(&data).unwrap();
    let refused = push(&server, at + 1000);
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("was deleted while"), "{}", refused.text());
    wait_for("the pause to show", || server.get("/-/ready").text().contains("start it again"));
    assert!(server.get("/metrics").text().contains("\nsilverback_ingestion_paused 1\n"));
    wait_for("the banner", || server.get("/query").text().contains("Ingestion is paused, queries go on: "));
    wait_for("the message", || server.read_log().contains("ingestion is paused"));
    for n in 2..5 {
        assert_eq!(push(&server, at + n * 1000).status, 503);
    }
    assert_eq!(server.number(&format!("count_over_time(pushed[1h] @ {})", at / 1000 + 60)), Some(1.0));
    assert!(!data.exists(), "the directory is made anew");
}
