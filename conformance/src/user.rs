//! A user who may speak to the engine and is otherwise nobody on this machine.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::{MetadataExt, lchown},
    path::{Path, PathBuf},
};

/// No user of the machine, and no group of it.
const NOBODY_ELSE: u32 = 64_117;

/// Who runs a driver that root does not run.
pub struct User {
    id: u32,
    /// The group that owns the engine's socket.
    docker: u32,
}

impl User {
    /// A user of the group docker. Tests that root does not run are run by such a one already.
    pub fn of_group_docker() -> Self {
        let id = if rustix::process::geteuid().is_root() { NOBODY_ELSE } else { rustix::process::geteuid().as_raw() };
        Self { id, docker: fs::metadata("/var/run/docker.sock").unwrap().gid() }
    }

    /// The numeric id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Gives the user a directory and all that is in it.
    pub fn own(&self, path: &Path) {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        lchown(path, Some(self.id), Some(self.id)).unwrap();
        if fs::symlink_metadata(path).unwrap().is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                self.own(&entry.unwrap().path());
            }
        }
    }

    /// The command that becomes `program` with this user's rights.
    pub fn command(&self, program: &Path) -> (PathBuf, Vec<OsString>) {
        if !rustix::process::geteuid().is_root() {
            return (program.to_owned(), Vec::new());
        }
        let options = ["--reuid", "--regid", "--groups"].iter().zip([self.id, self.id, self.docker]);
        let options = options.flat_map(|(option, id)| [OsString::from(option), id.to_string().into()]);
        let without = ["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"].map(OsString::from);
        ("setpriv".into(), options.chain(without).chain([program.into()]).collect())
    }
}
