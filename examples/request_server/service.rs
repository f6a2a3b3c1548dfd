//! The server: its routes, and the heap that each request gets.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::BodyExt;
use mallocstate::MallocState;
use mallocstate::allocator_api2::alloc::Global;
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::failure::{Failure, json};
use crate::heaps::{HeapLog, HeapReport};
use crate::words::{self, MAX_BODY};

/// Where an answer says how long the handler had the processor, in milliseconds.
pub(crate) const TIMING: &str = "server-timing";
/// Where an answer says the peak of its heap, in bytes.
pub(crate) const PEAK: &str = "x-heap-peak";

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Service {
    limit: usize,
    pub(crate) heaps: HeapLog,
}

/// Starts a server whose requests may commit `limit` bytes each.
pub(crate) async fn start(limit: usize) -> io::Result<(SocketAddr, Arc<Service>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let service = Arc::new(Service { limit, heaps: HeapLog::default() });
    let routes = Router::new()
        .route("/words", post(with_own_heap))
        .route("/words/global", post(with_global_allocator))
        .route("/heaps", get(heaps))
        .fallback(async || Failure::NoSuchRoute)
        .method_not_allowed_fallback(async || Failure::NoSuchMethod)
        .with_state(Arc::clone(&service));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok((address, service))
}

/// `?top=N`, the number of words asked for.
#[derive(Deserialize)]
struct Wanted {
    top: NonZeroUsize,
}

type Asked = Result<Query<Wanted>, QueryRejection>;

/// `POST /words`: the handler on a heap of its own.
async fn with_own_heap(State(service): State<Arc<Service>>, asked: Asked, mut body: Body) -> Response {
    let (outcome, spent) = timed(on_own_heap(&service, asked, &mut body)).await;
    let report = outcome.as_ref().ok().map(|(_, report)| *report);
    let mut response = respond(outcome.map(|(answer, _)| answer), spent, body).await;
    if let Some(report) = report {
        response.headers_mut().insert(PEAK, report.peak.into());
    }
    response
}

/// `POST /words/global`: the same on the program's global allocator.
async fn with_global_allocator(asked: Asked, mut body: Body) -> Response {
    let (outcome, spent) = timed(on_global_allocator(asked, &mut body)).await;
    respond(outcome, spent, body).await
}

/// Makes a heap, works in it, copies the answer out, and destroys it with all that is in it.
///
/// The heap lives in the future. While the body comes in, the future waits, and other threads may go on with it: a
/// `&MallocState` is `Send`, since a heap of the default mode is `Sync`. On a local heap this would not compile.
async fn on_own_heap(service: &Service, asked: Asked, body: &mut Body) -> Result<(Bytes, HeapReport), Failure> {
    let top = asked?.top;
    let _alive = service.heaps.enter();
    let heap = MallocState::builder().name("request").limit(service.limit).build()?;
    let worked = words::count(body, top, &heap).await;
    let committed = heap.committed();
    let answer = worked.map(|work| {
        let answer = Bytes::copy_from_slice(&work.answer);
        // What is in the heap goes with the heap, in one step.
        mem::forget(work);
        answer
    });
    let report = HeapReport::new(committed, &heap.destroy());
    service.heaps.remember(report);
    Ok((answer?, report))
}

/// The same work, freed block by block.
async fn on_global_allocator(asked: Asked, body: &mut Body) -> Result<Bytes, Failure> {
    let work = words::count(body, asked?.top, Global).await?;
    Ok(Bytes::copy_from_slice(&work.answer))
}

/// `GET /heaps`: what the last requests' heaps held.
async fn heaps(State(service): State<Arc<Service>>) -> Response {
    json(&service.heaps.summary())
}

/// Runs a future to its end, and says how long it was at work: waiting for the client does not count.
async fn timed<F: Future>(future: F) -> (F::Output, Duration) {
    let (mut future, mut spent) = (pin!(future), Duration::ZERO);
    let output = poll_fn(|context| {
        let start = Instant::now();
        let poll = future.as_mut().poll(context);
        spent += start.elapsed();
        poll
    })
    .await;
    (output, spent)
}

async fn respond(outcome: Result<Bytes, Failure>, spent: Duration, body: Body) -> Response {
    let mut response = match outcome {
        Ok(answer) => ([(CONTENT_TYPE, "application/json")], answer).into_response(),
        Err(failure) => {
            drain(body).await;
            failure.into_response()
        }
    };
    if let Ok(timing) = HeaderValue::try_from(format!("handler;dur={:.4}", spent.as_secs_f64() * 1000.0)) {
        response.headers_mut().insert(TIMING, timing);
    }
    response
}

/// Reads and drops what is left of a refused body, within bounds: a client that is still writing then gets to read the
/// answer, and keeps its connection.
async fn drain(mut body: Body) {
    let mut dropped = 0;
    while let Some(Ok(frame)) = body.frame().await {
        dropped += frame.data_ref().map_or(0, Bytes::len);
        if dropped > 4 * MAX_BODY {
            return;
        }
    }
}
