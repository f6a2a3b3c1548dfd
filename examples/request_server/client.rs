//! The other end: a client with one connection.

use std::net::SocketAddr;

use reqwest::{Body, Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::service::{PEAK, TIMING};

/// What went wrong with an exchange, as text.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// A client that keeps one connection to one server.
pub(crate) struct Client {
    http: reqwest::Client,
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
    pub(crate) fn new(server: SocketAddr) -> Result<Self, Error> {
        Ok(Self { http: reqwest::Client::builder().no_proxy().pool_max_idle_per_host(1).build()?, server })
    }

    pub(crate) async fn send(&self, method: Method, route: &str, body: impl Into<Body>) -> Result<Reply, Error> {
        let request = self.http.request(method, format!("http://{}{route}", self.server));
        let response = request.body(body).send().await?;
        let number = |name, prefix| {
            let value = response.headers().get(name)?.to_str().ok()?;
            value.strip_prefix(prefix)?.parse().ok()
        };
        let (handler, peak) = (number(TIMING, "handler;dur="), number(PEAK, ""));
        Ok(Reply { status: response.status(), handler, peak, body: response.bytes().await?.into() })
    }
}

impl Reply {
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}
