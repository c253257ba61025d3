//! How an answer's bytes reach the client: as they come, or with a fault.

use std::{io, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    time::{MissedTickBehavior, interval},
};

use super::{Fault, Guard};

/// How often a byte comes of an answer that trickles.
pub(super) const PACE: Duration = Duration::from_millis(100);

/// An answer's body.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A body of bytes that are there.
pub(super) fn whole(bytes: impl Into<Bytes>) -> Body {
    body(stream::iter([Ok(bytes.into())]))
}

/// A body that comes from the engine; its connection ends with it.
pub(super) fn passed_on(incoming: Incoming, connection: Guard) -> Body {
    let pieces = incoming.into_data_stream().map(move |piece| {
        let _held = &connection;
        piece.map_err(io::Error::other)
    });
    body(pieces)
}

/// What a fault leaves of a body.
pub(super) fn spoiled(incoming: Body, fault: Fault) -> Body {
    body(faulty(incoming.into_data_stream(), fault))
}

fn body(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

/// What a fault leaves of pieces.
fn faulty(
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
    fault: Fault,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    match fault {
        Fault::CutMidst => {
            let half = pieces.take(1).map(|piece| piece.map(|piece| piece.slice(..piece.len() / 2)));
            half.chain(stream::once(cut())).left_stream()
        }
        Fault::Trickle => {
            let bytes = pieces.flat_map(|piece| match piece {
                Ok(piece) => stream::iter(piece.into_iter().map(|byte| Ok(Bytes::from(vec![byte])))).left_stream(),
                Err(error) => stream::iter([Err(error)]).right_stream(),
            });
            paced(bytes).left_stream().right_stream()
        }
        // The connection to the engine is kept as well.
        _ => stream::once(async move {
            let _held = pieces;
            std::future::pending().await
        })
        .right_stream()
        .right_stream(),
    }
}

fn paced<T: Send + 'static>(items: impl Stream<Item = T> + Send + Unpin) -> impl Stream<Item = T> + Send {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream::unfold((items, pace), |(mut items, mut pace)| async move {
        let item = items.next().await?;
        pace.tick().await;
        Some((item, (items, pace)))
    })
}

/// An end of the connection, once what came before is on its way.
async fn cut() -> io::Result<Bytes> {
    let mut pace = interval(PACE);
    pace.tick().await;
    pace.tick().await;
    Err(io::ErrorKind::ConnectionAborted.into())
}

/// Carries the bytes of an upgraded connection both ways, until both sides have ended.
pub(super) async fn both_ways(client: Upgraded, engine: Upgraded, fault: Option<Fault>) {
    let (from_client, to_client) = tokio::io::split(TokioIo::new(client));
    let (from_engine, to_engine) = tokio::io::split(TokioIo::new(engine));
    let pieces = pieces(from_engine).boxed();
    let answer = match fault {
        Some(fault) => faulty(pieces, fault).boxed(),
        None => pieces,
    };
    // Where one side breaks off, so does the other.
    let _broken_off = tokio::try_join!(write(answer, to_client), write(self::pieces(from_client).boxed(), to_engine));
}

fn pieces(from: ReadHalf<TokioIo<Upgraded>>) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold(from, |mut from| async move {
        let mut buffer = vec![0; 16 << 10];
        let count = from.read(&mut buffer).await?;
        buffer.truncate(count);
        Ok((count > 0).then(|| (Bytes::from(buffer), from)))
    })
}

async fn write(
    mut pieces: impl Stream<Item = io::Result<Bytes>> + Unpin,
    mut to: WriteHalf<TokioIo<Upgraded>>,
) -> io::Result<()> {
    while let Some(piece) = pieces.next().await {
        to.write_all(&piece?).await?;
    }
    to.shutdown().await
}
