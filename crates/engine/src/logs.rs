//! A container's output from the engine's logs API.

use std::time::SystemTime;

use bollard::body_full;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::Request;
use http_body_util::BodyExt;

use super::{
    Engine, EngineError, QUICK, body, error,
    frames::{Frames, Piece},
    inspected::time,
    route::{Answer, Route},
};

/// Longer than any piece that a logging driver stores.
const LONGEST_FRAME: usize = 4 << 20;

/// A piece of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFrame {
    /// Whether it is standard error.
    pub stderr: bool,
    /// When the container wrote it.
    pub at: SystemTime,
    /// The output.
    pub bytes: Bytes,
}

/// Splits a piece into its timestamp (RFC 3339 with nanoseconds, then a space) and the output; `None` without a timestamp.
fn stamped(Piece { stderr, bytes }: Piece) -> Option<LogFrame> {
    let blank = bytes.iter().position(|byte| *byte == b' ')?;
    let at = std::str::from_utf8(&bytes[..blank]).ok().and_then(time)?;
    Some(LogFrame { stderr, at, bytes: bytes.slice(blank + 1..) })
}

/// Yields items until the connection is given up, which is an error.
fn until<T: Send>(
    frames: impl Stream<Item = Result<T, EngineError>> + Send,
    given_up: impl Future<Output = ()> + Send,
) -> impl Stream<Item = Result<T, EngineError>> + Send {
    let state = Some((Box::pin(frames), Box::pin(given_up)));
    stream::unfold(state, |state| async move {
        let (mut frames, mut given_up) = state?;
        tokio::select! {
            frame = frames.next() => frame.map(|frame| (frame, Some((frames, given_up)))),
            () = &mut given_up => Some((Err(EngineError::Broken("nothing comes any more".into())), None)),
        }
    })
}

impl Engine {
    /// Follows a container's output from a second on (Unix time; 0 is everything), with timestamps. Each time that bytes have
    /// come, there is a `None`, whether or not they complete a piece. Breaks when the engine is found silent.
    pub fn container_logs(
        &self,
        id: &str,
        since: i32,
    ) -> impl Stream<Item = Result<Option<LogFrame>, EngineError>> + Send + 'static + use<> {
        let (engine, id) = (self.clone(), id.to_owned());
        stream::once(async move {
            let since = since.to_string();
            let query =
                [("follow", "true"), ("stdout", "true"), ("stderr", "true"), ("timestamps", "true"), ("since", &since)];
            let route = Route::about("/containers/", &id, "/logs", Answer::Stream);
            let request = Request::new(body_full(Bytes::new()));
            let answer = engine.connection.send("logs", &route, &query, Some(QUICK), request).await;
            let body = answer?.into_body().into_data_stream();
            let frames = body::received(body, Frames::whole(LONGEST_FRAME)).map(|frame| match frame {
                Ok(piece) => Ok(piece.and_then(stamped)),
                Err(error) => Err(EngineError::Broken(error::innermost(&error))),
            });
            Ok(until(frames, engine.connection.given_up()))
        })
        .flat_map(|opened| match opened {
            Ok(frames) => frames.left_stream(),
            Err(error) => stream::once(std::future::ready(Err(error))).right_stream(),
        })
    }
}
