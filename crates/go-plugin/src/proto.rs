//! The protobuf messages and services of go-plugin itself, generated from `proto/`.

pub(crate) mod plugin {
    include!("gen/plugin.rs");
}

pub(crate) mod health {
    include!("gen/grpc.health.v1.rs");
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::{
        health::{HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus},
        plugin::{ConnInfo, Empty, StdioData, conn_info::Knock, stdio_data::Channel},
    };

    /// Both ways: what we write is what others write, and is read back.
    fn is_written_as<M: Message + Default + PartialEq + std::fmt::Debug>(message: &M, bytes: &[u8]) {
        assert_eq!(message.encode_to_vec(), bytes);
        assert_eq!(M::decode(bytes).as_ref(), Ok(message));
    }

    #[test]
    fn a_shutdown_is_an_empty_message() {
        is_written_as(&Empty {}, b"");
    }

    #[test]
    fn health_is_asked_by_name_and_answered_by_number() {
        is_written_as(&HealthCheckRequest { service: "plugin".into() }, b"\x0a\x06plugin");
        is_written_as(&HealthCheckResponse { status: ServingStatus::Serving.into() }, b"\x08\x01");
    }

    #[test]
    fn standard_output_and_error_are_distinguished_by_their_channel() {
        is_written_as(&StdioData { channel: Channel::Stdout.into(), data: b"out".to_vec() }, b"\x08\x01\x12\x03out");
        is_written_as(&StdioData { channel: Channel::Stderr.into(), data: b"er\n".to_vec() }, b"\x08\x02\x12\x03er\n");
    }

    #[test]
    fn a_brokered_stream_is_offered_by_id_and_address() {
        let offer = ConnInfo { service_id: 300, network: "unix".into(), address: "/tmp/b".into(), knock: None };
        is_written_as(&offer, b"\x08\xac\x02\x12\x04unix\x1a\x06/tmp/b");

        let knock = Knock { knock: true, ack: true, error: "no".into() };
        is_written_as(
            &ConnInfo { service_id: 1, knock: Some(knock), ..ConnInfo::default() },
            b"\x08\x01\x22\x08\x08\x01\x10\x01\x1a\x02no",
        );
    }
}
