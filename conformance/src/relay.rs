//! Ways to the engine: a socket on which every request is seen before it is passed on, and one over TCP that can fall silent.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// The socket. It ends with the test's process.
pub struct Relay {
    socket: PathBuf,
}

type See = dyn Fn(&str) + Send + Sync;

impl Relay {
    /// Listens in a directory. `see` is given the first line of each request, and the request waits for it.
    pub fn start(directory: &Path, see: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self::of_heads(directory, move |head| see(head.lines().next().unwrap_or_default()))
    }

    /// The same, with a request's first line and headers.
    pub fn of_heads(directory: &Path, see: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self::before(Path::new("/var/run/docker.sock"), directory, see)
    }

    /// The same, in front of an engine of the test's own.
    pub fn before(engine: &Path, directory: &Path, see: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self::between(engine, directory, see, |_| {})
    }

    /// One that changes what the engine answers, piece by piece and without a change of length.
    pub fn that_changes(directory: &Path, change: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        Self::between(Path::new("/var/run/docker.sock"), directory, |_| {}, change)
    }

    fn between(
        engine: &Path,
        directory: &Path,
        see: impl Fn(&str) + Send + Sync + 'static,
        change: impl Fn(&mut [u8]) + Send + Sync + 'static,
    ) -> Self {
        let change = Arc::new(change);
        let engine = engine.to_owned();
        let socket = directory.join("relay.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let see: Arc<See> = Arc::new(see);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, see, change) = (client.unwrap(), see.clone(), change.clone());
                // Where no engine is, the connection ends.
                let Ok(engine) = UnixStream::connect(&engine) else { continue };
                let (mut from_engine, mut to_client) = (engine.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || {
                    let mut buffer = vec![0; 64 << 10];
                    while let Ok(count @ 1..) = from_engine.read(&mut buffer) {
                        change(&mut buffer[..count]);
                        if to_client.write_all(&buffer[..count]).is_err() {
                            break;
                        }
                    }
                    let _closed_already = to_client.shutdown(Shutdown::Write);
                });
                thread::spawn(move || pass_on(client, engine, &*see));
            }
        });
        Self { socket }
    }

    /// Where it listens, for `DOCKER_HOST`.
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }
}

/// The client sends a request's head in one write, so a read that begins with a method begins a request.
fn pass_on(mut client: UnixStream, mut engine: UnixStream, see: &See) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..count]);
        let line = text.lines().next().unwrap_or_default();
        let is_request = ["GET ", "POST ", "DELETE ", "HEAD ", "PUT "].iter().any(|method| line.starts_with(method));
        if is_request && line.ends_with("HTTP/1.1") {
            see(text.split("\r\n\r\n").next().unwrap_or_default());
        }
        if engine.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
    let _closed_already = engine.shutdown(Shutdown::Write);
}

/// A way to the engine over TCP, on which connections can fall silent without an end.
pub struct Wire {
    address: String,
    state: Arc<Mutex<WireState>>,
}

#[derive(Default)]
struct WireState {
    /// Whether those that there are, and those to come, are silent.
    connections: Vec<Arc<AtomicBool>>,
    new_are_silent: bool,
    /// The first lines of requests.
    requests: Vec<String>,
}

impl Wire {
    /// Listens on a port of 127.0.0.1. It ends with the test's process.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        let state = Arc::<Mutex<WireState>>::default();
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let Ok(engine) = UnixStream::connect("/var/run/docker.sock") else { continue };
                let silent = {
                    let mut state = shared.lock().unwrap();
                    let silent = Arc::new(AtomicBool::new(state.new_are_silent));
                    state.connections.push(silent.clone());
                    silent
                };
                let (from_engine, to_client) = (engine.try_clone().unwrap(), client.try_clone().unwrap());
                let (quiet, noted) = (silent.clone(), shared.clone());
                thread::spawn(move || {
                    carry(from_engine, &to_client, &quiet, |_| {});
                    let _closed_already = to_client.shutdown(Shutdown::Write);
                });
                thread::spawn(move || {
                    carry(client, &engine, &silent, |bytes| {
                        let line = String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_owned();
                        noted.lock().unwrap().requests.push(line);
                    });
                    let _closed_already = engine.shutdown(Shutdown::Write);
                });
            }
        });
        Self { address, state }
    }

    /// Where it listens, for `DOCKER_HOST`.
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// Whether a request was sent whose first line has a text in it.
    pub fn has_seen(&self, text: &str) -> bool {
        self.state.lock().unwrap().requests.iter().any(|line| line.contains(text))
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.state.lock().unwrap().requests.clear();
    }

    /// From now on nothing comes through on the connections that there are. Nobody learns of it, and no connection ends.
    pub fn silence(&self) {
        self.state.lock().unwrap().connections.iter().for_each(|silent| silent.store(true, Ordering::SeqCst));
    }

    /// Whether connections to come are silent as well.
    pub fn silence_new(&self, silent: bool) {
        self.state.lock().unwrap().new_are_silent = silent;
    }
}

/// Carries bytes until the sender ends, or for ever once the connection is silent: both ends stay open.
fn carry(mut from: impl Read, mut to: impl Write, silent: &AtomicBool, mut see: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut buffer).unwrap_or_default();
        see(&buffer[..count]);
        while silent.load(Ordering::SeqCst) {
            thread::park();
        }
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}
