//! Records the requests that the engine received.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use tokio::sync::watch;

use crate::pattern::Pattern;

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// `GET`, `POST`, ...
    pub method: String,
    /// Decoded, without the API version: `/containers/c1/start`.
    pub path: String,
    /// The query.
    pub query: BTreeMap<String, String>,
    /// The body; `null` if it is empty or not JSON.
    pub body: Value,
}

impl Request {
    /// A value of the query; empty if it is missing.
    pub fn query(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }
}

/// All requests, in order of arrival.
#[derive(Debug)]
pub(crate) struct Journal {
    requests: Mutex<Vec<Request>>,
    count: watch::Sender<u64>,
}

impl Default for Journal {
    fn default() -> Self {
        Self { requests: Mutex::default(), count: watch::Sender::new(0) }
    }
}

impl Journal {
    fn lock(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self, request: Request) {
        self.lock().push(request);
        self.count.send_modify(|count| *count += 1);
    }

    pub(crate) fn matching(&self, pattern: &Pattern) -> Vec<Request> {
        let requests = self.lock();
        requests.iter().filter(|request| pattern.matches(&request.method, &request.path)).cloned().collect()
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }
}
