//! The one thread that opens rotated log files for all tasks, and does nothing else.
//!
//! A fast writer fills a file in less time than a busy runtime may take to get round to it, so the thread is apart from the
//! runtime and has real-time priority where the process may have it.

use std::{
    collections::HashMap,
    ffi::OsStr,
    io,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch},
    io::Errno,
};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

use super::rotation::LogFiles;

/// The thread, and what it watches.
pub(super) struct Opener {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    inotify: OwnedFd,
    stop: OwnedFd,
    watched: Mutex<HashMap<i32, Arc<LogFiles>>>,
}

/// A directory under watch until this is dropped.
pub(super) struct Watch {
    shared: Arc<Shared>,
    descriptor: i32,
}

impl Opener {
    pub(super) fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            inotify: init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?,
            stop: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            watched: Mutex::default(),
        });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("log-opener".to_owned()).spawn(move || of_thread.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Watches the directory of `files`; what is in it already is not looked at.
    pub(super) fn watch(&self, directory: &Path, files: Arc<LogFiles>) -> io::Result<Watch> {
        // Held over the call, so that the thread finds whom the first event is for.
        let mut watched = self.shared.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let flags = WatchFlags::CREATE | WatchFlags::MOVED_FROM | WatchFlags::ONLYDIR;
        let descriptor = add_watch(&self.shared.inotify, directory, flags)?;
        watched.insert(descriptor, files);
        Ok(Watch { shared: Arc::clone(&self.shared), descriptor })
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        let told = rustix::io::write(&self.shared.stop, &1_u64.to_ne_bytes());
        if let (Ok(_), Some(thread)) = (told, self.thread.take()) {
            let _panicked = thread.join();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = self.shared.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.remove(&self.descriptor);
        // Refused when the engine has removed the directory, and the watch with it.
        let _gone_already = remove_watch(&self.shared.inotify, self.descriptor);
    }
}

impl Shared {
    fn run(&self) {
        let priority = ThreadPriority::from_posix(thread_priority::ScheduleParams { sched_priority: 1 });
        let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
        if let Err(refused) = set_thread_priority_and_policy(thread_native_id(), priority, policy) {
            tracing::debug!(%refused, "the thread that opens rotated log files has no real-time priority");
        }
        let mut buffer = vec![MaybeUninit::<u8>::uninit(); 64 * 1024];
        loop {
            let mut ready = [PollFd::new(&self.inotify, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
            match poll(&mut ready, None) {
                Err(Errno::INTR) => continue,
                Err(error) => {
                    tracing::error!(%error, "log files can't be watched any more");
                    return;
                }
                Ok(_) => {}
            }
            if !ready[1].revents().is_empty() {
                return;
            }
            self.look(&mut buffer);
        }
    }

    /// Reads the events that are there, and looks at each directory once.
    fn look(&self, buffer: &mut [MaybeUninit<u8>]) {
        let mut batch: Vec<(Arc<LogFiles>, u64)> = Vec::new();
        let mut reader = Reader::new(&self.inotify, buffer);
        while let Ok(event) = reader.next() {
            let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                batch.extend(watched.values().map(|files| (Arc::clone(files), 0)));
                continue;
            }
            let Some(files) = watched.get(&event.wd()) else { continue };
            let name = event.file_name().map_or(OsStr::new(""), |name| OsStr::from_bytes(name.to_bytes()));
            if name != files.name() {
                continue;
            }
            let created = u64::from(event.events().contains(ReadFlags::CREATE));
            match batch.iter_mut().find(|(known, _)| Arc::ptr_eq(known, files)) {
                Some((_, count)) => *count += created,
                None => batch.push((Arc::clone(files), created)),
            }
        }
        for (files, created) in batch {
            files.look(created);
        }
    }
}
