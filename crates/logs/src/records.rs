//! Stores log positions in `<state dir>/logs/<container>.json`, which no task sees.
//!
//! Earlier drivers stored each in its task's directory, where a task may have put anything. Such a file is checked before it is
//! opened, moved here once, and ignored if no driver wrote it.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use beneath::{Beneath, Links, read_regular};
use rustix::{fs::Mode, process::geteuid};

use super::position::Position;

/// The largest record that is read, in bytes. All drivers wrote 1024.
const LARGEST: u64 = 8 << 10;
const END: &str = ".json";
const PRIVATE: Mode = Mode::from_raw_mode(0o600);

/// The records of one state directory.
#[derive(Clone, Debug)]
pub struct Records(PathBuf);

impl Records {
    /// The records in a state directory. Nothing is created yet.
    pub fn new(state_dir: &Path) -> Self {
        Self(state_dir.join("logs"))
    }

    /// A container's record, created if missing.
    pub(super) fn open(&self, container: &str) -> io::Result<File> {
        let name = name(container)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let directory = Beneath::open(&self.0)?;
        let metadata = directory.find(Path::new(""), Links::Refused)?.metadata()?;
        if metadata.uid() != geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
            let problem = format!("others may write to `{}`", self.0.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
        }
        directory.open_own(Path::new(&name), PRIVATE)
    }

    /// Whether the container has a record with a position.
    pub fn has(&self, container: &str) -> bool {
        self.read(container).is_ok_and(|noted| Position::parse(&noted, container).is_some())
    }

    fn read(&self, container: &str) -> io::Result<Vec<u8>> {
        bounded(&Beneath::open(&self.0)?.find(Path::new(&name(container)?), Links::Refused)?)
    }

    /// Moves a container's record here from where earlier drivers stored it, unless there is one here.
    pub fn adopt(&self, container: &str, alloc_dir: &Path, former: &Path) -> io::Result<()> {
        if self.has(container) {
            return Ok(());
        }
        let alloc_dir = Beneath::open(alloc_dir)?;
        let found = match alloc_dir.find(former, Links::Refused) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        let noted = bounded(&found)?;
        if Position::parse(&noted, container).is_none() {
            return Err(io::Error::other("it says nothing of this container"));
        }
        self.open(container)?.write_all(&noted)?;
        // An earlier driver that comes back must not resume from it.
        alloc_dir.remove(former)
    }

    /// Removes a container's record, if there is one.
    pub fn remove(&self, container: &str) {
        let removed = name(container).and_then(|name| fs::remove_file(self.0.join(name)));
        if let Err(error) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(container, %error, "failed to remove a log's position");
        }
    }

    /// The containers that have records.
    pub fn containers(&self) -> Vec<String> {
        self.containers_if(|_| true)
    }

    /// The containers whose records were last written longer ago than `age`.
    pub fn older_than(&self, age: Duration) -> Vec<String> {
        self.containers_if(|file| {
            let written = file.metadata().and_then(|metadata| metadata.modified());
            written.is_ok_and(|written| written.elapsed().is_ok_and(|since| since > age))
        })
    }

    fn containers_if(&self, is_wanted: impl Fn(&fs::DirEntry) -> bool) -> Vec<String> {
        let files = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let names = files.filter(is_wanted).filter_map(|file| file.file_name().into_string().ok());
        names.filter_map(|name| name.strip_suffix(END).map(str::to_owned)).collect()
    }
}

fn bounded(found: &File) -> io::Result<Vec<u8>> {
    if found.metadata()?.len() > LARGEST {
        return Err(io::Error::other(format!("it is larger than {LARGEST} bytes")));
    }
    let mut content = Vec::new();
    read_regular(found)?.take(LARGEST).read_to_end(&mut content)?;
    Ok(content)
}

/// A container's id comes from the engine or from a handle.
fn name(container: &str) -> io::Result<String> {
    let is_id = |byte: u8| byte.is_ascii_alphanumeric();
    if container.is_empty() || container.len() > 128 || !container.bytes().all(is_id) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no container's id"));
    }
    Ok(format!("{container}{END}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;
    use crate::position::Source;

    struct Places {
        directory: tempfile::TempDir,
        records: Records,
    }

    impl Places {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            fs::create_dir_all(directory.path().join("a1/web")).unwrap();
            let records = Records::new(&directory.path().join("state"));
            Self { directory, records }
        }

        fn former(&self) -> PathBuf {
            self.directory.path().join("a1/web/.docker-log-position.json")
        }

        fn adopt(&self) -> io::Result<()> {
            self.records.adopt("c1", &self.directory.path().join("a1"), &self.former())
        }
    }

    fn noted(container: &str) -> Vec<u8> {
        let position = Position::new(container, Source::Engine);
        let mut noted = serde_json::to_vec(&position).unwrap();
        noted.resize(1024, b' ');
        noted
    }

    #[test]
    fn a_record_of_a_driver_before_is_moved_once() {
        let places = Places::new();
        assert!(places.adopt().is_ok() && !places.records.has("c1"));
        fs::write(places.former(), noted("c1")).unwrap();

        places.adopt().unwrap();
        let moved = places.records.has("c1");
        fs::write(places.former(), "{").unwrap();
        places.adopt().unwrap();

        assert!(moved && places.records.has("c1"));
        let mode = |path: &str| fs::metadata(places.directory.path().join(path)).unwrap().mode() & 0o777;
        assert_eq!((mode("state/logs"), mode("state/logs/c1.json")), (0o700, 0o600));
        assert_eq!(places.records.older_than(Duration::ZERO), ["c1"]);
        assert!(places.records.older_than(Duration::from_secs(60)).is_empty());
        places.records.remove("c1");
        assert!(!places.records.has("c1"));
    }

    #[test]
    fn what_a_task_put_in_the_place_of_a_record_is_not_opened_and_not_believed() {
        let places = Places::new();
        let former = places.former();
        let other = places.directory.path().join("other");
        fs::write(&other, noted("c1")).unwrap();
        let huge = String::from_utf8(noted("c1")).unwrap().replace("\"mark\":0", "\"mark\":18446744073709551615");
        let plant: [&dyn Fn(); 7] = [
            &|| fs::create_dir(&former).unwrap(),
            &|| mknodat(CWD, &former, FileType::Fifo, PRIVATE, 0).unwrap(),
            &|| symlink(&other, &former).unwrap(),
            &|| symlink("/dev/zero", &former).unwrap(),
            &|| File::create(&former).unwrap().set_len(1 << 40).unwrap(),
            &|| fs::write(&former, noted("c2")).unwrap(),
            &|| fs::write(&former, &huge).unwrap(),
        ];

        for (index, plant) in plant.iter().enumerate() {
            plant();
            assert!(places.adopt().is_err(), "{index}");
            assert!(!places.records.has("c1"), "{index}");
            let _directory = fs::remove_dir(&former).or_else(|_| fs::remove_file(&former));
        }
    }

    #[test]
    fn no_id_is_a_path_and_nothing_is_kept_where_others_write() {
        let places = Places::new();
        for id in ["", "..", "../a1/x", "c1/x", "c1\0"] {
            assert!(places.records.open(id).is_err(), "{id:?}");
        }
        let logs = places.directory.path().join("state/logs");
        fs::create_dir_all(&logs).unwrap();
        fs::set_permissions(&logs, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        assert!(places.records.open("c1").is_err());
    }
}
