//! One connection pool to the engine. The API version is negotiated at first use, and again after the engine was away.

use std::{
    future::Future,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bollard::{API_DEFAULT_VERSION, BollardRequest, ClientVersion, Docker, errors::Error};
use futures_util::{
    FutureExt,
    future::{BoxFuture, WeakShared},
};
use http::Uri;
use hyper::body::Incoming;
use tokio::{sync::watch, time::Instant};

use super::{
    EngineFacts, QUICK,
    endpoint::{Endpoint, Tls},
    error::{EngineError, of_library},
    persist::{SILENCE, ask, within},
    route::{Answer, Permit, Route},
    tcp,
    transport::Connector,
};

const DEFAULT_ADDRESS: &str = "unix:///var/run/docker.sock";

/// The library's one timeout for everything; each verb has its own instead.
pub(super) const NO_TIMEOUT: u64 = 10 * 365 * 24 * 3600;

/// How to reach an engine.
#[derive(Clone, Debug, PartialEq)]
struct Transport {
    address: String,
    tls: Option<Tls>,
    /// The newest API version to use.
    newest: ClientVersion,
}

impl Transport {
    /// The transport to an endpoint; `variable` reads the environment.
    fn to(endpoint: Endpoint, variable: impl Fn(&str) -> Option<String>) -> Self {
        let Endpoint { address, tls } = endpoint;
        if !address.is_empty() {
            return Self { address, tls, newest: *API_DEFAULT_VERSION };
        }
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let tls = set("DOCKER_CERT_PATH").map(|directory| {
            let [cert, key, ca] = ["cert.pem", "key.pem", "ca.pem"].map(|file| Path::new(&directory).join(file));
            Tls { cert, key, ca }
        });
        let newest = set("DOCKER_API_VERSION").and_then(|version| {
            let parsed = api_version(&version);
            if parsed.is_none() {
                tracing::warn!(version, "DOCKER_API_VERSION is not a version such as 1.43");
            }
            parsed
        });
        Self {
            address: set("DOCKER_HOST").unwrap_or_else(|| DEFAULT_ADDRESS.to_owned()),
            tls,
            newest: newest.unwrap_or(*API_DEFAULT_VERSION),
        }
    }

    fn connect(&self) -> Result<Client, Error> {
        let Self { address, tls, newest } = self;
        let (base, connector) = match (address.split_once("://"), tls) {
            (Some(("unix", path)), _) => ("http://docker".to_owned(), Connector::Unix(path.into())),
            (Some(("tcp" | "http", rest)), None) => (format!("http://{}", host(rest)), tcp::connector(None)?),
            (Some(("tcp" | "http" | "https", rest)), tls) => {
                (format!("https://{}", host(rest)), tcp::connector(Some(tls.as_ref().unwrap_or(&Tls::default())))?)
            }
            _ => return Err(Error::UnsupportedURISchemeError { uri: address.clone() }),
        };
        let transport = {
            let connector = connector.clone();
            move |request: BollardRequest| connector.clone().send(request)
        };
        let docker = Docker::connect_with_custom_transport(transport, Some(base.as_str()), NO_TIMEOUT, newest)?;
        Ok(Client { docker, connector, base })
    }
}

/// A transport to an engine, with the client library on it.
#[derive(Clone)]
struct Client {
    docker: Docker,
    connector: Connector,
    /// Scheme and host of the request URLs.
    base: String,
}

impl Client {
    /// The client library, restricted to requests to one path.
    fn permitted(self, permit: Permit) -> Docker {
        self.docker.with_request_modifier(move |mut request| {
            request.extensions_mut().insert(permit.clone());
            request
        })
    }
}

/// The host and port of an address without its scheme; a path after them is ignored.
fn host(rest: &str) -> &str {
    rest.split('/').next().unwrap_or(rest)
}

/// A version such as 1.43.
fn api_version(text: &str) -> Option<ClientVersion> {
    let (major, minor) = text.split_once('.')?;
    Some(ClientVersion { major_version: major.parse().ok()?, minor_version: minor.parse().ok()? })
}

/// What was negotiated with the engine.
#[derive(Default)]
enum Agreement {
    #[default]
    None,
    /// As long as a call waits for it.
    UnderWay(WeakShared<Negotiation>),
    /// While the engine is believed to answer.
    Reached(Client),
}

type Negotiation = BoxFuture<'static, Result<Client, EngineError>>;

/// How long a negotiation is silent before it is made beside: an engine has the answer at hand.
const NEGOTIATION: Duration = Duration::from_secs(2);

async fn negotiate(transport: Transport) -> Result<Client, EngineError> {
    let (permit, _) = Route::fixed("/version", "", Answer::Thing).permit()?;
    let agree = || async {
        let client = transport.connect()?;
        // All clones share what the library learns.
        client.clone().permitted(permit.clone()).negotiate_version().await?;
        Ok(client)
    };
    let agreed = ask(NEGOTIATION, || async { agree().await.map_err(|error| of_library(error, &transport.address)) });
    within(QUICK, agreed).await
}

pub(super) struct Connection {
    transport: Transport,
    agreement: Mutex<Agreement>,
    facts: Mutex<Option<Arc<EngineFacts>>>,
    /// How often all connections were given up.
    given_up: watch::Sender<u64>,
}

impl Connection {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        let transport = Transport::to(endpoint, |name| std::env::var(name).ok());
        Self { transport, agreement: Mutex::default(), facts: Mutex::default(), given_up: watch::Sender::default() }
    }

    pub(super) fn address(&self) -> &str {
        &self.transport.address
    }

    pub(super) fn facts(&self) -> Option<Arc<EngineFacts>> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn remember(&self, facts: Arc<EngineFacts>) {
        *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = Some(facts);
    }

    /// Drops what was negotiated with the engine: another one may answer next.
    pub(super) fn forget(&self) {
        *self.agreement.lock().unwrap_or_else(PoisonError::into_inner) = Agreement::None;
        *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Gives up the current connections: nothing may ever arrive on them again.
    pub(super) fn give_up(&self) {
        self.given_up.send_modify(|count| *count += 1);
    }

    /// Waits until the connections of this moment are given up.
    pub(super) fn given_up(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let mut given_up = self.given_up.subscribe();
        async move {
            if given_up.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The client, with the API version negotiated. Calls that arrive during a negotiation share it.
    async fn client(&self) -> Result<Client, EngineError> {
        let negotiation = {
            let mut agreement = self.agreement.lock().unwrap_or_else(PoisonError::into_inner);
            let under_way = match &*agreement {
                Agreement::Reached(client) => return Ok(client.clone()),
                Agreement::UnderWay(negotiation) => negotiation.upgrade(),
                Agreement::None => None,
            };
            under_way.unwrap_or_else(|| {
                let negotiation = negotiate(self.transport.clone()).boxed().shared();
                *agreement = negotiation.downgrade().map_or(Agreement::None, Agreement::UnderWay);
                negotiation
            })
        };
        let client = negotiation.clone().await?;
        let mut agreement = self.agreement.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = match &*agreement {
            Agreement::UnderWay(latest) => latest.upgrade(),
            Agreement::None | Agreement::Reached(_) => None,
        };
        // It may have been dropped meanwhile.
        if latest.is_some_and(|latest| latest.ptr_eq(&negotiation)) {
            *agreement = Agreement::Reached(client.clone());
        }
        Ok(client)
    }

    /// Makes a call of the client library that must be answered within `deadline`. The closure receives the path's subject,
    /// encoded, and can send to no other path.
    pub(super) async fn call<T, F>(
        &self,
        operation: &'static str,
        route: Route,
        deadline: Duration,
        call: impl FnOnce(Docker, String) -> F,
    ) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let answer = async {
            let (permit, segment) = route.permit()?;
            let docker = self.client().await?.permitted(permit);
            call(docker, segment).await.map_err(|error| of_library(error, &self.transport.address))
        };
        let begun = Instant::now();
        let answer = within(deadline, Box::pin(answer)).await;
        log(operation, &route, begun, answer.as_ref().err());
        answer.map_err(|error| self.failed(error))
    }

    /// Makes a [call](Self::call) that only reads. If it is silent, it is made again beside.
    pub(super) async fn ask<T, F>(
        &self,
        operation: &'static str,
        route: Route,
        deadline: Duration,
        call: impl Fn(Docker, String) -> F,
    ) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        ask(SILENCE, || self.call(operation, route.clone(), deadline, &call)).await
    }

    /// Sends a request of the driver's own, whose URL is built from the route and the query. The response head must arrive
    /// within `deadline`, if there is one.
    pub(super) async fn send(
        &self,
        operation: &'static str,
        route: &Route,
        query: &[(&str, &str)],
        deadline: Option<Duration>,
        request: BollardRequest,
    ) -> Result<http::Response<Incoming>, EngineError> {
        let begun = Instant::now();
        let answer = Box::pin(self.answer(route, query, request));
        let answer = match deadline {
            Some(deadline) => within(deadline, answer).await,
            None => answer.await,
        };
        log(operation, route, begun, answer.as_ref().err());
        answer.map_err(|error| self.failed(error))
    }

    async fn answer(
        &self,
        route: &Route,
        query: &[(&str, &str)],
        mut request: BollardRequest,
    ) -> Result<http::Response<Incoming>, EngineError> {
        let (permit, _) = route.permit()?;
        let Client { connector, base, .. } = self.client().await?;
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let address = [base.as_str(), &permit.path, if query.is_empty() { "" } else { "?" }, &query].concat();
        *request.uri_mut() = address.parse::<Uri>().map_err(|error| EngineError::Unusable(error.to_string()))?;
        request.extensions_mut().insert(permit);
        connector.send(request).await.map_err(|error| of_library(error, &self.transport.address))
    }

    /// Classifies a failed call. An engine that cannot be reached may be a different one when it can.
    pub(super) fn failed(&self, error: EngineError) -> EngineError {
        if matches!(error, EngineError::Unreachable { .. }) {
            self.forget();
        }
        error
    }
}

/// Logs a call that was answered or has failed. A stream counts as answered with its head.
fn log(operation: &str, route: &Route, begun: Instant, error: Option<&EngineError>) {
    let (subject, duration) = (route.subject.as_str(), begun.elapsed());
    match error {
        None => tracing::debug!(operation, subject, ?duration, "called Docker"),
        Some(error) => tracing::debug!(operation, subject, ?duration, %error, "a Docker call failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transport(address: &str, tls: Option<Tls>, environment: &[(&str, &str)]) -> Transport {
        let variable = |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Transport::to(Endpoint { address: address.to_owned(), tls }, variable)
    }

    #[test]
    fn the_environment_counts_only_where_no_endpoint_is_set() {
        let environment = [
            ("DOCKER_HOST", "tcp://127.0.0.1:2376"),
            ("DOCKER_CERT_PATH", "/certs"),
            ("DOCKER_API_VERSION", "1.43"),
            ("DOCKER_TLS_VERIFY", "1"),
        ];
        let tls = Tls { cert: "/certs/cert.pem".into(), key: "/certs/key.pem".into(), ca: "/certs/ca.pem".into() };
        let v1_43 = ClientVersion { major_version: 1, minor_version: 43 };

        let by_environment = Transport { address: "tcp://127.0.0.1:2376".into(), tls: Some(tls), newest: v1_43 };
        assert_eq!(transport("", None, &environment), by_environment);
        let plain = Transport { address: "tcp://127.0.0.1:1".into(), tls: None, newest: *API_DEFAULT_VERSION };
        assert_eq!(transport("tcp://127.0.0.1:1", None, &environment), plain);
        let usual = Transport { address: DEFAULT_ADDRESS.into(), tls: None, newest: *API_DEFAULT_VERSION };
        assert_eq!(transport("", None, &[("DOCKER_HOST", ""), ("DOCKER_API_VERSION", "newest")]), usual);
    }

    #[test]
    fn a_clients_file_that_cannot_be_read_is_named_and_an_authority_is_not_needed() {
        let tcp = |tls: Tls| transport("tcp://127.0.0.1:1", Some(tls), &[]).connect().map(drop);

        let error = tcp(Tls { cert: "/none/cert.pem".into(), key: "/none/key.pem".into(), ..Tls::default() });
        assert!(error.unwrap_err().to_string().contains("/none/cert.pem"));
        assert!(tcp(Tls::default()).is_ok());
        assert!(transport("ftp://127.0.0.1", None, &[]).connect().is_err());
        assert_eq!(transport("tcp://127.0.0.1:1/", None, &[]).connect().ok().unwrap().base, "http://127.0.0.1:1");
    }
}
