//! Things that are no files, put where the driver keeps or looks for files of its own in places that tasks can write: each costs a
//! notice at most, never a task, a call or the driver's memory.

use std::{
    fs::{self, File},
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use conformance::{DEADLINE, Fixture, Started, Task, docker::inspect};
use futures_util::future::join_all;
use nomad_plugin::{
    driver::Force,
    msgpack::{Value, decode, encode_go},
};
use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mknodat, open};

/// What the driver may have used of the machine's memory at most, whatever it was given to read.
const MEMORY_KIB: u64 = 300 << 10;

/// Something that is not what the driver expects at a path of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thing {
    Directory,
    FullDirectory,
    Fifo,
    FifoWithWriter,
    LinkToDevice,
    LinkToSecret,
    Device,
    Socket,
    Sparse,
    Unreadable,
}

const THINGS: [Thing; 10] = [
    Thing::Directory,
    Thing::FullDirectory,
    Thing::Fifo,
    Thing::FifoWithWriter,
    Thing::LinkToDevice,
    Thing::LinkToSecret,
    Thing::Device,
    Thing::Socket,
    Thing::Sparse,
    Thing::Unreadable,
];

impl Thing {
    /// Puts it in the place of what is there; what is returned keeps it as it is.
    fn plant(self, path: &Path) -> Option<Box<dyn std::any::Any>> {
        let _nothing_there = fs::remove_file(path);
        let mode = Mode::from_raw_mode(0o666);
        match self {
            Self::Directory => fs::create_dir(path).unwrap(),
            Self::FullDirectory => {
                fs::create_dir(path).unwrap();
                for number in 0..20_000 {
                    File::create(path.join(number.to_string())).unwrap();
                }
            }
            Self::Fifo => mknodat(CWD, path, FileType::Fifo, mode, 0).unwrap(),
            Self::FifoWithWriter => {
                mknodat(CWD, path, FileType::Fifo, mode, 0).unwrap();
                return Some(Box::new(open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).unwrap()));
            }
            Self::LinkToDevice => symlink("/dev/zero", path).unwrap(),
            Self::LinkToSecret => symlink("/etc/shadow", path).unwrap(),
            // As /dev/zero, made where the task is.
            Self::Device => mknodat(CWD, path, FileType::CharacterDevice, mode, makedev(1, 5)).unwrap(),
            Self::Socket => return Some(Box::new(UnixListener::bind(path).unwrap())),
            Self::Sparse => File::create(path).unwrap().set_len(1 << 40).unwrap(),
            Self::Unreadable => {
                fs::write(path, "{").unwrap();
                fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
            }
        }
        None
    }
}

/// A place in the directory of an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    FormerPosition,
    Networks,
    Pipe,
    HostLog,
    NewestHostLog,
}

impl Place {
    fn of(self, task: &Task) -> PathBuf {
        let at = |path: &str| task.alloc_dir().join(path);
        match self {
            Self::FormerPosition => at("web/.docker-log-position.json"),
            Self::Networks => at("web/.docker-networks.json"),
            Self::Pipe => task.pipes.stdout_path.clone(),
            Self::HostLog => at("alloc/logs/web.stdout.0"),
            Self::NewestHostLog => at("alloc/logs/web.stdout.99"),
        }
    }
}

/// Fails when a call of the driver hangs.
async fn in_time<T>(what: &str, call: impl Future<Output = T>) -> T {
    tokio::time::timeout(*DEADLINE, call).await.unwrap_or_else(|_| panic!("{what}: the driver hangs"))
}

fn memory_kib(fixture: &Fixture) -> u64 {
    let pid = fixture.driver.reattach_config().pid;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    most.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The state of a task that the built-in driver's log forwarder served, which has ended.
fn with_logger(state: &[u8]) -> Vec<u8> {
    let Value::Map(mut fields) = decode(state).unwrap() else { panic!("a state is an object") };
    let text = |text: &str| Value::String(text.to_owned());
    let logger = [
        ("Protocol", text("grpc")),
        ("Network", text("unix")),
        ("Addr", text("/nonexistent/plugin1")),
        ("Pid", Value::Int(4_194_305)),
    ];
    fields.insert("ReattachConfig".to_owned(), conformance::object(&logger));
    encode_go(&Value::Map(fields))
}

/// Who is said to have collected the log before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    ThisDriver,
    BuiltIn,
}

async fn lives(fixture: &Fixture, what: &str, started: &Started, task: &Task) {
    let container = task.container();
    assert_eq!(inspect(&container)["State"]["Running"], true, "{what}");
    let stopped = fixture.driver.stop_task(started.id.clone(), Duration::ZERO, String::new());
    in_time(&format!("{what}: stop"), stopped).await.unwrap();
    in_time(&format!("{what}: wait"), fixture.driver.wait_task(started.id.clone())).await.unwrap();
    let destroyed = fixture.driver.destroy_task(started.id.clone(), Force::No);
    in_time(&format!("{what}: destroy"), destroyed).await.unwrap();
}

#[tokio::test]
async fn whatever_is_planted_before_its_start_a_task_starts_and_ends() {
    let fixture = Fixture::start().await;
    for place in [Place::FormerPosition, Place::Networks, Place::HostLog] {
        join_all(THINGS.map(async |thing| {
            let what = format!("{thing:?} at {place:?}");
            let task = fixture.task("web", "exec sleep 1000");
            if place == Place::HostLog {
                task.pipes.stdout.end();
            }
            let _planted = thing.plant(&place.of(&task));

            let started = in_time(&format!("{what}: start"), fixture.run(&task)).await;

            lives(&fixture, &what, &started, &task).await;
        }))
        .await;
    }
    assert!(memory_kib(&fixture) < MEMORY_KIB, "{} KiB", memory_kib(&fixture));
    fixture.end().await;
}

#[tokio::test]
async fn whatever_is_planted_under_a_task_it_is_recovered_and_ends() {
    // Only where another program collected the log, the host's files are read.
    let of_built_in = [Place::Pipe, Place::HostLog, Place::NewestHostLog].map(|place| (place, Before::BuiltIn));
    let of_this_driver = [Place::FormerPosition, Place::Networks, Place::Pipe].map(|place| (place, Before::ThisDriver));
    let places = of_built_in.into_iter().chain(of_this_driver);
    let cases: Vec<_> = places.flat_map(|place| THINGS.map(|thing| (thing, place))).collect();
    let mut fixture = Fixture::start().await;
    let begun = cases.iter().map(async |_| {
        let task = fixture.task("web", "exec sleep 1000");
        let started = fixture.run(&task).await;
        (task, started)
    });
    let mut tasks = join_all(begun).await;
    fixture.kill();
    let mut planted = Vec::new();
    for ((thing, (place, before)), (task, started)) in cases.iter().zip(&mut tasks) {
        if *before == Before::BuiltIn || *place == Place::FormerPosition {
            let id = inspect(&task.container())["Id"].as_str().unwrap().to_owned();
            fs::remove_file(fixture.directory().join(format!("state/logs/{id}.json"))).unwrap();
        }
        if *before == Before::BuiltIn {
            started.handle.driver_state = with_logger(&started.handle.driver_state);
        }
        planted.push(thing.plant(&place.of(task)));
    }
    fixture.start_again().await;

    let ended = cases.iter().zip(&tasks).map(async |((thing, (place, before)), (task, started))| {
        let what = format!("{thing:?} at {place:?} after {before:?}");
        let recovered = fixture.driver.recover_task(started.handle.clone());
        in_time(&format!("{what}: recover"), recovered).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        lives(&fixture, &what, started, task).await;
    });
    join_all(ended).await;

    assert!(memory_kib(&fixture) < MEMORY_KIB, "{} KiB", memory_kib(&fixture));
    fixture.end().await;
}

#[tokio::test]
async fn a_directory_of_logs_without_end_prevents_no_recovery() {
    let mut fixture = Fixture::start().await;
    let task = fixture.task("web", "while :; do echo line; sleep 0.1; done");
    let mut started = fixture.run(&task).await;
    fixture.kill();
    fs::remove_dir_all(fixture.directory().join("state/logs")).unwrap();
    for number in 0..100_000 {
        File::create(task.alloc_dir().join(format!("alloc/logs/web.stdout.{}", number + 10))).unwrap();
    }
    started.handle.driver_state = with_logger(&started.handle.driver_state);
    fixture.start_again().await;
    let came = task.pipes.stdout.bytes().len();

    in_time("recover", fixture.driver.recover_task(started.handle.clone())).await.unwrap();

    task.pipes.stdout.wait_for("more of the log", |bytes| bytes.len() > came + 20);
    assert!(memory_kib(&fixture) < MEMORY_KIB, "{} KiB", memory_kib(&fixture));
    lives(&fixture, "100,000 log files", &started, &task).await;
    fixture.end().await;
}

#[tokio::test]
async fn the_record_of_an_earlier_version_is_adopted_and_removed_with_the_task() {
    let mut fixture = Fixture::start().await;
    let task = fixture.task("web", &conformance::lines::flood("a", 5_000, 40));
    let started = fixture.run(&task).await;
    task.pipes.stdout.wait_for("some lines", |bytes| conformance::lines::last_number(bytes, "a") > 100);
    fixture.kill();
    let id = inspect(&task.container())["Id"].as_str().unwrap().to_owned();
    let record = fixture.directory().join(format!("state/logs/{id}.json"));
    let former = Place::FormerPosition.of(&task);
    fs::rename(&record, &former).unwrap();
    fixture.start_again().await;

    fixture.driver.recover_task(started.handle.clone()).await.unwrap();

    assert!(record.exists() && !former.exists());
    assert_eq!(fs::metadata(&record).unwrap().permissions().mode() & 0o777, 0o600);
    fixture.driver.wait_task(started.id.clone()).await.unwrap();
    let bytes = task.pipes.stdout.to_the_end();
    assert_eq!(conformance::lines::judge(&bytes, "a", 5_000), conformance::lines::Judgement::default());
    fixture.driver.destroy_task(started.id.clone(), Force::No).await.unwrap();
    assert!(!record.exists());
    fixture.end().await;
}
