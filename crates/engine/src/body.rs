//! Reads response bodies, bounded by what their kind may hold.

use std::{fmt, io, marker::PhantomData, time::Duration};

use bollard::errors::Error;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, SeqAccess, Visitor},
};
use tokio::sync::oneshot;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::{
    frames::{Frames, Piece, TooLong},
    lines::{Line, Lines},
};

/// How long the rest of an error is waited for: its status is known already.
const MESSAGE: Duration = Duration::from_secs(5);

/// The engine's message in an error body, as far as it comes. A message that is too long is cut.
pub(super) async fn error_message(body: Incoming) -> String {
    let mut pieces = Box::pin(body.into_data_stream().take_until(tokio::time::sleep(MESSAGE)));
    let mut bytes = Vec::new();
    while let Some(Ok(piece)) = pieces.next().await {
        bytes.extend(piece);
    }
    let parsed: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
    let message = parsed.as_ref().and_then(|value| value["message"].as_str());
    message.map_or_else(|| String::from_utf8_lossy(&bytes).into_owned(), str::to_owned)
}

/// The lines of a body.
pub(super) fn lines<B>(body: B, most: usize) -> impl Stream<Item = Result<Line, Error>> + Send + Unpin
where
    B: Body<Data = Bytes> + Send + 'static,
    Error: From<B::Error>,
{
    let pieces = Some(Box::pin(body.into_data_stream()));
    Box::pin(stream::unfold((pieces, Lines::new(most)), |(mut pieces, mut lines)| async move {
        loop {
            if let Some(line) = lines.next_line() {
                return Some((Ok(line), (pieces, lines)));
            }
            match pieces.as_mut()?.next().await {
                Some(Ok(piece)) => lines.push(&piece),
                Some(Err(error)) => return Some((Err(error.into()), (None, lines))),
                None => return lines.rest().map(|line| (Ok(line), (None, lines))),
            }
        }
    }))
}

/// Output without its frames. Output that is too long or broken ends the stream.
pub(super) fn pieces<E>(
    bytes: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    frames: Frames,
) -> impl Stream<Item = Result<Piece, io::Error>> + Send + Unpin
where
    E: std::error::Error + Send + Sync + 'static,
{
    received(bytes, frames).filter_map(|piece| std::future::ready(piece.transpose()))
}

/// The same, with a `None` each time that bytes have come.
pub(super) fn received<E>(
    bytes: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    frames: Frames,
) -> impl Stream<Item = Result<Option<Piece>, io::Error>> + Send + Unpin
where
    E: std::error::Error + Send + Sync + 'static,
{
    Box::pin(stream::unfold((Some(Box::pin(bytes)), frames), |(mut bytes, mut frames)| async move {
        match frames.next_piece() {
            Ok(Some(piece)) => return Some((Ok(Some(piece)), (bytes, frames))),
            Ok(None) => {}
            Err(TooLong) => {
                bytes.take()?;
                return Some((Err(io::Error::other("a frame of the Docker daemon's is too long")), (None, frames)));
            }
        }
        match bytes.as_mut()?.next().await {
            Some(Ok(more)) => {
                frames.push(&more);
                Some((Ok(None), (bytes, frames)))
            }
            Some(Err(error)) => Some((Err(io::Error::other(error)), (None, frames))),
            None => match frames.rest() {
                Some(piece) => Some((Ok(Some(piece)), (None, frames))),
                None => frames.is_within().then(|| (Err(broken_off()), (None, frames))),
            },
        }
    }))
}

fn broken_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the Docker daemon's output broke off within a frame")
}

/// The size up to which a body is decoded directly on the runtime's threads.
const AT_ONCE: usize = 1 << 20;

/// The wanted part of a body. The rest, however large, is read and dropped.
pub(super) async fn picked<T: DeserializeOwned + Send + 'static>(body: Incoming) -> Result<T, Error> {
    match up_to(body, AT_ONCE).await? {
        Whole::Yes(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Whole::No(pieces) => picked_of_long(pieces).await,
    }
}

/// Like [`picked`], for a body that is known to be long.
pub(super) async fn picked_of_long<T, S>(pieces: S) -> Result<T, Error>
where
    T: DeserializeOwned + Send + 'static,
    S: Stream<Item = Result<Bytes, hyper::Error>> + Send + 'static,
{
    // The reader ends with this call, so a body that never ends holds no thread.
    let (_held, dropped) = oneshot::channel::<()>();
    let pieces = Box::pin(pieces.map_err(io::Error::other).take_until(dropped));
    let reader = SyncIoBridge::new(StreamReader::new(pieces));
    let read = tokio::task::spawn_blocking(move || serde_json::from_reader(io::BufReader::new(reader)));
    read.await.map_err(io::Error::other)?.map_err(json)
}

/// The body if it is within a bound; otherwise what has arrived and what is still to come.
pub(super) enum Whole<S> {
    Yes(Vec<u8>),
    No(S),
}

/// Reads a body up to a length.
pub(super) async fn up_to(
    body: Incoming,
    most: usize,
) -> Result<Whole<impl Stream<Item = Result<Bytes, hyper::Error>> + Send + 'static>, Error> {
    let mut pieces = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await {
        bytes.extend(piece?);
        if bytes.len() > most {
            return Ok(Whole::No(stream::iter([Ok(Bytes::from(bytes))]).chain(pieces)));
        }
    }
    Ok(Whole::Yes(bytes))
}

/// A list of at most `MOST` elements.
pub(super) struct AtMost<T, const MOST: usize>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for AtMost<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T, const MOST: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Elements<T, MOST> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_unit<E>(self) -> Result<Vec<T>, E> {
                Ok(Vec::new())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = list.next_element()? {
                    if elements.len() == MOST {
                        return Err(A::Error::custom(format!("a list of more than {MOST} elements")));
                    }
                    elements.push(element);
                }
                Ok(elements)
            }
        }
        deserializer.deserialize_any(Elements::<T, MOST>(PhantomData)).map(Self)
    }
}

/// Invalid JSON as an error of the client library. A broken connection is reported as such.
fn json(error: serde_json::Error) -> Error {
    if error.is_io() { io::Error::from(error).into() } else { error.into() }
}
