//! The part of a plugin that all of Nomad's plugin types share.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::{
    driver::{Driver, SetConfig},
    proto::base::{
        ConfigSchemaRequest, ConfigSchemaResponse, PluginInfoRequest, PluginInfoResponse, SetConfigRequest,
        SetConfigResponse, base_plugin_server::BasePlugin,
    },
    wire::Mirror,
};

pub(super) struct Base<D>(pub(super) Arc<D>);

#[tonic::async_trait]
impl<D: Driver> BasePlugin for Base<D> {
    async fn plugin_info(&self, _: Request<PluginInfoRequest>) -> Result<Response<PluginInfoResponse>, Status> {
        Ok(Response::new(self.0.info().into_wire()))
    }

    async fn config_schema(&self, _: Request<ConfigSchemaRequest>) -> Result<Response<ConfigSchemaResponse>, Status> {
        Ok(Response::new(ConfigSchemaResponse { spec: Some(self.0.config_schema().into()) }))
    }

    async fn set_config(&self, request: Request<SetConfigRequest>) -> Result<Response<SetConfigResponse>, Status> {
        let config = SetConfig::from_wire(request.into_inner());
        self.0.set_config(config).await.map_err(|mut error| {
            error.message = format!("SetConfig failed: {}", error.message);
            error
        })?;
        Ok(Response::new(SetConfigResponse {}))
    }
}
