//! The first words between host and plugin: a cookie in the environment, one line on standard output.
//!
//! The line is `CORE|APP|NETWORK|ADDRESS|PROTOCOL|CERTIFICATE[|MULTIPLEX]`, for example `1|2|unix|/tmp/plugin1-kZ3f9q/s|grpc|`.

use std::{fmt, path::PathBuf, str::FromStr};

/// The version of go-plugin's own protocol.
pub(crate) const CORE_VERSION: u32 = 1;

/// The cookie by which a plugin knows that a host started it, and not a person.
#[derive(Clone, Copy, Debug)]
pub struct Handshake {
    /// The environment variable's name.
    pub cookie_key: &'static str,
    /// The value that it must have.
    pub cookie_value: &'static str,
}

/// Whether the plugin answers a host that offers to send all brokered streams over one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multiplex {
    /// The host did not offer it.
    Unasked,
    /// The host offered it; no brokered streams are served, so there is nothing to multiplex.
    Declined,
}

/// What a plugin reports to its host on its standard output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeLine {
    /// The version of the services that the plugin serves.
    pub app_version: u32,
    /// The unix socket that it listens on.
    pub address: PathBuf,
    /// The plugin's certificate for AutoMTLS, base64 of DER; empty where it speaks no TLS.
    pub certificate: String,
    /// The answer to `PLUGIN_MULTIPLEX_GRPC`.
    pub multiplex: Multiplex,
}

impl fmt::Display for HandshakeLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{CORE_VERSION}|{}|unix|{}|grpc|{}", self.app_version, self.address.display(), self.certificate)?;
        // Only hosts that can multiplex know a seventh field.
        if self.multiplex == Multiplex::Declined { f.write_str("|false") } else { Ok(()) }
    }
}

/// Why a plugin's first line is no handshake.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Too few fields, or a version that is no number.
    #[error("the plugin's first line is no handshake: {0:?}")]
    Malformed(String),
    /// Another core protocol.
    #[error("the plugin speaks core protocol {0}, this host {CORE_VERSION}")]
    Core(u32),
    /// Not a unix socket, or not gRPC.
    #[error("the plugin offers {0}, this host needs grpc over unix")]
    Transport(String),
}

impl FromStr for HandshakeLine {
    type Err = HandshakeError;

    fn from_str(line: &str) -> Result<Self, HandshakeError> {
        let malformed = || HandshakeError::Malformed(line.trim_end().to_owned());
        let fields: Vec<&str> = line.trim_end().split('|').collect();
        let [core, app, network, address, protocol, ..] = fields[..] else { return Err(malformed()) };
        match core.parse::<u32>() {
            Ok(CORE_VERSION) => {}
            Ok(other) => return Err(HandshakeError::Core(other)),
            Err(_) => return Err(malformed()),
        }
        if (network, protocol) != ("unix", "grpc") {
            return Err(HandshakeError::Transport(format!("{protocol} over {network}")));
        }
        Ok(Self {
            app_version: app.parse().map_err(|_| malformed())?,
            address: PathBuf::from(address),
            certificate: fields.get(5).copied().unwrap_or_default().to_owned(),
            multiplex: if fields.len() > 6 { Multiplex::Declined } else { Multiplex::Unasked },
        })
    }
}

/// The highest version that both sides speak: `offered` is the host's list (`2,3`), empty where it says nothing.
pub(crate) fn choose_version(offered: &str, ours: &[u32]) -> Option<u32> {
    let offered: Vec<u32> = offered.split(',').filter_map(|version| version.trim().parse().ok()).collect();
    if offered.is_empty() {
        return ours.iter().min().copied();
    }
    ours.iter().filter(|version| offered.contains(version)).max().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_an_empty_certificate_and_no_newline() {
        let line = line(String::new(), Multiplex::Unasked);

        assert_eq!(line.to_string(), "1|2|unix|/tmp/p.sock|grpc|");
        assert_eq!("1|2|unix|/tmp/p.sock|grpc|\n".parse(), Ok(line));
    }

    #[test]
    fn the_certificate_is_the_sixth_field_and_the_answer_about_multiplexing_the_seventh() {
        let with_both = line("MIIB".into(), Multiplex::Declined);

        assert_eq!(with_both.to_string(), "1|2|unix|/tmp/p.sock|grpc|MIIB|false");
        assert_eq!("1|2|unix|/tmp/p.sock|grpc|MIIB|false\n".parse(), Ok(with_both));
        assert_eq!("1|2|unix|/tmp/p.sock|grpc\n".parse(), Ok(line(String::new(), Multiplex::Unasked)));
    }

    fn line(certificate: String, multiplex: Multiplex) -> HandshakeLine {
        HandshakeLine { app_version: 2, address: "/tmp/p.sock".into(), certificate, multiplex }
    }

    #[test]
    fn what_is_no_handshake_is_refused_with_its_text() {
        assert_eq!("hello\n".parse::<HandshakeLine>(), Err(HandshakeError::Malformed("hello".into())));
        assert_eq!("2|2|unix|/s|grpc|".parse::<HandshakeLine>(), Err(HandshakeError::Core(2)));
        let tcp = "1|2|tcp|127.0.0.1:1|netrpc|".parse::<HandshakeLine>();
        assert_eq!(tcp, Err(HandshakeError::Transport("netrpc over tcp".into())));
    }

    #[test]
    fn the_highest_common_version_is_chosen() {
        assert_eq!(choose_version("2", &[2]), Some(2));
        assert_eq!(choose_version("1,2,3", &[2, 3, 4]), Some(3));
        assert_eq!(choose_version("5", &[2]), None);
        assert_eq!(choose_version("", &[3, 2]), Some(2));
    }
}
