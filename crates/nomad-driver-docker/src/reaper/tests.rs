//! Which containers and networks are dangling.

use std::{fs, time::SystemTime};

use tokio::time::Instant;

use crate::{config::PluginConfig, network::Directory};
use engine::{EngineName, ListedState as State, MountPoint};

use super::*;

const NOW: u64 = 1_000_000;

fn found(id: &str, name: &str, state: State, age: u64, node: Option<&str>) -> ListedContainer {
    let node = node.map(|node| (NODE_ID.to_owned(), node.to_owned()));
    let alloc = (ALLOC_ID.to_owned(), name.rsplit('-').next().unwrap().to_owned());
    ListedContainer {
        id: id.to_owned(),
        names: vec![name.to_owned()],
        state: Some(state),
        created_at: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(NOW - age)),
        labels: node.into_iter().chain([alloc]).collect(),
        ..ListedContainer::default()
    }
}

fn here() -> Identity {
    Identity { id: "here".to_owned(), allocs: "/data/alloc".into() }
}

fn mounting(source: &str, node: Option<&str>) -> ListedContainer {
    let mount = MountPoint { source: Some(source.into()), ..MountPoint::default() };
    ListedContainer { mounts: vec![mount], ..found("lost", "web-1", State::Running, 300, node) }
}

fn dangling(found: &ListedContainer, change: impl Fn(&mut GarbageCollection)) -> bool {
    let containers = ["mine".to_owned()].into();
    let owned = Owned {
        containers,
        recorded: ["recorded"].into(),
        allocs: ["used"].into(),
        begun: ["begun"].into(),
        networks: ["made"].into(),
        node: here(),
    };
    let mut gc = PluginConfig::default().gc;
    change(&mut gc);
    let now = Moment { clock: SystemTime::UNIX_EPOCH + Duration::from_secs(NOW), passed: Instant::now() };
    is_dangling(found, &owned, &gc, age(found, &Ages::new(now)))
}

#[test]
fn what_no_task_owns_is_dangling_in_any_state() {
    for state in [State::Running, State::Paused, State::Created, State::Exited, State::Dead] {
        assert!(dangling(&found("lost", "web-1", state, 300, Some("here")), |_| ()), "{state:?}");
        assert!(dangling(&found("lost", "web-1", state, 300, None), |_| ()), "{state:?}, of the built-in driver");
    }
}

#[test]
fn a_pause_container_is_dangling_when_it_does_not_run_and_its_allocation_has_no_task() {
    let pause = |name: &str, state, age, node| dangling(&found("pause", name, state, age, node), |_| ());
    for state in [State::Created, State::Exited, State::Dead] {
        assert!(pause("nomad_init_-gone", state, 300, None), "{state:?}");
        assert!(!pause("nomad_init_-used", state, 300, None), "{state:?}, of an allocation with tasks");
        assert!(!pause("nomad_init_-gone", state, 299, None), "{state:?}, young");
        assert!(!pause("nomad_init_-gone", state, 300, Some("there")), "{state:?}, a stranger's");
    }
    for state in [State::Running, State::Paused, State::Restarting] {
        assert!(!pause("nomad_init_-gone", state, 300, None), "{state:?}");
    }
    let leave_ended = |gc: &mut GarbageCollection| gc.container = false;
    assert!(dangling(&found("pause", "nomad_init_-gone", State::Exited, 300, None), leave_ended), "nobody looks at it");
}

#[test]
fn tasks_those_that_begin_young_ones_and_strangers_are_not() {
    let not = [
        found("mine", "web-1", State::Running, 300, Some("here")),
        found("young", "web-1", State::Running, 299, Some("here")),
        found("strange", "web-1", State::Running, 300, Some("there")),
        found("starting", "web-begun", State::Created, 300, Some("here")),
        found("starting", "web-begun", State::Running, 300, None),
        ListedContainer::default(),
    ];
    for found in not {
        assert!(!dangling(&found, |_| ()), "{found:?}");
    }
}

#[test]
fn what_this_driver_recorded_is_its_own_whatever_its_labels_and_mounts_say() {
    for state in [State::Running, State::Created, State::Exited] {
        for node in [None, Some(""), Some("an earlier id of this node")] {
            assert!(dangling(&found("recorded", "web-1", state, 300, node), |_| ()), "{state:?} {node:?}");
        }
    }
    assert!(!dangling(&found("recorded", "web-begun", State::Running, 300, None), |_| ()), "a task begins");
    assert!(!dangling(&found("recorded", "web", State::Running, 300, None), |_| ()), "it was renamed");
}

#[test]
fn what_has_no_nodes_label_is_nobodys_where_the_built_in_driver_has_never_run() {
    let never_built_in = |gc: &mut GarbageCollection| gc.dangling.unlabelled = false;

    for state in [State::Running, State::Created, State::Exited] {
        assert!(!dangling(&found("agents", "web-1", state, 300, None), never_built_in), "{state:?}");
        assert!(!dangling(&found("agents", "web-1", state, 300, Some("")), never_built_in), "{state:?}, empty");
        assert!(dangling(&found("lost", "web-1", state, 300, Some("here")), never_built_in), "{state:?}");
    }
    assert!(!dangling(&found("agents", "nomad_init_-gone", State::Exited, 300, None), never_built_in));
    assert!(
        dangling(&found("pause", "nomad_init_-made", State::Exited, 300, None), never_built_in),
        "the ledger has it"
    );
    assert!(!dangling(&found("pause", "nomad_init_-made", State::Exited, 300, Some("there")), never_built_in));
}

#[test]
fn what_has_no_nodes_label_is_another_agents_where_it_mounts_an_allocation_of_that_one() {
    for (source, is_ours) in [
        ("/data/alloc/1/alloc", true),
        ("/data/alloc/1/web/local", true),
        ("/other/alloc/1/alloc", false),
        ("/data/alloc/1/1/alloc", false),
        // These identify nobody.
        ("/srv/files", true),
        ("", true),
    ] {
        assert_eq!(dangling(&mounting(source, None), |_| ()), is_ours, "{source}");
    }
    assert!(dangling(&mounting("/other/alloc/1/alloc", Some("here")), |_| ()), "the label says it");
}

#[test]
fn a_network_that_the_ledger_has_lost_is_known_by_this_nodes_pause_container() {
    let directory = tempfile::tempdir().unwrap();
    let allocs = directory.path().join("alloc");
    fs::create_dir_all(allocs.join("living")).unwrap();
    let engine = EngineName { now: "engine-1".to_owned(), former: "engine".to_owned() };
    let ledger = Ledger::new(&directory.path().join("state"), &engine);
    let node = Identity { allocs, ..here() };
    let pause = |alloc: &str, node| {
        let labels = |label: (String, String)| if label.0 == ALLOC_ID { (label.0, alloc.to_owned()) } else { label };
        let found = found(alloc, &format!("nomad_init_{alloc}"), State::Running, 300, node);
        ListedContainer { labels: found.labels.into_iter().map(labels).collect(), ..found }
    };
    let found = [pause("over", Some("here")), pause("living", Some("here")), pause("others", Some("there"))];

    let mut known = networks(&found, &Ages::new(Moment::now()), &ledger, &node);
    known.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));

    let directories: Vec<_> = known.iter().map(|(alloc, left)| (alloc.as_str(), left.directory)).collect();
    assert_eq!(directories, [("living", Directory::There), ("over", Directory::Removed)]);
    assert!(known.iter().all(|(_, left)| left.pause && !left.running && left.age >= Duration::from_secs(300)));
    assert!(networks(&found, &Ages::new(Moment::now()), &ledger, &Identity::default()).is_empty());
}

#[test]
fn a_container_shares_a_network_by_id_part_of_an_id_or_name() {
    let pause = found("c0ffee00", "nomad_init_-1", State::Running, 300, None);
    let joins = |mode: &str| {
        network::joins(&ListedContainer { network_mode: mode.to_owned(), ..ListedContainer::default() }, &pause)
    };

    assert!(["container:c0ffee00", "container:c0ffee", "container:nomad_init_-1"].map(joins).into_iter().all(|it| it));
    assert!(!["bridge", "container:", "container:decaf", "container:nomad_init_"].map(joins).into_iter().any(|it| it));
    assert!(!network::joins(&ListedContainer::default(), &pause));
}

#[test]
fn ended_containers_remain_where_the_operator_wants_them() {
    let leave_ended = |gc: &mut GarbageCollection| gc.container = false;

    assert!(!dangling(&found("lost", "web-1", State::Exited, 300, None), leave_ended));
    assert!(dangling(&found("lost", "web-1", State::Running, 300, None), leave_ended));
}
