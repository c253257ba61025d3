//! The Docker task driver, an external Nomad plugin.

use std::{io::Write, process::ExitCode};

use nomad_driver_docker::DockerDriver;

#[tokio::main]
async fn main() -> ExitCode {
    go_plugin::hclog::init();
    let driver = DockerDriver::default();
    let images = image_service::service(driver.images());
    let garbage = image_service::garbage_service(driver.garbage());
    match nomad_plugin::server::serve_with(driver, |services| services.add_service(images).add_service(garbage)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _broken_pipe = writeln!(std::io::stderr(), "nomad-driver-docker: {error}");
            ExitCode::FAILURE
        }
    }
}
