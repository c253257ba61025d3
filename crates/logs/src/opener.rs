//! The one thread that opens rotated log files for all tasks, and does nothing else.
//!
//! A fast writer may fill a file before a busy runtime reacts. So the thread is separate from the runtime and has real-time
//! priority if the process may set it. That priority has a budget. If rotations are so frequent that it is used up, the
//! container that uses the most is moved to a second thread of ordinary priority, started on demand. All other files are still
//! opened in time.

mod budget;

use std::{
    collections::HashMap,
    ffi::OsStr,
    io,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    fs::inotify::{ReadFlags, Reader, WatchFlags, add_watch, remove_watch},
    io::Errno,
};
use thread_priority::{
    NormalThreadSchedulePolicy, RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use self::budget::Budget;
use super::{inotify, rotation::LogFiles};

/// How many events are read before the directories are scanned: a writer that produces events without end must not delay
/// others.
const EVENTS: usize = 4096;

/// The thread and its watches.
pub(super) struct Opener {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// For all files but those that are rotated too often.
    prompt: Lane,
    /// For those, once there are any.
    patient: Mutex<Option<(Arc<Lane>, JoinHandle<()>)>>,
}

/// The watches of one thread.
struct Lane {
    inotify: OwnedFd,
    stop: OwnedFd,
    watched: Mutex<HashMap<i32, Arc<LogFiles>>>,
}

/// Watches a directory until dropped.
pub(super) struct Watch {
    shared: Arc<Shared>,
    files: Arc<LogFiles>,
}

impl Opener {
    pub(super) fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared { prompt: Lane::new()?, patient: Mutex::default() });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("log-opener".to_owned()).spawn(move || of_thread.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Watches the directory of `files`. Existing files are not scanned.
    pub(super) fn watch(&self, directory: &Path, files: Arc<LogFiles>) -> io::Result<Watch> {
        self.shared.prompt.watch(directory, &files)?;
        Ok(Watch { shared: Arc::clone(&self.shared), files })
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        if self.shared.prompt.stop()
            && let Some(thread) = self.thread.take()
        {
            let _panicked = thread.join();
        }
        if let Some((lane, thread)) = lock(&self.shared.patient).take()
            && lane.stop()
        {
            let _panicked = thread.join();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Held over both, so that it is not moved from one to the other meanwhile.
        let patient = lock(&self.shared.patient);
        self.shared.prompt.unwatch(&self.files);
        if let Some((lane, _)) = &*patient {
            lane.unwatch(&self.files);
        }
    }
}

impl Shared {
    fn run(&self) {
        let priority = ThreadPriority::from_posix(thread_priority::ScheduleParams { sched_priority: 1 });
        let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
        if let Err(refused) = set_thread_priority_and_policy(thread_native_id(), priority, policy) {
            tracing::debug!(error = %refused, "the thread that opens rotated log files has no real-time priority");
        }
        let mut budget = Budget::default();
        self.prompt.run(|files, created| {
            if let Some(greediest) = budget.spend(files, || files.look(created))
                && let Err(error) = self.demote(&greediest)
            {
                tracing::warn!(%error, "failed to lower the priority of a log that rotates too often");
            }
        });
    }

    /// Moves a container's files to the second thread.
    fn demote(&self, files: &Arc<LogFiles>) -> io::Result<()> {
        let mut patient = lock(&self.patient);
        if patient.is_none() {
            let lane = Arc::new(Lane::new()?);
            let of_thread = Arc::clone(&lane);
            let thread = std::thread::Builder::new().name("log-opener-slow".to_owned());
            *patient = Some((lane, thread.spawn(move || run_ordinary(&of_thread))?));
        }
        let Some((lane, _)) = &*patient else { return Ok(()) };
        if !self.prompt.unwatch(files) {
            return Ok(());
        }
        lane.watch(files.directory(), files)?;
        files.demoted();
        Ok(())
    }
}

/// The second thread's work. It inherits the priority of the first.
fn run_ordinary(lane: &Lane) {
    let ordinary = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);
    // The crate counts from 0 to 99; this is niceness 0.
    let priority = ThreadPriority::from_posix(thread_priority::ScheduleParams { sched_priority: 47 });
    if let Err(refused) = set_thread_priority_and_policy(thread_native_id(), priority, ordinary) {
        tracing::debug!(error = %refused, "failed to lower the priority of the thread for logs that rotate too often");
    }
    lane.run(|files, created| files.look(created));
}

impl Lane {
    fn new() -> io::Result<Self> {
        Ok(Self {
            inotify: inotify::instance()?,
            stop: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            watched: Mutex::default(),
        })
    }

    fn stop(&self) -> bool {
        rustix::io::write(&self.stop, &1_u64.to_ne_bytes()).is_ok()
    }

    fn watch(&self, directory: &Path, files: &Arc<LogFiles>) -> io::Result<()> {
        // Held over the call, so that the thread knows the owner of the first event.
        let mut watched = lock(&self.watched);
        let flags = WatchFlags::CREATE | WatchFlags::MOVED_FROM | WatchFlags::ONLYDIR;
        let descriptor = add_watch(&self.inotify, directory, flags)?;
        watched.insert(descriptor, Arc::clone(files));
        Ok(())
    }

    /// Whether the files were watched here.
    fn unwatch(&self, files: &Arc<LogFiles>) -> bool {
        let mut watched = lock(&self.watched);
        let found = watched.iter().find(|(_, known)| Arc::ptr_eq(known, files)).map(|(descriptor, _)| *descriptor);
        let Some(descriptor) = found else { return false };
        watched.remove(&descriptor);
        // Fails if the engine has removed the directory, and the watch with it.
        let _closed_already = remove_watch(&self.inotify, descriptor);
        true
    }

    fn run(&self, mut look: impl FnMut(&Arc<LogFiles>, u64)) {
        let mut buffer = vec![MaybeUninit::<u8>::uninit(); 64 * 1024];
        loop {
            let mut ready = [PollFd::new(&self.inotify, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
            match poll(&mut ready, None) {
                Err(Errno::INTR) => continue,
                Err(error) => {
                    tracing::error!(%error, "failed to watch log files; they are not collected any more");
                    return;
                }
                Ok(_) => {}
            }
            if !ready[1].revents().is_empty() {
                return;
            }
            for (files, created) in self.news(&mut buffer) {
                look(&files, created);
            }
        }
    }

    /// The pending events: each affected file once, with its number of create events.
    fn news(&self, buffer: &mut [MaybeUninit<u8>]) -> Vec<(Arc<LogFiles>, u64)> {
        let mut batch: Vec<(Arc<LogFiles>, u64)> = Vec::new();
        let mut reader = Reader::new(&self.inotify, buffer);
        for _ in 0..EVENTS {
            let Ok(event) = reader.next() else { break };
            let watched = lock(&self.watched);
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
        batch
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
