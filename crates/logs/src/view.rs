//! The tasks' view of the directory in which the host keeps logs: its files, but none of its pipes.
//!
//! The kernel lets a pipe be written through a read-only mount. A task that sees the pipes of its group could write into the
//! others' logs, and take output that is on its way to the host. So tasks get another directory, on the same file system, with
//! a hard link to each regular file. It is updated as the host creates, rotates and removes files. No task can reach it by
//! name, because it is next to the allocation: `<allocations>/.longshore-logs/<allocation>`.
//!
//! Files that the host removes while no driver is running keep their disk space until one starts.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{
        self,
        ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported},
    },
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use beneath::{Beneath, Links};
use rustix::fs::{
    AtFlags, Mode, StatxFlags,
    inotify::{ReadFlags, Reader, WatchFlags, add_watch, remove_watch},
    statx,
};
use tokio::io::unix::AsyncFd;

use super::inotify;
use background::{Background, apart};

/// The directory of all views, next to the allocations.
const VIEWS: &str = ".longshore-logs";
/// Where the host keeps an allocation's logs.
const LOGS: &str = "alloc/logs";
/// The maximum number of entries shown.
const ENTRIES: usize = 10_000;
/// The minimum time between two scans, so that changes made together are handled together.
const PAUSE: Duration = Duration::from_millis(10);
/// The timeout for the file system.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens the view of an allocation, creating it if missing, and updates it. It is mounted in place of the logs directory.
/// `None` if the logs cannot be hard-linked there: they are on a different mount than the allocation's parent, or their file
/// system has no hard links.
pub fn open(alloc_dir: &Path) -> io::Result<Option<File>> {
    let (views, name) = place(alloc_dir)?;
    let parent = Beneath::open(views.parent().unwrap_or(&views))?;
    let view =
        parent.make_dirs(Path::new(VIEWS), Mode::RWXU)?.make_dirs(Path::new(&name), Mode::from_raw_mode(0o755))?;
    let (logs, opened) = (logs(alloc_dir)?, view.find(Path::new(""), Links::Refused)?);
    if mount_of(&logs.find(Path::new(""), Links::Refused)?)? != mount_of(&opened)? {
        tracing::warn!(alloc_dir = %alloc_dir.display(), "the logs are a separate mount; tasks see the host's pipes there");
        return Ok(None);
    }
    match bring_up_to_date(&logs, &view) {
        // A file system without hard links, or with a quota per directory.
        Err(error) if matches!(error.kind(), CrossesDevices | PermissionDenied | Unsupported | TooManyLinks) => {
            tracing::warn!(alloc_dir = %alloc_dir.display(), %error, "failed to link the logs; tasks see the host's pipes there");
            Ok(None)
        }
        done => done.map(|()| Some(opened)),
    }
}

/// The file system of an open file, and its mount if the kernel reports it.
fn mount_of(opened: &File) -> io::Result<(u32, u32, u64)> {
    let stat = statx(opened, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    Ok((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_mnt_id))
}

/// Removes the view of an allocation, if there is one. The host's files are not touched.
pub fn remove(alloc_dir: &Path) {
    let removed = place(alloc_dir).and_then(|(views, name)| {
        fs::remove_dir_all(views.join(name))?;
        // The last view removes the directory, too.
        let _others_are_there = fs::remove_dir(views);
        Ok(())
    });
    if let Err(error) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(alloc_dir = %alloc_dir.display(), %error, "failed to remove the view of a log directory");
    }
}

/// Removes the views of allocations whose directories no longer exist.
pub fn remove_left(allocs: &Path) {
    for view in fs::read_dir(allocs.join(VIEWS)).into_iter().flatten().flatten() {
        let alloc_dir = allocs.join(view.file_name());
        if fs::symlink_metadata(&alloc_dir).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            remove(&alloc_dir);
        }
    }
}

/// Updates a view, or removes it if the logs no longer exist.
fn look(alloc_dir: &Path) -> io::Result<()> {
    match logs(alloc_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            remove(alloc_dir);
            Ok(())
        }
        _ => open(alloc_dir).map(drop),
    }
}

/// The directory of all views, and the name of this one.
fn place(alloc_dir: &Path) -> io::Result<(PathBuf, OsString)> {
    let (Some(parent), Some(name)) = (alloc_dir.parent(), alloc_dir.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the allocation's directory has no name"));
    };
    Ok((parent.join(VIEWS), name.to_owned()))
}

fn logs(alloc_dir: &Path) -> io::Result<Beneath> {
    Beneath::open(alloc_dir)?.below(Path::new(LOGS))
}

/// The regular file of a name in a directory.
fn file(directory: &Beneath, name: &OsStr) -> Option<(File, (u64, u64))> {
    let found = directory.find(Path::new(name), Links::Refused).ok()?;
    let metadata = found.metadata().ok().filter(fs::Metadata::is_file)?;
    Some((found, (metadata.dev(), metadata.ino())))
}

fn bring_up_to_date(logs: &Beneath, view: &Beneath) -> io::Result<()> {
    let names = logs.names_up_to(ENTRIES)?.into_iter();
    let mut files: HashMap<OsString, _> = names.filter_map(|name| Some((name.clone(), file(logs, &name)?))).collect();
    for name in view.names()? {
        let shown = file(view, &name).map(|(_, number)| number);
        if shown.is_some() && shown == files.get(&name).map(|(_, number)| *number) {
            files.remove(&name);
        } else {
            view.remove(Path::new(&name))?;
        }
    }
    for (name, (found, _)) in files {
        match view.link(&found, &name) {
            // Removed, or shown by another call, meanwhile.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => {}
            linked => linked?,
        }
    }
    Ok(())
}

/// The views that are kept up to date.
pub struct Views {
    watched: Arc<Watched>,
    _work: Background,
}

struct Watched {
    inotify: AsyncFd<OwnedFd>,
    /// The allocation directories, by the watch on each one's logs.
    alloc_dirs: Mutex<HashMap<i32, PathBuf>>,
}

impl Views {
    /// Must be called inside the runtime, once per process.
    pub fn start() -> io::Result<Self> {
        #[expect(deprecated, reason = "its successor is unsafe; an owned descriptor keeps what that one asks for")]
        let inotify = AsyncFd::new(inotify::instance()?)?;
        let watched = Arc::new(Watched { inotify, alloc_dirs: Mutex::default() });
        let of_work = Arc::clone(&watched);
        Ok(Self { watched, _work: Background::spawn(async move { of_work.run().await }) })
    }

    /// Keeps the view of an allocation up to date from now on, if there is one.
    pub async fn show(&self, alloc_dir: &Path) -> io::Result<()> {
        let (views, name) = place(alloc_dir)?;
        let alloc_dir = alloc_dir.to_owned();
        let of_look = alloc_dir.clone();
        let logs = apart(PATIENCE, move || {
            if !views.join(name).is_dir() {
                return Ok(None);
            }
            logs(&of_look)?.find(Path::new(""), Links::Refused).map(Some)
        });
        let Some(logs) = logs.await? else { return Ok(()) };
        {
            // Held over the call, so that the first event finds its allocation.
            let mut alloc_dirs = self.watched.lock();
            // The descriptor names this very directory, whatever its path names by now.
            let path = format!("/proc/self/fd/{}", logs.as_raw_fd());
            let changes = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO;
            let descriptor = add_watch(self.watched.inotify.get_ref(), path, changes | WatchFlags::ONLYDIR)?;
            alloc_dirs.insert(descriptor, alloc_dir.clone());
        }
        // Catches changes from before the watch.
        apart(PATIENCE, move || open(&alloc_dir).map(drop)).await
    }

    /// Stops and removes the view of an allocation that has no tasks left.
    pub async fn hide(&self, alloc_dir: &Path) {
        {
            let mut alloc_dirs = self.watched.lock();
            let found = alloc_dirs.iter().find(|(_, known)| *known == alloc_dir).map(|(descriptor, _)| *descriptor);
            if let Some(descriptor) = found {
                alloc_dirs.remove(&descriptor);
                let _closed_already = remove_watch(self.watched.inotify.get_ref(), descriptor);
            }
        }
        let alloc_dir = alloc_dir.to_owned();
        let _late = apart(PATIENCE, move || {
            remove(&alloc_dir);
            Ok(())
        })
        .await;
    }
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, HashMap<i32, PathBuf>> {
        self.alloc_dirs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self) {
        let mut buffer = vec![MaybeUninit::<u8>::uninit(); 16 * 1024];
        loop {
            let Ok(mut ready) = self.inotify.readable().await else { return };
            let mut changed: Vec<PathBuf> = Vec::new();
            let mut reader = Reader::new(self.inotify.get_ref(), &mut buffer);
            while let Ok(event) = reader.next() {
                let mut alloc_dirs = self.lock();
                if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                    changed = alloc_dirs.values().cloned().collect();
                } else if event.events().contains(ReadFlags::IGNORED) {
                    changed.extend(alloc_dirs.remove(&event.wd()));
                } else if let Some(alloc_dir) = alloc_dirs.get(&event.wd()).filter(|of| !changed.contains(of)) {
                    changed.push(alloc_dir.clone());
                }
            }
            ready.clear_ready();
            for alloc_dir in changed {
                let of_look = alloc_dir.clone();
                if let Err(error) = apart(PATIENCE, move || look(&of_look)).await {
                    tracing::warn!(alloc_dir = %alloc_dir.display(), %error, "tasks do not see all log files");
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use rustix::fs::{CWD, FileType, IFlags, ioctl_setflags, mknodat};

    use super::*;

    struct Allocation(tempfile::TempDir);

    impl Allocation {
        fn new() -> Self {
            let allocation = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(allocation.dir().join(LOGS)).unwrap();
            allocation
        }

        fn dir(&self) -> PathBuf {
            self.0.path().join("a1")
        }

        fn log(&self, name: &str) -> PathBuf {
            self.dir().join(LOGS).join(name)
        }

        fn view(&self) -> PathBuf {
            self.0.path().join(VIEWS).join("a1")
        }

        fn shown(&self) -> Vec<String> {
            let names = fs::read_dir(self.view()).into_iter().flatten().flatten();
            let mut names: Vec<String> = names.map(|entry| entry.file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }

        async fn shows(&self, names: &[&str]) {
            let shown = async {
                while self.shown() != names {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), shown).await.unwrap_or_else(|_| panic!("{:?}", self.shown()));
        }
    }

    #[test]
    fn where_a_file_has_no_links_the_logs_are_shown_themselves() {
        let allocation = Allocation::new();
        let log = File::create(allocation.log("web.stdout.0")).unwrap();
        // Only root may, and not every file system supports it.
        if ioctl_setflags(&log, IFlags::IMMUTABLE).is_ok() {
            let shown = open(&allocation.dir());
            ioctl_setflags(&log, IFlags::empty()).unwrap();
            assert!(shown.unwrap().is_none());
        }
        assert!(open(&allocation.dir()).unwrap().is_some());
    }

    #[test]
    fn files_are_shown_and_neither_pipes_nor_anything_else() {
        let allocation = Allocation::new();
        fs::write(allocation.log("web.stdout.0"), "zero").unwrap();
        mknodat(CWD, allocation.log(".web.stdout.fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        symlink("/etc/shadow", allocation.log("link")).unwrap();
        fs::create_dir(allocation.log("directory")).unwrap();

        let opened = open(&allocation.dir()).unwrap().unwrap();

        assert_eq!(allocation.shown(), ["web.stdout.0"]);
        assert_eq!(opened.metadata().unwrap().ino(), fs::metadata(allocation.view()).unwrap().ino());
        let closed = fs::metadata(allocation.view().parent().unwrap()).unwrap();
        assert_eq!(closed.permissions().mode() & 0o777, 0o700);
        // Meanwhile a file grows, is removed, and another takes its name.
        fs::remove_file(allocation.log("web.stdout.0")).unwrap();
        fs::write(allocation.log("web.stdout.0"), "another").unwrap();
        fs::write(allocation.log("web.stdout.1"), "one").unwrap();
        open(&allocation.dir()).unwrap();
        assert_eq!(allocation.shown(), ["web.stdout.0", "web.stdout.1"]);
        assert_eq!(fs::read_to_string(allocation.view().join("web.stdout.0")).unwrap(), "another");
        remove(&allocation.dir());
        remove(&allocation.dir());
        assert!(!allocation.view().parent().unwrap().exists());
        assert_eq!(fs::read_to_string(allocation.log("web.stdout.1")).unwrap(), "one");
    }

    #[test]
    fn what_is_left_of_an_allocation_that_was_removed_is_removed() {
        let allocation = Allocation::new();
        fs::write(allocation.log("web.stdout.0"), "zero").unwrap();
        open(&allocation.dir()).unwrap();

        remove_left(allocation.0.path());
        let living = allocation.shown();
        fs::remove_dir_all(allocation.dir()).unwrap();
        remove_left(allocation.0.path());

        assert_eq!(living, ["web.stdout.0"]);
        assert!(!allocation.view().exists());
    }

    #[tokio::test]
    async fn what_the_host_makes_rotates_and_removes_is_seen() {
        let allocation = Allocation::new();
        let views = Views::start().unwrap();
        views.show(&allocation.dir()).await.unwrap();
        assert!(!allocation.view().exists(), "no task has asked for it");
        open(&allocation.dir()).unwrap();
        fs::write(allocation.log("web.stdout.0"), "before the watch").unwrap();

        views.show(&allocation.dir()).await.unwrap();
        allocation.shows(&["web.stdout.0"]).await;
        fs::write(allocation.log("web.stdout.1"), "").unwrap();
        allocation.shows(&["web.stdout.0", "web.stdout.1"]).await;
        fs::write(allocation.log("web.stdout.1"), "later").unwrap();
        fs::remove_file(allocation.log("web.stdout.0")).unwrap();
        fs::rename(allocation.log("web.stdout.1"), allocation.log("web.stdout.2")).unwrap();
        allocation.shows(&["web.stdout.2"]).await;
        assert_eq!(fs::read_to_string(allocation.view().join("web.stdout.2")).unwrap(), "later");
        views.hide(&allocation.dir()).await;
        assert!(!allocation.view().exists());
        open(&allocation.dir()).unwrap();
        views.show(&allocation.dir()).await.unwrap();
        fs::remove_dir_all(allocation.dir()).unwrap();
        allocation.shows(&[]).await;
    }
}
