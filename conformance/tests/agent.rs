//! The agents of these tests send what a real Nomad agent sends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use conformance::{Fixture, fields, messages};
use futures_util::{future::BoxFuture, stream};
use go_plugin::client::Reattach;
use http_body_util::BodyExt;
use nomad_plugin::{
    client::{ClientError, DriverClient},
    driver::{ExecInput, ExecSetup, Force, NetworkIsolation, NetworkMode, SetConfig, TaskHandle},
};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Status, body::Body, codegen::Service, server::NamedService, transport::Server};

/// A driver that answers nothing. What it was asked: each call's path, its deadline, and its first message.
#[derive(Clone, Default)]
struct Silent(Arc<Mutex<Vec<Asked>>>);

struct Asked {
    call: String,
    deadline: Option<String>,
    message: Vec<u8>,
}

impl Service<http::Request<Body>> for Silent {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let asked = self.0.clone();
        Box::pin(async move {
            let call = request.uri().path().rsplit_once('.').unwrap().1.replace('/', ".");
            let deadline = request.headers().get("grpc-timeout").map(|value| value.to_str().unwrap().to_owned());
            let mut body = request.into_body();
            let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
            // Before a message there is whether it is compressed, and its length.
            let length = u32::from_be_bytes(frame[1..5].try_into().unwrap()) as usize;
            asked.lock().unwrap().push(Asked { call, deadline, message: frame[5..5 + length].to_vec() });
            Ok(Status::unimplemented("silent").into_http())
        })
    }
}

/// The silent driver, as one of the services.
#[derive(Clone)]
struct OfDriver(Silent);
#[derive(Clone)]
struct OfBase(Silent);

macro_rules! served {
    ($of:ident, $name:literal) => {
        impl NamedService for $of {
            const NAME: &'static str = $name;
        }

        impl Service<http::Request<Body>> for $of {
            type Response = http::Response<Body>;
            type Error = Infallible;
            type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

            fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                self.0.poll_ready(context)
            }

            fn call(&mut self, request: http::Request<Body>) -> Self::Future {
                self.0.call(request)
            }
        }
    };
}
served!(OfDriver, "hashicorp.nomad.plugins.drivers.proto.Driver");
served!(OfBase, "hashicorp.nomad.plugins.base.proto.BasePlugin");

/// The silent driver has no answer.
#[expect(clippy::needless_pass_by_value, reason = "nothing is left to be done with it")]
fn unanswered<T>(answer: Result<T, ClientError>) {
    assert!(matches!(answer, Err(ClientError::Transport(_))));
}

#[tokio::test]
async fn the_client_sets_what_an_agent_sets_and_gives_a_deadline_to_the_end_alone() {
    let fixture = Fixture::start().await;
    let task = fixture.task("web", "true");
    let handle =
        TaskHandle { version: 1, config: task.config.clone(), driver_state: vec![0x80], ..TaskHandle::default() };
    fixture.end().await;
    let (id, alloc) = (task.config.id.clone(), task.config.alloc_id.clone());
    let directory = tempfile::tempdir().unwrap();
    let silent = Silent::default();
    let incoming = UnixListenerStream::new(UnixListener::bind(directory.path().join("socket")).unwrap());
    let services = Server::builder().add_service(OfDriver(silent.clone())).add_service(OfBase(silent.clone()));
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(services.serve_with_incoming(incoming));
    let pid = i32::try_from(std::process::id()).unwrap();
    let reattach = Reattach { pid, address: directory.path().join("socket"), app_version: 2 };
    let client = DriverClient::reattach(reattach).await.unwrap();

    unanswered(client.info().await);
    unanswered(client.config_schema().await);
    let config = SetConfig { msgpack: vec![0x80], nomad: None, api_version: "v0.1.0".into() };
    unanswered(client.set_config(config).await);
    client.init().await.unwrap();
    unanswered(client.fingerprint().await.map(drop));
    unanswered(client.task_events().await.map(drop));
    unanswered(client.task_config_schema().await);
    unanswered(client.capabilities().await);
    unanswered(client.start_task(task.config.clone()).await);
    unanswered(client.recover_task(handle).await);
    unanswered(client.wait_task(id.clone()).await);
    unanswered(client.task_stats(id.clone(), Duration::from_secs(1)).await.map(drop));
    unanswered(client.signal_task(id.clone(), "SIGHUP".into()).await);
    unanswered(client.exec_task(id.clone(), vec!["true".into()], Duration::from_secs(9)).await);
    let setup = ExecSetup { task_id: id.clone(), command: vec!["true".into()], tty: false };
    unanswered(client.exec_task_streaming(setup, stream::iter([ExecInput::StdinClosed])).await.map(drop));
    unanswered(client.stop_task(id.clone(), Duration::from_secs(5), String::new()).await);
    unanswered(client.destroy_task(id, Force::Yes).await);
    unanswered(client.create_network(alloc.clone(), String::new()).await);
    let labels = [("docker_sandbox_container_id".to_owned(), "id".to_owned())].into();
    let network = NetworkIsolation { mode: NetworkMode::Group, path: "/run/netns/x".into(), labels, hosts: None };
    unanswered(client.destroy_network(alloc, Some(network)).await);
    client.shutdown().await.unwrap();

    let asked = silent.0.lock().unwrap();
    assert_eq!(asked.len(), 20);
    for Asked { call, deadline, message } in &*asked {
        let message = messages::decode(messages::method(call).input(), message);
        assert_eq!(fields::unlike(call.split_once('.').unwrap().1, &message), Vec::<String>::new());
        assert_eq!(deadline.is_some(), call == "Driver.Shutdown", "{call}: {deadline:?}");
    }
}

#[test]
fn what_no_agent_sets_and_what_every_agent_sets_is_reported() {
    let inspect = messages::method("Driver.InspectTask").input();
    let recover = messages::method("Driver.RecoverTask").input();
    let mut with_id = messages::decode(recover, &[]);
    with_id.set_field_by_name("task_id", prost_reflect::Value::String("id".into()));
    let destroy = messages::method("Driver.DestroyTask").input();
    let mut without_force = messages::decode(destroy, &[]);
    without_force.set_field_by_name("task_id", prost_reflect::Value::String("id".into()));

    assert_eq!(fields::unlike("InspectTask", &messages::decode(inspect, &[])), ["no agent calls InspectTask"]);
    assert_eq!(
        fields::unlike("RecoverTask", &with_id),
        ["RecoverTask sets task_id, which no agent does", "RecoverTask does not set handle, which every agent does"]
    );
    assert_eq!(
        fields::unlike("DestroyTask", &without_force),
        ["DestroyTask does not set force, which every agent does"]
    );
}
