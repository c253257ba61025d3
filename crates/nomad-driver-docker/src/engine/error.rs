//! Why a call to the engine failed.

use std::time::Duration;

use nomad_plugin::text::short;

use super::transport::{NotConnected, TooLong};

/// A failed call: what was asked, of what, and why it failed.
///
/// Its text is the cause alone: callers say what they were about, in their own words.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{cause}")]
pub struct EngineError {
    /// The verb, for example `create container`.
    pub operation: &'static str,
    /// What it was about: a container's, an exec's or an image's name.
    pub subject: String,
    /// Why it failed.
    pub cause: Cause,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The engine answered with an error.
    #[error("Error response from daemon: {message}")]
    Response {
        /// The HTTP status.
        status: u16,
        /// The engine's words.
        message: String,
    },
    /// The engine reported an error in the midst of its answer.
    #[error("{0}")]
    Stream(String),
    /// Nobody answers there.
    #[error("cannot connect to the Docker daemon at {address}: {reason}")]
    Unreachable {
        /// Where.
        address: String,
        /// What the system says.
        reason: String,
    },
    /// The connection broke before the answer was complete.
    #[error("the connection to the Docker daemon broke: {0}")]
    Broken(String),
    /// No answer in time.
    #[error("no answer from the Docker daemon within {} s", .0.as_secs())]
    Deadline(Duration),
    /// The answer is longer than one of its kind can be.
    #[error("the Docker daemon's answer is longer than {} MiB", .0 >> 20)]
    TooLong(u64),
    /// The endpoint or the engine cannot be used at all.
    #[error("{0}")]
    Unusable(String),
}

impl EngineError {
    fn status(&self) -> Option<u16> {
        match self.cause {
            Cause::Response { status, .. } => Some(status),
            _ => None,
        }
    }

    /// The thing is not there.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// The thing is in a state that forbids the call: a name that is taken, a container that does not run.
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// A registry that was asked for an image does not give it, or does not say that it has it.
    pub fn is_refusal(&self) -> bool {
        matches!(self.status(), Some(401 | 403 | 404))
    }

    /// The engine did not refuse: it did not answer, or is about to come back.
    pub fn is_transient(&self) -> bool {
        match &self.cause {
            Cause::Response { status, .. } => matches!(status, 502..=504),
            Cause::Unreachable { .. } | Cause::Broken(_) | Cause::Deadline(_) => true,
            Cause::Stream(_) | Cause::TooLong(_) | Cause::Unusable(_) => false,
        }
    }

    /// The engine's own words, where it answered.
    pub fn response(&self) -> Option<&str> {
        match &self.cause {
            Cause::Response { message, .. } => Some(message),
            _ => None,
        }
    }
}

/// For a removal: what is not there need not be removed.
pub(super) fn gone_is_fine(answer: Result<(), EngineError>) -> Result<(), EngineError> {
    match answer {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

/// A client library's error; `address` is where the engine should be.
pub(super) fn cause(error: bollard::errors::Error, address: &str) -> Cause {
    use bollard::errors::Error;
    if let Some(TooLong(most)) = within(&error) {
        return Cause::TooLong(*most);
    }
    if let Some(NotConnected(reason)) = within(&error) {
        return Cause::Unreachable { address: address.to_owned(), reason: reason.clone() };
    }
    match error {
        Error::DockerResponseServerError { status_code, message } => {
            Cause::Response { status: status_code, message: short(&message) }
        }
        Error::DockerStreamError { error } => Cause::Stream(short(&error)),
        Error::RequestTimeoutError => Cause::Broken("timeout".into()),
        Error::UnsupportedURISchemeError { uri } => Cause::Unusable(format!("unable to parse docker host `{uri}`")),
        Error::HyperResponseError { err } => Cause::Broken(innermost(&err)),
        Error::IOError { err } => Cause::Broken(innermost(&err)),
        other => Cause::Unusable(short(&other.to_string())),
    }
}

/// What the transport says, somewhere among the causes.
fn within<E: std::error::Error + 'static>(error: &bollard::errors::Error) -> Option<&E> {
    // The library's error leaves this one out of its causes.
    let mut next: Option<&(dyn std::error::Error + 'static)> = match error {
        bollard::errors::Error::IOError { err } => Some(err),
        other => Some(other),
    };
    while let Some(error) = next {
        let inner = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
        if let Some(found) = inner.and_then(|inner| inner.downcast_ref()) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The last of the causes: the one that names the system's error.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
