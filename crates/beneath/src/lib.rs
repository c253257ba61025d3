//! Paths that others choose, followed beneath a directory and never out of it, whatever is swapped meanwhile.
//!
//! Each part is opened from the descriptor of the part before, so that what was checked is what is used, on every kernel.
//! The rules are those of Go's `os.Root`, by which Nomad's users know them: a symbolic link is followed where it stays
//! beneath; an absolute one leads out, and so does a `..` at the top.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, Mode, OFlags, fchmod, fstat, linkat, mkdirat, mknodat, open, openat, readlinkat,
        renameat, unlinkat,
    },
    io::Errno,
};

/// How many symbolic links a path may go through, as in the kernel.
const MAX_LINKS: usize = 40;

/// How often something is looked for anew that others swap meanwhile.
const MAX_TRIES: usize = 100;

/// A name alone: nothing is read or written through it, no device is started by it.
const NAMED: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What a symbolic link on the way means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// It is followed, as long as it stays beneath.
    Followed,
    /// Someone swapped a file for it that was made without.
    Refused,
}

/// A directory that paths may not lead out of.
#[derive(Debug)]
pub struct Beneath {
    path: PathBuf,
    directory: OwnedFd,
}

/// Where a path led.
#[derive(Debug)]
pub struct Trace {
    /// The path without links. What does not exist is where it would be made.
    pub path: PathBuf,
    /// The name of what is there, if anything is.
    pub found: Option<File>,
}

/// Where a path leads.
struct Place {
    /// The directories and the last part, each with its name.
    parts: Vec<(OsString, OwnedFd)>,
    /// The names behind them that do not exist.
    missing: Vec<OsString>,
}

impl Beneath {
    /// A directory, which must be there. What leads to it is trusted.
    pub fn open(path: &Path) -> io::Result<Self> {
        let directory = open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { path: path.to_owned(), directory })
    }

    /// The directory's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A directory below, reached without a link.
    pub fn below(&self, path: &Path) -> io::Result<Self> {
        let found = self.find(path, Links::Refused)?;
        if !found.metadata()?.is_dir() {
            return Err(Errno::NOTDIR.into());
        }
        Ok(Self { path: self.path.join(self.relative(path)?), directory: found.into() })
    }

    /// The path without links to what `path` stands for, and what is there: both of one walk.
    pub fn trace(&self, path: &Path, links: Links) -> io::Result<Trace> {
        let Place { mut parts, missing } = self.walk(self.relative(path)?, links)?;
        let names = parts.iter().map(|(name, _)| name).chain(&missing);
        let path = names.fold(self.path.clone(), |resolved, name| resolved.join(name));
        let found = match parts.pop() {
            _ if !missing.is_empty() => None,
            Some((_, found)) => Some(found.into()),
            None => Some(self.directory.try_clone()?.into()),
        };
        Ok(Trace { path, found })
    }

    /// The path without links to what `path` stands for. What does not exist is where it would be made.
    pub fn resolve(&self, path: &Path, links: Links) -> io::Result<PathBuf> {
        Ok(self.trace(path, links)?.path)
    }

    /// The name of what is there, to be looked at before it is opened with [`reopen`].
    pub fn find(&self, path: &Path, links: Links) -> io::Result<File> {
        self.trace(path, links)?.found.ok_or_else(|| Errno::NOENT.into())
    }

    /// Opens a regular file for reading.
    pub fn read(&self, path: &Path, links: Links) -> io::Result<File> {
        read_regular(&self.find(path, links)?)
    }

    /// Opens a regular file of ours for reading and writing, made where it is missing, without a link on the way.
    pub fn open_own(&self, path: &Path, mode: Mode) -> io::Result<File> {
        let (parent, name) = self.parent(path)?;
        for _ in 0..MAX_TRIES {
            match openat(&parent, name, NAMED, Mode::empty()) {
                Ok(found) => return open_regular(&found.into(), OFlags::RDWR),
                Err(Errno::NOENT) => match make(&parent, name, OFlags::RDWR, mode) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    opened => return opened,
                },
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::BUSY.into())
    }

    /// Makes a file of ours; one that is there already, whatever it is, is an error.
    pub fn create_new(&self, path: &Path, mode: Mode) -> io::Result<File> {
        let (parent, name) = self.parent(path)?;
        make(&parent, name, OFlags::WRONLY, mode)
    }

    /// Makes a file of ours in the place of whatever has its name.
    pub fn replace(&self, path: &Path, mode: Mode) -> io::Result<File> {
        let (parent, name) = self.parent(path)?;
        match unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => self.create_new(path, mode),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts a whole file of ours in the place of whatever has its name, but for a directory: the old content is there, or
    /// the new one.
    pub fn write(&self, path: &Path, content: &[u8], mode: Mode) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        // A name that nobody can have put something at.
        let fresh = format!(".{:016x}.new", RandomState::new().build_hasher().finish());
        let mut file = make(&parent, OsStr::new(&fresh), OFlags::WRONLY, Mode::RUSR | Mode::WUSR)?;
        let written = file.write_all(content).and_then(|()| {
            // The process's umask does not count here.
            fchmod(&file, mode)?;
            Ok(renameat(&parent, &fresh, &parent, name)?)
        });
        if written.is_err() {
            let _gone_already = unlinkat(&parent, &fresh, AtFlags::empty());
        }
        written
    }

    /// Makes the directories of a path that are missing, with this mode, without a link on the way.
    pub fn make_dirs(&self, path: &Path, mode: Mode) -> io::Result<Self> {
        let mut reached = Self { path: self.path.clone(), directory: self.directory.try_clone()? };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for part in self.relative(path)?.components() {
            let name = match part {
                Component::Normal(name) => name,
                Component::CurDir => continue,
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err(self.leads_out()),
            };
            let is_new = match mkdirat(&reached.directory, name, mode) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(error) => return Err(error.into()),
            };
            let directory = openat(&reached.directory, name, flags, Mode::empty()).map_err(|error| match error {
                Errno::NOTDIR | Errno::LOOP => {
                    let place = reached.path.join(name);
                    io::Error::new(io::ErrorKind::NotADirectory, format!("{} is no directory", place.display()))
                }
                error => error.into(),
            })?;
            if is_new {
                // The process's umask does not count here.
                fchmod(&directory, mode)?;
            }
            reached = Self { path: reached.path.join(name), directory };
        }
        Ok(reached)
    }

    /// The pipe of a name, opened with these flags; made in the place of whatever else has the name, but for a directory.
    pub fn pipe(&self, path: &Path, mode: Mode, flags: OFlags) -> io::Result<File> {
        let (parent, name) = self.parent(path)?;
        for _ in 0..MAX_TRIES {
            match openat(&parent, name, NAMED, Mode::empty()) {
                Ok(found) if FileType::from_raw_mode(fstat(&found)?.st_mode) == FileType::Fifo => {
                    return reopen(&found.into(), flags);
                }
                Ok(_) => unlinkat(&parent, name, AtFlags::empty())?,
                Err(Errno::NOENT) => match mknodat(&parent, name, FileType::Fifo, mode, 0) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                },
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::BUSY.into())
    }

    /// Removes a file, or a link itself.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(unlinkat(&parent, name, AtFlags::empty())?)
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(unlinkat(&parent, name, AtFlags::REMOVEDIR)?)
    }

    /// Gives what was found another name, in this directory: a name alone, which nothing has yet.
    pub fn link(&self, found: &File, name: &OsStr) -> io::Result<()> {
        let path = format!("/proc/self/fd/{}", found.as_raw_fd());
        Ok(linkat(CWD, path, &self.directory, name, AtFlags::SYMLINK_FOLLOW)?)
    }

    /// The names of what is in the directory, in no order.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        self.names_up_to(usize::MAX)
    }

    /// The same of a directory in which others may have put any number of entries: more than `most` are an error.
    pub fn names_up_to(&self, most: usize) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        for entry in Dir::new(openat(&self.directory, ".", flags, Mode::empty())?)? {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            names.extend(Some(name).filter(|name| name != "." && name != ".."));
            if names.len() > most {
                return Err(io::Error::other(format!("it has more than {most} entries")));
            }
        }
        Ok(names)
    }

    /// The directory of a file of ours, and the file's name in it.
    fn parent<'a>(&self, path: &'a Path) -> io::Result<(File, &'a OsStr)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::ISDIR.into());
        };
        Ok((self.find(parent, Links::Refused)?, name))
    }

    fn relative<'a>(&self, path: &'a Path) -> io::Result<&'a Path> {
        if path.is_relative() {
            return Ok(path);
        }
        path.strip_prefix(&self.path).map_err(|_| self.leads_out())
    }

    fn leads_out(&self) -> io::Error {
        io::Error::new(io::ErrorKind::PermissionDenied, format!("it leads out of {}", self.path.display()))
    }

    fn walk(&self, path: &Path, links: Links) -> io::Result<Place> {
        let mut place = Place { parts: Vec::new(), missing: Vec::new() };
        let mut todo: Vec<OsString> = components(path);
        let mut followed = 0;
        while let Some(name) = todo.pop() {
            match Path::new(&name).components().next() {
                Some(Component::Normal(_)) => {}
                Some(Component::ParentDir) if !place.missing.is_empty() => return Err(Errno::NOENT.into()),
                Some(Component::ParentDir) => {
                    place.parts.pop().ok_or_else(|| self.leads_out())?;
                    continue;
                }
                Some(Component::RootDir | Component::Prefix(_)) => return Err(self.leads_out()),
                Some(Component::CurDir) | None => continue,
            }
            if !place.missing.is_empty() {
                place.missing.push(name);
                continue;
            }
            let found = match openat(self.last(&place), &name, NAMED, Mode::empty()) {
                Ok(found) => found,
                Err(Errno::NOENT) => {
                    place.missing.push(name);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if FileType::from_raw_mode(fstat(&found)?.st_mode) != FileType::Symlink {
                place.parts.push((name, found));
                continue;
            }
            followed += 1;
            if links == Links::Refused || followed > MAX_LINKS {
                return Err(Errno::LOOP.into());
            }
            let target = readlinkat(&found, "", Vec::new())?;
            todo.extend(components(Path::new(&OsString::from_vec(target.into_bytes()))));
        }
        Ok(place)
    }

    fn last<'a>(&'a self, place: &'a Place) -> BorrowedFd<'a> {
        place.parts.last().map_or(self.directory.as_fd(), |(_, found)| found.as_fd())
    }
}

impl From<Beneath> for File {
    fn from(beneath: Beneath) -> Self {
        beneath.directory.into()
    }
}

/// A path's parts, the first one last.
fn components(path: &Path) -> Vec<OsString> {
    path.components().rev().map(|part| part.as_os_str().to_owned()).collect()
}

/// The name of what a path stands for anywhere; the links on the way to its last part are trusted.
pub fn find_anywhere(path: &Path, links: Links) -> io::Result<File> {
    let flags = if links == Links::Followed { NAMED.difference(OFlags::NOFOLLOW) } else { NAMED };
    let found = File::from(open(path, flags, Mode::empty())?);
    if found.metadata()?.is_symlink() { Err(Errno::LOOP.into()) } else { Ok(found) }
}

/// Opens what was found for reading, if it is a regular file.
pub fn read_regular(found: &File) -> io::Result<File> {
    open_regular(found, OFlags::RDONLY)
}

fn open_regular(found: &File, flags: OFlags) -> io::Result<File> {
    if found.metadata()?.is_file() { reopen(found, flags) } else { Err(io::Error::other("it is no regular file")) }
}

/// Makes a file that is not there yet.
fn make(parent: &File, name: &OsStr, flags: OFlags, mode: Mode) -> io::Result<File> {
    let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, mode)?.into())
}

/// Opens what was found, itself: not whatever has its path by now.
pub fn reopen(found: &File, flags: OFlags) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    Ok(open(path, flags | OFlags::CLOEXEC, Mode::empty())?.into())
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{Read, Write},
        os::unix::fs::{PermissionsExt, symlink},
        sync::atomic::{AtomicBool, Ordering},
    };

    use proptest::prelude::*;
    use rustix::fs::{RenameFlags, renameat_with};

    use super::*;

    /// A directory `in` with a secret beside it.
    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new() -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(tree.at("web/local")).unwrap();
            fs::write(tree.at("web/local/file"), "mine").unwrap();
            fs::write(tree.0.path().join("secret"), "theirs").unwrap();
            tree
        }

        fn root(&self) -> PathBuf {
            self.0.path().join("in")
        }

        fn at(&self, path: &str) -> PathBuf {
            self.root().join(path)
        }

        fn link(&self, target: impl AsRef<Path>, link: &str) {
            symlink(target.as_ref(), self.at(link)).unwrap();
        }

        fn resolve(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
            Beneath::open(&self.root())?.resolve(path.as_ref(), Links::Followed)
        }
    }

    #[test]
    fn links_that_stay_beneath_are_followed_to_the_path_without_links() {
        let tree = Tree::new();
        tree.link("local/../local", "web/chain");
        tree.link("../web/chain/file", "web/twice");
        tree.link("local/made-later", "web/dangling");

        assert_eq!(tree.resolve("web/twice").unwrap(), tree.at("web/local/file"));
        assert_eq!(tree.resolve(tree.at("web/chain")).unwrap(), tree.at("web/local"));
        assert_eq!(tree.resolve("web/local/not/yet/there").unwrap(), tree.at("web/local/not/yet/there"));
        assert_eq!(tree.resolve("web/dangling/x").unwrap(), tree.at("web/local/made-later/x"));
        assert_eq!(tree.resolve("").unwrap(), tree.root());
    }

    #[test]
    fn nothing_leads_out() {
        let tree = Tree::new();
        tree.link("../../..", "web/local/out");
        tree.link("/etc", "web/local/absolute");
        tree.link(tree.root(), "web/local/absolute-but-inside");
        tree.link("out", "web/local/chain");
        tree.link("chain/..", "web/local/longer-chain");
        tree.link("loop", "web/local/loop");
        tree.link("missing/../../../../secret", "web/local/through-nothing");

        for path in [
            "../secret",
            "web/../../secret",
            "web/local/out/secret",
            "web/local/absolute",
            "web/local/absolute/not/there",
            "web/local/absolute-but-inside",
            "web/local/chain",
            "web/local/longer-chain",
            "web/local/loop",
            "web/local/through-nothing",
            "web/local/file/below-a-file",
            "/etc",
        ] {
            let resolved = tree.resolve(path);
            assert!(resolved.is_err(), "{path} leads to {resolved:?}");
        }
        let sibling = tree.0.path().join("in-but-not-it");
        assert!(tree.resolve(sibling).is_err());
        assert!(Beneath::open(&tree.at("missing")).is_err());
    }

    #[test]
    fn only_regular_files_are_read_and_none_through_a_swapped_link() {
        let tree = Tree::new();
        tree.link("local/file", "web/link");
        tree.link("../../../secret", "web/local/out");
        rustix::fs::mknodat(CWD, tree.at("web/pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let root = Beneath::open(&tree.root()).unwrap();
        let read = |path: &str, links| {
            let mut text = String::new();
            root.read(Path::new(path), links)?.read_to_string(&mut text)?;
            io::Result::Ok(text)
        };

        assert_eq!(read("web/link", Links::Followed).unwrap(), "mine");
        assert!(read("web/link", Links::Refused).is_err());
        assert!(read("web/local/out", Links::Followed).is_err());
        assert_eq!(read("web/pipe", Links::Followed).unwrap_err().to_string(), "it is no regular file");
        assert_eq!(read("web", Links::Followed).unwrap_err().to_string(), "it is no regular file");
        assert_eq!(read("web/missing", Links::Followed).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn files_of_ours_are_never_written_through_a_link() {
        let tree = Tree::new();
        tree.link("../../../secret", "web/local/out");
        tree.link("../..", "web/up");
        let root = Beneath::open(&tree.root()).unwrap();
        let (out, through) = (Path::new("web/local/out"), Path::new("web/up/secret"));

        assert!(root.open_own(out, Mode::RUSR).is_err());
        assert!(root.create_new(out, Mode::RUSR).is_err());
        for attempt in [Beneath::open_own, Beneath::create_new, Beneath::replace] {
            assert!(attempt(&root, through, Mode::RUSR).is_err());
        }
        root.replace(out, Mode::RUSR | Mode::WUSR).unwrap().write_all(b"ours").unwrap();

        assert_eq!(fs::read_to_string(tree.at("web/local/out")).unwrap(), "ours");
        assert_eq!(fs::read_to_string(tree.0.path().join("secret")).unwrap(), "theirs");
    }

    #[test]
    fn a_whole_file_takes_the_place_of_whatever_was_planted() {
        let tree = Tree::new();
        let (secret, mode) = (tree.0.path().join("secret"), Mode::from_raw_mode(0o640));
        tree.link(&secret, "web/local/absolute");
        tree.link("../../../secret", "web/local/out");
        tree.link("missing", "web/local/dangling");
        fs::hard_link(&secret, tree.at("web/local/same")).unwrap();
        rustix::fs::mknodat(CWD, tree.at("web/local/pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        tree.link(tree.0.path(), "web/through");
        let root = Beneath::open(&tree.root()).unwrap();

        for name in ["absolute", "out", "dangling", "same", "pipe", "file", "none"] {
            let path = Path::new("web/local").join(name);
            root.write(&path, b"ours", mode).unwrap();
            let metadata = fs::symlink_metadata(tree.root().join(&path)).unwrap();
            assert!(metadata.is_file() && metadata.permissions().mode() & 0o7777 == 0o640, "{name}");
            assert_eq!(fs::read_to_string(tree.root().join(&path)).unwrap(), "ours", "{name}");
        }
        for refused in ["web/through/secret", "web/local", "../secret", "web/local/file/x", "missing/x", ""] {
            assert!(root.write(Path::new(refused), b"ours", mode).is_err(), "{refused}");
        }

        assert_eq!(fs::read_to_string(secret).unwrap(), "theirs");
        assert!(!tree.at("web/local/missing").exists());
        let mut left = root.below(Path::new("web/local")).unwrap().names().unwrap();
        left.sort();
        assert_eq!(left, ["absolute", "dangling", "file", "none", "out", "pipe", "same"], "nothing half written");
    }

    #[test]
    fn directories_are_made_where_no_link_is_on_the_way() {
        let tree = Tree::new();
        tree.link(tree.0.path(), "web/out");
        tree.link("local", "web/inside");
        let root = Beneath::open(&tree.root()).unwrap();
        let mode = Mode::from_raw_mode(0o777);

        let deepest = root.make_dirs(Path::new("web/local/a/b"), mode).unwrap();
        deepest.write(Path::new("f"), b"", mode).unwrap();
        for refused in ["web/out", "web/out/a", "web/inside/a", "web/local/file", "web/../../a", "/a"] {
            assert!(root.make_dirs(Path::new(refused), mode).is_err(), "{refused}");
        }

        let permissions = |path: &str| fs::metadata(tree.at(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((permissions("web/local/a"), permissions("web/local/a/b/f")), (0o777, 0o777));
        assert!(!tree.0.path().join("a").exists() && !tree.at("web/local/a/a").exists());
    }

    #[test]
    fn a_pipe_is_made_in_the_place_of_what_is_none_and_found_again() {
        let tree = Tree::new();
        tree.link("../../../secret", "web/local/link");
        let root = Beneath::open(&tree.root()).unwrap();
        let (mode, flags) = (Mode::RUSR | Mode::WUSR, OFlags::RDWR | OFlags::NONBLOCK);

        for name in ["link", "file", "none"] {
            let path = Path::new("web/local").join(name);
            let mut writer = root.pipe(&path, mode, flags).unwrap();
            let mut reader = root.pipe(&path, mode, flags).unwrap();
            writer.write_all(b"x").unwrap();
            assert_eq!(reader.read(&mut [0; 2]).unwrap(), 1, "{name}");
        }

        assert!(root.pipe(Path::new("web/local"), mode, flags).is_err(), "a directory stays");
        assert_eq!(fs::read_to_string(tree.0.path().join("secret")).unwrap(), "theirs");
        root.remove(Path::new("web/local/link")).unwrap();
        assert!(root.remove(Path::new("web/local/link")).is_err() && root.remove(Path::new("web/local")).is_err());
    }

    #[test]
    fn a_directory_below_is_a_bound_of_its_own() {
        let tree = Tree::new();
        tree.link("local", "web/link");
        fs::write(tree.at("web/beside"), "").unwrap();
        tree.link("../beside", "web/local/out");
        let root = Beneath::open(&tree.root()).unwrap();
        let local = root.below(&tree.at("web/local")).unwrap();

        assert!(local.read(Path::new("file"), Links::Followed).is_ok());
        assert!(local.read(&tree.at("web/local/file"), Links::Followed).is_ok());
        assert!(local.read(Path::new("out"), Links::Followed).is_err());
        assert!(local.read(Path::new("../beside"), Links::Followed).is_err());
        assert!(root.below(Path::new("web/link")).is_err());
        assert!(root.below(Path::new("web/beside")).is_err());
    }

    #[test]
    fn what_was_found_is_opened_though_its_name_was_swapped() {
        let tree = Tree::new();
        let found = Beneath::open(&tree.root()).unwrap().find(Path::new("web/local/file"), Links::Refused).unwrap();
        fs::remove_file(tree.at("web/local/file")).unwrap();
        tree.link(tree.0.path().join("secret"), "web/local/file");

        let mut text = String::new();
        reopen(&found, OFlags::RDONLY).unwrap().read_to_string(&mut text).unwrap();

        assert_eq!(text, "mine");
        assert!(find_anywhere(&tree.at("web/local/file"), Links::Refused).is_err());
    }

    #[test]
    fn whatever_is_swapped_meanwhile_nothing_is_written_or_read_outside() {
        let tree = Tree::new();
        let outside = tree.0.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "theirs").unwrap();
        symlink(&outside, tree.at("web/link")).unwrap();
        symlink(outside.join("file"), tree.at("web/local/link")).unwrap();
        let root = Beneath::open(&tree.root()).unwrap();
        let (path, mode) = (Path::new("web/local/file"), Mode::RUSR | Mode::WUSR);
        let over = AtomicBool::new(false);

        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    for (one, other) in [("web/local", "web/link"), ("web/local/file", "web/local/link")] {
                        let (one, other) = (tree.at(one), tree.at(other));
                        let _one_is_a_link_to_nothing_now = renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
                    }
                }
            });
            for _ in 0..2000 {
                let _refused_or_inside = root.write(path, b"ours", mode);
                let _refused_or_inside = root.make_dirs(Path::new("web/local/new"), mode);
                let _refused_or_inside = root.create_new(path, mode).map(|mut file| file.write_all(b"ours"));
                let _refused_or_inside = root.open_own(path, mode).map(|mut file| file.write_all(b"ours"));
                let _refused_or_inside = root.remove(Path::new("web/local/none"));
                for links in [Links::Followed, Links::Refused] {
                    if let Ok(file) = root.read(path, links) {
                        assert_ne!(io::read_to_string(file).unwrap(), "theirs");
                    }
                }
            }
            over.store(true, Ordering::Relaxed);
        });

        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "theirs");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    }

    proptest! {
        /// Two links with arbitrary targets, and an arbitrary path: where it leads anywhere, the kernel agrees that it is
        /// beneath.
        #[test]
        fn whatever_is_linked_to_whatever_the_answer_is_beneath(
            targets in prop::collection::vec("(/|(\\.\\./){0,4})((a|b|c|web|local|\\.\\.)/?){0,5}", 2),
            path in "((a|b|c|web|local|\\.\\.)/){0,6}(a|b|file)?",
        ) {
            let tree = Tree::new();
            for (target, link) in targets.iter().zip(["web/a", "web/local/b"]).filter(|(target, _)| !target.is_empty()) {
                tree.link(target, link);
            }
            if let Ok(resolved) = tree.resolve(&path) {
                prop_assert!(resolved.starts_with(tree.root()));
                if let Ok(real) = resolved.canonicalize() {
                    prop_assert_eq!(real, tree.root().canonicalize().unwrap().join(resolved.strip_prefix(tree.root()).unwrap()));
                }
            }
        }
    }
}
