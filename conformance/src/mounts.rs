//! What is mounted on this machine.

use std::{
    fs,
    io::Write,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, mount_remount, unmount,
};

/// Where something is mounted in a directory, in the order in which it was.
pub fn below(directory: &Path) -> Vec<PathBuf> {
    let directory = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    let all = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let places = all.lines().map(|line| unescaped(line.split(' ').nth(4).unwrap()));
    places.filter(|place| place.starts_with(&directory) && *place != directory).collect()
}

/// The kernel writes white space as `\\040`.
fn unescaped(text: &str) -> PathBuf {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..3], 8).unwrap());
        bytes.extend(&part.as_bytes()[3..]);
    }
    std::ffi::OsString::from_vec(bytes).into()
}

/// A directory that is a shared mount, as all of a host is where systemd runs it. It ends with this.
pub struct Shared(PathBuf);

impl Shared {
    /// Makes one of a directory.
    pub fn make(directory: &Path) -> Self {
        mount_bind(directory, directory).unwrap();
        let shared = Self(directory.to_owned());
        mount_change(directory, MountPropagationFlags::SHARED).unwrap();
        shared
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // What a test that fails leaves has ended it already.
        let _absent = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// A small disk. It ends with this.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of a MiB on a directory, which is created.
    pub fn mount(directory: &Path) -> Self {
        fs::create_dir_all(directory).unwrap();
        mount("tmpfs", directory, "tmpfs", MountFlags::empty(), Some(c"size=1m")).unwrap();
        Self(directory.to_owned())
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        let mut filler = fs::File::create(self.0.join("filler")).unwrap();
        while filler.write_all(&[0; 4096]).is_ok() {}
    }

    /// Makes room again.
    pub fn clear(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }

    /// Lets nobody write to it any more.
    pub fn make_read_only(&self) {
        mount_remount(&self.0, MountFlags::RDONLY, "").unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _absent = unmount(&self.0, UnmountFlags::DETACH);
    }
}
