//! What the benches share: how a figure is shown, a process's memory, and the engine asked by hand.

pub mod figures;
pub mod lives;

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

/// Prints a line of a bench's table.
pub fn row(what: &str, figure: &str) {
    let _no_reader = writeln!(std::io::stdout().lock(), "| {what} | {figure} |");
}

/// The middle of some durations, in milliseconds.
pub fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}

/// A process's share of memory (PSS) in MiB; 0 where there is no such process.
pub fn pss(pid: &str) -> f64 {
    f64::from(pss_kib(pid)) / 1024.0
}

/// The same in KiB.
pub fn pss_kib(pid: &str) -> u32 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:").map(str::trim).map(str::to_owned));
    line.and_then(|line| line.split(' ').next()?.parse().ok()).unwrap_or_default()
}

/// The ids of a process's children.
pub fn children(pid: i32) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    children.flat_map(|children| children.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// Posts to the engine's socket; the answer, to its end.
pub fn post(path: &str, body: &str) -> String {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let asked = UnixStream::connect("/var/run/docker.sock").and_then(|mut stream| {
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    });
    asked.unwrap_or_default()
}
