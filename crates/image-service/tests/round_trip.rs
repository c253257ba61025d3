//! What a driver reports of its images arrives at the host unchanged.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::PathBuf, time::Duration};

use futures_util::{StreamExt, stream};
use hyper_util::rt::TokioIo;
use image_service::{
    BoxStream, Claims, Collect, Fate, GarbageClient, GarbageService, Home, Image, ImageClient, ImageError,
    ImageService, Kept, Kind, Layer, LayerState, Leftover, Listed, Outcome, Prefetched, Pull, Reason, Remove, Step,
    TaskOf, garbage_service, service,
};
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint, Server, server::Router};

/// Reports what it is made of, and reports its calls to the test.
struct Fake {
    images: Vec<Listed>,
    steps: Vec<Prefetched>,
    pulls: Vec<Vec<Pull>>,
    called: mpsc::UnboundedSender<String>,
}

impl ImageService for Fake {
    async fn list(&self, state_dirs: Vec<PathBuf>) -> Result<Vec<Listed>, String> {
        match state_dirs.as_slice() {
            [] => Err("no engine".to_owned()),
            _ => Ok(self.images.clone()),
        }
    }

    async fn pin(&self, names: Vec<String>) {
        self.called.send(format!("pin {names:?}")).unwrap();
    }

    fn prefetch(&self, configs: Vec<Vec<u8>>) -> Result<BoxStream<Prefetched>, String> {
        self.called.send(format!("prefetch {configs:?}")).unwrap();
        if configs.is_empty() { Err("nothing".to_owned()) } else { Ok(stream::iter(self.steps.clone()).boxed()) }
    }

    fn watch(&self) -> BoxStream<Vec<Pull>> {
        stream::iter(self.pulls.clone()).boxed()
    }
}

async fn connected(server: Router) -> Channel {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    tokio::spawn(server.serve_with_incoming(stream::iter([std::io::Result::Ok(theirs)]).chain(stream::pending())));
    let mut ours = Some(ours);
    let connector = tower::service_fn(move |_| std::future::ready(ours.take().map(TokioIo::new).ok_or("once")));
    Endpoint::from_static("http://unused").connect_with_connector(connector).await.unwrap()
}

fn image(fate: Fate) -> Listed {
    let tasks = vec![TaskOf { job: "web".into(), alloc: "a1".into(), name: "server".into() }];
    let names = vec!["app:1".to_owned(), "app:2".to_owned()];
    let image = Image { id: "sha256:1".into(), names, size: 7, used: true, tasks, fate };
    Listed { image, state_dir: matches!(fate, Fate::Kept(_)).then(|| "/jobs/web".into()) }
}

fn pull() -> Pull {
    use LayerState::{Done, Downloaded, Downloading, Extracting, Present, Retrying, Verifying, Waiting};
    let states = [Waiting, Downloading, Retrying, Verifying, Downloaded, Extracting, Done, Present];
    let layer = |state| Layer { id: format!("{state:?}"), state, bytes: 1, total: 2 };
    Pull { image: "app:1".into(), place: None, layers: states.map(layer).into() }
}

#[tokio::test]
async fn all_that_a_driver_reports_arrives() {
    let fates = [Fate::RemovedAfter(Duration::from_secs(180)), Fate::RemovedIn(Duration::ZERO)];
    let kept = [Kept::Prefetched, Kept::Found, Kept::CleanupOff, Kept::Unattended].map(Fate::Kept);
    let ends = [
        Outcome::Present { asked: true },
        Outcome::Pulled { bytes: 9, took: Duration::from_millis(1500) },
        Outcome::Archived,
        Outcome::Failed("manifest unknown".into()),
    ];
    let steps = [Step::Pulling(pull())].into_iter().chain(ends.map(Step::Ended));
    let queued = Pull { image: "app:2".into(), place: Some(1), layers: Vec::new() };
    let (called, mut calls) = mpsc::unbounded_channel();
    let fake = || Fake {
        images: fates.into_iter().chain(kept).map(image).collect(),
        steps: steps.clone().map(|step| Prefetched { image: "app:1".into(), step }).collect(),
        pulls: vec![vec![queued.clone(), pull()], Vec::new()],
        called: called.clone(),
    };
    let mut client = ImageClient::new(connected(Server::builder().add_service(service(fake()))).await);

    assert_eq!(client.list(&["/jobs/web".into()]).await, Ok(fake().images));
    assert_eq!(client.list(&[]).await, Err(ImageError::Failed("no engine".into())));
    let steps: Vec<_> = client.prefetch(vec![b"x".into()]).await.unwrap().map(Result::unwrap).collect().await;
    assert_eq!(steps, fake().steps);
    assert_eq!(client.prefetch(Vec::new()).await.err(), Some(ImageError::Refused("nothing".into())));
    let pulls: Vec<_> = client.watch().await.unwrap().map(Result::unwrap).collect().await;
    assert_eq!(pulls, fake().pulls);
    client.pin(vec!["app:1".into()]).await.unwrap();
    let calls = [calls.recv().await, calls.recv().await, calls.recv().await].map(Option::unwrap);
    assert_eq!(calls, ["prefetch [[120]]", "prefetch []", "pin [\"app:1\"]"]);
}

#[tokio::test]
async fn a_driver_without_the_service_is_distinguished_from_one_that_fails() {
    let server = Server::builder().add_routes(tonic::service::Routes::default());
    let mut client = ImageClient::new(connected(server).await);

    assert_eq!(client.list(&[]).await, Err(ImageError::Unserved));
}

/// Answers with what it is made of, and reports its requests to the test.
struct FakeGarbage(Vec<Leftover>, mpsc::UnboundedSender<Collect>);

impl GarbageService for FakeGarbage {
    async fn collect(&self, request: Collect) -> Result<Vec<Leftover>, String> {
        let is_lost = request.home == Home::Lost;
        self.1.send(request).unwrap();
        if is_lost { Err("no engine".to_owned()) } else { Ok(self.0.clone()) }
    }

    async fn nodes(&self, below: PathBuf) -> Result<Vec<String>, String> {
        Ok(vec![below.join("web").display().to_string()])
    }
}

#[tokio::test]
async fn what_nobody_owns_arrives_and_so_does_the_request() {
    let kinds = [Kind::Container, Kind::Volume, Kind::Network, Kind::Image, Kind::File];
    let reasons = [Reason::AllocationOver, Reason::NoTask, Reason::OfGarbage, Reason::Unused, Reason::NoContainer];
    let removals = [None, Some(Ok(())), Some(Err("in use".to_owned())), None, None];
    let leftover = |((kind, reason), removed)| Leftover { kind, id: "1".into(), name: "n".into(), reason, removed };
    let leftovers: Vec<_> = kinds.into_iter().zip(reasons).zip(removals).map(leftover).collect();
    let (called, mut calls) = mpsc::unbounded_channel();
    let server = Server::builder().add_service(garbage_service(FakeGarbage(leftovers.clone(), called)));
    let mut client = GarbageClient::new(connected(server).await);
    let claims = Claims { tasks: vec![("a1".into(), "web".into())], allocs: vec!["a1".into()] };
    let request = |home, remove| Collect { node: "/jobs/web".into(), home, claims: claims.clone(), remove };
    let requests = [
        request(Home::Own, Remove::No),
        request(Home::StateDir("/jobs/web/driver".into()), Remove::Yes),
        request(Home::Lost, Remove::Yes),
    ];

    for wanted in requests {
        let expected =
            if wanted.home == Home::Lost { Err(ImageError::Failed("no engine".into())) } else { Ok(leftovers.clone()) };
        assert_eq!(client.collect(wanted.clone()).await, expected);
        assert_eq!(calls.recv().await, Some(wanted));
    }
    let nameless = Collect { node: String::new(), ..request(Home::Own, Remove::Yes) };
    assert!(matches!(client.collect(nameless).await, Err(ImageError::Refused(_))), "it would be everybody's");
    assert_eq!(client.nodes("/jobs".as_ref()).await, Ok(vec!["/jobs/web".to_owned()]));
}
