//! A parsed request, as the calls receive it.

use bytes::Bytes;
use http::request::Parts;

use crate::journal::Request;

/// A request, parsed.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: Request,
    pub(crate) head: Parts,
    /// The raw body.
    pub(crate) raw: Bytes,
}
