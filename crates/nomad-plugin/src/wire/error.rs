//! A driver's error as a gRPC status, and back.
//!
//! A plain error is UNKNOWN with the text alone. Whether a new attempt may help travels as the first of the status's
//! details; hosts look at no other.

use go_plugin::text::short;
use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};

use crate::{
    driver::{DriverError, Recoverability},
    proto::structs::RecoverableError,
};

const RECOVERABLE_ERROR: &str = "type.googleapis.com/hashicorp.nomad.plugins.shared.structs.RecoverableError";

/// `google.rpc.Status`, what `grpc-status-details-bin` holds.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

impl From<DriverError> for Status {
    fn from(error: DriverError) -> Self {
        let message = short(&error.message);
        let recoverable = match error.recoverability {
            Recoverability::Unsaid => return Self::unknown(message),
            Recoverability::Recoverable => true,
            Recoverability::Fatal => false,
        };
        let detail = RecoverableError { recoverable }.encode_to_vec();
        let details = RpcStatus {
            code: Code::FailedPrecondition.into(),
            message: message.clone(),
            details: vec![Any { type_url: RECOVERABLE_ERROR.to_owned(), value: detail }],
        };
        Self::with_details(Code::FailedPrecondition, message, details.encode_to_vec().into())
    }
}

/// The driver's error in a status; `None` when the transport failed and the driver said nothing.
pub(crate) fn driver_error(status: &Status) -> Option<DriverError> {
    let recoverability = match status.code() {
        // A status that the transport made up has a source: the driver did not speak.
        Code::Unknown if std::error::Error::source(status).is_none() => Recoverability::Unsaid,
        Code::FailedPrecondition => match first_detail(status.details()) {
            Some(RecoverableError { recoverable: true }) => Recoverability::Recoverable,
            Some(RecoverableError { recoverable: false }) => Recoverability::Fatal,
            None => Recoverability::Unsaid,
        },
        _ => return None,
    };
    Some(DriverError { message: status.message().to_owned(), recoverability })
}

fn first_detail(details: &[u8]) -> Option<RecoverableError> {
    let any = RpcStatus::decode(details).ok()?.details.into_iter().next()?;
    (any.type_url == RECOVERABLE_ERROR).then(|| RecoverableError::decode(any.value.as_slice()).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recoverability_survives_the_wire() {
        for error in [DriverError::new("a"), DriverError::recoverable("b"), DriverError::fatal("c")] {
            assert_eq!(driver_error(&Status::from(error.clone())), Some(error));
        }
        assert_eq!(driver_error(&Status::unavailable("gone")), None);
    }

    #[test]
    fn a_recoverable_error_has_the_bytes_that_hosts_expect() {
        let status = Status::from(DriverError::recoverable("x"));

        assert_eq!(status.code(), Code::FailedPrecondition);
        let mut expected = vec![0x08, 9, 0x12, 1, b'x', 0x1a, 81, 0x0a, 75];
        expected.extend(RECOVERABLE_ERROR.as_bytes());
        expected.extend([0x12, 2, 0x08, 1]);
        assert_eq!(RECOVERABLE_ERROR.len(), 75);
        assert_eq!(status.details(), expected);
        let fatal = Status::from(DriverError::fatal("x"));
        assert!(!fatal.details().ends_with(&[0x08, 1]));
    }
}
