//! The host's end of a task's pipes: everything that comes is kept, and can be waited for.

use std::{
    fs::File,
    io::Read,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{CWD, FileType, Mode, OFlags, mknodat, open},
};

use crate::DEADLINE;

/// A task's two pipes, read in the background.
pub struct Pipes {
    /// Where the driver writes standard output.
    pub stdout_path: PathBuf,
    /// Where the driver writes standard error.
    pub stderr_path: PathBuf,
    /// What came of standard output.
    pub stdout: Collected,
    /// What came of standard error.
    pub stderr: Collected,
}

/// What came through a pipe so far.
#[derive(Clone)]
pub struct Collected {
    shared: Arc<(Mutex<Vec<u8>>, Condvar)>,
    _stop: Arc<OwnedFd>,
}

impl Pipes {
    /// Makes the pipes in a directory and reads them.
    pub fn make(directory: &Path, name: &str) -> Self {
        let (stdout_path, stderr_path) =
            (directory.join(format!(".{name}.stdout.fifo")), directory.join(format!(".{name}.stderr.fifo")));
        let (stdout, stderr) = (Collected::from(&stdout_path), Collected::from(&stderr_path));
        Self { stdout_path, stderr_path, stdout, stderr }
    }
}

impl Collected {
    fn from(path: &Path) -> Self {
        mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        // Open for writing as well: the pipe lives on while no driver does.
        let pipe = File::from(open(path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).unwrap());
        let (stopped, stop) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let shared: Arc<(Mutex<Vec<u8>>, Condvar)> = Arc::default();
        let kept = shared.clone();
        std::thread::spawn(move || read(pipe, &stopped, &kept));
        Self { shared, _stop: Arc::new(stop) }
    }

    /// Everything so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.shared.0.lock().unwrap().clone()
    }

    /// Everything so far, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// Waits until what came satisfies a condition.
    pub fn wait_for(&self, what: &str, condition: impl Fn(&[u8]) -> bool) {
        self.wait_within(*DEADLINE, what, condition);
    }

    /// Waits until what came satisfies a condition, not longer than `patience`.
    pub fn wait_within(&self, patience: Duration, what: &str, condition: impl Fn(&[u8]) -> bool) {
        let deadline = Instant::now() + patience;
        let mut bytes = self.shared.0.lock().unwrap();
        while !condition(&bytes) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what} did not come; {} bytes did: {}", bytes.len(), tail(&bytes));
            bytes = self.shared.1.wait_timeout(bytes, left).unwrap().0;
        }
    }

    /// Waits until a text came.
    pub fn wait_for_text(&self, text: &str) {
        self.wait_for(text, |bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()));
    }
}

fn tail(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(300)..]).into_owned()
}

fn read(mut pipe: File, stopped: &OwnedFd, kept: &(Mutex<Vec<u8>>, Condvar)) {
    let mut buffer = vec![0; 256 << 10];
    loop {
        let mut ready = [PollFd::new(&pipe, PollFlags::IN), PollFd::from_borrowed_fd(stopped.as_fd(), PollFlags::IN)];
        poll(&mut ready, None).unwrap();
        if !ready[1].revents().is_empty() {
            return;
        }
        if let Ok(count) = pipe.read(&mut buffer) {
            kept.0.lock().unwrap().extend_from_slice(&buffer[..count]);
            kept.1.notify_all();
        }
    }
}
