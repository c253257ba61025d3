//! One connection pool to the engine: the version is agreed on at first use, and again after the engine was away.

use std::{
    future::Future,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bollard::{API_DEFAULT_VERSION, Docker};

use super::{
    EngineFacts, QUICK,
    error::{Cause, EngineError, cause},
};

const DEFAULT_ADDRESS: &str = "unix:///var/run/docker.sock";

/// The library's one timeout for everything; each verb has its own instead.
const NO_TIMEOUT: u64 = 10 * 365 * 24 * 3600;

/// Where the engine is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// `unix://...` or `tcp://...`; where empty, what the environment says (`DOCKER_HOST` and its like).
    pub address: String,
    /// The client's certificate, for `tcp://`. Only used with an address.
    pub tls: Option<Tls>,
}

/// A client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate's file.
    pub cert: PathBuf,
    /// The key's file.
    pub key: PathBuf,
    /// The file of the authority that signed the engine's certificate.
    pub ca: PathBuf,
}

pub(super) struct Connection {
    endpoint: Endpoint,
    address: String,
    /// Set while the engine is believed to answer.
    agreed: Mutex<Option<Docker>>,
    facts: Mutex<Option<Arc<EngineFacts>>>,
}

impl Connection {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        let address = if endpoint.address.is_empty() {
            std::env::var("DOCKER_HOST").unwrap_or_else(|_| DEFAULT_ADDRESS.to_owned())
        } else {
            endpoint.address.clone()
        };
        Self { endpoint, address, agreed: Mutex::default(), facts: Mutex::default() }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn facts(&self) -> Option<Arc<EngineFacts>> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn remember(&self, facts: Arc<EngineFacts>) {
        *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = Some(facts);
    }

    /// What was agreed with the engine holds no more: another one may answer next.
    pub(super) fn forget(&self) {
        *self.agreed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn connect(&self) -> Result<Docker, bollard::errors::Error> {
        let Endpoint { address, tls } = &self.endpoint;
        match (self.address.split_once("://"), tls) {
            (Some(("unix", _)), _) => Docker::connect_with_unix(&self.address, NO_TIMEOUT, API_DEFAULT_VERSION),
            (Some(("tcp" | "http" | "https", _)), Some(tls)) if !address.is_empty() => {
                Docker::connect_with_ssl(address, &tls.key, &tls.cert, &tls.ca, NO_TIMEOUT, API_DEFAULT_VERSION)
            }
            _ => Ok(Docker::connect_with_host(&self.address)?.with_timeout(Duration::from_secs(NO_TIMEOUT))),
        }
    }

    /// The client, its version agreed with the engine.
    pub(super) async fn docker(&self) -> Result<Docker, Cause> {
        let agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(docker) = agreed {
            return Ok(docker);
        }
        let agreeing = async { self.connect()?.negotiate_version().await };
        let docker = tokio::time::timeout(QUICK, agreeing)
            .await
            .map_err(|_| Cause::Deadline(QUICK))?
            .map_err(|error| cause(error, &self.address))?;
        *self.agreed.lock().unwrap_or_else(PoisonError::into_inner) = Some(docker.clone());
        Ok(docker)
    }

    /// Makes a call that must be answered within `deadline`.
    pub(super) async fn call<T, F>(
        &self,
        (operation, subject): (&'static str, &str),
        deadline: Duration,
        call: impl FnOnce(Docker) -> F,
    ) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, bollard::errors::Error>>,
    {
        let answer = async {
            let docker = self.docker().await?;
            match tokio::time::timeout(deadline, Box::pin(call(docker))).await {
                Ok(answer) => answer.map_err(|error| cause(error, &self.address)),
                Err(_) => Err(Cause::Deadline(deadline)),
            }
        };
        answer.await.map_err(|cause| {
            if matches!(cause, Cause::Unreachable { .. }) {
                self.forget();
            }
            EngineError { operation, subject: subject.to_owned(), cause }
        })
    }
}
