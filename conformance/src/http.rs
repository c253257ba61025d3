//! Asks a web server that may not listen yet.

use std::{
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
};

/// The answer to a request.
pub fn answer(address: impl ToSocketAddrs, path: &str) -> String {
    wait::blocking::until_some(&format!("an answer to GET {path}"), || {
        let asked = TcpStream::connect(&address).and_then(|mut stream| {
            stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        });
        asked.ok().filter(|answer| !answer.is_empty())
    })
}
