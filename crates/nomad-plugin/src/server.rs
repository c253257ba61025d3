//! Serves a driver to the Nomad agent, or other host, that started this process.

mod base;
mod driver;

use std::sync::Arc;

use go_plugin::{
    Handshake,
    server::{ServeConfig, ServeError},
};
use tonic::service::Routes;

use crate::{
    driver::Driver,
    proto::{base::base_plugin_server::BasePluginServer, drivers::driver_server::DriverServer},
};

/// The cookie by which Nomad and its plugins know each other.
pub const HANDSHAKE: Handshake = Handshake {
    cookie_key: "NOMAD_PLUGIN_MAGIC_COOKIE",
    cookie_value: "e4327c2e01eabfd75a8a67adb114fb34a757d57eee7728d857a8cec6e91a7255",
};

/// The version of the services: Nomad's plugin protocol since 0.9.
pub const APP_VERSION: u32 = 2;

/// A job's configuration may be larger than gRPC's usual 4 MiB.
pub(crate) const MAX_MESSAGE: usize = 256 << 20;

/// Serves until the host asks for the end.
pub async fn serve(driver: impl Driver) -> Result<(), ServeError> {
    serve_with(driver, |services| services).await
}

/// Serves a driver, and services of its own beside it, which Nomad's agents do not know.
pub async fn serve_with(driver: impl Driver, more: impl FnOnce(Routes) -> Routes) -> Result<(), ServeError> {
    let config = ServeConfig { handshake: HANDSHAKE, app_versions: vec![APP_VERSION] };
    go_plugin::server::serve(config, more(routes(driver))).await
}

/// The services of a driver.
pub(crate) fn routes(driver: impl Driver) -> Routes {
    let driver = Arc::new(driver);
    let base = BasePluginServer::new(base::Base(driver.clone())).max_decoding_message_size(MAX_MESSAGE);
    Routes::new(base).add_service(DriverServer::new(driver::Service(driver)).max_decoding_message_size(MAX_MESSAGE))
}
