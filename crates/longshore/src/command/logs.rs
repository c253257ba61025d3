//! `logs`: what a task wrote, from the oldest file that is kept on.

use std::{
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use super::target;
use crate::{
    Failure,
    alloc::dir::AllocDir,
    cli::TaskOf,
    log_files::{Stream, files},
    report,
    state::DataDir,
};

/// How often a followed file is looked at.
const PERIOD: Duration = Duration::from_millis(100);

pub(super) async fn logs(of: &TaskOf, follow: bool, stderr: bool, data: &DataDir) -> Result<(), Failure> {
    let job = target::job(&of.target, data)?;
    let found = target::tasks(&job, of.task.as_deref())?;
    let [found] = found.as_slice() else {
        let names: Vec<String> =
            found.iter().map(|found| format!("{} {}", report::short(&found.alloc.id), found.task)).collect();
        return Err(Failure::Usage(format!("whose logs are meant? {}", names.join(", "))));
    };
    let directory = AllocDir::new(data.path(), &found.alloc.id).logs();
    let stream = if stderr { Stream::Stderr } else { Stream::Stdout };
    let mut reader = Reader { directory, task: found.task.to_owned(), stream, at: None };
    loop {
        // Asked before reading: what was written until the end is read after it.
        let over = !follow || is_over(&job.id, &found.alloc.id, found.task, data);
        if reader.print().is_err() || over {
            return Ok(());
        }
        tokio::time::sleep(PERIOD).await;
    }
}

fn is_over(job: &str, alloc: &str, task: &str, data: &DataDir) -> bool {
    let Ok(Some(state)) = data.load(job) else { return true };
    let alloc = state.allocs.iter().find(|known| known.id == alloc);
    alloc.and_then(|alloc| alloc.tasks.get(task)).is_none_or(|task| task.phase.is_over())
}

struct Reader {
    directory: PathBuf,
    task: String,
    stream: Stream,
    /// The file in hand and its number: an open file outlives its rotation.
    at: Option<(u64, std::fs::File)>,
}

impl Reader {
    /// Prints what there is.
    fn print(&mut self) -> std::io::Result<()> {
        loop {
            if let Some((_, file)) = &mut self.at {
                copy(file)?;
            }
            let after = self.at.as_ref().map(|(number, _)| *number);
            let Some((number, path)) = next(&self.directory, &self.task, self.stream, after)? else { return Ok(()) };
            // The file in hand may have grown before the next one was begun.
            if let Some((_, file)) = &mut self.at {
                copy(file)?;
            }
            self.at = Some((number, std::fs::File::open(path)?));
        }
    }
}

fn next(directory: &Path, task: &str, stream: Stream, after: Option<u64>) -> std::io::Result<Option<(u64, PathBuf)>> {
    let files = files(directory, task, stream)?;
    Ok(files.into_iter().find(|(number, _)| after.is_none_or(|after| *number > after)))
}

fn copy(file: &mut std::fs::File) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            count => report::bytes(&buffer[..count])?,
        }
    }
}
