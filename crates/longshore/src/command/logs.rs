//! `logs`: what a task wrote, from the oldest file that is kept on, or its end.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    time::Duration,
};

use super::target::{self, Wanted};
use crate::{
    Failure,
    alloc::dir::AllocDir,
    cli::From,
    data_dir::DataDir,
    log_files::{LogFiles, Stream},
    report,
};

/// How often a followed file is looked at.
const PERIOD: Duration = Duration::from_millis(100);

pub(super) async fn logs(
    wanted: Wanted<'_>,
    follow: bool,
    stream: Stream,
    from: From,
    data: &DataDir,
) -> Result<(), Failure> {
    let job = target::job(wanted.target, data)?;
    let found = target::one(target::tasks(&job, wanted.task)?, wanted.alloc)?;
    let directory = AllocDir::new(data.path(), &found.alloc.id);
    let failed =
        |error: std::io::Error| Failure::Usage(format!("failed to read {}: {error}", directory.logs().display()));
    let files = LogFiles::open(&directory, found.task, stream).map_err(failed)?;
    let at = begin(&files, from).map_err(failed)?;
    let mut reader = Reader { files, at };
    loop {
        // Asked before reading: what was written until the end is read after it.
        let over = !follow || is_over(&job.id, &found.alloc.id, found.task, data);
        match reader.print() {
            Ok(()) if over => return Ok(()),
            Ok(()) => tokio::time::sleep(PERIOD).await,
            // Nobody reads any more.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Opens the file in which the log's part begins, at its place; `None` where that is the whole.
fn begin(files: &LogFiles, from: From) -> std::io::Result<Option<(u64, File)>> {
    if from == From::Beginning {
        return Ok(None);
    }
    // A line's own newline ends it; the one before it begins it.
    let mut newlines = 0;
    let mut bytes = 0;
    for (number, mut file) in files.numbers()?.into_iter().rev().filter_map(|number| files.first([number])) {
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        let size = content.len() as u64;
        let at = match from {
            From::Beginning => Some(0),
            From::Bytes(wanted) => (bytes + size >= wanted).then(|| size - (wanted - bytes)),
            From::Lines(wanted) => {
                let is_last = bytes == 0;
                let ends =
                    content.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at as u64);
                let mut begins = ends.filter(|at| !(is_last && *at + 1 == size)).map(|at| {
                    newlines += 1;
                    (newlines, at + 1)
                });
                if wanted == 0 { Some(size) } else { begins.find(|(count, _)| *count == wanted).map(|(_, at)| at) }
            }
        };
        if let Some(at) = at {
            file.seek(SeekFrom::Start(at))?;
            return Ok(Some((number, file)));
        }
        bytes += size;
    }
    Ok(None)
}

/// The last lines of what a task wrote to its standard error, as far as a person wants to read them at once.
pub(super) fn last_lines_of_stderr(directory: &AllocDir, task: &str) -> std::io::Result<Vec<String>> {
    const LINES: usize = 10;
    const BYTES: u64 = 4096;
    let files = LogFiles::open(directory, task, Stream::Stderr)?;
    let mut end = Vec::new();
    for (_, mut file) in files.numbers()?.into_iter().rev().filter_map(|number| files.first([number])) {
        let rest = BYTES.saturating_sub(end.len() as u64);
        if rest == 0 {
            break;
        }
        let mut part = Vec::new();
        file.seek(SeekFrom::Start(file.metadata()?.len().saturating_sub(rest)))?;
        file.take(rest).read_to_end(&mut part)?;
        part.append(&mut end);
        end = part;
    }
    let text = String::from_utf8_lossy(&end);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(LINES)..].iter().map(|line| (*line).to_owned()).collect())
}

fn is_over(job: &str, alloc: &str, task: &str, data: &DataDir) -> bool {
    let Ok(Some(state)) = data.load(job) else { return true };
    let alloc = state.allocs.iter().find(|known| known.id == alloc);
    alloc.and_then(|alloc| alloc.tasks.get(task)).is_none_or(|task| task.phase.is_over())
}

struct Reader {
    files: LogFiles,
    /// The file in hand and its number: an open file outlives its rotation.
    at: Option<(u64, File)>,
}

impl Reader {
    /// Prints what there is.
    fn print(&mut self) -> std::io::Result<()> {
        loop {
            if let Some((_, file)) = &mut self.at {
                copy(file)?;
            }
            let after = self.at.as_ref().map(|(number, _)| *number);
            let later = self.files.numbers()?.into_iter().filter(|number| after.is_none_or(|after| *number > after));
            let Some(next) = self.files.first(later) else { return Ok(()) };
            // The file in hand may have grown before the next one was begun.
            if let Some((_, file)) = &mut self.at {
                copy(file)?;
            }
            self.at = Some(next);
        }
    }
}

fn copy(file: &mut File) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            count => report::bytes(&buffer[..count])?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(files: &[&str], from: From) -> String {
        let data = tempfile::tempdir().unwrap();
        let directory = AllocDir::new(data.path(), "id");
        directory.make(&[]).unwrap();
        for (number, text) in files.iter().enumerate() {
            std::fs::write(directory.logs().join(format!("t.stdout.{number}")), text).unwrap();
        }
        let log = LogFiles::open(&directory, "t", Stream::Stdout).unwrap();
        let Some((number, mut file)) = begin(&log, from).unwrap() else {
            return files.concat();
        };
        let mut shown = String::new();
        file.read_to_string(&mut shown).unwrap();
        let after = files.iter().skip(usize::try_from(number).unwrap() + 1);
        after.fold(shown, |shown, text| shown + text)
    }

    #[test]
    fn the_end_of_standard_error_is_found_over_files_and_has_a_bound() {
        let data = tempfile::tempdir().unwrap();
        let directory = AllocDir::new(data.path(), "id");
        directory.make(&[]).unwrap();
        let write = |number: u32, text: &str| {
            std::fs::write(directory.logs().join(format!("t.stderr.{number}")), text).unwrap();
        };
        let lines = || last_lines_of_stderr(&directory, "t").unwrap();
        assert_eq!(lines(), Vec::<String>::new());

        write(0, "zero\none\ntw");
        write(1, "o\nthree\n");
        assert_eq!(lines(), ["zero", "one", "two", "three"]);
        write(1, &"line\n".repeat(100));
        assert_eq!(lines(), ["line"; 10]);
        write(1, &"x".repeat(1 << 20));

        assert_eq!((lines().len(), lines()[0].len()), (1, 4096));
    }

    #[test]
    fn the_last_lines_and_bytes_are_found_over_files() {
        let files = ["one\ntwo\nth", "ree\nfour\n"];
        assert_eq!(tail(&files, From::Lines(1)), "four\n");
        assert_eq!(tail(&files, From::Lines(2)), "three\nfour\n");
        assert_eq!(tail(&files, From::Lines(3)), "two\nthree\nfour\n");
        assert_eq!(tail(&files, From::Lines(9)), files.concat());
        assert_eq!(tail(&["a\n", "b"], From::Lines(1)), "b");
        assert_eq!((tail(&files, From::Lines(0)), tail(&files, From::Bytes(0))), (String::new(), String::new()));
        assert_eq!(
            (tail(&files, From::Bytes(5)), tail(&files, From::Bytes(10))),
            ("four\n".into(), "hree\nfour\n".into())
        );
        assert_eq!(tail(&files, From::Bytes(99)), files.concat());
    }
}
