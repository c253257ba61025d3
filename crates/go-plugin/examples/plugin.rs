//! The smallest plugin: go-plugin's own services and none besides. The tests of both ends start it.

use std::{process::ExitCode, thread::JoinHandle};

use go_plugin::{
    Handshake, hclog,
    server::{ServeConfig, serve},
};
use tonic::service::Routes;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    hclog::init();
    tracing::info!(answer = 42, "hello from the plugin");
    if std::env::var_os("EXAMPLE_PANIC").is_some() {
        let _panicked =
            std::thread::Builder::new().name("careless".into()).spawn(|| panic!("lost {}", 7)).map(JoinHandle::join);
    }
    let handshake = Handshake { cookie_key: "EXAMPLE_COOKIE", cookie_value: "chocolate" };
    match serve(ServeConfig { handshake, app_versions: vec![2, 3] }, Routes::default()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _broken_pipe = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{error}\n"));
            ExitCode::FAILURE
        }
    }
}
