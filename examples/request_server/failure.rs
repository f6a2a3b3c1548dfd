//! What can be wrong with a request, and the JSON that says so.

use std::fmt;
use std::str::Utf8Error;

use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use mallocstate::ConfigError;
use serde::Serialize;

use crate::words::MAX_BODY;

/// What a request was building when its heap had no more.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    Text,
    Words,
    Map,
    Ranking,
    Answer,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    Query(QueryRejection),
    NotUtf8(Utf8Error),
    TooLarge,
    BrokenOff(axum::Error),
    OutOfMemory(Place),
    Config(ConfigError),
    NoSuchRoute,
    NoSuchMethod,
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::Query(_) | Self::NotUtf8(_) | Self::BrokenOff(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::OutOfMemory(_) => StatusCode::INSUFFICIENT_STORAGE,
            Self::Config(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoSuchRoute => StatusCode::NOT_FOUND,
            Self::NoSuchMethod => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    fn place(&self) -> Option<Place> {
        match self {
            Self::OutOfMemory(place) => Some(*place),
            _ => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Query(rejection) => write!(f, "{}; top must be a whole number, 1 or more", rejection.body_text()),
            Self::NotUtf8(error) => write!(f, "the body is not UTF-8: {error}"),
            Self::TooLarge => write!(f, "the body is longer than {MAX_BODY} bytes"),
            Self::BrokenOff(error) => write!(f, "the body broke off: {error}"),
            Self::OutOfMemory(_) => f.write_str("the request's heap has reached its limit"),
            Self::Config(error) => error.fmt(f),
            Self::NoSuchRoute => f.write_str("there is POST /words?top=N, POST /words/global?top=N, GET /heaps"),
            Self::NoSuchMethod => f.write_str("words are posted, heaps are got"),
        }
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        Self::Query(rejection)
    }
}

impl From<Utf8Error> for Failure {
    fn from(error: Utf8Error) -> Self {
        Self::NotUtf8(error)
    }
}

impl From<axum::Error> for Failure {
    fn from(error: axum::Error) -> Self {
        Self::BrokenOff(error)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

#[derive(Serialize)]
struct Report {
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Place>,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status(), json(&Report { error: self.to_string(), at: self.place() })).into_response()
    }
}

/// A value as the body of an answer.
pub(crate) fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
