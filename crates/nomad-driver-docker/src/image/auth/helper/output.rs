//! What a program writes into a pipe, kept up to a limit, without a wait for those who inherited the pipe.

use std::os::fd::AsFd;

use tokio::io::{AsyncRead, AsyncReadExt};

/// What a pipe can hold.
const PIPE: usize = 64 << 10;

/// What was written so far: its end, where it is more than the limit.
pub(super) struct Output<P> {
    pipe: Option<P>,
    limit: usize,
    kept: Vec<u8>,
    cut: bool,
}

impl<P: AsyncRead + AsFd + Unpin> Output<P> {
    pub(super) fn new(pipe: Option<P>, limit: usize) -> Self {
        Self { pipe, limit, kept: Vec::new(), cut: false }
    }

    /// Reads until everyone has closed the pipe. May be dropped at any time, and nothing is lost.
    pub(super) async fn read(&mut self) {
        let mut buffer = vec![0; PIPE];
        while let Some(pipe) = &mut self.pipe
            && let Ok(count @ 1..) = pipe.read(&mut buffer).await
        {
            self.push(&buffer[..count]);
        }
    }

    /// Takes what is in the pipe, and no more.
    pub(super) fn take_rest(&mut self) {
        let mut buffer = vec![0; PIPE];
        // The pipe is one that does not block.
        if let Some(pipe) = self.pipe.take()
            && let Ok(count) = rustix::io::read(&pipe, &mut buffer[..])
        {
            self.push(&buffer[..count]);
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        let excess = self.kept.len().saturating_sub(self.limit);
        self.kept.drain(..excess);
        self.cut |= excess > 0;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.kept
    }

    /// Whether the beginning is lost.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// As text, with a mark where the beginning is lost.
    pub(super) fn text(&self) -> String {
        format!("{}{}", if self.cut { "..." } else { "" }, String::from_utf8_lossy(&self.kept))
    }
}
