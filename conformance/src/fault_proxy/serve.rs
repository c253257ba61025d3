//! Serves a client's connection: asks the engine, or makes the fault.

use std::{io, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body as _, Incoming},
    client, header, server,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::{
    Answer, Call, Fault, Guard, Made, Shared,
    carry::{Body, both_ways, passed_on, spoiled, whole},
};

/// What an engine says that has failed.
const FAILED: &str = r#"{"message":"the test's fault"}"#;
/// What no reader of JSON understands.
const GARBLED: &str = "{\"Id\":\"6c\n\"\"";

/// Serves the requests of a connection.
pub(super) async fn connection(shared: Arc<Shared>, client: UnixStream) {
    let service = service_fn(move |request| shared.clone().serve(request));
    // A client that disconnects, or a fault that ends the connection, ends the service.
    let _ended =
        server::conn::http1::Builder::new().serve_connection(TokioIo::new(client), service).with_upgrades().await;
}

impl Shared {
    /// Answers a request. An error ends the connection.
    async fn serve(self: Arc<Self>, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let call = Call::of(request.method(), request.uri().path());
        let (place, fault) = self.note(call.clone());
        if let Some(fault @ (Fault::Refuse | Fault::ErrorBefore | Fault::HangBefore)) = fault {
            // Unread, it would hide from the server that the client leaves.
            request.into_body().collect().await.map_err(io::Error::other)?;
            return instead(fault).await;
        }
        let response = self.forward(request, &call, fault).await?;
        let answer = kind(&call, &response);
        self.journal().noted[place].answer = Some(answer);
        match fault {
            None => Ok(response),
            Some(Fault::CutMidst | Fault::Mute | Fault::Trickle)
                if response.status() == StatusCode::SWITCHING_PROTOCOLS =>
            {
                Ok(response)
            }
            Some(fault @ (Fault::CutMidst | Fault::Mute | Fault::Trickle)) => {
                let (head, body) = response.into_parts();
                let body = if answer == Answer::Stream { body } else { settled(body).await? };
                Ok(Response::from_parts(head, spoiled(body, fault)))
            }
            Some(fault) => {
                if answer != Answer::Stream {
                    settled(response.into_body()).await?;
                }
                instead(fault).await
            }
        }
    }

    /// The engine's answer to a request, with what is behind an upgrade set on its way.
    async fn forward(
        self: &Arc<Self>,
        mut request: Request<Incoming>,
        call: &Call,
        fault: Option<Fault>,
    ) -> io::Result<Response<Body>> {
        let of_client = hyper::upgrade::on(&mut request);
        let (mut response, connection) = self.send(request).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let of_engine = hyper::upgrade::on(&mut response);
            self.spawn(async move {
                let _connection = connection;
                if let Ok((client, engine)) = tokio::try_join!(of_client, of_engine) {
                    both_ways(client, engine, fault).await;
                }
            })
            .detach();
            return Ok(response.map(|_| whole("")));
        }
        if call.as_str() == "POST /containers/create" && response.status() == StatusCode::CREATED {
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            self.note_made(&body).await?;
            return Ok(Response::from_parts(head, whole(body)));
        }
        Ok(response.map(|body| passed_on(body, connection)))
    }

    async fn note_made(&self, body: &[u8]) -> io::Result<()> {
        let created: Value = serde_json::from_slice(body)?;
        let id = created["Id"].as_str().unwrap_or_default().to_owned();
        let (_, inspected) = self.ask(Method::GET, &format!("/containers/{id}/json")).await?;
        let mounts = inspected["Mounts"].as_array().into_iter().flatten();
        let volumes = mounts.filter_map(|mount| mount["Name"].as_str()).map(str::to_owned).collect();
        self.journal().made.push(Made { id, volumes });
        Ok(())
    }

    pub(super) async fn ask(&self, method: Method, path: &str) -> io::Result<(u16, Value)> {
        let (status, body) = self.answer(method, path).await?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    pub(super) async fn answer(&self, method: Method, path: &str) -> io::Result<(u16, Bytes)> {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "docker");
        let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
        let (response, _connection) = self.send(request).await?;
        let status = response.status().as_u16();
        Ok((status, response.into_body().collect().await.map_err(io::Error::other)?.to_bytes()))
    }

    /// Sends a request over a connection of its own, which ends with the guard.
    async fn send<B>(&self, request: Request<B>) -> io::Result<(Response<Incoming>, Guard)>
    where
        B: hyper::body::Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
    {
        let stream = UnixStream::connect(&self.engine).await?;
        let (mut sender, connection) =
            client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let guard = self.spawn(async move {
            let _broken = connection.with_upgrades().await;
        });
        Ok((sender.send_request(request).await.map_err(io::Error::other)?, guard))
    }
}

/// What comes in place of an answer.
async fn instead(fault: Fault) -> io::Result<Response<Body>> {
    let (status, body) = match fault {
        Fault::ErrorBefore | Fault::ErrorAfter => (StatusCode::INTERNAL_SERVER_ERROR, FAILED),
        Fault::Garble => (StatusCode::OK, GARBLED),
        Fault::HangBefore | Fault::HangAfter => std::future::pending().await,
        _ => return Err(io::ErrorKind::ConnectionAborted.into()),
    };
    let response = Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
    response.body(whole(body)).map_err(io::Error::other)
}

/// The whole of a body, once the engine has sent it.
async fn settled(body: Body) -> io::Result<Body> {
    Ok(whole(body.collect().await?.to_bytes()))
}

fn kind(call: &Call, response: &Response<Body>) -> Answer {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS || (call.is_stream() && response.status().is_success()) {
        return Answer::Stream;
    }
    let length =
        response.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if response.status() == StatusCode::NO_CONTENT || length == Some(0) || response.body().is_end_stream() {
        return Answer::Empty;
    }
    Answer::Body
}
