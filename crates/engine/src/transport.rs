//! Carries every request to the engine, whichever part of the client library makes it. A request is sent only to the path of
//! its route, on a connection of its own, from which no more is read than the route's response may have.

use std::{
    io,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bollard::{BollardRequest, errors::Error};
use http::{HeaderValue, Response, StatusCode, Uri, header};
use hyper::{body::Incoming, client::conn::http1, rt::Executor};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::connect::HttpConnector,
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};
use tower::ServiceExt;

use super::{
    body::error_message,
    error::{AnswerTooLong, CallKind, ErrorAnswer, NotConnected, innermost},
    route::{Answer, Permit},
};

/// How the engine is reached.
#[derive(Clone)]
pub(super) enum Connector {
    /// A socket of this host.
    Unix(PathBuf),
    /// Plain TCP.
    Tcp(HttpConnector),
    /// With TLS.
    Tls(HttpsConnector<HttpConnector>),
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

impl Connector {
    /// Sends a request and returns the response head, whose body is bounded. The engine's error is an error.
    pub(super) async fn send(self, mut request: BollardRequest) -> Result<Response<Incoming>, Error> {
        let uri = std::mem::take(request.uri_mut());
        let Some(Permit { path, answer }) = request.extensions_mut().remove::<Permit>() else {
            return Err(io::Error::other("a request without a route").into());
        };
        if without_version(uri.path()) != path {
            return Err(io::Error::other(format!("a request to another path than {path}")).into());
        }
        let host = uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
        request.headers_mut().entry(header::HOST).or_insert(host.unwrap_or(HeaderValue::from_static("docker")));
        *request.uri_mut() = uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();

        let call = CallKind::of(request.method());
        let left = Arc::new(AtomicU64::new(answer.most()));
        let bounded = Bounded { socket: self.connect(uri).await?, left: left.clone(), most: answer.most() };
        let (mut sender, connection) = http1::handshake(TokioIo::new(bounded)).await?;
        // The connection ends with the response body, or when that is dropped.
        TokioExecutor::new().execute(async move {
            let _reported_by_the_answer = connection.with_upgrades().await;
        });
        let response = sender.send_request(request).await?;
        let status = response.status();
        // An engine that has nothing to change answers 304.
        if status.is_success() || status.is_informational() || status == StatusCode::NOT_MODIFIED {
            if answer == Answer::Stream {
                left.store(u64::MAX, Ordering::Relaxed);
            }
            return Ok(response);
        }
        left.fetch_min(Answer::Short.most(), Ordering::Relaxed);
        let message = error_message(response.into_body()).await;
        Err(io::Error::other(ErrorAnswer { status, message, call }).into())
    }

    async fn connect(self, uri: Uri) -> Result<Box<dyn Socket>, Error> {
        let failed = |reason: String| Error::from(io::Error::other(NotConnected(reason)));
        match self {
            Self::Unix(path) => match UnixStream::connect(&path).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    Err(failed(format!("no such socket: {}", path.display())))
                }
                Err(error) => Err(failed(error.to_string())),
            },
            Self::Tcp(tcp) => {
                let stream = tcp.oneshot(uri).await.map_err(|error| failed(innermost(&error)))?;
                Ok(Box::new(stream.into_inner()))
            }
            Self::Tls(tls) => {
                let stream = tls.oneshot(uri).await.map_err(|error| failed(innermost(&*error)))?;
                Ok(Box::new(TokioIo::new(stream)))
            }
        }
    }
}

/// A request's path without the API version.
fn without_version(path: &str) -> &str {
    let rest = path.strip_prefix("/v").and_then(|rest| rest.split_once('/'));
    match rest {
        Some((version, rest)) if version.starts_with(|first: char| first.is_ascii_digit()) => {
            &path[path.len() - rest.len() - 1..]
        }
        _ => path,
    }
}

/// A connection that delivers a bounded number of bytes.
struct Bounded {
    socket: Box<dyn Socket>,
    /// How much may still arrive.
    left: Arc<AtomicU64>,
    most: u64,
}

impl AsyncRead for Bounded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buffer))?;
        let came = u64::try_from(buffer.filled().len() - before).unwrap_or(u64::MAX);
        let left = self.left.load(Ordering::Relaxed);
        match left.checked_sub(came) {
            Some(_) if left == u64::MAX => {}
            Some(left) => self.left.store(left, Ordering::Relaxed),
            None => return Poll::Ready(Err(io::Error::other(AnswerTooLong(self.most)))),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_known_with_the_apis_version_and_without() {
        assert_eq!(without_version("/v1.41/containers/a/json"), "/containers/a/json");
        assert_eq!(without_version("/version"), "/version");
        assert_eq!(without_version("/v1.41"), "/v1.41");
        assert_eq!(without_version("/volumes/v1.4/x"), "/volumes/v1.4/x");
    }
}
