//! Framed output, as the engine sends it without a terminal.

use bytes::{BufMut, Bytes, BytesMut};

/// A piece of output in the engine's frame.
pub(super) fn frame(stderr: bool, text: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_slice(&[if stderr { 2 } else { 1 }, 0, 0, 0]);
    frame.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
    frame.put_slice(text);
    frame.freeze()
}
