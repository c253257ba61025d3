//! The protobuf messages and services of go-plugin itself, generated from `proto/`.

pub(crate) mod plugin {
    include!("gen/plugin.rs");
}

pub(crate) mod health {
    include!("gen/grpc.health.v1.rs");
}
