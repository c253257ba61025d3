//! The log holder's program, as the driver starts and asks it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a program without a runtime has no other clock")]

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use log_holder::{End, Reply, Request, SOCKET, send};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{CWD, FileType, Mode, OFlags, mknodat},
    net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect, listen, socket},
};
use wait::blocking::until;

struct Holder {
    directory: tempfile::TempDir,
    process: Child,
    driver: Option<OwnedFd>,
}

impl Holder {
    /// Holds pipes without a reader for so many seconds.
    fn start(grace: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = SocketAddrUnix::new(directory.path().join(SOCKET)).unwrap();
        let listener = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        bind(&listener, &address).unwrap();
        listen(&listener, 4).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_log-holder"));
        command.arg("state").arg(grace.to_string()).stdin(Stdio::from(listener));
        let mut holder = Self { process: command.spawn().unwrap(), directory, driver: None };
        holder.connect();
        holder
    }

    /// Another driver's process.
    fn connect(&mut self) {
        let driver = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        connect(&driver, &SocketAddrUnix::new(self.directory.path().join(SOCKET)).unwrap()).unwrap();
        self.driver = Some(driver);
    }

    fn ask(&self, request: Request, end: Option<&File>) -> (Reply, Option<File>) {
        let driver = self.driver.as_ref().unwrap();
        send(driver, &request.encode(), end.map(AsFd::as_fd)).unwrap();
        let (reply, given) = Reply::receive(driver).unwrap();
        (reply, given.map(File::from))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A pipe with its reader, whose writing end is held and by nobody else.
    fn held(&self, end: End, name: &str) -> File {
        let path = self.path(name);
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let reader = nonblocking().read(true).open(&path).unwrap();
        let writer = nonblocking().write(true).open(&path).unwrap();
        assert_eq!(self.ask(Request::Hold(end), Some(&writer)).0, Reply::Done);
        reader
    }

    fn holds(&self, end: End) -> bool {
        self.ask(Request::Take(end), None).0 == Reply::Done
    }

    fn until_let_go(&self, end: End) {
        until("it is let go", || !self.holds(end));
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn nonblocking() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    options
}

/// Whether a reader would find the end of file.
fn is_at_end(reader: &File) -> bool {
    let mut asked = [PollFd::new(reader, PollFlags::IN)];
    poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap();
    asked[0].revents().contains(PollFlags::HUP)
}

#[test]
fn a_pipe_is_held_open_over_a_drivers_death_and_is_given_to_the_next_one() {
    let mut holder = Holder::start(600);
    let end = End::new("c1", 0);
    let mut reader = holder.held(end, "pipe");

    holder.driver = None;
    assert!(!is_at_end(&reader));
    holder.connect();
    let (reply, given) = holder.ask(Request::Take(end), None);
    given.unwrap().write_all(b"line\n").unwrap();

    assert_eq!(reply, Reply::Done);
    let mut came = [0; 5];
    reader.read_exact(&mut came).unwrap();
    assert_eq!(&came, b"line\n");
    assert!(!holder.holds(End::new("c1", 1)) && !holder.holds(End::new("c2", 0)), "others are not it");
}

#[test]
fn a_released_pipe_has_its_end_at_once() {
    let holder = Holder::start(600);
    let end = End::new("c1", 1);
    let reader = holder.held(end, "pipe");

    assert_eq!(holder.ask(Request::Release(end), None).0, Reply::Done);

    assert!(is_at_end(&reader) && !holder.holds(end));
    assert_eq!(holder.ask(Request::Release(end), None).0, Reply::Unknown);
}

#[test]
fn a_pipe_without_a_reader_is_held_for_the_grace_and_then_closed() {
    let holder = Holder::start(1);
    let end = End::new("c1", 0);
    let reader = holder.held(end, "pipe");

    let begin = Instant::now();
    drop(reader);
    holder.until_let_go(end);

    assert!(begin.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_pipe_whose_reader_comes_back_is_held_on() {
    let holder = Holder::start(3);
    let (end, other) = (End::new("c1", 0), End::new("c1", 1));
    let reader = holder.held(end, "pipe");
    let closed = holder.held(other, "other");

    drop(reader);
    let _again = nonblocking().read(true).open(holder.path("pipe")).unwrap();
    drop(closed);
    holder.until_let_go(other);

    assert!(holder.holds(end));
}

#[test]
fn a_pipe_without_reader_and_name_is_let_go_before_the_grace() {
    let holder = Holder::start(600);
    let end = End::new("c1", 0);
    let reader = holder.held(end, "pipe");

    fs::remove_file(holder.path("pipe")).unwrap();
    drop(reader);

    holder.until_let_go(end);
}

#[test]
fn what_lies_unread_in_a_released_pipe_waits_for_a_reader() {
    let holder = Holder::start(600);
    let end = End::new("c1", 0);
    let reader = holder.held(end, "pipe");
    holder.ask(Request::Take(end), None).1.unwrap().write_all(b"last\n").unwrap();

    drop(reader);
    assert_eq!(holder.ask(Request::Release(end), None).0, Reply::Done);
    assert!(holder.holds(end));
    let mut again = nonblocking().read(true).open(holder.path("pipe")).unwrap();
    holder.until_let_go(end);

    let mut came = String::new();
    again.read_to_string(&mut came).unwrap();
    assert_eq!(came, "last\n");
}

#[test]
fn what_is_no_pipe_is_not_held_and_who_says_nonsense_is_left() {
    let mut holder = Holder::start(600);
    let end = End::new("c1", 0);
    let file = File::open("/dev/null").unwrap();

    send(holder.driver.as_ref().unwrap(), &Request::Hold(end).encode(), Some(file.as_fd())).unwrap();
    assert!(Reply::receive(holder.driver.as_ref().unwrap()).is_err());
    holder.connect();
    send(holder.driver.as_ref().unwrap(), b"nonsense", None).unwrap();
    assert!(Reply::receive(holder.driver.as_ref().unwrap()).is_err());

    holder.connect();
    assert!(!holder.holds(end));
}

#[test]
fn it_ends_when_it_holds_nothing_and_nobody_is_there() {
    let mut holder = Holder::start(600);
    let end = End::new("c1", 0);
    let reader = holder.held(end, "pipe");
    holder.driver = None;

    drop(reader);
    fs::remove_file(holder.path("pipe")).unwrap();

    until("it ends", || holder.process.try_wait().unwrap().is_some_and(|status| status.success()));
}
