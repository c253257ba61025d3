//! What the driver and its log holder say to each other, over a local socket that keeps messages apart (`SOCK_SEQPACKET`).
//!
//! Each request is of one size and has one reply; a request to hold a pipe carries its descriptor, and the reply to one to
//! take a pipe does. Only processes of the same user, or of root, are served.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    cmsg_space,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        recvmsg, sendmsg, sockopt::socket_peercred,
    },
    process::geteuid,
};

/// The socket's name in the driver's state directory. The number is that of the protocol.
pub const SOCKET: &str = "log-holder-1.sock";

/// How long a container's id is: that of 32 bytes in hexadecimal. A shorter one ends in zeros.
const ID: usize = 64;
const REQUEST: usize = 1 + ID + 1;

/// The writing end of a pipe: whose log is written through it, and which stream of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct End {
    container: [u8; ID],
    stream: u8,
}

/// What a driver wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Hold the end that comes along, in the place of one of the same name.
    Hold(End),
    /// Give me the end.
    Take(End),
    /// The log is complete: let go of the end as soon as that loses nothing.
    Release(End),
}

/// What the holder answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is done; the end that was asked for comes along.
    Done = 1,
    /// No such end is held.
    Unknown = 2,
    /// No more can be held.
    Full = 3,
}

impl End {
    /// Of a container (full id), by the stream's number.
    pub fn new(container: &str, stream: u8) -> Self {
        let mut id = [0; ID];
        id.iter_mut().zip(container.bytes()).for_each(|(place, byte)| *place = byte);
        Self { container: id, stream }
    }
}

impl Request {
    /// Its bytes.
    pub fn encode(self) -> [u8; REQUEST] {
        let (kind, end) = match self {
            Self::Hold(end) => (1, end),
            Self::Take(end) => (2, end),
            Self::Release(end) => (3, end),
        };
        let mut bytes = [0; REQUEST];
        bytes[0] = kind;
        bytes[1..=ID].copy_from_slice(&end.container);
        bytes[REQUEST - 1] = end.stream;
        bytes
    }

    fn decode(bytes: [u8; REQUEST]) -> Option<Self> {
        let [kind, rest @ ..] = bytes;
        let (container, stream) = (rest.first_chunk()?, *rest.last()?);
        let end = End { container: *container, stream };
        match kind {
            1 => Some(Self::Hold(end)),
            2 => Some(Self::Take(end)),
            3 => Some(Self::Release(end)),
            _ => None,
        }
    }

    /// Reads one. An error of kind `UnexpectedEof` is the other side's end.
    pub fn receive(socket: impl AsFd) -> io::Result<(Self, Option<OwnedFd>)> {
        let (bytes, descriptor) = receive(socket)?;
        let request = Self::decode(bytes).ok_or(io::ErrorKind::InvalidData)?;
        Ok((request, descriptor))
    }
}

impl Reply {
    /// Sends it.
    pub fn send(self, socket: impl AsFd, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        send(socket, &[self as u8], descriptor)
    }

    /// Reads one. An error of kind `UnexpectedEof` is the other side's end.
    pub fn receive(socket: impl AsFd) -> io::Result<(Self, Option<OwnedFd>)> {
        let ([kind], descriptor) = receive(socket)?;
        let reply = [Self::Done, Self::Unknown, Self::Full].into_iter().find(|reply| *reply as u8 == kind);
        Ok((reply.ok_or(io::ErrorKind::InvalidData)?, descriptor))
    }
}

/// Whether the process at the other end may take part: it is of this user, or of root.
pub fn is_trusted(socket: impl AsFd) -> bool {
    socket_peercred(socket).is_ok_and(|peer| peer.uid == geteuid() || peer.uid.is_root())
}

/// Sends a message, with a descriptor.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.as_slice();
    if !descriptors.is_empty() {
        let _one_fits = ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Reads a message of `N` bytes.
fn receive<const N: usize>(socket: impl AsFd) -> io::Result<([u8; N], Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; N];
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptor = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
            descriptor = descriptors.next();
        }
    }
    match received.bytes {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count if count == N => Ok((bytes, descriptor)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_sent() {
        let end = End::new("0123abcd", 1);

        for request in [Request::Hold(end), Request::Take(end), Request::Release(end)] {
            assert_eq!(Request::decode(request.encode()), Some(request));
        }
        assert_eq!(Request::decode([9; REQUEST]), None);
    }
}
