//! HTTP responses.

use std::{convert::Infallible, io, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use serde_json::{Value, json};

/// A response, or the engine's error.
pub(crate) type Answer = Result<Response<Body>, ApiError>;

/// A body; an error in it breaks the connection.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The engine's error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// For an unknown path.
    pub(crate) fn no_page() -> Self {
        Self::new(404, "page not found")
    }
}

impl From<ApiError> for Response<Body> {
    fn from(error: ApiError) -> Self {
        whole(error.status, &json!({ "message": error.message }))
    }
}

/// A body of text.
pub(crate) fn text(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

fn with(status: u16, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    headers.insert("api-version", header::HeaderValue::from_static("1.41"));
    response
}

/// A complete JSON response.
pub(crate) fn whole(status: u16, json: &Value) -> Response<Body> {
    with(status, "application/json", text(format!("{json}\n")))
}

/// No body: 204, or 304 if there was nothing to do.
pub(crate) fn nothing(status: u16) -> Response<Body> {
    with(status, "application/json", text(Bytes::new()))
}

/// A plain text response.
pub(crate) fn word(word: &'static str) -> Response<Body> {
    with(200, "text/plain; charset=utf-8", text(word))
}

/// A streamed response.
pub(crate) fn piecewise(
    kind: &'static str,
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Response<Body> {
    with(200, kind, StreamBody::new(pieces.map_ok(Frame::data)).boxed_unsync())
}

/// A response with a body that is no JSON.
pub(crate) fn garbled(response: Response<Body>) -> Response<Body> {
    let (mut head, _) = response.into_parts();
    head.status = StatusCode::OK;
    Response::from_parts(head, text("{\"Id\": \"c0ff"))
}

/// The first half of a response, after which the connection breaks.
pub(crate) async fn cut(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    let whole = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    head.headers.insert(header::CONTENT_LENGTH, header::HeaderValue::from(whole.len().max(2)));
    let half = whole.slice(..whole.len() / 2);
    let broken = async {
        // The first half is written while this waits.
        tokio::task::yield_now().await;
        Err(io::Error::other("cut by the script"))
    };
    let pieces = stream::iter([Ok(Frame::data(half))]).chain(stream::once(broken));
    Response::from_parts(head, StreamBody::new(pieces).boxed_unsync())
}

/// The head of a response, and nothing more.
pub(crate) fn mute(response: Response<Body>) -> Response<Body> {
    response.map(|_| StreamBody::new(stream::pending()).boxed_unsync())
}

/// A response whose body comes byte by byte.
pub(crate) fn trickle(response: Response<Body>, pause: Duration) -> Response<Body> {
    let one = move |byte: u8| async move {
        tokio::time::sleep(pause).await;
        Ok(Frame::data(Bytes::from(vec![byte])))
    };
    response.map(|body| {
        let bytes = body.into_data_stream().map_ok(move |piece| stream::iter(piece).then(one)).try_flatten();
        StreamBody::new(bytes).boxed_unsync()
    })
}
