//! The smallest plugin: go-plugin's own services and none besides. The tests of both ends start it.

use std::process::ExitCode;

use go_plugin::{
    Handshake, hclog,
    server::{ServeConfig, serve},
};
use tonic::service::Routes;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    hclog::init();
    tracing::info!(answer = 42, "hello from the plugin");
    let handshake = Handshake { cookie_key: "EXAMPLE_COOKIE", cookie_value: "chocolate" };
    match serve(ServeConfig { handshake, app_versions: vec![2, 3] }, Routes::default()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _broken_pipe = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{error}\n"));
            ExitCode::FAILURE
        }
    }
}
