//! What nobody owns: the request, and what is found.

use std::path::PathBuf;

use crate::garbage_proto as wire;

/// A request for what belongs to a node and has no owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collect {
    /// The node's id. Nothing of another node is listed or removed.
    pub node: String,
    /// Where the node's driver is.
    pub home: Home,
    /// What has an owner.
    pub claims: Claims,
    /// Whether to remove what is listed.
    pub remove: Remove,
}

/// Where a node's driver is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// It is the one that is asked.
    Own,
    /// It does not run; this is its state directory.
    StateDir(PathBuf),
    /// It does not run, and its state directory does not exist.
    Lost,
}

/// What has an owner, whether the driver knows it or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Tasks, by the allocation's id and their name.
    pub tasks: Vec<(String, String)>,
    /// Allocations whose networks and images are in use.
    pub allocs: Vec<String>,
}

/// Whether to remove what is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remove {
    /// Remove it.
    Yes,
    /// Only list it.
    No,
}

/// Something that nobody owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// What it is.
    pub kind: Kind,
    /// A container's, image's or allocation's id; a volume's name; a path.
    pub id: String,
    /// Its name for people; may be empty.
    pub name: String,
    /// Why nobody owns it.
    pub reason: Reason,
    /// `None` if nobody asked to remove it; the error is a text for people.
    pub removed: Option<Result<(), String>>,
}

/// What a leftover is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A container of a task or of a network.
    Container,
    /// An anonymous volume.
    Volume,
    /// A group's network: its namespace and its record.
    Network,
    /// An image.
    Image,
    /// A record or a mount point in the state directory.
    File,
}

/// Why something has no owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its allocation is over.
    AllocationOver,
    /// Its allocation lives, but it is none of its tasks': a start was interrupted.
    NoTask,
    /// Only a container that has no owner uses it.
    OfGarbage,
    /// The driver pulled it, and no task and no container uses it.
    Unused,
    /// Its container does not exist.
    NoContainer,
}

impl From<Collect> for wire::CollectRequest {
    fn from(Collect { node, home, claims: Claims { tasks, allocs }, remove }: Collect) -> Self {
        let home = match home {
            Home::Own => wire::collect_request::Home::Own(wire::Own {}),
            Home::StateDir(path) => wire::collect_request::Home::StateDir(path.display().to_string()),
            Home::Lost => wire::collect_request::Home::Lost(wire::Lost {}),
        };
        let tasks = tasks.into_iter().map(|(alloc_id, name)| wire::ClaimedTask { alloc_id, name }).collect();
        Self { node, home: Some(home), tasks, allocs, remove: remove == Remove::Yes }
    }
}

impl TryFrom<wire::CollectRequest> for Collect {
    type Error = &'static str;

    fn try_from(request: wire::CollectRequest) -> Result<Self, Self::Error> {
        let wire::CollectRequest { node, home, tasks, allocs, remove } = request;
        let home = match home.ok_or("the request names no driver")? {
            wire::collect_request::Home::Own(_) => Home::Own,
            wire::collect_request::Home::StateDir(path) => Home::StateDir(path.into()),
            wire::collect_request::Home::Lost(_) => Home::Lost,
        };
        if node.is_empty() {
            return Err("the request names no node");
        }
        let tasks = tasks.into_iter().map(|wire::ClaimedTask { alloc_id, name }| (alloc_id, name)).collect();
        let remove = if remove { Remove::Yes } else { Remove::No };
        Ok(Self { node, home, claims: Claims { tasks, allocs }, remove })
    }
}

impl From<Leftover> for wire::Leftover {
    fn from(Leftover { kind, id, name, reason, removed }: Leftover) -> Self {
        let removal = removed.map(|removed| wire::Removal { error: removed.err() });
        Self { kind: wire::Kind::from(kind).into(), id, name, reason: wire::Reason::from(reason).into(), removal }
    }
}

impl TryFrom<wire::Leftover> for Leftover {
    type Error = &'static str;

    fn try_from(leftover: wire::Leftover) -> Result<Self, Self::Error> {
        let kind = match leftover.kind() {
            wire::Kind::Container => Kind::Container,
            wire::Kind::Volume => Kind::Volume,
            wire::Kind::Network => Kind::Network,
            wire::Kind::Image => Kind::Image,
            wire::Kind::File => Kind::File,
            wire::Kind::Unspecified => return Err("the driver lists something of an unknown kind"),
        };
        let reason = match leftover.reason() {
            wire::Reason::AllocationOver => Reason::AllocationOver,
            wire::Reason::NoTask => Reason::NoTask,
            wire::Reason::OfGarbage => Reason::OfGarbage,
            wire::Reason::Unused => Reason::Unused,
            wire::Reason::NoContainer => Reason::NoContainer,
            wire::Reason::Unspecified => return Err("the driver lists something for an unknown reason"),
        };
        let wire::Leftover { id, name, removal, .. } = leftover;
        let removed = removal.map(|wire::Removal { error }| error.map_or(Ok(()), Err));
        Ok(Self { kind, id, name, reason, removed })
    }
}

impl From<Kind> for wire::Kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Container => Self::Container,
            Kind::Volume => Self::Volume,
            Kind::Network => Self::Network,
            Kind::Image => Self::Image,
            Kind::File => Self::File,
        }
    }
}

impl From<Reason> for wire::Reason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::AllocationOver => Self::AllocationOver,
            Reason::NoTask => Self::NoTask,
            Reason::OfGarbage => Self::OfGarbage,
            Reason::Unused => Self::Unused,
            Reason::NoContainer => Self::NoContainer,
        }
    }
}
