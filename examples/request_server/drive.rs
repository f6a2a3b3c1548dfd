//! Posts every document over several connections at once, again and again, and checks each answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;

use crate::client::{Client, Error, Refusal};
use crate::documents::{Document, TOP};
use crate::figures::{Figures, Round, Sample};
use crate::plain::Answer;

/// One side of the comparison.
#[derive(Clone, Copy)]
pub(crate) enum Route {
    OwnHeap,
    GlobalAllocator,
}

impl Route {
    pub(crate) fn path(self) -> String {
        match self {
            Self::OwnHeap => format!("/words?top={TOP}"),
            Self::GlobalAllocator => format!("/words/global?top={TOP}"),
        }
    }
}

/// The clients, each with a connection of its own, and what they post.
pub(crate) struct Drive {
    clients: Vec<Arc<Client>>,
    documents: Arc<[Document]>,
}

impl Drive {
    pub(crate) fn new(server: SocketAddr, connections: usize, documents: Vec<Document>) -> Result<Self, Error> {
        let clients = (0..connections).map(|_| Arc::new(Client::new(server))).collect();
        Ok(Self { clients, documents: documents.into() })
    }

    /// Runs rounds of both ways in turn, for about as long as wanted, and at least three of each. A round of each goes
    /// before and does not count.
    pub(crate) async fn run(&self, wanted: Duration) -> Result<[Figures; 2], Error> {
        let start = Instant::now();
        let bar = ProgressBar::no_length();
        self.round(Route::OwnHeap, &bar).await?;
        self.round(Route::GlobalAllocator, &bar).await?;
        let rounds = (wanted.as_secs_f64() / start.elapsed().as_secs_f64()).clamp(3.0, 100_000.0) as usize;

        let bar = ProgressBar::new((2 * rounds * self.documents.len()) as u64).with_style(style()?);
        let mut figures = [Figures::default(), Figures::default()];
        for round in 0..rounds {
            // Whoever comes second finds the caches as the first has left them: they take turns.
            let order = [Route::OwnHeap, Route::GlobalAllocator];
            for index in [round % 2, (round + 1) % 2] {
                figures[index].add(self.round(order[index], &bar).await?);
            }
        }
        bar.finish();
        Ok(figures)
    }

    /// Posts every document once. The first wrong answer ends it.
    async fn round(&self, route: Route, bar: &ProgressBar) -> Result<Round, Error> {
        let start = Instant::now();
        let next = Arc::new(AtomicUsize::new(0));
        let mut workers = JoinSet::new();
        for client in &self.clients {
            let (client, documents) = (Arc::clone(client), Arc::clone(&self.documents));
            let (next, bar) = (Arc::clone(&next), bar.clone());
            workers.spawn(async move {
                let mut samples = Vec::new();
                while let Some(document) = documents.get(next.fetch_add(1, Relaxed)) {
                    samples.push(post(&client, route, document).await?);
                    bar.inc(1);
                }
                Ok::<_, Error>(samples)
            });
        }
        let mut samples = Vec::new();
        while let Some(worker) = workers.join_next().await {
            samples.append(&mut worker??);
        }
        Ok(Round { elapsed: start.elapsed(), samples })
    }
}

/// Posts a document, and compares the answer with the right one.
pub(crate) async fn post(client: &Client, route: Route, document: &Document) -> Result<Sample, Error> {
    let reply = client.send(Method::POST, &route.path(), document.body.clone()).await?;
    if reply.status != StatusCode::OK {
        let refusal: Refusal = reply.read()?;
        return Err(format!("{}: {}, {}", document.name, reply.status, refusal.error).into());
    }
    let answer: Answer = reply.read()?;
    if answer != document.expected {
        return Err(format!("{}: {answer:?}, but right is {:?}", document.name, document.expected).into());
    }
    let handler = reply.handler.ok_or("an answer without its time in the handler")?;
    Ok(Sample { handler, peak: reply.peak })
}

fn style() -> Result<ProgressStyle, Error> {
    Ok(ProgressStyle::with_template("{bar:40} {pos}/{len} requests, {per_sec}, {eta} to go")?)
}
