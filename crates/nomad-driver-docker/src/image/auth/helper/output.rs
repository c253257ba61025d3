//! What a program writes into a pipe, kept up to a limit, without a wait for those who inherited the pipe.

use std::os::fd::AsFd;

use tail::Tail;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What a pipe can hold.
const PIPE: usize = 64 << 10;

/// What was written so far: its end, where it is more than the limit.
pub(super) struct Output<P> {
    pipe: Option<P>,
    end: Tail<u8>,
}

impl<P: AsyncRead + AsFd + Unpin> Output<P> {
    pub(super) fn new(pipe: Option<P>, limit: usize) -> Self {
        Self { pipe, end: Tail::new(limit) }
    }

    /// Reads until everyone has closed the pipe. May be dropped at any time, and nothing is lost.
    pub(super) async fn read(&mut self) {
        let mut buffer = vec![0; PIPE];
        while let Some(pipe) = &mut self.pipe
            && let Ok(count @ 1..) = pipe.read(&mut buffer).await
        {
            self.end.extend_from_slice(&buffer[..count]);
        }
    }

    /// Takes what is in the pipe, and no more.
    pub(super) fn take_rest(&mut self) {
        let mut buffer = vec![0; PIPE];
        // The pipe is one that does not block.
        if let Some(pipe) = self.pipe.take()
            && let Ok(count) = rustix::io::read(&pipe, &mut buffer[..])
        {
            self.end.extend_from_slice(&buffer[..count]);
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.end.iter().copied().collect()
    }

    /// Whether the beginning is lost.
    pub(super) fn is_cut(&self) -> bool {
        self.end.is_cut()
    }

    /// As text, with a mark where the beginning is lost.
    pub(super) fn text(&self) -> String {
        format!("{}{}", if self.is_cut() { "..." } else { "" }, String::from_utf8_lossy(&self.bytes()))
    }
}
