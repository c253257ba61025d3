//! A call of a driver whose messages are passed on as bytes.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use conformance::messages;
use futures_util::StreamExt;
use http::uri::PathAndQuery;
use prost::Message;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{
    Request, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

use crate::recording::Ending;

/// A call under way, or at its end. Dropping it gives it up.
pub(crate) struct Call {
    requests: Option<mpsc::UnboundedSender<Bytes>>,
    answered: watch::Receiver<Answered>,
    work: JoinSet<()>,
}

/// What came of a call so far.
#[derive(Clone, Default)]
pub(crate) struct Answered {
    pub(crate) responses: Vec<Bytes>,
    /// `None` while it is open.
    pub(crate) end: Option<Ending>,
}

impl Call {
    /// Opens a call.
    pub(crate) fn open(channel: &Channel, call: &str, deadline: Option<Duration>) -> Self {
        let (requests, sent) = mpsc::unbounded_channel();
        let (answers, answered) = watch::channel(Answered::default());
        let path: PathAndQuery = messages::path(call).parse().unwrap();
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        let mut request = Request::new(UnboundedReceiverStream::new(sent));
        if let Some(deadline) = deadline {
            request.set_timeout(deadline);
        }
        let mut work = JoinSet::new();
        work.spawn(async move {
            let end = async {
                grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
                let mut responses = grpc.streaming(request, path, Raw).await?.into_inner();
                while let Some(response) = responses.next().await {
                    let response = response?;
                    answers.send_modify(|answered| answered.responses.push(response));
                }
                Ok::<_, Status>(())
            };
            let end = ending(end.await);
            answers.send_modify(|answered| answered.end = Some(end));
        });
        Self { requests: Some(requests), answered, work }
    }

    /// Sends a message.
    pub(crate) fn send(&self, bytes: Vec<u8>) {
        // A call that has ended takes none.
        let _taken = self.requests.as_ref().is_some_and(|requests| requests.send(bytes.into()).is_ok());
    }

    /// No more messages come.
    pub(crate) fn half_close(&mut self) {
        self.requests = None;
    }

    /// What came so far.
    pub(crate) fn answered(&self) -> Answered {
        self.answered.borrow().clone()
    }

    /// Waits until what came satisfies a condition, or the call's end.
    pub(crate) async fn until(&self, condition: impl Fn(&Answered) -> bool) {
        let mut answered = self.answered.clone();
        let enough = |answered: &Answered| answered.end.is_some() || condition(answered);
        // A call that was given up answers no more.
        let _given_up = answered.wait_for(enough).await;
    }

    /// Whether it was given up.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.work.is_empty()
    }

    /// Gives the call up.
    pub(crate) fn cancel(&mut self) {
        self.work = JoinSet::new();
    }
}

fn ending(end: Result<(), Status>) -> Ending {
    let Err(status) = end else { return Ending { code: "OK".into(), ..Ending::default() } };
    Ending {
        code: format!("{:?}", status.code()),
        text: status.message().to_owned(),
        recoverable: recoverable(status.details()),
    }
}

/// `google.rpc.Status`, as far as it is needed.
#[derive(Clone, PartialEq, Message)]
struct Details {
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

fn recoverable(details: &[u8]) -> Option<Vec<u8>> {
    let details = Details::decode(details).unwrap().details;
    details.into_iter().find(|detail| detail.type_url.ends_with(".RecoverableError")).map(|detail| detail.value)
}

/// Bytes as they are.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, bytes: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(bytes);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
