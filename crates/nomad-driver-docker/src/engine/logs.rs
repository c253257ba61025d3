//! A container's output as the engine's logs API gives it.

use bollard::{container::LogOutput, query_parameters::LogsOptionsBuilder};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};

use super::{
    Engine, EngineError,
    error::{self, Cause},
};

/// A piece of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFrame {
    /// Whether it is standard error.
    pub stderr: bool,
    /// RFC 3339 with nanoseconds, a blank, and the output.
    pub stamped: Bytes,
}

/// What comes until the connection is given up, which is an error.
fn until<T: Send>(
    frames: impl Stream<Item = Result<T, Cause>> + Send,
    given_up: impl Future<Output = ()> + Send,
) -> impl Stream<Item = Result<T, Cause>> + Send {
    let state = Some((Box::pin(frames), Box::pin(given_up)));
    stream::unfold(state, |state| async move {
        let (mut frames, mut given_up) = state?;
        tokio::select! {
            frame = frames.next() => frame.map(|frame| (frame, Some((frames, given_up)))),
            () = &mut given_up => Some((Err(Cause::Broken("nothing comes any more".into())), None)),
        }
    })
}

impl Engine {
    /// Follows a container's output from a second on (unix time; 0 is all there is), each piece behind its time. It breaks when
    /// the engine is found silent.
    pub fn container_logs(
        &self,
        id: &str,
        since: i32,
    ) -> impl Stream<Item = Result<LogFrame, EngineError>> + Send + 'static + use<> {
        let (engine, id) = (self.clone(), id.to_owned());
        let subject = id.clone();
        let failed = move |cause| EngineError { operation: "logs", subject: subject.clone(), cause };
        stream::once(async move {
            let docker = engine.connection.docker().await?;
            let options = LogsOptionsBuilder::default()
                .follow(true)
                .stdout(true)
                .stderr(true)
                .timestamps(true)
                .since(since)
                .build();
            let address = engine.address().to_owned();
            let frames = docker.logs(&id, Some(options)).map(move |frame| match frame {
                Ok(LogOutput::StdErr { message }) => Ok(LogFrame { stderr: true, stamped: message }),
                Ok(LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message }) => {
                    Ok(LogFrame { stderr: false, stamped: message })
                }
                Err(error) => Err(error::cause(error, &address)),
            });
            Ok(until(frames, engine.connection.given_up()))
        })
        .flat_map(|opened| match opened {
            Ok(frames) => frames.left_stream(),
            Err(cause) => stream::once(std::future::ready(Err(cause))).right_stream(),
        })
        .map(move |frame| frame.map_err(&failed))
    }
}
