//! A request, as the calls take it.

use bytes::Bytes;
use http::request::Parts;

use crate::journal::Request;

/// A request, parsed.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: Request,
    pub(crate) head: Parts,
    /// The body as it came.
    pub(crate) raw: Bytes,
}
