//! Wakes the follower of a file that has grown, at no cost while it grows.
//!
//! A follower that has read everything arms a one-shot watch on its file. The kernel fires it at the next write and removes it.
//! So a flood costs no events, an idle task needs no timer, and one loop serves all tasks.

use std::{
    collections::HashMap,
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use rustix::fs::inotify::{Reader, WatchFlags, add_watch};
use tokio::io::unix::AsyncFd;

use super::{
    inotify,
    rotation::{HeldFile, LogFiles},
};
use background::Background;

/// The minimum time between two rounds of waking, so that single lines are read in batches.
const PAUSE: Duration = Duration::from_millis(5);

/// The only loop that wakes followers.
pub(super) struct Wakeups {
    armed: Arc<Armed>,
    _work: Background,
}

struct Armed {
    inotify: AsyncFd<OwnedFd>,
    /// Weak, because a held file holds its watch, which would hold the file.
    followers: Mutex<HashMap<i32, Weak<LogFiles>>>,
}

impl Wakeups {
    /// Must be called inside the runtime.
    pub(super) fn start() -> io::Result<Self> {
        #[expect(deprecated, reason = "its successor is unsafe; an owned descriptor keeps what that one asks for")]
        let inotify = AsyncFd::new(inotify::instance()?)?;
        let armed = Arc::new(Armed { inotify, followers: Mutex::default() });
        let of_work = Arc::clone(&armed);
        Ok(Self { armed, _work: Background::spawn(async move { of_work.run().await }) })
    }

    /// From now on, the next write to `file` notifies `files`.
    pub(super) fn arm(&self, file: &HeldFile, files: &Arc<LogFiles>) -> io::Result<()> {
        // The descriptor names this very file, whatever its name is by now.
        let path = format!("/proc/self/fd/{}", file.file.as_raw_fd());
        let mut followers = self.armed.followers.lock().unwrap_or_else(PoisonError::into_inner);
        let descriptor = add_watch(self.armed.inotify.get_ref(), path, WatchFlags::MODIFY | WatchFlags::ONESHOT)?;
        followers.insert(descriptor, Arc::downgrade(files));
        Ok(())
    }
}

impl Armed {
    async fn run(&self) {
        let mut buffer = vec![MaybeUninit::<u8>::uninit(); 16 * 1024];
        loop {
            let Ok(mut ready) = self.inotify.readable().await else { return };
            let mut reader = Reader::new(self.inotify.get_ref(), &mut buffer);
            while let Ok(event) = reader.next() {
                let follower = self.followers.lock().unwrap_or_else(PoisonError::into_inner).remove(&event.wd());
                if let Some(files) = follower.and_then(|files| files.upgrade()) {
                    files.news.notify_one();
                }
            }
            ready.clear_ready();
            tokio::time::sleep(PAUSE).await;
        }
    }
}
