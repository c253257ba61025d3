//! Holds the writing ends of tasks' log pipes, so that an agent's log collector finds no end of file while the driver is
//! away: it opens a pipe once and never again.
//!
//! One process a node, started by the driver, which it outlives. Its standard input is the listening socket; its argument is
//! how many seconds a pipe without a reader is held. It allocates at its start alone.
//!
//! ```text
//! an end:  held -> (its reader leaves) orphaned -> (a reader comes) held
//!                                      orphaned -> (unlinked, or time is over) let go
//! ```
//! It ends when it holds nothing and nobody is connected.

#![expect(clippy::disallowed_methods, reason = "a program without a runtime has no other clock")]

use std::{
    env, io,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::ExitCode,
    time::{Duration, Instant},
};

use log_holder::{End, Reply, Request, is_trusted};
use rustix::{
    event::{
        PollFd, PollFlags, Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
        poll,
    },
    fs::{FileType, fstat},
    io::{Errno, ioctl_fionread},
    net::{SocketFlags, accept_with},
    process::setsid,
    thread::set_name,
};

/// The most that is held: two pipes of each of 4096 tasks.
const ENDS: usize = 8192;
/// Driver processes at once.
const CONNECTIONS: usize = 64;
/// How long it waits with nothing to hold before it ends: tasks come one after the other.
const LINGER: Duration = Duration::from_secs(5);
/// How long a pipe without a reader is held, unless an argument says it: an agent that is upgraded comes back sooner.
const GRACE: Duration = Duration::from_secs(600);
/// How often pipes without a reader are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What an event is about, besides the connections, which have their own numbers.
const LISTENER: u64 = u64::MAX;
const PIPE: u64 = u64::MAX - 1;

struct Holder<'a> {
    epoll: OwnedFd,
    listener: BorrowedFd<'a>,
    connections: Vec<Option<OwnedFd>>,
    ends: Vec<Held>,
    grace: Duration,
}

struct Held {
    end: End,
    pipe: OwnedFd,
    /// Since when it has no reader.
    orphaned: Option<Instant>,
    /// Its log is complete: a reader is to find the end behind what is in it.
    released: bool,
}

fn main() -> ExitCode {
    // Neither a terminal's signals nor its end are for this process.
    let _leader_already = setsid();
    let _unnamed = set_name(c"log-holder");
    let grace = env::args().nth(2).and_then(|seconds| seconds.parse().ok());
    let stdin = io::stdin();
    let served =
        Holder::new(stdin.as_fd(), grace.map_or(GRACE, Duration::from_secs)).and_then(|mut holder| holder.run());
    if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl<'a> Holder<'a> {
    fn new(listener: BorrowedFd<'a>, grace: Duration) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        let mut connections = Vec::new();
        connections.resize_with(CONNECTIONS, || None);
        Ok(Self { epoll, listener, connections, ends: Vec::with_capacity(ENDS), grace })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut space = [MaybeUninit::<Event>::uninit(); 16];
        let mut looked = Instant::now();
        loop {
            let patience = self.patience();
            let timeout = patience.map(|patience| Timespec {
                tv_sec: patience.as_secs().cast_signed(),
                tv_nsec: patience.subsec_nanos().into(),
            });
            let events = match epoll::wait(&self.epoll, &mut space, timeout.as_ref()) {
                Ok((events, _)) => events,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if events.is_empty() && self.is_idle() {
                return Ok(());
            }
            // Drivers that ask all the time must not put it off.
            let mut look = looked.elapsed() >= LOOK.min(self.grace);
            for event in events {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    PIPE => look = true,
                    connection => self.serve(connection),
                }
            }
            if look {
                self.look();
                looked = Instant::now();
            }
        }
    }

    /// How long nothing may happen before there is something to do.
    fn patience(&self) -> Option<Duration> {
        if self.is_idle() {
            return Some(LINGER);
        }
        self.ends.iter().any(|held| held.orphaned.is_some()).then(|| LOOK.min(self.grace))
    }

    fn is_idle(&self) -> bool {
        self.ends.is_empty() && self.connections.iter().all(Option::is_none)
    }

    fn accept(&mut self) {
        let Ok(connection) = accept_with(self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) else { return };
        let Some(place) = self.connections.iter().position(Option::is_none) else { return };
        let data = EventData::new_u64(place as u64);
        if is_trusted(&connection) && epoll::add(&self.epoll, &connection, data, EventFlags::IN).is_ok() {
            self.connections[place] = Some(connection);
        }
    }

    /// Answers a driver; one that hangs up, or that says what is not understood, is forgotten.
    fn serve(&mut self, connection: u64) {
        let Ok(place) = usize::try_from(connection) else { return };
        let Some(connection) = self.connections.get_mut(place).and_then(Option::take) else { return };
        if self.answer(&connection).is_ok() {
            self.connections[place] = Some(connection);
        }
    }

    fn answer(&mut self, connection: &OwnedFd) -> io::Result<()> {
        let (request, descriptor) = match Request::receive(connection) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            other => other?,
        };
        let reply = match request {
            Request::Hold(end) => self.hold(end, descriptor.ok_or(io::ErrorKind::InvalidData)?)?,
            Request::Take(end) => match self.ends.iter().find(|held| held.end == end) {
                Some(held) => return Reply::Done.send(connection, Some(held.pipe.as_fd())),
                None => Reply::Unknown,
            },
            Request::Release(end) => match self.ends.iter_mut().find(|held| held.end == end) {
                Some(held) => {
                    held.released = true;
                    self.look();
                    Reply::Done
                }
                None => Reply::Unknown,
            },
        };
        reply.send(connection, None)
    }

    fn hold(&mut self, end: End, pipe: OwnedFd) -> io::Result<Reply> {
        if FileType::from_raw_mode(fstat(&pipe)?.st_mode) != FileType::Fifo {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.ends.retain(|held| held.end != end);
        if self.ends.len() == ENDS {
            return Ok(Reply::Full);
        }
        // Told once each time that its last reader leaves.
        epoll::add(&self.epoll, &pipe, EventData::new_u64(PIPE), EventFlags::ET)?;
        self.ends.push(Held { end, pipe, orphaned: None, released: false });
        Ok(Reply::Done)
    }

    /// Lets go of what need not be held any more.
    fn look(&mut self) {
        let (now, grace) = (Instant::now(), self.grace);
        self.ends.retain_mut(|held| held.is_wanted(now, grace));
    }
}

impl Held {
    fn is_wanted(&mut self, now: Instant, grace: Duration) -> bool {
        if self.has_reader() {
            self.orphaned = None;
            return !self.released;
        }
        if self.released && ioctl_fionread(&self.pipe).is_ok_and(|unread| unread == 0) {
            return false;
        }
        let since = *self.orphaned.get_or_insert(now);
        now - since < grace && fstat(&self.pipe).is_ok_and(|pipe| pipe.st_nlink > 0)
    }

    fn has_reader(&self) -> bool {
        let mut asked = [PollFd::new(&self.pipe, PollFlags::empty())];
        let answered = poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        answered.is_ok() && !asked[0].revents().contains(PollFlags::ERR)
    }
}
