//! The directory that the journal lives in: the only place that writes files.
//!
//! [`Disk`] is a trait so that tests can bring an in-memory twin that crashes, fills up and fails.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, FallocateFlags, FlockOperation};
use rustix::io::Errno;

/// One directory of flat names. A create, rename or remove is durable only after [`Disk::sync_directory`].
pub trait Disk: Send + Sync {
    /// Takes the directory for this journal alone, until the lock is dropped.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when it is taken.
    fn lock(&self) -> io::Result<Box<dyn DiskLock>>;

    /// The names of all files.
    ///
    /// # Errors
    ///
    /// What the disk answered.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file that is there.
    ///
    /// # Errors
    ///
    /// What the disk answered.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Creates an empty file in the place of whatever had the name.
    ///
    /// # Errors
    ///
    /// What the disk answered.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Renames a file, in the place of whatever had the new name.
    ///
    /// # Errors
    ///
    /// What the disk answered.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// What the disk answered.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all creates, renames and removes so far durable.
    ///
    /// # Errors
    ///
    /// What the disk answered; what is durable is then unknown.
    fn sync_directory(&self) -> io::Result<()>;
}

/// An open file. A write is durable only after [`DiskFile::sync_data`].
pub trait DiskFile: Send + Sync {
    /// Length in bytes.
    ///
    /// # Errors
    ///
    /// What the disk answered.
    fn length_bytes(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset` on and returns how much there was: less only at the end of the file.
    ///
    /// # Errors
    ///
    /// What the disk answered.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes`.
    ///
    /// # Errors
    ///
    /// What the disk answered; part of the bytes may be written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Takes the room for `length_bytes` at once, so that a full disk shows early. What is new reads as zeros.
    ///
    /// # Errors
    ///
    /// What the disk answered.
    fn allocate(&self, length_bytes: u64) -> io::Result<()>;

    /// Makes all writes so far durable (`fdatasync`).
    ///
    /// # Errors
    ///
    /// What the disk answered. What is durable is then unknown, and asking again would not tell.
    fn sync_data(&self) -> io::Result<()>;

    /// Asks that the next read see the disk rather than the page cache, which may show bytes that never got there.
    ///
    /// # Errors
    ///
    /// What the disk answered.
    fn drop_cache(&self) -> io::Result<()>;
}

/// Holds the directory until it is dropped.
pub trait DiskLock: Send {}

/// Writes a file that only this user may read (0600), and makes it durable with its name. Fails if the name is taken; when it
/// fails otherwise, the name is free again.
///
/// # Errors
///
/// What the file system answered.
pub fn create_private_file(path: &Path, text: &str) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = write_durably(file, path, text);
    if written.is_err() {
        // An empty file would be in the way of the next start.
        let _ = std::fs::remove_file(path);
    }
    written
}

fn write_durably(mut file: File, path: &Path, text: &str) -> io::Result<()> {
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    sync_directory(parent.unwrap_or_else(|| Path::new(".")))
}

/// A directory of the file system.
#[derive(Debug)]
pub struct RealDisk {
    directory: PathBuf,
}

impl RealDisk {
    /// Opens `directory`, and creates it for this user alone (0700) where it is missing.
    ///
    /// # Errors
    ///
    /// What the file system answered.
    pub fn new(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        if !directory.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
            let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
            sync_directory(parent.unwrap_or_else(|| Path::new(".")))?;
        }
        Ok(Self { directory })
    }

    fn options() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        options
    }
}

impl Disk for RealDisk {
    fn lock(&self) -> io::Result<Box<dyn DiskLock>> {
        let file = Self::options().create(true).truncate(false).open(self.directory.join(LOCK))?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(RealLock { _file: file }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in self.directory.read_dir()? {
            // A name that is not UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile { file: Self::options().open(self.directory.join(name))? }))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = Self::options().create(true).truncate(true).open(self.directory.join(name))?;
        Ok(Box::new(RealFile { file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.directory.join(from), self.directory.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.directory.join(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        sync_directory(&self.directory)
    }
}

struct RealLock {
    _file: File,
}

impl DiskLock for RealLock {}

struct RealFile {
    file: File,
}

impl DiskFile for RealFile {
    fn length_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + read as u64) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn allocate(&self, length_bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, length_bytes) {
            // Not every file system can; the zeros that follow take the room there.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.file.set_len(length_bytes),
            answer => Ok(answer?),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        // Not `File::sync_data`, which tries again when it is interrupted.
        Ok(rustix::fs::fdatasync(&self.file)?)
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed)?)
    }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    Ok(rustix::fs::fsync(File::open(directory)?)?)
}

const LOCK: &str = "LOCK";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_and_directory_are_for_this_user_alone() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("data");
        let disk = RealDisk::new(&directory).unwrap();
        disk.create("HEAD").unwrap().write_at(b"x", 0).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&directory.join("HEAD"))), (0o700, 0o600));
    }

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (RealDisk::new(directory.path()).unwrap(), RealDisk::new(directory.path()).unwrap());
        let held = one.lock().unwrap();
        assert_eq!(two.lock().err().unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        assert!(two.lock().is_ok());
    }

    #[test]
    fn a_read_is_short_only_at_the_end_of_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(directory.path()).unwrap();
        let file = disk.create("a").unwrap();
        file.allocate(10).unwrap();
        file.write_at(b"xyz", 8).unwrap();
        let mut buffer = [1; 16];
        assert_eq!((file.length_bytes().unwrap(), file.read_at(&mut buffer, 0).unwrap()), (11, 11));
        assert_eq!(&buffer[..11], b"\0\0\0\0\0\0\0\0xyz");
    }
}
