//! Finds where another program left off that recorded no position, from the output that arrived.
//!
//! The driver built into Nomad forwards each log with a process of its own. What that process wrote to the pipes is at the end
//! of the host's log files. The position of those bytes in the engine's files is where it left off.

use std::{
    ffi::OsString,
    fs::File,
    io,
    ops::Range,
    os::unix::fs::{FileExt as _, FileTypeExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use beneath::{Beneath, Links, reopen};
use memchr::{memchr, memmem};
use rustix::fs::OFlags;

use super::{
    follower::{LONGEST, first_line, is_at},
    json_file::{After, Decoded, decode},
    position::{Place, Source},
    rotation::HeldFile,
    sink::{self, LogSink, Stream},
};
use background::apart;

/// How much of the arrived output is searched for. A log that repeats itself verbatim for longer has several matches, of which
/// the last is taken.
const TAIL: u64 = 64 * 1024;
/// How many bytes cannot match by chance.
const CERTAIN: usize = 32;
/// How far back the engine's files are searched.
const WINDOW: u64 = 16 * 1024 * 1024;
/// How long the host's file must not have grown: Nomad's log collector flushes its buffer every 100 ms.
const QUIET: Duration = Duration::from_millis(300);
/// The maximum number of entries in the directory of the host's log files: each of a group's tasks usually has ten.
const ENTRIES: usize = 10_000;
/// How long the host may take to read what is in the pipe.
const PATIENCE: Duration = Duration::from_secs(5);

/// The end of the output that arrived in the host's log files, for each stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived([Tail; 2]);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Tail {
    /// Nobody wants the stream.
    Unwanted,
    /// There are no such files, or the reader has not read everything.
    Unknown,
    Known(Vec<u8>),
}

impl Arrived {
    /// Reads it once the host has read everything. Nobody may write to the pipes meanwhile.
    pub async fn at(sink: &LogSink) -> Self {
        let arrived = async |pipe: &PathBuf| {
            if pipe == Path::new("/dev/null") {
                return Tail::Unwanted;
            }
            let (alloc_dir, shown, pipe) = (sink.alloc_dir.clone(), pipe, pipe.clone());
            // The last check may take as long as a file system may.
            let tail = apart(PATIENCE + sink::PATIENCE, move || arrived_through(&alloc_dir, &pipe)).await;
            tail.map_or_else(
                |error| {
                    tracing::info!(file = %shown.display(), %error, "the reader's own files do not show what arrived");
                    Tail::Unknown
                },
                Tail::Known,
            )
        };
        let (stdout, stderr) = tokio::join!(arrived(&sink.stdout), arrived(&sink.stderr));
        Self([stdout, stderr])
    }

    /// How much of a text was the last of a stream to arrive; `None` if that is unknown.
    pub(super) fn has_of(&self, stream: usize, text: &[u8]) -> Option<usize> {
        match &self.0[stream] {
            Tail::Unwanted => Some(text.len()),
            Tail::Unknown => text.is_empty().then_some(0),
            Tail::Known(tail) => (0..=text.len()).rev().find(|length| tail.ends_with(&text[..*length])),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "it runs on a thread of its own, where blocking is right")]
fn arrived_through(alloc_dir: &Path, pipe: &Path) -> io::Result<Vec<u8>> {
    let alloc_dir = Beneath::open(alloc_dir)?;
    let found = alloc_dir.find(pipe, Links::Refused)?;
    let files = HostFiles::of(&alloc_dir, pipe)?;
    if !found.metadata()?.file_type().is_fifo() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let pipe = reopen(&found, OFlags::RDWR | OFlags::NONBLOCK)?;
    let begin = Instant::now();
    let mut quiet = (begin, None);
    loop {
        let state = (rustix::io::ioctl_fionread(&pipe)?, files.size()?);
        let now = Instant::now();
        if quiet.1 != Some(state) {
            quiet = (now, Some(state));
        } else if state.0 == 0 && now - quiet.0 >= QUIET {
            return files.tail();
        }
        if now - begin > PATIENCE {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The host's files for the output of a pipe: `.web.stdout.fifo` is written to `web.stdout.<number>`.
struct HostFiles {
    directory: Beneath,
    prefix: String,
}

impl HostFiles {
    fn of(alloc_dir: &Beneath, pipe: &Path) -> io::Result<Self> {
        let name = pipe.file_name().and_then(|name| name.to_str()?.strip_prefix('.')?.strip_suffix(".fifo"));
        let (Some(name), Some(parent)) = (name, pipe.parent()) else { return Err(io::ErrorKind::NotFound.into()) };
        Ok(Self { directory: alloc_dir.below(parent)?, prefix: format!("{name}.") })
    }

    /// Oldest first.
    fn names(&self) -> io::Result<Vec<OsString>> {
        let number = |name: &OsString| name.to_str()?.strip_prefix(&self.prefix)?.parse::<u64>().ok();
        let names = self.directory.names_up_to(ENTRIES)?.into_iter();
        let mut numbered: Vec<_> = names.filter_map(|name| Some((number(&name)?, name))).collect();
        numbered.sort();
        Ok(numbered.into_iter().map(|(_, name)| name).collect())
    }

    fn size(&self) -> io::Result<u64> {
        let lengths = self.names()?.into_iter().filter_map(|name| {
            let found = self.directory.find(Path::new(&name), Links::Refused).ok()?;
            Some(found.metadata().ok()?.len())
        });
        Ok(lengths.fold(0, u64::saturating_add))
    }

    fn tail(&self) -> io::Result<Vec<u8>> {
        let names = self.names()?;
        if names.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut tail = Vec::new();
        for name in names.iter().rev() {
            let wanted = TAIL - tail.len() as u64;
            if wanted == 0 {
                break;
            }
            let file = self.directory.read(Path::new(name), Links::Refused)?;
            let length = file.metadata()?.len();
            let mut piece = read(&file, length.saturating_sub(wanted), length)?;
            piece.append(&mut tail);
            tail = piece;
        }
        Ok(tail)
    }
}

fn read(file: &File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(to - from).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}

/// The position after the arrived output in an engine's files (oldest first), and its file's index; `None` if it is not found.
pub(super) fn place_of(arrived: &Arrived, files: &[Arc<HeldFile>]) -> io::Result<Option<(usize, Place)>> {
    let length = lengths(files)?.iter().sum::<u64>();
    let text = Text::read(files, length.saturating_sub(WINDOW)..length)?;
    let mut known: Vec<(usize, usize)> = Vec::new();
    for index in Stream::BOTH.map(Stream::index) {
        let came = match &arrived.0[index] {
            Tail::Unwanted => continue,
            Tail::Unknown => text.bytes[index].is_empty().then_some(0),
            Tail::Known(tail) => behind(&text.bytes[index], tail),
        };
        let Some(came) = came else { return Ok(None) };
        known.push((index, came));
    }
    text.place(&known, files)
}

/// Like [`place_of`], if the position is known to be between `low` and `high`.
pub(super) fn place_between(
    arrived: &Arrived,
    files: &[Arc<HeldFile>],
    low: &Place,
    high: &Place,
) -> io::Result<Option<(usize, Place)>> {
    let (Some(begin), Some(end)) = (number(low, files)?, number(high, files)?) else { return Ok(None) };
    let end = end + LONGEST as u64;
    let begin = begin.saturating_sub(LONGEST as u64).max(end.saturating_sub(WINDOW));
    let text = Text::read(files, begin..end)?;
    let (Some(low), Some(high)) = (text.bytes_before(low, files), text.bytes_before(high, files)) else {
        return Ok(None);
    };
    let mut known: Vec<(usize, usize)> = Vec::new();
    for index in Stream::BOTH.map(Stream::index) {
        let (low, high) = (low[index], high[index].min(text.bytes[index].len()));
        let came = match &arrived.0[index] {
            _ if low >= high => Some(low),
            Tail::Known(tail) => behind(&text.bytes[index][..high], tail).map(|came| came.max(low)),
            Tail::Unwanted => Some(high),
            Tail::Unknown => None,
        };
        let Some(came) = came else { return Ok(None) };
        known.push((index, came));
    }
    text.place(&known, files)
}

fn lengths(files: &[Arc<HeldFile>]) -> io::Result<Vec<u64>> {
    files.iter().map(|file| file.len()).collect()
}

/// How many bytes of all files precede a place's line; `None` if the place is not in these files.
fn number(place: &Place, files: &[Arc<HeldFile>]) -> io::Result<Option<u64>> {
    let Some(file) = files.iter().position(|file| is_at(place, file)) else { return Ok(None) };
    Ok(Some(lengths(&files[..file])?.iter().sum::<u64>() + place.offset))
}

/// How much of `text` has arrived, if `tail` arrived last: up to the last match of the longest part of its end that occurs.
fn behind(text: &[u8], tail: &[u8]) -> Option<usize> {
    if tail.is_empty() || text.is_empty() {
        return Some(0);
    }
    if let Some(at) = memmem::rfind(text, tail) {
        return Some(at + tail.len());
    }
    // Output before that may be from an earlier container of the task, have been rotated away, or have a gap.
    let (mut there, mut not_there) = (0, tail.len());
    while not_there - there > 1 {
        let length = usize::midpoint(there, not_there);
        if memmem::find(text, &tail[tail.len() - length..]).is_some() {
            there = length;
        } else {
            not_there = length;
        }
    }
    let end = &tail[tail.len() - there..];
    if there >= CERTAIN {
        return memmem::rfind(text, end).map(|at| at + there);
    }
    // So few bytes match anywhere, but a text that has just begun has no more.
    (there > 0 && text.starts_with(end)).then_some(there)
}

/// The content of the engine's files, with positions.
#[derive(Default)]
struct Text {
    bytes: [Vec<u8>; 2],
    /// The lines, and the position after the last one.
    lines: Vec<Line>,
}

struct Line {
    file: usize,
    offset: u64,
    /// How many bytes of each stream precede it.
    before: [usize; 2],
}

impl Text {
    /// Reads what is in a window, whose bounds count the bytes of all files.
    fn read(files: &[Arc<HeldFile>], window: Range<u64>) -> io::Result<Self> {
        let mut text = Self::default();
        let mut decoded = Decoded::default();
        let mut begin = 0;
        for (index, (file, length)) in files.iter().zip(lengths(files)?).enumerate() {
            let is_last = index + 1 == files.len() || window.end <= begin + length;
            let [from, to] = [window.start, window.end].map(|bound| bound.saturating_sub(begin).min(length));
            begin += length;
            let piece = read(&file.file, from, to)?;
            // The window begins in the middle of a line.
            let mut at = if from == 0 { 0 } else { memchr(b'\n', &piece).map_or(piece.len(), |end| end + 1) };
            let mut note = |at: usize, decoded: &Decoded| {
                let before = [decoded.bytes[0].len(), decoded.bytes[1].len()];
                text.lines.push(Line { file: index, offset: from + at as u64, before });
            };
            while at < piece.len() {
                let end = memchr(b'\n', &piece[at..]).map(|length| at + length + 1);
                if end.is_none() && is_last {
                    break;
                }
                note(at, &decoded);
                let end = end.unwrap_or(piece.len());
                decode(&piece[at..end], After::Nothing, &mut decoded);
                at = end;
            }
            if is_last {
                note(at, &decoded);
                break;
            }
        }
        text.bytes = decoded.bytes;
        Ok(text)
    }

    /// The first line that has not arrived completely, given how much of each stream (index, bytes) has. The writer of the
    /// pipes forwarded lines in order.
    fn place(&self, came: &[(usize, usize)], files: &[Arc<HeldFile>]) -> io::Result<Option<(usize, Place)>> {
        let line = came.iter().map(|(stream, came)| self.line_with(*stream, *came)).min();
        let Some(line) = line.and_then(|line| self.lines.get(line)) else { return Ok(None) };
        let mut delivered = [0, 0];
        for (stream, came) in came {
            delivered[*stream] = came.saturating_sub(line.before[*stream]) as u64;
        }
        let file = &files[line.file];
        let first = first_line(&read(&file.file, 0, file.len()?.min(LONGEST as u64))?);
        let source = Source::File { device: file.device, inode: file.inode, first };
        Ok(Some((line.file, Place { source, offset: line.offset, delivered })))
    }

    /// How much of each stream precedes a position; `None` if the position is not in these files.
    fn bytes_before(&self, place: &Place, files: &[Arc<HeldFile>]) -> Option<[usize; 2]> {
        let is_there = |line: &&Line| line.offset == place.offset && is_at(place, &files[line.file]);
        let line = self.lines.iter().find(is_there)?;
        let delivered = place.delivered.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        Some([0, 1].map(|stream| line.before[stream].saturating_add(delivered[stream])))
    }

    /// The line that contains a stream's byte of this number, or the position after all lines.
    fn line_with(&self, stream: usize, byte: usize) -> usize {
        if byte >= self.bytes[stream].len() {
            return self.lines.len() - 1;
        }
        self.lines.partition_point(|line| line.before[stream] <= byte) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrived_ends_where_it_stands_last_in_the_text() {
        assert_eq!(behind(b"one\ntwo\nthree\n", b"one\ntwo\n"), Some(8));
        assert_eq!(behind(b"one\ntwo\nthree\n", b"one\ntw"), Some(6));
        assert_eq!(behind(b"tick\ntick\ntick\n", b"tick\n"), Some(15));
    }

    #[test]
    fn the_beginning_of_the_text_may_be_the_end_of_what_arrived() {
        assert_eq!(behind(b"one\ntwo\n", b"an earlier life\none\n"), Some(4));
        assert_eq!(behind(b"aab", b"xaaab"), Some(3));
    }

    #[test]
    fn what_arrived_may_have_a_gap() {
        let line = |number: u32| format!("a line of which the number is {number}\n");
        let text: String = (1..=9).map(line).collect();
        let arrived: String = [2, 3, 5, 6].map(line).concat();

        assert_eq!(behind(text.as_bytes(), arrived.as_bytes()), Some(6 * line(1).len()));
    }

    #[test]
    fn nothing_arrived_of_a_text_when_nothing_ever_did_and_who_knows_when_it_is_not_there() {
        assert_eq!(behind(b"one\n", b""), Some(0));
        assert_eq!(behind(b"", b"an earlier life\n"), Some(0));
        assert_eq!(behind(b"one\ntwo\n", b"something else\ntwo\n"), None);
    }

    #[test]
    fn the_host_writes_a_pipes_bytes_in_numbered_files_of_which_the_end_is_read() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("web.stdout.9", "nine\n"),
            ("web.stdout.10", "ten\n"),
            ("web.stderr.11", "x"),
            ("web.stdout.next", "x"),
            ("web2.stdout.12", "x"),
        ] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }

        let files = |pipe: &str| HostFiles::of(&Beneath::open(directory.path()).unwrap(), &directory.path().join(pipe));
        let found = files(".web.stdout.fifo").unwrap();

        assert_eq!((found.tail().unwrap().as_slice(), found.size().unwrap()), (&b"nine\nten\n"[..], 9));
        assert!(files("web.stdout").is_err());
        let none = files(".other.stdout.fifo").unwrap();
        assert_eq!(none.tail().unwrap_err().kind(), io::ErrorKind::NotFound);
        // Nomad's files belong to Nomad; what a task put in place of one is not read.
        std::os::unix::fs::symlink("web.stdout.9", directory.path().join("web.stdout.11")).unwrap();
        assert!(found.tail().is_err());
    }
}
