//! Ports of this machine for a group: those that the job names, and free ones for the others.

use std::{
    collections::{BTreeMap, hash_map::RandomState},
    fmt,
    hash::{BuildHasher, Hasher},
    net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket},
    sync::{Mutex, PoisonError},
};

use listeners::{Listener, Protocol, SocketState};
use nomad_jobspec::job::Port;
use nomad_plugin::driver::PortMapping;

/// Where ports are published: jobs on one machine are for this machine.
pub(crate) const HOST_IP: Ipv4Addr = Ipv4Addr::LOCALHOST;

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// The ports that agents have given out. Those of a bridge are rules of the firewall alone, which nobody listens on.
#[derive(Debug, Default)]
pub(crate) struct Ports(Mutex<BTreeMap<u16, Owner>>);

/// To whom a port was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    ThisJob,
    Job(String),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ThisJob => f.write_str("another group of this job"),
            Self::Job(id) => write!(f, "job {id:?}"),
        }
    }
}

impl Ports {
    /// The group's ports. On an error none is taken.
    pub(crate) fn take(&self, ports: &[Port]) -> Result<Vec<PortMapping>, String> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut mine = Vec::new();
        for port in ports {
            let value = match port.fixed {
                Some(fixed) => check(fixed, &port.label, &taken).map(|()| fixed),
                None => free(&taken).ok_or_else(|| "no port from 20000 to 31999 is free".to_owned()),
            };
            match value {
                Ok(value) => {
                    taken.insert(value, Owner::ThisJob);
                    mine.push(PortMapping {
                        label: port.label.clone(),
                        value: value.into(),
                        to: port.to.unwrap_or_default().into(),
                        host_ip: HOST_IP.to_string(),
                    });
                }
                Err(error) => {
                    release(&mut taken, &mine);
                    return Err(error);
                }
            }
        }
        Ok(mine)
    }

    /// Ports that an allocation has already.
    pub(crate) fn reserve(&self, ports: &[PortMapping], owner: &Owner) {
        let values = ports.iter().filter_map(|port| Some((u16::try_from(port.value).ok()?, owner.clone())));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(values);
    }

    /// Gives ports back.
    pub(crate) fn release(&self, ports: &[PortMapping]) {
        release(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), ports);
    }
}

fn release(taken: &mut BTreeMap<u16, Owner>, ports: &[PortMapping]) {
    for port in ports {
        taken.retain(|value, _| i32::from(*value) != port.value);
    }
}

/// A port is published for both protocols.
fn is_free(port: u16) -> Result<(), (Protocol, std::io::Error)> {
    let here = SocketAddrV4::new(HOST_IP, port);
    TcpListener::bind(here).map(drop).map_err(|error| (Protocol::TCP, error))?;
    UdpSocket::bind(here).map(drop).map_err(|error| (Protocol::UDP, error))
}

fn check(port: u16, label: &str, taken: &BTreeMap<u16, Owner>) -> Result<(), String> {
    let advice = "stop what uses it, or give the port another `static` value";
    if let Some(owner) = taken.get(&port) {
        return Err(format!("port {port} ({label:?}) is taken by {owner}\nhint: {advice}"));
    }
    is_free(port).map_err(|(protocol, error)| {
        let holder = holder(port, protocol).map(|holder| format!(" by {holder}")).unwrap_or_default();
        let protocol = if protocol == Protocol::UDP { " for UDP" } else { "" };
        format!("port {port} ({label:?}) is taken{protocol}{holder}: {error}\nhint: {advice}")
    })
}

/// The process that listens on a port here, where it can be seen: its name and id.
fn holder(port: u16, protocol: Protocol) -> Option<String> {
    let is_here = |ip: IpAddr| ip == HOST_IP || ip.is_unspecified();
    let listens = |listener: &Listener| {
        listener.protocol == protocol
            && listener.socket.port() == port
            && (protocol == Protocol::UDP || listener.state == SocketState::Listen)
            && is_here(listener.socket.ip())
    };
    let process = listeners::get_all().ok()?.into_iter().find(listens)?.process;
    Some(format!("{} (pid {})", process.name, process.pid))
}

/// A free port, looked for from a random one on.
fn free(taken: &BTreeMap<u16, Owner>) -> Option<u16> {
    let random = RandomState::new().build_hasher().finish();
    let start = u16::try_from(random % u64::from(COUNT)).unwrap_or_default();
    let candidates = (0..COUNT).map(|step| FIRST + (start + step) % COUNT);
    candidates.into_iter().find(|port| !taken.contains_key(port) && is_free(*port).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(fixed: Option<u16>) -> Port {
        Port { label: "http".into(), fixed, to: Some(80) }
    }

    #[test]
    fn a_dynamic_port_is_free_and_given_out_once() {
        let ports = Ports::default();
        let taken = ports.take(&[port(None), port(None)]).unwrap();

        assert_ne!(taken[0].value, taken[1].value);
        assert!((20_000..32_000).contains(&taken[0].value));
        assert_eq!((taken[0].to, taken[0].host_ip.as_str()), (80, "127.0.0.1"));
    }

    #[test]
    fn a_taken_port_is_an_error_that_says_what_to_do() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap().port();
        let ports = Ports::default();

        let error = ports.take(&[port(None), port(Some(taken))]).unwrap_err();

        assert!(error.starts_with(&format!("port {taken} (\"http\") is taken by ")), "{error}");
        assert!(error.contains(&format!(" (pid {}): ", std::process::id())), "{error}");
        assert!(error.contains("\nhint: stop what uses it"), "{error}");
        assert!(ports.0.lock().unwrap().is_empty(), "a port is kept");
    }

    #[test]
    fn a_port_is_taken_by_udp_as_well_and_its_holder_is_named() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let taken = socket.local_addr().unwrap().port();

        let error = Ports::default().take(&[port(Some(taken))]).unwrap_err();

        assert!(error.starts_with(&format!("port {taken} (\"http\") is taken for UDP by ")), "{error}");
        assert!(error.contains(&format!(" (pid {}): ", std::process::id())), "{error}");
    }
}
