//! What each call does and returns, as in API 1.41.

mod containers;
mod execs;
mod frame;
mod images;
mod inspect;
mod networks;
mod system;

use http::Response;

use crate::{answer::Body, call::Call, engine::FakeEngine};

/// The default response to a call.
pub(crate) async fn answer(engine: &FakeEngine, call: Call) -> Response<Body> {
    let (method, path) = (call.request.method.clone(), call.request.path.clone());
    let mut parts = path.trim_start_matches('/').splitn(2, '/');
    let (first, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let answered = match first {
        "containers" => containers::answer(engine, &method, rest, call).await,
        "exec" => execs::answer(engine, &method, rest, call),
        "images" => images::answer(engine, &method, rest, &call),
        "distribution" => images::distribution(engine, rest),
        "networks" => networks::answer(engine, &method, rest, &call),
        _ => system::answer(engine, &method, &path, &call),
    };
    answered.unwrap_or_else(Response::from)
}
