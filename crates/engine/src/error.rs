//! Why a call to the engine failed.

use std::time::Duration;

use http::{Method, StatusCode};
use plain_text::short;

/// Why a call failed. Callers add the context in their own words; the call itself is in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The engine answered with an error.
    #[error("Error response from daemon: {message}")]
    Response {
        /// The HTTP status.
        status: u16,
        /// The engine's message.
        message: String,
        /// What the call does.
        call: CallKind,
    },
    /// The engine reported an error in the middle of its response.
    #[error("{0}")]
    Stream(String),
    /// Nothing answers at the address.
    #[error("cannot connect to the Docker daemon at {address}: {reason}")]
    Unreachable {
        /// The address.
        address: String,
        /// The system's error.
        reason: String,
    },
    /// The connection broke before the answer was complete.
    #[error("the connection to the Docker daemon broke: {0}")]
    Broken(String),
    /// No answer in time.
    #[error("no answer from the Docker daemon within {} s", .0.as_secs())]
    Deadline(Duration),
    /// An answer came, and it is not what the call answers: broken JSON, or another shape.
    #[error("the Docker daemon's answer cannot be read: {0}")]
    Unreadable(String),
    /// The response is longer than its kind can be.
    #[error("the Docker daemon's answer is longer than {} MiB", .0 >> 20)]
    TooLong(u64),
    /// The endpoint or the engine cannot be used at all.
    #[error("{0}")]
    Unusable(String),
}

/// What a call does to what the engine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// It only reads, so it can be made any number of times.
    Reading,
    /// It creates, changes or removes something.
    Changing,
}

impl CallKind {
    /// The kind of the calls that a method makes.
    pub(super) fn of(method: &Method) -> Self {
        if method.is_safe() { Self::Reading } else { Self::Changing }
    }
}

impl EngineError {
    fn status(&self) -> Option<u16> {
        match self {
            EngineError::Response { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// A container name is taken. Only create calls fail this way.
    pub fn is_name_conflict(&self) -> bool {
        self.is_conflict()
    }

    /// The object's state forbids the call, for example a container that is not running.
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// A container would have two mounts at one path.
    pub fn is_duplicate_mount(&self) -> bool {
        self.says("duplicate mount point")
    }

    /// A port to publish is taken by another container or a host process. A taken network address is a different error, which
    /// begins with a capital.
    pub fn is_port_taken(&self) -> bool {
        let response = self.response().unwrap_or_default();
        ["port is already allocated", "address already in use"].iter().any(|taken| response.contains(taken))
    }

    /// The container's logging driver does not support reading.
    pub fn is_log_unreadable(&self) -> bool {
        self.says("configured logging driver does not support reading") || self.says("not implemented")
    }

    fn says(&self, words: &str) -> bool {
        self.response().is_some_and(|response| response.to_lowercase().contains(words))
    }

    /// A registry that was queried for an image denies it, or does not admit to having it.
    pub fn is_rejection(&self) -> bool {
        matches!(self.status(), Some(401 | 403 | 404))
    }

    /// Another attempt may succeed: the engine did not answer, or not in a way that can be read, or is about to come back. An
    /// internal error is one only if the call just reads: then it says nothing of the job.
    pub fn is_transient(&self) -> bool {
        match self {
            EngineError::Response { status, call, .. } => {
                let says_nothing = *call == CallKind::Reading && *status >= 500 && !self.is_log_unreadable();
                says_nothing || matches!(status, 502..=504)
            }
            EngineError::Unreachable { .. }
            | EngineError::Broken(_)
            | EngineError::Deadline(_)
            | EngineError::Unreadable(_) => true,
            EngineError::Stream(_) | EngineError::TooLong(_) | EngineError::Unusable(_) => false,
        }
    }

    /// The engine may have done what the call asked for, at least in part. Otherwise it surely has not: it rejected the call, or
    /// never received it.
    pub fn may_have_happened(&self) -> bool {
        match self {
            EngineError::Response { status, call, .. } => *call == CallKind::Changing && *status >= 500,
            EngineError::Broken(_)
            | EngineError::Deadline(_)
            | EngineError::Unreadable(_)
            | EngineError::TooLong(_)
            | EngineError::Stream(_) => true,
            EngineError::Unreachable { .. } | EngineError::Unusable(_) => false,
        }
    }

    /// The engine's message, if it answered.
    fn response(&self) -> Option<&str> {
        match self {
            EngineError::Response { message, .. } => Some(message),
            _ => None,
        }
    }
}

/// No connection was established.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotConnected(pub(super) String);

/// A truncated response.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer is longer than {0} bytes")]
pub(super) struct AnswerTooLong(pub(super) u64);

/// The engine's error, with the message as far as it came.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{status}: {message}")]
pub(super) struct ErrorAnswer {
    pub(super) status: StatusCode,
    pub(super) message: String,
    pub(super) call: CallKind,
}

/// An answer that has a field; one of another shape leaves everything out.
pub(super) fn with<T>(field: &str, answer: T, has: impl FnOnce(&T) -> bool) -> Result<T, EngineError> {
    if has(&answer) { Ok(answer) } else { Err(EngineError::Unreadable(format!("it has no {field}"))) }
}

/// For removals: removing what does not exist succeeds.
pub(super) fn absent_is_fine(answer: Result<(), EngineError>) -> Result<(), EngineError> {
    match answer {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

/// Converts an error of the client library; `address` is the engine's configured address.
pub(super) fn of_library(error: bollard::errors::Error, address: &str) -> EngineError {
    use bollard::errors::Error;
    if let Some(AnswerTooLong(most)) = within(&error) {
        return EngineError::TooLong(*most);
    }
    if let Some(NotConnected(reason)) = within(&error) {
        return EngineError::Unreachable { address: address.to_owned(), reason: reason.clone() };
    }
    if let Some(ErrorAnswer { status, message, call }) = within(&error) {
        let message = if message.is_empty() { status.to_string() } else { short(message) };
        return EngineError::Response { status: status.as_u16(), message, call: *call };
    }
    match error {
        Error::DockerStreamError { error } => EngineError::Stream(short(&error)),
        Error::RequestTimeoutError => EngineError::Broken("timeout".into()),
        Error::UnsupportedURISchemeError { uri } => {
            EngineError::Unusable(format!("unable to parse docker host `{uri}`"))
        }
        Error::HyperResponseError { err } => EngineError::Broken(innermost(&err)),
        Error::IOError { err } => EngineError::Broken(innermost(&err)),
        Error::JsonDataError { .. }
        | Error::JsonSerdeError { .. }
        | Error::StrParseError { .. }
        | Error::APIVersionParseError {} => EngineError::Unreadable(short(&error.to_string())),
        other => EngineError::Unusable(short(&other.to_string())),
    }
}

/// The transport's error, if it is among the causes.
fn within<E: std::error::Error + 'static>(error: &bollard::errors::Error) -> Option<&E> {
    // The library's error omits this one from its causes.
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

/// The root cause, which names the system's error.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(message: &str) -> EngineError {
        response(500, message, CallKind::Changing)
    }

    fn response(status: u16, message: &str, call: CallKind) -> EngineError {
        EngineError::Response { status, message: message.to_owned(), call }
    }

    #[test]
    fn another_attempt_helps_unless_the_engine_rejects_the_call_or_its_work_fails() {
        use CallKind::{Changing, Reading};
        let unreadable = "configured logging driver does not support reading";
        let failed_in_stream = EngineError::Stream("manifest unknown".to_owned());
        let deadline = EngineError::Deadline(Duration::from_secs(1));
        let unreachable = EngineError::Unreachable { address: String::new(), reason: String::new() };
        // (the error, whether another attempt may help, whether the call may have had its effect)
        let cases = [
            (response(404, "", Reading), false, false),
            (response(409, "", Changing), false, false),
            (response(500, "", Reading), true, false),
            (response(500, "", Changing), false, true),
            (response(503, "", Reading), true, false),
            (response(503, "", Changing), true, true),
            (response(501, unreadable, Reading), false, false),
            (unreachable, true, false),
            (EngineError::Broken(String::new()), true, true),
            (deadline, true, true),
            (EngineError::Unreadable(String::new()), true, true),
            (EngineError::TooLong(1), false, true),
            (failed_in_stream, false, true),
            (EngineError::Unusable(String::new()), false, false),
        ];

        for (error, transient, happened) in cases {
            assert_eq!((error.is_transient(), error.may_have_happened()), (transient, happened), "{error:?}");
        }
    }

    #[test]
    fn what_an_error_is_is_asked_of_it_and_is_in_the_engines_own_words() {
        let of_port = [
            "driver failed programming external connectivity: Bind for 0.0.0.0:80 failed: port is already allocated",
            "listen tcp4 127.0.0.1:80: bind: address already in use",
        ];
        assert!(of_port.into_iter().all(|text| error(text).is_port_taken()));
        for other in ["exec: \"/no\": no such file or directory", "Address already in use", ""] {
            assert!(!error(other).is_port_taken(), "{other}");
        }
        assert!(
            error("Duplicate mount point: /alloc").is_duplicate_mount() && !error("mount point").is_duplicate_mount()
        );
        assert!(error("configured logging driver does not support reading").is_log_unreadable());
        assert!(!error("no such container").is_log_unreadable());
        assert!(!EngineError::Broken("address already in use".to_owned()).is_port_taken());
    }
}
