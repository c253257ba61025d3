//! A socket in front of the engine's, on which every request is seen before it is passed on.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
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
        let engine = engine.to_owned();
        let socket = directory.join("relay.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let see: Arc<See> = Arc::new(see);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, see) = (client.unwrap(), see.clone());
                // Where no engine is, the connection ends.
                let Ok(engine) = UnixStream::connect(&engine) else { continue };
                let (mut from_engine, mut to_client) = (engine.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || {
                    let _either_side_ended = std::io::copy(&mut from_engine, &mut to_client);
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
