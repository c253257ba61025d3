//! Decides which containers and networks of a node nobody owns. Pure: no I/O, no clock.

use std::collections::HashSet;

use image_service::Reason;

use crate::{
    network,
    reaper::{alloc_of, is_named_for, node_of},
};
use engine::ListedContainer;

/// What a node's containers are judged by.
pub(super) struct Owned {
    /// The node's id, never empty.
    pub(super) node: String,
    /// The full ids of the containers of this process's tasks.
    pub(super) containers: HashSet<String>,
    /// The names of the containers of claimed tasks, each with the allocation.
    pub(super) tasks: HashSet<(String, String)>,
    /// Allocations of which any container may belong to a task that is being started or recovered.
    pub(super) begun: HashSet<String>,
    /// The full ids of pause containers that this node's driver recorded when it created them.
    pub(super) pauses: HashSet<String>,
    /// Allocations whose networks are owned.
    pub(super) networks: HashSet<String>,
    /// Whether the operator keeps the containers of finished tasks.
    pub(super) keeps_ended: bool,
}

impl Owned {
    /// Whether a container is certainly this node's: by its labels and its name, which no image can give it.
    fn is_ours(&self, found: &ListedContainer) -> bool {
        node_of(found) == self.node && alloc_of(found).is_some_and(|alloc| is_named_for(found, alloc))
    }

    /// Why nobody owns a task's container; `None` if somebody does, or if it is not this node's.
    fn of_task(&self, found: &ListedContainer) -> Option<Reason> {
        let alloc = alloc_of(found).filter(|_| self.is_ours(found) && !network::is_pause(found))?;
        let is_claimed = || found.names.iter().any(|name| self.tasks.contains(&(alloc.to_owned(), name.clone())));
        let is_kept = self.keeps_ended && !found.is_running();
        if is_kept || self.containers.contains(&found.id) || self.begun.contains(alloc) || is_claimed() {
            return None;
        }
        let lives = self.networks.contains(alloc) || self.tasks.iter().any(|(of, _)| of == alloc);
        Some(if lives { Reason::NoTask } else { Reason::AllocationOver })
    }

    /// Why nobody owns a pause container, given the tasks' containers that nobody owns.
    fn of_network(
        &self,
        found: &ListedContainer,
        all: &[ListedContainer],
        tasks: &[(&ListedContainer, Reason)],
    ) -> Option<Reason> {
        let alloc = alloc_of(found).filter(|alloc| network::is_pause(found) && is_named_for(found, alloc))?;
        // A driver knows its node from its first task, and creates the network before.
        let joined =
            |(task, _): &(&ListedContainer, Reason)| network::joins(task, found) && alloc_of(task) == Some(alloc);
        let is_unlabelled = node_of(found).is_empty();
        let is_known = || is_unlabelled && (self.pauses.contains(&found.id) || tasks.iter().any(joined));
        if !self.is_ours(found) && !is_known() {
            return None;
        }
        let is_left = |joined: &ListedContainer| tasks.iter().any(|(left, _)| left.id == joined.id);
        let is_used = || all.iter().any(|other| other.is_running() && network::joins(other, found) && !is_left(other));
        let is_owned = self.networks.contains(alloc) || self.begun.contains(alloc) || is_used();
        (!is_owned).then_some(Reason::AllocationOver)
    }

    /// The containers that nobody owns, tasks' before networks'.
    pub(super) fn left<'a>(&self, all: &'a [ListedContainer]) -> Vec<(&'a ListedContainer, Reason)> {
        let mut left: Vec<_> = all.iter().filter_map(|found| Some((found, self.of_task(found)?))).collect();
        let networks = all.iter().filter_map(|found| Some((found, self.of_network(found, all, &left)?)));
        let networks: Vec<_> = networks.collect();
        left.extend(networks);
        left
    }

    /// The networks that nobody owns: those of the allocations in the ledger, and of the containers in `left`.
    pub(super) fn networks(
        &self,
        recorded: Vec<String>,
        left: &[(&ListedContainer, Reason)],
        all: &[ListedContainer],
    ) -> Vec<String> {
        let pauses = left.iter().filter(|(found, _)| network::is_pause(found));
        let mut allocs: Vec<String> = pauses.filter_map(|(found, _)| alloc_of(found)).map(str::to_owned).collect();
        allocs.extend(recorded);
        allocs.sort();
        allocs.dedup();
        let is_left = |found: &ListedContainer| left.iter().any(|(left, _)| left.id == found.id);
        // A container that is left alone may be in it, whatever its state.
        let has_other = |alloc: &String| all.iter().any(|found| alloc_of(found) == Some(alloc) && !is_left(found));
        allocs.retain(|alloc| !self.networks.contains(alloc) && !self.begun.contains(alloc) && !has_other(alloc));
        allocs
    }
}

/// Whether a volume was created without a name: engines then give it 64 hexadecimal digits.
fn is_anonymous(volume: &str) -> bool {
    volume.len() == 64 && volume.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The anonymous volumes of a container that no other container mounts; they are removed with it.
pub(super) fn volumes<'a>(of: &'a ListedContainer, all: &[ListedContainer]) -> Vec<&'a str> {
    let mounts =
        |found: &ListedContainer, name: &str| found.mounts.iter().any(|mount| mount.volume.as_deref() == Some(name));
    let own = of.mounts.iter().filter_map(|mount| mount.volume.as_deref()).filter(|volume| is_anonymous(volume));
    own.filter(|volume| !all.iter().any(|other| other.id != of.id && mounts(other, volume))).collect()
}

#[cfg(test)]
mod tests {
    use engine::{ListedState, MountPoint};

    use super::*;
    use crate::labels::{ALLOC_ID, NODE_ID};

    fn container(id: &str, name: &str, alloc: &str, node: &str) -> ListedContainer {
        let labels = [(ALLOC_ID, alloc), (NODE_ID, node)].map(|(name, value)| (name.to_owned(), value.to_owned()));
        ListedContainer {
            id: id.to_owned(),
            names: vec![name.to_owned()],
            state: Some(ListedState::Running),
            labels: labels.into(),
            ..ListedContainer::default()
        }
    }

    fn owned() -> Owned {
        let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Owned {
            node: "here".to_owned(),
            containers: of(&["known"]),
            tasks: [("alive".to_owned(), "web-alive".to_owned())].into(),
            begun: of(&["begun"]),
            pauses: of(&["recorded"]),
            networks: of(&["alive"]),
            keeps_ended: false,
        }
    }

    fn why(found: ListedContainer) -> Option<Reason> {
        let all = [found];
        let left = owned().left(&all);
        left.first().map(|(_, reason)| *reason)
    }

    #[test]
    fn what_nobody_claims_of_this_node_has_no_owner() {
        assert_eq!(why(container("c", "web-over", "over", "here")), Some(Reason::AllocationOver));
        assert_eq!(why(container("c", "other-alive", "alive", "here")), Some(Reason::NoTask));
        assert_eq!(why(container("c", "nomad_init_over", "over", "here")), Some(Reason::AllocationOver));
        assert_eq!(why(container("c", "nomad_init_over-0c0ffee0", "over", "here")), Some(Reason::AllocationOver));
    }

    #[test]
    fn what_is_claimed_known_beginning_or_strange_is_left_alone() {
        for (found, why_not) in [
            (container("c", "web-alive", "alive", "here"), "a claimed task"),
            (container("known", "web-over", "over", "here"), "a task of this process"),
            (container("c", "web-begun", "begun", "here"), "one that is being started"),
            (container("c", "web-over", "over", "there"), "another node's, with all other labels"),
            (container("c", "web-over", "over", ""), "of an unknown node"),
            (container("c", "web", "over", "here"), "a name that no driver gives"),
            (container("c", "nomad_init_alive", "alive", "here"), "an owned network"),
            (container("c", "nomad_init_begun", "begun", "here"), "a network that is being joined"),
            (ListedContainer::default(), "without labels"),
        ] {
            assert_eq!(why(found), None, "{why_not}");
        }
    }

    #[test]
    fn ended_containers_are_kept_where_the_operator_wants_that() {
        let ended = ListedContainer { state: Some(ListedState::Exited), ..container("c", "web-over", "over", "here") };
        let all = [ended];

        assert_eq!(Owned { keeps_ended: true, ..owned() }.left(&all), []);
        assert_eq!(owned().left(&all).len(), 1);
    }

    #[test]
    fn a_network_that_a_strange_container_uses_is_left_alone() {
        let pause = container("pause", "nomad_init_over", "over", "here");
        let joined = |id: &str, name: &str, node: &str| ListedContainer {
            network_mode: "container:pause".to_owned(),
            ..container(id, name, "over", node)
        };
        let (own, strange) = (joined("own", "web-over", "here"), joined("strange", "web-over", "there"));
        let ids = |all: &[ListedContainer]| -> Vec<String> {
            owned().left(all).into_iter().map(|(found, _)| found.id.clone()).collect()
        };

        assert_eq!(ids(&[pause.clone(), own.clone()]), ["own", "pause"], "tasks' come first");
        let all = [pause, own, strange];
        assert_eq!(ids(&all), ["own"]);
        assert_eq!(owned().networks(vec!["over".to_owned()], &owned().left(&all), &all), Vec::<String>::new());
    }

    #[test]
    fn a_pause_container_from_before_the_first_task_is_known_by_its_record_or_by_the_task_that_joined_it() {
        let pause = |id: &str, node: &str| container(id, "nomad_init_over", "over", node);
        let task = |alloc: &str| ListedContainer {
            network_mode: "container:pause".to_owned(),
            ..container("task", &format!("web-{alloc}"), alloc, "here")
        };
        let count = |all: &[ListedContainer]| owned().left(all).len();

        assert_eq!([count(&[pause("recorded", "")]), count(&[pause("recorded", "there")])], [1, 0]);
        assert_eq!([count(&[pause("pause", "")]), count(&[task("over"), pause("pause", "")])], [0, 2]);
        assert_eq!(count(&[task("over"), pause("pause", "there")]), 1, "another node's");
        assert_eq!(count(&[task("other"), pause("pause", "")]), 1, "another allocation's");
    }

    #[test]
    fn networks_are_known_by_their_records_and_by_their_pause_containers() {
        let all = [container("pause", "nomad_init_lost", "lost", "here")];
        let recorded = ["alive", "begun", "over"].map(str::to_owned).to_vec();

        assert_eq!(owned().networks(recorded, &owned().left(&all), &all), ["lost", "over"]);
    }

    #[test]
    fn only_anonymous_volumes_of_one_container_are_removed_with_it() {
        let (own, shared) = ("a".repeat(64), "b".repeat(64));
        let with = |id: &str, volumes: &[&str]| {
            let mount = |name: &&str| MountPoint { volume: Some((*name).to_owned()), ..MountPoint::default() };
            let mounts = volumes.iter().map(mount).collect();
            ListedContainer { mounts, ..container(id, "web-over", "over", "here") }
        };
        let all = [with("c", &[&own, &shared, "named"]), with("other", &[&shared])];

        assert_eq!(volumes(&all[0], &all), [own.as_str()]);
    }
}
