//! The other end: a client with one connection.

use std::net::SocketAddr;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::service::{PEAK, TIMING};

/// What went wrong with an exchange, as text.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// A client that keeps one connection to one server.
pub(crate) struct Client {
    http: Http<HttpConnector, Body>,
    server: SocketAddr,
}

/// An answer, whatever its status.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// Milliseconds in the handler.
    pub(crate) handler: Option<f64>,
    /// Peak of the request's heap, in bytes.
    pub(crate) peak: Option<f64>,
    body: Vec<u8>,
}

/// What the server says instead of an answer.
#[derive(Debug, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) error: String,
    pub(crate) at: Option<String>,
}

impl Client {
    pub(crate) fn new(server: SocketAddr) -> Self {
        Self { http: Http::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build_http(), server }
    }

    pub(crate) async fn send(&self, method: Method, route: &str, body: impl Into<Body>) -> Result<Reply, Error> {
        let request = Request::builder().method(method).uri(format!("http://{}{route}", self.server));
        let response = self.http.request(request.body(body.into())?).await?;
        let number = |name, prefix| {
            let value = response.headers().get(name)?.to_str().ok()?;
            value.strip_prefix(prefix)?.parse().ok()
        };
        let (handler, peak) = (number(TIMING, "handler;dur="), number(PEAK, ""));
        let status = response.status();
        Ok(Reply { status, handler, peak, body: response.into_body().collect().await?.to_bytes().into() })
    }
}

impl Reply {
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}
