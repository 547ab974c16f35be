//! A target that gives each of two servers the pages of its cases, in order, each at its own pace.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::cases::{Case, Page};

pub(crate) struct FakeTarget {
    pub(crate) address: String,
    /// Requests by path.
    requests: Arc<Mutex<HashMap<String, usize>>>,
}

impl FakeTarget {
    pub(crate) fn start(cases: &[Case]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let pages: HashMap<String, Vec<Page>> =
            cases.iter().map(|case| (case.name.clone(), case.pages.clone())).collect();
        let (pages, requests) = (Arc::new(pages), Arc::new(Mutex::new(HashMap::new())));
        let counted = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (pages, requests) = (Arc::clone(&pages), Arc::clone(&counted));
                std::thread::spawn(move || serve(&stream, &pages, &requests));
            }
        });
        Self { address, requests }
    }

    /// How often the one of the two servers that asked less has asked.
    pub(crate) fn requests(&self, case: &str) -> usize {
        let requests = self.requests.lock().unwrap();
        let of = |side: &str| requests.get(&format!("/{side}/{case}")).copied().unwrap_or_default();
        of("ours").min(of("theirs"))
    }
}

fn serve(stream: &TcpStream, pages: &HashMap<String, Vec<Page>>, requests: &Mutex<HashMap<String, usize>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut path = String::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if path.is_empty() {
                path = line.split(' ').nth(1).unwrap().to_owned();
            }
            if line == "\r\n" {
                break;
            }
        }
        let nth = {
            let mut requests = requests.lock().unwrap();
            let count = requests.entry(path.clone()).or_default();
            *count += 1;
            *count - 1
        };
        let pages = &pages[path.rsplit('/').next().unwrap()];
        let page = &pages[nth.min(pages.len() - 1)];
        let mut answer = format!("HTTP/1.1 {}\r\nContent-Length: {}\r\n", page.status, page.body.len()).into_bytes();
        if !page.content_type.is_empty() {
            answer.extend(format!("Content-Type: {}\r\n", page.content_type).into_bytes());
        }
        answer.extend(b"\r\n");
        answer.extend(&page.body);
        if (&*stream).write_all(&answer).is_err() {
            return;
        }
    }
}
