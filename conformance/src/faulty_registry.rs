//! A registry that misbehaves on demand: it stands in front of a real one, and counts what it is asked.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::fd::AsFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{dockerd::Dockerd, registry::Registry};

/// How often a body that is held back is looked after.
const LOOK: Duration = Duration::from_millis(50);
/// Nothing but a layer of a test's image is as large.
const LAYER: usize = 64 << 10;

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is passed on.
    None,
    /// Another one is given: a status line's end and a body.
    Answer(&'static str, &'static str),
    /// The connection ends in the midst of the body.
    Cut,
    /// From its midst on the body comes byte by byte, until [`FaultyRegistry::release`].
    Slow,
    /// From its midst on nothing comes, until [`FaultyRegistry::release`].
    Stall,
}

/// A request, with what the real registry answers.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The request line without the protocol, such as `GET /v2/`.
    pub line: String,
    /// How often the same was asked before.
    pub before: usize,
    /// Whether the answer is a layer.
    pub layer: bool,
}

/// The registry in front. It ends with the test's process.
pub struct FaultyRegistry {
    /// Its host and port.
    pub address: String,
    shared: Arc<Shared>,
}

struct Shared {
    real: String,
    fault: Box<dyn Fn(&Asked) -> Fault + Send + Sync>,
    asked: Mutex<Vec<String>>,
    holding: AtomicUsize,
    hung_up: AtomicUsize,
    released: AtomicBool,
}

impl FaultyRegistry {
    /// Listens in front of a registry. `fault` decides of each answer.
    pub fn start(registry: &Registry, fault: impl Fn(&Asked) -> Fault + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            real: registry.address.clone(),
            fault: Box::new(fault),
            asked: Mutex::default(),
            holding: AtomicUsize::default(),
            hung_up: AtomicUsize::default(),
            released: AtomicBool::default(),
        });
        let registry = Self { address, shared };
        registry.accept(listener);
        registry
    }

    /// Listens by the same address in the network of an engine of the test's own as well. An engine that is started again
    /// has another network.
    pub fn listen_beside(&self, engine: &Dockerd) {
        let (address, network) = (self.address.clone(), engine.network());
        // A thread of its own enters that network. The socket is created there; its connections are served from here.
        let listen = thread::spawn(move || {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            TcpListener::bind(address).unwrap()
        });
        self.accept(listen.join().unwrap());
    }

    fn accept(&self, listener: TcpListener) {
        let serving = self.shared.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, shared) = (client.unwrap(), serving.clone());
                // A client that disconnects is no failure of the test.
                thread::spawn(move || drop(shared.serve(client)));
            }
        });
    }

    /// The name of an image of the real registry, by which it is asked of this one.
    pub fn name(&self, image: &str) -> String {
        image.replace(&self.shared.real, &self.address)
    }

    /// How many requests there were whose line has all of these parts.
    pub fn count(&self, parts: &[&str]) -> usize {
        let asked = self.shared.asked.lock().unwrap();
        asked.iter().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }

    /// How many answers are held back.
    pub fn holding(&self) -> usize {
        self.shared.holding.load(Ordering::SeqCst)
    }

    /// How many connections the engine broke off while their answer was held back.
    pub fn hung_up(&self) -> usize {
        self.shared.hung_up.load(Ordering::SeqCst)
    }

    /// From now on holds nothing back.
    pub fn release(&self) {
        self.shared.released.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    /// Answers one request and closes. None of a pull's has a body.
    fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte)?;
            head.push(byte[0]);
            if !head[0].is_ascii_uppercase() {
                // The engine tries TLS first, and some go on without only where an answer says that there is none.
                client.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nthere is no TLS here\n")?;
                client.shutdown(Shutdown::Write)?;
                return std::io::copy(&mut client, &mut std::io::sink()).map(drop);
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let line = head.split(" HTTP/").next().unwrap_or_default().to_owned();
        let (head_of_answer, body) = self.ask(&head)?;
        let before = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(line.clone());
            asked.iter().filter(|other| **other == line).count() - 1
        };
        let asked = Asked { line, before, layer: body.len() > LAYER };
        let half = body.len() / 2;
        match (self.fault)(&asked) {
            Fault::Answer(status, body) => {
                let length = body.len();
                let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}");
                client.write_all(format!("{head}\r\nConnection: close\r\n\r\n{body}").as_bytes())?;
            }
            Fault::Cut => {
                client.write_all(&head_of_answer)?;
                client.write_all(&body[..half])?;
            }
            fault @ (Fault::Slow | Fault::Stall) => {
                client.write_all(&head_of_answer)?;
                client.write_all(&body[..half])?;
                self.holding.fetch_add(1, Ordering::SeqCst);
                let rest = self.hold(&mut client, &body[half..], fault);
                self.holding.fetch_sub(1, Ordering::SeqCst);
                if rest.is_err() {
                    self.hung_up.fetch_add(1, Ordering::SeqCst);
                }
                client.write_all(rest?)?;
            }
            Fault::None => {
                client.write_all(&head_of_answer)?;
                client.write_all(&body)?;
            }
        }
        client.shutdown(Shutdown::Both)
    }

    /// What the real registry answers.
    fn ask(&self, head: &str) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
        let mut real = TcpStream::connect(&self.real)?;
        let lines = head.trim_end().lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
        let head: Vec<&str> = lines.collect();
        real.write_all(format!("{}\r\nConnection: close\r\n\r\n", head.join("\r\n")).as_bytes())?;
        let mut answer = Vec::new();
        real.read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
        let body = answer.split_off(end);
        Ok((answer, body))
    }

    /// Waits until it may go on; what is left of the body then. An error is that the client is gone.
    fn hold<'a>(&self, client: &mut TcpStream, mut rest: &'a [u8], fault: Fault) -> std::io::Result<&'a [u8]> {
        client.set_read_timeout(Some(LOOK))?;
        while !self.released.load(Ordering::SeqCst) {
            match client.read(&mut [0]) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
                Ok(_) => return Err(ErrorKind::ConnectionAborted.into()),
            }
            if let (Fault::Slow, Some((next, after))) = (fault, rest.split_first()) {
                client.write_all(&[*next])?;
                rest = after;
            }
        }
        Ok(rest)
    }
}
