//! Finds who holds a port that a task was to publish, for the error of a failed start.

use std::net::{IpAddr, Ipv4Addr};

use listeners::{Listener, Protocol, SocketState};

use engine::{Engine, ListedContainer, Protocol as Published, PublishedPort, request::ContainerCreateBody};

/// A port of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HostPort {
    address: IpAddr,
    port: u16,
    protocol: Protocol,
}

/// Names the holder of a port, for a container that did not start because a port is taken; `None` if no holder is found.
pub(super) async fn hint(engine: &Engine, body: &ContainerCreateBody) -> Option<String> {
    let ports = published(body);
    for wanted in &ports {
        let text = format!("{}/{}", wanted.port, wanted.protocol.to_string().to_lowercase());
        let found = engine.containers_that_publish(&text).await.unwrap_or_default();
        if let Some(container) = found.into_iter().find(|found| publishes(found, wanted)) {
            let name = container.names.into_iter().next().unwrap_or_default();
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

fn publishes(found: &ListedContainer, wanted: &HostPort) -> bool {
    let protocol = match wanted.protocol {
        Protocol::TCP => Published::Tcp,
        Protocol::UDP => Published::Udp,
    };
    let is_it = |published: &PublishedPort| {
        published.port == wanted.port && published.protocol == protocol && overlap(published.address, wanted.address)
    };
    found.ports.iter().any(is_it)
}

fn holds(listener: &Listener, wanted: &HostPort) -> bool {
    listener.protocol == wanted.protocol
        && listener.socket.port() == wanted.port
        && overlap(listener.socket.ip(), wanted.address)
        // TCP also lists connections, which hold no port.
        && (wanted.protocol == Protocol::UDP || listener.state == SocketState::Listen)
}

/// Whether a port taken at one address is also taken at the other.
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
    use engine::{
        Endpoint,
        request::{HostConfig, PortBinding},
    };

    #[test]
    fn a_container_holds_its_port_at_its_address() {
        let publishes = |at: &str, address: &str, port, protocol| {
            let published = PublishedPort { address: at.parse().unwrap(), port: 80, protocol: Published::Tcp };
            let found = ListedContainer { ports: vec![published], ..ListedContainer::default() };
            super::publishes(&found, &HostPort { address: address.parse().unwrap(), port, protocol })
        };

        assert!(publishes("127.0.0.1", "127.0.0.1", 80, Protocol::TCP));
        assert!(publishes("127.0.0.1", "0.0.0.0", 80, Protocol::TCP));
        assert!(publishes("::", "127.0.0.1", 80, Protocol::TCP));
        assert!(publishes("0.0.0.0", "127.0.0.1", 80, Protocol::TCP));
        assert!(!publishes("127.0.0.2", "127.0.0.1", 80, Protocol::TCP));
        assert!(!publishes("127.0.0.1", "127.0.0.1", 81, Protocol::TCP));
        assert!(!publishes("127.0.0.1", "127.0.0.1", 80, Protocol::UDP));
    }

    #[tokio::test]
    async fn a_process_that_holds_a_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let binding = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(port) };
        let host = HostConfig {
            port_bindings: Some([("80/tcp".to_owned(), Some(vec![binding]))].into()),
            ..HostConfig::default()
        };
        let body = ContainerCreateBody { host_config: Some(host), ..ContainerCreateBody::default() };
        // There is no engine, which is equivalent to one without containers.
        let engine = Engine::new(Endpoint { address: "unix:///nowhere/docker.sock".to_owned(), ..Endpoint::default() });

        let of_port = hint(&engine, &body).await;

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
