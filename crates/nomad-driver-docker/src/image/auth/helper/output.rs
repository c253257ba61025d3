//! Collects a program's output from a pipe up to a limit, without waiting for processes that inherited the pipe.

use std::os::fd::AsFd;

use tail::Tail;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The capacity of a pipe.
const PIPE: usize = 64 << 10;

/// The output so far; if it exceeds the limit, its end.
pub(super) struct Output<P> {
    pipe: Option<P>,
    end: Tail<u8>,
}

impl<P: AsyncRead + AsFd + Unpin> Output<P> {
    pub(super) fn new(pipe: Option<P>, limit: usize) -> Self {
        Self { pipe, end: Tail::new(limit) }
    }

    /// Reads until every writer has closed the pipe. May be cancelled at any time without loss.
    pub(super) async fn read(&mut self) {
        let mut buffer = vec![0; PIPE];
        while let Some(pipe) = &mut self.pipe
            && let Ok(count @ 1..) = pipe.read(&mut buffer).await
        {
            self.end.extend_from_slice(&buffer[..count]);
        }
    }

    /// Reads what is in the pipe, without waiting.
    pub(super) fn take_rest(&mut self) {
        let mut buffer = vec![0; PIPE];
        // The pipe is non-blocking.
        if let Some(pipe) = self.pipe.take()
            && let Ok(count) = rustix::io::read(&pipe, &mut buffer[..])
        {
            self.end.extend_from_slice(&buffer[..count]);
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.end.iter().copied().collect()
    }

    /// Whether the beginning was cut.
    pub(super) fn is_cut(&self) -> bool {
        self.end.is_cut()
    }

    /// As text, with a mark if the beginning was cut.
    pub(super) fn text(&self) -> String {
        format!("{}{}", if self.is_cut() { "..." } else { "" }, String::from_utf8_lossy(&self.bytes()))
    }
}
