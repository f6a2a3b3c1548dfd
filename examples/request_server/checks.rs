//! Bad input, and heaps at their limit: what a server must answer, and that it answers the next request too.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Method;
use http_body::Frame;

use crate::client::{Client, Error, Refusal};
use crate::documents::Document;
use crate::drive::{self, Route};
use crate::heaps::{REMEMBERED, Summary};
use crate::service;
use crate::words::MAX_BODY;

/// The limit of the heaps in these checks, in bytes.
const LIMIT: usize = 1 << 20;

/// A request that must be refused.
struct Case {
    name: &'static str,
    method: Method,
    route: &'static str,
    body: Body,
    status: u16,
    /// What the heap was building when it had no more.
    at: Option<&'static str>,
}

/// Runs all checks on a server of their own; the answer is how many there were.
pub(crate) async fn run() -> Result<usize, Error> {
    let (server, service) = service::start(LIMIT).await?;
    let client = Client::new(server);
    let good = Document::new("a good request", "Every heap is a value; a value has an end.".repeat(100));
    let cases = cases();
    let count = cases.len() + 1;
    for case in cases {
        let name = case.name;
        check(&client, case).await.map_err(|error| format!("{name}: {error}"))?;
        let next = drive::post(&client, Route::OwnHeap, &good).await;
        next.map_err(|error| format!("the request after {name}: {error}"))?;
    }
    check_account(&client).await?;
    match service.heaps.summary().alive {
        0 => Ok(count),
        alive => Err(format!("{alive} heaps outlived their requests").into()),
    }
}

async fn check(client: &Client, case: Case) -> Result<(), Error> {
    let reply = client.send(case.method, case.route, case.body).await?;
    let refusal: Refusal = reply.read()?;
    if reply.status != case.status || refusal.at.as_deref() != case.at || refusal.error.is_empty() {
        return Err(format!("{} {refusal:?}", reply.status).into());
    }
    Ok(())
}

/// `GET /heaps` after all that.
async fn check_account(client: &Client) -> Result<(), Error> {
    let summary: Summary = client.send(Method::GET, "/heaps", "").await?.read()?;
    let plausible = summary.recent.iter().all(|heap| {
        heap.live <= heap.committed
            && heap.committed <= heap.peak
            && heap.peak <= LIMIT.min(heap.mapped)
            && heap.refused == 0
    });
    let latest = summary.recent.first().is_some_and(|heap| heap.live_blocks > 0);
    if plausible && latest && summary.recent.len() == summary.made.min(REMEMBERED) {
        return Ok(());
    }
    Err(format!("an implausible account: {summary:?}").into())
}

fn cases() -> Vec<Case> {
    let bad = |name, route, body: Body, status| Case { name, method: Method::POST, route, body, status, at: None };
    let full = |name, body: String, at| Case { at: Some(at), ..bad(name, "/words?top=3", body.into(), 507) };
    vec![
        bad("top of 0", "/words?top=0", "a b".into(), 400),
        bad("no top", "/words", "a b".into(), 400),
        bad("a negative top", "/words?top=-1", "a b".into(), 400),
        bad("a top that is no number", "/words?top=many", "a b".into(), 400),
        bad("a body that is not UTF-8", "/words?top=3", b"\xe9t\xe9".as_slice().into(), 400),
        bad("a body too large, announced", "/words?top=3", vec![b' '; MAX_BODY + 1].into(), 413),
        bad("an unknown route", "/sentences", "a b".into(), 404),
        Case { method: Method::DELETE, ..bad("an unknown method", "/words?top=3", "".into(), 405) },
        full("a text above the limit", " ".repeat(LIMIT + 1), "text"),
        Case {
            body: Chunks::of(" ".repeat(LIMIT + 1)),
            ..full("a text in chunks above the limit", String::new(), "text")
        },
        full("many short words", short_words(40_000), "map"),
        full("a text and a map, and no room for a list", short_words(7000) + &" ".repeat(419_000), "ranking"),
        full("few long words", long_words(90, 6000), "words"),
        Case { route: "/words?top=100", ..full("long words, all in the answer", long_words(100, 4000), "answer") },
    ]
}

/// Different words: for each a small block, so that the table of the map is the largest thing in the heap.
fn short_words(count: usize) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        // Writing to a string does not fail.
        let _ = write!(text, "{number:x} ");
        text
    })
}

/// Different words of `len` bytes.
fn long_words(count: usize, len: usize) -> String {
    (0..count).map(|number| format!("{number:0len$} ")).collect()
}

/// A body whose length is not announced.
struct Chunks(VecDeque<Bytes>);

impl Chunks {
    fn of(text: String) -> Body {
        Body::new(Self(text.as_bytes().chunks(10_000).map(Bytes::copy_from_slice).collect()))
    }
}

impl HttpBody for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.get_mut().0.pop_front().map(|chunk| Ok(Frame::data(chunk))))
    }
}
