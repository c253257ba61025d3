//! One container's log files: each is opened while its name exists, and held until it is read.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// How much may be held unread for an absent reader, for each container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Open files.
    pub files: usize,
    /// Their total size. It is disk space that the engine considers free.
    pub bytes: u64,
}

impl Default for Bound {
    fn default() -> Self {
        Self { files: 512, bytes: 2 << 30 }
    }
}

/// An open log file. Its inode number identifies it only while it is held: the kernel reuses numbers at once.
#[derive(Debug)]
pub(super) struct HeldFile {
    pub(super) file: File,
    pub(super) device: u64,
    pub(super) inode: u64,
}

impl HeldFile {
    pub(super) fn open(path: &Path) -> io::Result<Arc<Self>> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        Ok(Arc::new(Self { file, device: metadata.dev(), inode: metadata.ino() }))
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn is(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// Files lost since the last query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Losses {
    pub(super) missed: u64,
    pub(super) given_up: u64,
    pub(super) given_up_bytes: u64,
    /// Rotations are so frequent that the files are no longer opened with priority.
    pub(super) too_often: bool,
}

/// The files of one container: queued by the opener thread, taken by the container's follower.
pub(super) struct LogFiles {
    directory: PathBuf,
    name: OsString,
    bound: Bound,
    names: Mutex<Names>,
    queue: Mutex<Queue>,
    /// Something was queued, or the newest file has grown.
    pub(super) news: Notify,
}

/// The state of the directory at the last scan.
#[derive(Default)]
struct Names {
    /// The files that were then called `<name>.1` and `<name>`. They stay open, so that they are recognized.
    last: Vec<Arc<HeldFile>>,
    /// Create events seen, minus files opened. If positive, a file came and went between two scans.
    unopened: i64,
    /// Files were opened without their create events; the next event may belong to one of them.
    adopted: bool,
}

#[derive(Default)]
struct Queue {
    files: VecDeque<Arc<HeldFile>>,
    losses: Losses,
}

impl LogFiles {
    /// The files of a container whose engine directory is `directory`.
    pub(super) fn new(container_id: &str, directory: PathBuf, bound: Bound) -> Self {
        let name = OsString::from(format!("{container_id}-json.log"));
        Self { directory, name, bound, names: Mutex::default(), queue: Mutex::default(), news: Notify::new() }
    }

    /// The newest file's name.
    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }

    /// The directory of the files.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Another thread opens them from now on. It reports different files than the previous one.
    pub(super) fn demoted(&self) {
        {
            let mut names = lock(&self.names);
            names.unopened = 0;
            names.adopted = true;
        }
        lock(&self.queue).losses.too_often = true;
        self.look(0);
        self.news.notify_one();
    }

    /// Scans the directory, after `created` create events for the newest file's name.
    pub(super) fn look(&self, created: u64) {
        let mut names = lock(&self.names);
        let (found, last) = self.open_unknown(&names.last);
        let opened = found.len();
        names.last = last;
        names.unopened += i64::try_from(created).unwrap_or(i64::MAX) - i64::try_from(opened).unwrap_or(i64::MAX);
        if std::mem::take(&mut names.adopted) && opened == 0 {
            names.unopened = 0;
        }
        let missed = u64::try_from(names.unopened).unwrap_or(0);
        if missed > 0 {
            names.unopened = 0;
        }
        let mut queue = lock(&self.queue);
        queue.losses.missed += missed;
        for file in found {
            queue.push(file, self.bound);
        }
        drop(queue);
        drop(names);
        if opened > 0 || missed > 0 {
            self.news.notify_one();
        }
    }

    /// Opens the existing files when a task is adopted, oldest first. Later ones are queued after them, whatever is chosen
    /// meanwhile for [`begin_with`](Self::begin_with).
    pub(super) fn adopt(&self) -> Vec<Arc<HeldFile>> {
        let mut names = lock(&self.names);
        let mut files = Vec::new();
        for number in 2.. {
            let Ok(file) = HeldFile::open(&self.path(Some(number))) else { break };
            files.push(file);
        }
        files.reverse();
        let (found, last) = self.open_unknown(&files);
        names.last = last;
        names.unopened = 0;
        names.adopted = true;
        files.extend(found);
        // What the opener thread has queued since the watch began is among these files.
        lock(&self.queue).files.clear();
        files
    }

    /// Queues these files, oldest first, before those that arrived since they were opened.
    pub(super) fn begin_with(&self, files: impl IntoIterator<Item = Arc<HeldFile>>) {
        let mut queue = lock(&self.queue);
        let later = std::mem::take(&mut queue.files);
        for file in files.into_iter().chain(later) {
            queue.push(file, self.bound);
        }
        drop(queue);
        self.news.notify_one();
    }

    /// The next file to read. Once this is `Some`, the previous file is no longer written to.
    pub(super) fn next(&self) -> Option<Arc<HeldFile>> {
        lock(&self.queue).files.pop_front()
    }

    /// Whether a newer file is queued.
    pub(super) fn has_next(&self) -> bool {
        !lock(&self.queue).files.is_empty()
    }

    /// Files lost since the last call.
    pub(super) fn take_losses(&self) -> Losses {
        std::mem::take(&mut lock(&self.queue).losses)
    }

    /// The files that `known` does not contain, oldest first, and those that currently have the names.
    fn open_unknown(&self, known: &[Arc<HeldFile>]) -> (Vec<Arc<HeldFile>>, Vec<Arc<HeldFile>>) {
        let mut found: Vec<Arc<HeldFile>> = Vec::new();
        let hold = |file: Arc<HeldFile>, found: &mut Vec<Arc<HeldFile>>| -> Arc<HeldFile> {
            if let Some(same) = known.iter().chain(found.iter()).find(|held| held.is(&file)) {
                return Arc::clone(same);
            }
            found.push(Arc::clone(&file));
            file
        };
        loop {
            let previous = HeldFile::open(&self.path(Some(1))).ok().map(|file| hold(file, &mut found));
            let newest = HeldFile::open(&self.path(None)).ok().map(|file| hold(file, &mut found));
            let again = HeldFile::open(&self.path(Some(1))).ok();
            let still = match (&previous, &again) {
                (Some(before), Some(after)) => before.is(after),
                (None, None) => true,
                _ => false,
            };
            if still {
                // More than one scan: a rotation came in between, and a rotated file's last write shows its order.
                if found.len() > 2 {
                    let newest_found = newest.clone();
                    found.sort_by_key(|file| {
                        let last = newest_found.as_ref().is_some_and(|newest| newest.is(file));
                        let written =
                            file.file.metadata().map_or((0, 0), |metadata| (metadata.mtime(), metadata.mtime_nsec()));
                        (last, written)
                    });
                }
                return (found, previous.into_iter().chain(newest).collect());
            }
        }
    }

    fn path(&self, number: Option<u32>) -> PathBuf {
        let mut name = self.name.clone();
        if let Some(number) = number {
            name.push(format!(".{number}"));
        }
        self.directory.join(name)
    }
}

impl Queue {
    fn push(&mut self, file: Arc<HeldFile>, bound: Bound) {
        self.files.push_back(file);
        // The reader usually keeps up, and then no sum is needed.
        while self.files.len() > 1 && (self.files.len() > bound.files || self.bytes() > bound.bytes) {
            let Some(oldest) = self.files.pop_front() else { break };
            self.losses.given_up += 1;
            self.losses.given_up_bytes += oldest.len().unwrap_or(0);
        }
    }

    fn bytes(&self) -> u64 {
        self.files.iter().filter_map(|file| file.len().ok()).sum()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn container(directory: &std::path::Path) -> (LogFiles, impl Fn(&str)) {
        let files = LogFiles::new("id", directory.to_owned(), Bound { files: 2, bytes: 1 << 20 });
        let at = directory.to_owned();
        let rotate = move |content: &str| {
            let _first_has_no_older = fs::rename(at.join("id-json.log"), at.join("id-json.log.1"));
            fs::write(at.join("id-json.log"), content).unwrap();
        };
        (files, rotate)
    }

    fn sizes(files: &LogFiles) -> Vec<u64> {
        std::iter::from_fn(|| files.next()).map(|file| file.len().unwrap()).collect()
    }

    #[test]
    fn each_file_is_queued_once_and_a_file_that_came_and_went_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let (files, rotate) = container(directory.path());

        rotate("1");
        files.look(1);
        files.look(0);
        assert_eq!((sizes(&files), files.take_losses()), (vec![1], Losses::default()));
        rotate("22");
        rotate("333");
        files.look(2);
        assert_eq!((sizes(&files), files.take_losses()), (vec![2, 3], Losses::default()));
        rotate("4444");
        rotate("55555");
        rotate("666666");
        files.look(3);
        assert_eq!((sizes(&files), files.take_losses().missed), (vec![5, 6], 1));
    }

    #[test]
    fn the_opener_continues_while_it_is_looked_up_where_an_adopted_log_begins() {
        let directory = tempfile::tempdir().unwrap();
        let (files, rotate) = container(directory.path());
        rotate("1");
        rotate("22");

        let there = files.adopt();
        rotate("333");
        files.look(1);
        assert!(files.has_next(), "the opener waits for nobody");
        files.begin_with(there.into_iter().skip(1));

        assert_eq!((sizes(&files), files.take_losses()), (vec![2, 3], Losses::default()));
    }

    #[test]
    fn beyond_the_bound_the_oldest_are_given_up_and_counted() {
        let directory = tempfile::tempdir().unwrap();
        let (files, rotate) = container(directory.path());

        for content in ["1", "22", "333", "4444"] {
            rotate(content);
            files.look(1);
        }

        let losses = files.take_losses();
        assert_eq!((losses.given_up, losses.given_up_bytes, losses.missed), (2, 3, 0));
        assert_eq!(sizes(&files), [3, 4]);
    }
}
