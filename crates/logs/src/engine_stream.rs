//! Collects logs from the engine's log API if no log file can be read here: another logging driver, or a remote engine.

use std::{
    io,
    time::{Duration, SystemTime},
};

use background::Backoff;
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::BoxStream};
use tokio::time::timeout;

use super::{
    delivery::{Delivery, Opened},
    handover::Arrived,
    position::{Place, Position, Source, Unread},
    record::Earlier,
    report::{LogReport, Report},
    sink::{LogSink, Stream},
    task::Control,
};

/// How long a stream may send nothing after the exit before it is opened again: one that is opened then ends by itself.
const SILENCE: Duration = Duration::from_secs(3);
/// How long the engine may take for a piece that it sends again.
const REPEAT: Duration = Duration::from_secs(5);
/// The pause before the second attempt, and the longest pause.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// A piece of a log, as the engine sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The stream it was written to.
    pub stream: Stream,
    /// When, in nanoseconds since 1970.
    pub at: u64,
    /// The bytes, without the engine's leading timestamp.
    pub bytes: Bytes,
}

/// Why a stream of frames broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The connection broke: another attempt may succeed.
    #[error("{0}")]
    Interrupted(String),
    /// The container's logging driver does not support reading.
    #[error("{0}")]
    Unreadable(String),
}

/// Frames in the engine's order, from a given time on, followed until the container has exited. A `None` says that bytes have
/// come, of a frame that may not be whole yet.
pub type FrameStream = BoxStream<'static, Result<Option<Frame>, FrameError>>;

/// Where collection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// At the position of an earlier process of this driver, or else with the first line: the container is new.
    Beginning,
    /// At the position of an earlier process of this driver, or else with what is written from now on.
    Position,
    /// With what is written from now on: another program collected the log, to an unknown position.
    Now,
}

/// Collects a container's log from the streams that `open` opens.
pub(super) async fn follow<Open>(
    since: Since,
    open: Open,
    (container_id, sink): (&str, &LogSink),
    mut opened: Opened,
    report: &Report,
) -> io::Result<impl FnOnce(Control) -> BoxFuture<'static, ()> + use<Open>>
where
    Open: Fn(Option<u64>) -> FrameStream + Send + Sync + 'static,
{
    let is_usable = |earlier: &Earlier| earlier.position.place.source == Source::Engine && since != Since::Now;
    let position = match opened.earlier.take().filter(is_usable) {
        Some(Earlier { position, late: Some(by) }) => {
            report(LogReport::RecordLate { by });
            Position { read: None, ..position }
        }
        Some(Earlier { position, late: None }) => match &position.read {
            // What was in the pipe was read or lost with it.
            Some(read) if !opened.has_unread => {
                let place = place_read(read, &open, &Arrived::at(sink).await).await.unwrap_or_else(|| {
                    report(LogReport::ReadUnknown { bytes: read.unread.iter().sum() });
                    read.place.clone()
                });
                Position { place, read: None, ..position }
            }
            _ => position,
        },
        None => {
            let mut start = Position::new(container_id, Source::Engine);
            if since != Since::Beginning {
                report(LogReport::PositionUnknown);
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                start.place.offset = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
            }
            start
        }
    };
    let mut delivery = opened.deliver_from(position);
    // A successor must see that this process began, even if it never wrote.
    delivery.settle()?;
    Ok(|control| run(delivery, open, control).boxed())
}

/// How far the reader came in what was unread. The engine sends that again, and what arrived last is a beginning of it.
async fn place_read(
    Unread { place, unread }: &Unread,
    open: &impl Fn(Option<u64>) -> FrameStream,
    arrived: &Arrived,
) -> Option<Place> {
    let mut again = [Vec::new(), Vec::new()];
    let mut before = place.delivered;
    let mut frames = open((place.offset > 0).then_some(place.offset));
    while (0..2).any(|stream| (again[stream].len() as u64) < unread[stream]) {
        let Some(frame) = timeout(REPEAT, frames.next()).await.ok()??.ok()? else { continue };
        if frame.at < place.offset {
            continue;
        }
        let stream = frame.stream.index();
        let skipped = usize::try_from(before[stream]).unwrap_or(usize::MAX).min(frame.bytes.len());
        before[stream] -= skipped as u64;
        again[stream].extend_from_slice(&frame.bytes[skipped..]);
    }
    let mut place = place.clone();
    for stream in Stream::BOTH.map(Stream::index) {
        again[stream].truncate(usize::try_from(unread[stream]).unwrap_or(usize::MAX));
        place.delivered[stream] += arrived.has_of(stream, &again[stream])? as u64;
    }
    Some(place)
}

async fn run(mut delivery: Delivery, open: impl Fn(Option<u64>) -> FrameStream + Send + Sync, control: Control) {
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    let complete = loop {
        // Checked before the stream is read: a stream that was opened after the exit and has ended is complete.
        let after_exit = control.has_exited();
        let before = delivery.place().clone();
        let outcome = follow_once(&mut delivery, &open, &control).await;
        if *delivery.place() != before {
            backoff.reset();
        }
        match outcome {
            Ok(()) if after_exit => break true,
            Ok(()) => {}
            Err(Broken::Frames(FrameError::Interrupted(reason))) => {
                tracing::debug!(error = reason, "the engine's log stream broke");
            }
            Err(Broken::Frames(FrameError::Unreadable(what))) => {
                control.report(LogReport::Failed { what });
                break false;
            }
            Err(Broken::Sink(error)) => {
                control.report(LogReport::Failed { what: error.to_string() });
                break false;
            }
        }
        if after_exit {
            backoff.wait().await;
        } else {
            tokio::select! {
                // What an earlier outage has added to the pauses is more than the end of a log waits for.
                () = control.exited() => backoff.reset(),
                () = backoff.wait() => {}
            }
        }
    };
    control.end(complete);
}

enum Broken {
    Frames(FrameError),
    Sink(io::Error),
}

/// Delivers one stream, to its end.
async fn follow_once(
    delivery: &mut Delivery,
    open: &(impl Fn(Option<u64>) -> FrameStream + Send + Sync),
    control: &Control,
) -> Result<(), Broken> {
    let since = delivery.place().offset;
    // After the position at which the reader had stopped, in an earlier frame.
    let mut repeated = delivery.place().delivered;
    let mut is_first = true;
    let mut frames = open((since > 0).then_some(since));
    loop {
        let silent = async {
            control.exited().await;
            tokio::time::sleep(SILENCE).await;
        };
        let frame = tokio::select! {
            frame = frames.next() => frame,
            () = silent => {
                return Err(Broken::Frames(FrameError::Interrupted("nothing comes any more".to_owned())));
            }
            moved = delivery.recordable(control), if delivery.is_unsettled() => {
                moved.and_then(|()| delivery.settle()).map_err(Broken::Sink)?;
                continue;
            }
        };
        let Some(frame) = frame else { break };
        let Some(frame) = frame.map_err(Broken::Frames)? else {
            control.moved();
            continue;
        };
        let stream = frame.stream.index();
        if frame.at < since {
            continue;
        }
        if std::mem::take(&mut is_first) && frame.at > since {
            // The frame of the position no longer exists.
            repeated = [0, 0];
        }
        if frame.at > delivery.place().offset {
            delivery.move_to(Place { source: Source::Engine, offset: frame.at, delivered: repeated });
        }
        let again = usize::try_from(repeated[stream]).unwrap_or(usize::MAX).min(frame.bytes.len());
        repeated[stream] -= again as u64;
        let bytes = &frame.bytes[again..];
        let mut both: [&[u8]; 2] = [&[], &[]];
        both[stream] = bytes;
        delivery.deliver(both, control).await.map_err(Broken::Sink)?;
        if frame.at < delivery.place().offset {
            // The two streams' times may overlap by microseconds. Such a frame is not repeated.
            let mut place = delivery.place().clone();
            place.delivered[stream] -= bytes.len() as u64;
            delivery.move_to(place);
        }
    }
    delivery.settle().map_err(Broken::Sink)
}
