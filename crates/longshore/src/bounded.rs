//! Work on what strangers wrote, such as a job file: in bounded time and memory.

use std::{
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// The longest time on a processor: a machine that is busy has as much.
const TIME: Duration = Duration::from_secs(10);
/// The most memory.
const MEMORY: u64 = 512 << 20;
/// What nests deeply is read by functions that call themselves.
const STACK: usize = 256 << 20;
/// Between two looks at the memory.
const LOOK: Duration = Duration::from_millis(10);

/// Does the work on a thread of its own. The error says what of it was too much; the work then runs until this process
/// ends, which its owner does soon.
pub(crate) fn bounded<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let begun = (spent(), resident());
    let (answer, answered) = channel();
    let work = move || {
        let _nobody_waits = answer.send(work());
    };
    thread::Builder::new().stack_size(STACK).spawn(work).map_err(|error| error.to_string())?;
    loop {
        match answered.recv_timeout(LOOK) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Disconnected) => return Err("it cannot be read".to_owned()),
            Err(RecvTimeoutError::Timeout) if spent().saturating_sub(begun.0) > TIME => {
                return Err(format!("it takes more than {} s to evaluate", TIME.as_secs()));
            }
            Err(RecvTimeoutError::Timeout) if resident().saturating_sub(begun.1) > MEMORY => {
                return Err(format!("it takes more than {} MiB of memory to evaluate", MEMORY >> 20));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Time that this process has had on processors.
fn spent() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}
