//! The host's connections as they come in, in the clear or by mutual TLS.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::either::Either;
use tonic::transport::server::Connected;

/// How long a TLS handshake may take, and how many may be under way: who connects and says nothing keeps nobody out.
const HANDSHAKE: Duration = Duration::from_secs(10);
const HANDSHAKES: usize = 64;

/// One connection.
pub(super) struct Connection(Either<TlsStream<UnixStream>, UnixStream>);

/// The connections; one that does not get through its handshake is left out.
pub(super) fn accept(
    listener: UnixListenerStream,
    tls: Option<TlsAcceptor>,
) -> impl Stream<Item = io::Result<Connection>> {
    listener
        .map(move |stream| {
            let tls = tls.clone();
            async move {
                let stream = stream?;
                let Some(tls) = tls else { return Ok(Connection(Either::Right(stream))) };
                let stream = timeout(HANDSHAKE, tls.accept(stream)).await??;
                Ok(Connection(Either::Left(stream)))
            }
        })
        .buffer_unordered(HANDSHAKES)
        .filter_map(|connection: io::Result<_>| async {
            match connection {
                Ok(connection) => Some(Ok(connection)),
                Err(error) => {
                    tracing::warn!(%error, "a connection was refused");
                    None
                }
            }
        })
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, slices)
    }
}
