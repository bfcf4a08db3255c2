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

/// A private file (0600) that gets its name only once it is whole and durable. Dropped before, it is removed.
#[derive(Debug)]
pub struct PendingFile {
    file: File,
    path: PathBuf,
    is_finished: bool,
}

impl PendingFile {
    /// Begins a file beside `path`, which must not be taken.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`] when the name is taken; else what the file system answered.
    pub fn create(path: &Path) -> io::Result<Self> {
        if path.exists() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(Self::aside(path))?;
        Ok(Self { file, path: path.to_owned(), is_finished: false })
    }

    fn aside(path: &Path) -> PathBuf {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        path.with_file_name(name)
    }

    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// What the file system answered.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Makes the file durable under its name.
    ///
    /// # Errors
    ///
    /// What the file system answered; the name is not taken then.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(Self::aside(&self.path), &self.path)?;
        self.is_finished = true;
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_directory(parent.unwrap_or_else(|| Path::new(".")))
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        if !self.is_finished {
            // What is left is called unfinished by its name.
            let _ = std::fs::remove_file(Self::aside(&self.path));
        }
    }
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
        Ok(Box::new(RealLock { file: Some(file) }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        names_in(&self.directory)
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

/// A directory of the file system that is only looked at: nothing is created, changed or removed in it, the lock's file
/// included.
#[derive(Debug)]
pub struct ReadOnlyDisk {
    directory: PathBuf,
}

impl ReadOnlyDisk {
    /// The directory at this path.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] or [`io::ErrorKind::NotADirectory`] where there is none, or what else the file system
    /// answered.
    pub fn new(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        if directory.metadata()?.is_dir() { Ok(Self { directory }) } else { Err(io::ErrorKind::NotADirectory.into()) }
    }
}

impl Disk for ReadOnlyDisk {
    /// Keeps writers out, but not others that read. Where no journal was ever locked there is nothing to lock.
    fn lock(&self) -> io::Result<Box<dyn DiskLock>> {
        let file = match File::open(self.directory.join(LOCK)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            opened => Some(opened?),
        };
        if let Some(file) = &file {
            rustix::fs::flock(file, FlockOperation::NonBlockingLockShared)?;
        }
        Ok(Box::new(RealLock { file }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        names_in(&self.directory)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile { file: File::open(self.directory.join(name))? }))
    }

    fn create(&self, _: &str) -> io::Result<Box<dyn DiskFile>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

struct RealLock {
    file: Option<File>,
}

impl DiskLock for RealLock {}

/// Said, and not left to the closing of the file: a program that is being started may hold it open for a moment longer.
impl Drop for RealLock {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            // What fails here the closing does.
            let _ = rustix::fs::flock(file, FlockOperation::Unlock);
        }
    }
}

struct RealFile {
    file: File,
}

impl RealFile {
    fn extend_with_zeros(&self, length_bytes: u64) -> io::Result<()> {
        let zeros = vec![0; 1 << 20];
        let mut offset = self.file.metadata()?.len();
        while offset < length_bytes {
            let left = usize::try_from(length_bytes - offset).unwrap_or(usize::MAX);
            let slice = zeros.get(..left).unwrap_or(&zeros);
            self.file.write_all_at(slice, offset)?;
            offset += slice.len() as u64;
        }
        Ok(())
    }
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
            // Not every file system can; zeros take the room there.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.extend_with_zeros(length_bytes),
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

fn names_in(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in directory.read_dir()? {
        // A name that is not UTF-8 is none of ours.
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    Ok(rustix::fs::fsync(File::open(directory)?)?)
}

const LOCK: &str = "LOCK";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// As a program that is being started does between fork and exec.
    #[test]
    fn a_lock_is_let_go_although_somebody_else_holds_its_file_open() {
        let parent = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(parent.path()).unwrap();
        let file = File::create(parent.path().join(LOCK)).unwrap();
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        let _inherited = file.try_clone().unwrap();
        let lock = RealLock { file: Some(file) };
        assert!(disk.lock().is_err(), "it is held");
        drop(lock);
        assert!(disk.lock().is_ok());
    }

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
    fn a_read_only_disk_makes_and_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let disk = ReadOnlyDisk::new(directory.path()).unwrap();
        assert!(disk.lock().is_ok(), "where nobody has served there is nothing to lock");
        std::fs::write(directory.path().join("a"), b"xyz").unwrap();
        assert_eq!(disk.create("b").err().unwrap().kind(), io::ErrorKind::ReadOnlyFilesystem);
        assert!(disk.create("a").is_err() && disk.rename("a", "b").is_err() && disk.remove("a").is_err());
        let file = disk.open("a").unwrap();
        assert!(file.write_at(b"1", 0).is_err() && file.allocate(10).is_err());
        assert_eq!(disk.list().unwrap(), ["a"]);
        assert_eq!(std::fs::read(directory.path().join("a")).unwrap(), b"xyz");
        assert_eq!(ReadOnlyDisk::new(directory.path().join("a")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        assert_eq!(ReadOnlyDisk::new(directory.path().join("b")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn readers_keep_a_writer_out_and_not_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let (writer, reader) = (RealDisk::new(directory.path()).unwrap(), ReadOnlyDisk::new(directory.path()).unwrap());
        let held = writer.lock().unwrap();
        assert_eq!(reader.lock().err().unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        let (one, two) = (reader.lock().unwrap(), reader.lock().unwrap());
        assert_eq!(writer.lock().err().unwrap().kind(), io::ErrorKind::WouldBlock);
        drop((one, two));
        assert!(writer.lock().is_ok());
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

    #[test]
    fn where_room_cannot_be_allocated_zeros_take_it_and_keep_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let file = RealFile { file: RealDisk::options().create(true).open(directory.path().join("a")).unwrap() };
        file.write_at(b"xyz", 0).unwrap();
        let length = (2 << 20) + 5;
        file.extend_with_zeros(length).unwrap();
        file.extend_with_zeros(7).unwrap();
        let bytes = std::fs::read(directory.path().join("a")).unwrap();
        assert_eq!((bytes.len() as u64, &bytes[..5]), (length, b"xyz\0\0".as_slice()));
    }
}
