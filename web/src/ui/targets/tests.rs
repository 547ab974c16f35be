use std::time::Duration;

use tsdb::{Labels, Timestamp};

use super::{MAX_ROWS, Params, Selection, pools};
use crate::status::{ActiveTarget, Health, Targets};

fn target(pool: &str, at: usize, health: Health) -> ActiveTarget {
    let url = format!("http://{pool}-{at}:9100/metrics");
    ActiveTarget {
        discovered_labels: Labels::default(),
        labels: Labels::from_iter([("job", pool), ("instance", url.as_str())]),
        scrape_pool: pool.into(),
        global_url: url.clone(),
        scrape_url: url,
        last_error: String::new(),
        last_scrape: None,
        last_duration: Duration::ZERO,
        health,
        interval: Duration::from_secs(15),
        timeout: Duration::from_secs(10),
        samples: 0,
        note: String::new(),
    }
}

/// Pools `p0`, `p1`, … with `each` targets; the last target of the last pool is down.
fn fleet(pool_count: usize, each: usize) -> Targets {
    let mut active: Vec<ActiveTarget> =
        (0..pool_count).flat_map(|p| (0..each).map(move |at| target(&format!("p{p}"), at, Health::Up))).collect();
    active.last_mut().unwrap().health = Health::Down;
    Targets { active, ..Targets::default() }
}

fn selection(query: &str) -> Selection {
    Selection::new(&Params::parse(query))
}

fn shown(targets: &Targets, query: &str) -> Vec<(String, usize, usize)> {
    let pools = pools(targets, &selection(query), Timestamp::from_millis(0));
    pools.into_iter().map(|pool| (pool.name, pool.rows.len(), pool.matching)).collect()
}

#[test]
fn small_pools_are_shown_whole() {
    assert_eq!(shown(&fleet(2, 150), ""), [("p1".into(), 150, 150), ("p0".into(), 150, 150)]);
}

#[test]
fn a_page_has_a_bounded_number_of_rows_however_many_targets_and_pools_there_are() {
    for (pool_count, each) in [(1, 10_000), (10, 1000), (1000, 10), (10_000, 1)] {
        let found = shown(&fleet(pool_count, each), "");
        assert_eq!(found.len(), pool_count);
        assert!(found.iter().map(|(_, rows, _)| rows).sum::<usize>() <= MAX_ROWS, "{pool_count} × {each}");
        assert!(found[0].1 > 0, "the pool in trouble comes first, with rows");
    }
}

#[test]
fn pages_of_a_pool_hold_every_target_once_and_those_in_trouble_first() {
    let targets = fleet(1, 1000);
    let mut urls = Vec::new();
    let mut query = "pool=p0".to_owned();
    loop {
        let mut page = pools(&targets, &selection(&query), Timestamp::from_millis(0));
        let pool = page.remove(0);
        assert!(page.is_empty());
        urls.extend(pool.rows.into_iter().map(|row| row.url));
        match pool.paging.and_then(|paging| paging.next) {
            Some(next) => query = next,
            None => break,
        }
    }
    assert_eq!(urls[0], "http://p0-999:9100/metrics");
    urls.sort();
    urls.dedup();
    assert_eq!(urls.len(), 1000);
}

#[test]
fn a_search_keeps_the_counts_of_the_pool_and_leaves_out_pools_without_a_match() {
    let targets = fleet(3, 10);
    assert_eq!(shown(&targets, "search=zzz"), []);
    let found = pools(&targets, &selection("search=p1-3"), Timestamp::from_millis(0));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].up, found[0].total, found[0].matching), (10, 10, 1));
    let down = pools(&targets, &selection("health=down"), Timestamp::from_millis(0));
    assert_eq!((down.len(), down[0].up, down[0].total, down[0].rows.len()), (1, 9, 10, 1));
}

#[test]
fn links_to_more_targets_keep_the_search() {
    let paging = |query: &str| {
        let mut found = pools(&fleet(2, 1000), &selection(query), Timestamp::from_millis(0));
        found.remove(0).paging.unwrap()
    };
    assert_eq!(paging("search=http").next.as_deref(), Some("pool=p1&search=http"));
    let second = paging("pool=p1&search=http&page=2");
    assert_eq!((second.first, second.last), (MAX_ROWS + 1, 2 * MAX_ROWS));
    assert_eq!(second.previous.as_deref(), Some("pool=p1&search=http"));
    assert_eq!(second.next.as_deref(), Some("pool=p1&search=http&page=3"));
}

#[test]
fn two_targets_at_one_address_have_rows_of_their_own() {
    let mut targets = fleet(1, 2);
    targets.active[1].scrape_url = targets.active[0].scrape_url.clone();
    let found = pools(&targets, &selection(""), Timestamp::from_millis(0));
    assert_ne!(found[0].rows[0].key, found[0].rows[1].key);
}
