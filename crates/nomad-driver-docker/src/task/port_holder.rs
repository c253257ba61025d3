//! Who holds a port that a task was to publish, for the error of a start that failed.

use std::net::{IpAddr, Ipv4Addr};

use listeners::{Listener, Protocol, SocketState};

use crate::engine::{
    Engine, FoundContainer,
    model::{ContainerCreateBody, PortSummary},
};

/// In the engine's words: another container has the port, or a process has. (An address of a network that is taken is an
/// `Address already in use`.)
const TAKEN: [&str; 2] = ["port is already allocated", "address already in use"];

/// A port of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HostPort {
    address: IpAddr,
    port: u16,
    protocol: Protocol,
}

/// Names who holds a port of a container that did not start; `None` where that was for another reason, and where nobody
/// is seen to.
pub(super) async fn hint(engine: &Engine, body: &ContainerCreateBody, why: &str) -> Option<String> {
    if !TAKEN.iter().any(|taken| why.contains(taken)) {
        return None;
    }
    let ports = published(body);
    for wanted in &ports {
        let text = format!("{}/{}", wanted.port, wanted.protocol.to_string().to_lowercase());
        let found = engine.containers_that_publish(&text).await.unwrap_or_default();
        if let Some(container) = found.into_iter().find(|found| publishes(found, wanted)) {
            let name = container.names.and_then(|names| names.into_iter().next()).unwrap_or_default();
            let name = name.trim_start_matches('/');
            return Some(format!("hint: port {text} is published by container {name}"));
        }
    }
    if ports.is_empty() || !engine.is_local() {
        return None;
    }
    let listeners = listeners::get_all().ok()?;
    ports.iter().find_map(|wanted| {
        let Listener { process, socket, protocol, .. } = listeners.iter().find(|listener| holds(listener, wanted))?;
        let protocol = protocol.to_string().to_lowercase();
        Some(format!("hint: {socket}/{protocol} is held by {} (pid {})", process.name, process.pid))
    })
}

fn publishes(found: &FoundContainer, wanted: &HostPort) -> bool {
    let is_it = |port: &PortSummary| {
        let address = port.ip.as_ref().and_then(|ip| ip.parse().ok()).unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        port.public_port == Some(wanted.port)
            && port.typ.is_some_and(|typ| typ.to_string().eq_ignore_ascii_case(&wanted.protocol.to_string()))
            && overlap(address, wanted.address)
    };
    found.ports.iter().flatten().any(is_it)
}

fn holds(listener: &Listener, wanted: &HostPort) -> bool {
    listener.protocol == wanted.protocol
        && listener.socket.port() == wanted.port
        && overlap(listener.socket.ip(), wanted.address)
        // Of TCP there are also the connections, which hold no port.
        && (wanted.protocol == Protocol::UDP || listener.state == SocketState::Listen)
}

/// Whether who has a port at one address keeps others from it at the other one.
fn overlap(there: IpAddr, here: IpAddr) -> bool {
    there == here || there.is_unspecified() || here.is_unspecified()
}

fn published(body: &ContainerCreateBody) -> Vec<HostPort> {
    let bindings = body.host_config.as_ref().and_then(|host| host.port_bindings.as_ref());
    let each = bindings.into_iter().flatten().flat_map(|(inside, bindings)| {
        let protocol = if inside.ends_with("/udp") { Protocol::UDP } else { Protocol::TCP };
        bindings.iter().flatten().filter_map(move |binding| {
            let port = binding.host_port.as_ref()?.parse().ok()?;
            let address = binding.host_ip.as_ref().and_then(|address| address.parse().ok());
            Some(HostPort { address: address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), port, protocol })
        })
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::engine::{
        Endpoint,
        model::{HostConfig, PortBinding, PortSummaryTypeEnum},
    };

    #[test]
    fn a_container_holds_its_port_at_its_address() {
        let publishes = |ip: Option<&str>, address: &str, port, protocol| {
            let typ = Some(PortSummaryTypeEnum::TCP);
            let ip = ip.map(str::to_owned);
            let port_of_it = PortSummary { ip, private_port: 8080, public_port: Some(80), typ };
            let found = FoundContainer { ports: Some(vec![port_of_it]), ..FoundContainer::default() };
            super::publishes(&found, &HostPort { address: address.parse().unwrap(), port, protocol })
        };

        assert!(publishes(Some("127.0.0.1"), "127.0.0.1", 80, Protocol::TCP));
        assert!(publishes(Some("127.0.0.1"), "0.0.0.0", 80, Protocol::TCP));
        assert!(publishes(Some("::"), "127.0.0.1", 80, Protocol::TCP));
        assert!(publishes(None, "127.0.0.1", 80, Protocol::TCP));
        assert!(!publishes(Some("127.0.0.2"), "127.0.0.1", 80, Protocol::TCP));
        assert!(!publishes(Some("127.0.0.1"), "127.0.0.1", 81, Protocol::TCP));
        assert!(!publishes(Some("127.0.0.1"), "127.0.0.1", 80, Protocol::UDP));
    }

    #[tokio::test]
    async fn a_start_that_failed_for_another_reason_has_no_hint() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let binding = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(port) };
        let host = HostConfig {
            port_bindings: Some([("80/tcp".to_owned(), Some(vec![binding]))].into()),
            ..HostConfig::default()
        };
        let body = ContainerCreateBody { host_config: Some(host), ..ContainerCreateBody::default() };
        // No engine is there, which is as good as one without containers.
        let engine = Engine::new(Endpoint { address: "unix:///nowhere/docker.sock".to_owned(), ..Endpoint::default() });

        let of_program = hint(&engine, &body, "exec: \"/no\": no such file or directory").await;
        let of_address = hint(&engine, &body, "Address already in use").await;
        let of_port = hint(&engine, &body, "listen tcp4 127.0.0.1:80: bind: address already in use").await;

        assert_eq!((of_program, of_address), (None, None));
        assert!(of_port.unwrap().ends_with(&format!(" (pid {})", std::process::id())));
    }

    #[test]
    fn a_listener_holds_its_port_and_a_connection_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let holder = |address: &str, port, protocol| {
            let wanted = HostPort { address: address.parse().unwrap(), port, protocol };
            let all = listeners::get_all().unwrap();
            all.into_iter().find(|listener| holds(listener, &wanted)).map(|listener| listener.process.pid)
        };
        let port = listener.local_addr().unwrap().port();

        assert_eq!(holder("127.0.0.1", port, Protocol::TCP), Some(std::process::id()));
        assert_eq!(holder("0.0.0.0", port, Protocol::TCP), Some(std::process::id()));
        assert_eq!(holder("127.0.0.2", port, Protocol::TCP), None);
        assert_eq!(holder("127.0.0.1", port, Protocol::UDP), None);
        assert_eq!(holder("127.0.0.1", connection.local_addr().unwrap().port(), Protocol::TCP), None);
    }
}
