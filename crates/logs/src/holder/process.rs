//! The log holder's process: found by its socket, or started.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::{
        fd::{AsRawFd as _, BorrowedFd, OwnedFd},
        unix::fs::DirBuilderExt as _,
    },
    path::Path,
    process::Stdio,
    time::Duration,
};

use log_holder::{Reply, Request, SOCKET, is_trusted, send};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{AtFlags, FlockOperation, MemfdFlags, Mode, OFlags, chmodat, flock, memfd_create, open, openat, unlinkat},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect as connect_to, listen, socket_with},
};
use tokio::{io::unix::AsyncFd, process::Command, time::sleep};

use background::Background;

/// Compiled by the build script from `crates/log-holder`.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/log-holder"));
/// The lock of processes that start a holder.
const LOCK: &str = "log-holder.lock";
/// How often, and at what interval, the lock is tried.
const TURNS: (u32, Duration) = (100, Duration::from_millis(20));
/// How many driver processes may connect at the same time.
const BACKLOG: i32 = 16;

/// A connection to the holder.
pub(super) struct Connection {
    socket: AsyncFd<OwnedFd>,
    /// Reaps a holder that this process started, when it exits.
    _reaper: Option<Background>,
}

impl Connection {
    fn new(socket: OwnedFd, reaper: Option<Background>) -> io::Result<Self> {
        if !is_trusted(&socket) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "another user's process answers"));
        }
        #[expect(deprecated, reason = "its successor is unsafe; an owned descriptor keeps what that one asks for")]
        let socket = AsyncFd::new(socket)?;
        Ok(Self { socket, _reaper: reaper })
    }

    /// Sends a request with a descriptor, and reads the reply.
    pub(super) async fn exchange(
        &self,
        request: Request,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> io::Result<(Reply, Option<OwnedFd>)> {
        send(self.socket.get_ref(), &request.encode(), descriptor)?;
        loop {
            let mut ready = self.socket.readable().await?;
            match ready.try_io(|socket| Reply::receive(socket.get_ref())) {
                Ok(answered) => return answered,
                Err(_would_block) => {}
            }
        }
    }

    /// Waits until the holder exits: it sends nothing without a request.
    pub(super) async fn removed(&self) {
        while let Ok(mut ready) = self.socket.readable().await {
            let mut asked = [PollFd::new(self.socket.get_ref(), PollFlags::IN)];
            if !matches!(poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0)) {
                return;
            }
            // What was there was the last reply.
            ready.clear_ready();
        }
    }
}

/// Connects to the holder whose socket is in the state directory, starting one if there is none.
pub(super) async fn connect(state_dir: &Path) -> io::Result<Connection> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
    let directory = open(state_dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let _turn = turn(&directory).await?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()))?;
    let found = socket()?;
    match connect_to(&found, &address) {
        Ok(()) => return Connection::new(found, None),
        Err(Errno::NOENT) => {}
        // The socket of a holder that has exited.
        Err(Errno::CONNREFUSED) => unlinkat(&directory, SOCKET, AtFlags::empty())?,
        Err(error) => return Err(error.into()),
    }
    let listener = socket()?;
    bind(&listener, &address)?;
    chmodat(&directory, SOCKET, Mode::RUSR | Mode::WUSR, AtFlags::empty())?;
    listen(&listener, BACKLOG)?;
    let reaper = spawn(listener, state_dir)?;
    let started = socket()?;
    connect_to(&started, &address)?;
    Connection::new(started, Some(reaper))
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Waits until no other process starts a holder here.
async fn turn(directory: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = openat(directory, LOCK, flags, Mode::RUSR | Mode::WUSR)?;
    for _ in 0..TURNS.0 {
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(lock),
            Err(Errno::WOULDBLOCK) => sleep(TURNS.1).await,
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "another process has been starting a log holder for too long"))
}

/// Starts a holder that serves `listener`. It inherits nothing else: the agent waits for the end of our output.
fn spawn(listener: OwnedFd, state_dir: &Path) -> io::Result<Background> {
    let program = program()?;
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    // The directory shows operators, in a process list, whose holder it is.
    command.arg0("docker-log-holder").arg(state_dir).current_dir("/").env_clear();
    command.stdin(Stdio::from(listener)).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    Ok(Background::spawn(async move {
        let _status = child.wait().await;
    }))
}

/// The program, in an anonymous file: no file system has to allow execution, and an upgrade leaves no file behind.
fn program() -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC;
    // Kernels before 6.3 know only executable ones, without the flag.
    let made = memfd_create("log-holder", flags | MemfdFlags::EXEC).or_else(|_| memfd_create("log-holder", flags))?;
    let mut file = File::from(made);
    file.write_all(PROGRAM)?;
    Ok(file)
}
