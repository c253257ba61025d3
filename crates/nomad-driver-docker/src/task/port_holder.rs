//! Who holds a port that a task was to publish, for the error of a start that failed.

use std::net::{IpAddr, Ipv4Addr};

use listeners::{Listener, Protocol, SocketState};

use crate::engine::{Engine, model::ContainerCreateBody};

/// A port of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HostPort {
    address: IpAddr,
    port: u16,
    protocol: Protocol,
}

/// Names who holds a port of a container that did not start; `None` where nobody is seen to.
pub(super) async fn hint(engine: &Engine, body: &ContainerCreateBody) -> Option<String> {
    let ports = published(body);
    for HostPort { port, protocol, .. } in &ports {
        let text = format!("{port}/{}", protocol.to_string().to_lowercase());
        if let Some(container) = engine.container_that_publishes(&text).await.ok().flatten() {
            return Some(format!("hint: port {text} is published by container {container}"));
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

fn holds(listener: &Listener, wanted: &HostPort) -> bool {
    let (there, here) = (listener.socket.ip(), wanted.address);
    listener.protocol == wanted.protocol
        && listener.socket.port() == wanted.port
        && (there == here || there.is_unspecified() || here.is_unspecified())
        // Of TCP there are also the connections, which hold no port.
        && (wanted.protocol == Protocol::UDP || listener.state == SocketState::Listen)
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
