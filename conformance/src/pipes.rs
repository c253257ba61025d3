//! The host's end of a task's pipes, as an agent's log collector has it: each is opened for reading alone, copied to a file
//! up to the end of file, and never opened again.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::JoinHandle,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{CWD, FileType, Mode, OFlags, mknodat, open},
    pipe::{PipeFlags, pipe_with},
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
pub struct Collected(Arc<Collector>);

struct Collector {
    path: PathBuf,
    /// Itself, whatever becomes of its name.
    pipe: Arc<File>,
    copy: PathBuf,
    came: Arc<(Mutex<Came>, Condvar)>,
    reader: Mutex<Option<Reader>>,
}

#[derive(Default)]
struct Came {
    bytes: Vec<u8>,
    /// The reader found the end of file.
    ended: bool,
}

struct Reader {
    stop: OwnedFd,
    thread: JoinHandle<()>,
}

impl Pipes {
    /// Makes the pipes in a directory and reads them.
    pub fn make(directory: &Path, name: &str) -> Self {
        let make = |stream: &str| {
            let pipe = directory.join(format!(".{name}.{stream}.fifo"));
            mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
            Collected::from(pipe, directory.join(format!("{name}.{stream}.0")))
        };
        let (stdout, stderr) = (make("stdout"), make("stderr"));
        Self { stdout_path: stdout.0.path.clone(), stderr_path: stderr.0.path.clone(), stdout, stderr }
    }
}

impl Collected {
    /// Reads a pipe in the background, into a file as well.
    pub fn from(path: PathBuf, copy: PathBuf) -> Self {
        let pipe = Arc::new(open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap().into());
        let collected = Self(Arc::new(Collector { path, pipe, copy, came: Arc::default(), reader: Mutex::default() }));
        collected.read();
        collected
    }

    /// Reads in a new process's place: what lies in the pipe comes first.
    pub fn read(&self) {
        self.end();
        let Collector { pipe, copy, came, reader, .. } = &*self.0;
        lock(&came.0).ended = false;
        let (stopped, stop) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (pipe, copy, came) = (pipe.clone(), copy.clone(), came.clone());
        let thread = std::thread::spawn(move || read(&pipe, &copy, &stopped, &came));
        *lock(reader) = Some(Reader { stop, thread });
    }

    /// Ends the reader, as when its process is killed: what is in the pipe remains there.
    pub fn end(&self) {
        self.0.end();
    }

    /// Whether the reader found the end of file.
    pub fn has_ended(&self) -> bool {
        lock(&self.0.came.0).ended
    }

    /// Everything so far.
    pub fn bytes(&self) -> Vec<u8> {
        lock(&self.0.came.0).bytes.clone()
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
        let (came, changed) = &*self.0.came;
        let (came, time) = changed.wait_timeout_while(lock(came), patience, |came| !condition(&came.bytes)).unwrap();
        let (count, ended) = (came.bytes.len(), came.ended);
        assert!(!time.timed_out(), "{what} did not come; {count} bytes did (ended: {ended}): {}", tail(&came.bytes));
    }

    /// Waits until a text came.
    pub fn wait_for_text(&self, text: &str) {
        self.wait_for(text, |bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()));
    }

    /// Waits for the end of file; everything that came then.
    pub fn to_the_end(&self) -> Vec<u8> {
        let (came, changed) = &*self.0.came;
        let (came, timeout) = changed.wait_timeout_while(lock(came), *DEADLINE, |came| !came.ended).unwrap();
        assert!(!timeout.timed_out(), "no end of file; {} bytes came: {}", came.bytes.len(), tail(&came.bytes));
        came.bytes.clone()
    }
}

impl Collector {
    fn end(&self) {
        let Some(Reader { stop, thread }) = lock(&self.reader).take() else { return };
        drop(stop);
        wait::blocking::until("the reader's end", || {
            // One that waits for a writer, or is about to, finds this one.
            let _no_reader_yet = reopen(&self.pipe, OFlags::WRONLY | OFlags::NONBLOCK);
            thread.is_finished()
        });
        let _panicked = thread.join();
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

fn tail(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(300)..]).into_owned()
}

fn reopen(pipe: &File, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    open(format!("/proc/self/fd/{}", pipe.as_raw_fd()), flags | OFlags::CLOEXEC, Mode::empty())
}

fn read(pipe: &File, copy: &Path, stopped: &OwnedFd, came: &(Mutex<Came>, Condvar)) {
    // Returns when there is a writer.
    let Ok(pipe) = reopen(pipe, OFlags::RDONLY) else { return };
    let mut pipe = File::from(pipe);
    // The directory is gone where the test is over.
    let Ok(mut copy) = OpenOptions::new().append(true).create(true).open(copy) else { return };
    let mut buffer = vec![0; 256 << 10];
    loop {
        let mut ready = [PollFd::new(&pipe, PollFlags::IN), PollFd::from_borrowed_fd(stopped.as_fd(), PollFlags::IN)];
        poll(&mut ready, None).unwrap();
        if !ready[1].revents().is_empty() {
            return;
        }
        // Held while it reads: who sees the pipe empty finds here what was in it.
        let mut collected = lock(&came.0);
        let count = pipe.read(&mut buffer).unwrap();
        copy.write_all(&buffer[..count]).unwrap();
        collected.bytes.extend_from_slice(&buffer[..count]);
        collected.ended = count == 0;
        came.1.notify_all();
        if count == 0 {
            return;
        }
    }
}
