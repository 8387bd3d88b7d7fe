//! Deletes trees that no job has a name for any more.
//!
//! A job may still have open files and directories in them, and change what is in those.

use std::{
    cell::Cell,
    ffi::{CStr, CString},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, AtFlags, Dir, FileType, FlockOperation, Mode},
    io::Errno,
};

use super::open_directory;

/// The sweeper's own directory below a root. Each tree that was taken away has a directory of its own in it.
#[derive(Debug)]
pub(super) struct Gone {
    directory: OwnedFd,
    names: Names,
}

/// A directory for one tree, into which the directories of the tree are renamed before they are entered.
#[derive(Debug)]
pub(super) struct Bin<'g> {
    gone: &'g Gone,
    name: String,
    directory: OwnedFd,
    names: Names,
}

/// What was deleted, and how that ended.
#[derive(Debug)]
pub(super) struct Emptied {
    pub deleted: u64,
    /// The space of files that had no other link.
    pub bytes: u64,
    pub end: End,
}

/// How a deletion ended.
#[derive(Debug)]
pub(super) enum End {
    /// Everything is gone, the bin too.
    Empty,
    OutOfTime,
    /// Nothing of what is left can be deleted, for this reason among others. Without a reason, something changed.
    Blocked(Option<Obstacle>),
}

/// An entry that cannot be deleted.
#[derive(Debug)]
pub(super) struct Obstacle {
    pub name: CString,
    pub error: Errno,
}

impl Gone {
    /// Its name, which no namespace has.
    pub const NAME: &str = ".gone";

    /// Opens it, and makes it where there is none. Returns nothing while another sweeper has it.
    pub fn open(root: &OwnedFd) -> Result<Option<Self>, Errno> {
        match fs::mkdirat(root, Self::NAME, Mode::RWXU) {
            Err(Errno::EXIST) => {}
            made => made?,
        }
        let directory = open_directory(root, Self::NAME)?;
        match fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::AGAIN) => return Ok(None),
            locked => locked?,
        }
        Ok(Some(Self {
            directory,
            names: Names::new(),
        }))
    }

    /// Returns the names of the bins that earlier rounds left.
    pub fn bins(&self) -> Result<Vec<String>, Errno> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            let entry = entry?;
            if !is_dot(entry.file_name()) {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(names)
    }

    /// Opens a bin.
    pub fn bin(&self, name: String) -> Result<Bin<'_>, Errno> {
        Ok(Bin {
            directory: open_directory(&self.directory, &name)?,
            gone: self,
            name,
            names: Names::new(),
        })
    }

    /// Renames an entry of another directory into a new bin.
    pub fn bin_with(&self, parent: &OwnedFd, entry: &str) -> Result<Bin<'_>, Errno> {
        let name = self.names.next();
        fs::mkdirat(&self.directory, &name, Mode::RWXU)?;
        let bin = self.bin(name)?;
        match fs::renameat(parent, entry, &bin.directory, bin.names.next()) {
            Ok(()) => Ok(bin),
            Err(error) => bin.remove().and(Err(error)),
        }
    }
}

impl Bin<'_> {
    /// Returns its name in `.gone`.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn remove(&self) -> Result<(), Errno> {
        fs::unlinkat(&self.gone.directory, &self.name, AtFlags::REMOVEDIR)
    }

    /// Deletes what is in the bin, and then the bin, until the time is up or nothing more can be deleted.
    pub fn empty(&self, until: Instant) -> Emptied {
        let (mut deleted, mut bytes) = (0, 0);
        loop {
            let mut pass = Pass::new(until);
            if let Err(error) = self.pass(&mut pass) {
                pass.note(c".", error);
            }
            deleted += pass.deleted;
            bytes += pass.bytes;
            let end = match self.remove() {
                Ok(()) | Err(Errno::NOENT) => End::Empty,
                Err(_) if pass.is_over() => End::OutOfTime,
                // It brought directories into the bin, or entries came while others went.
                Err(_) if pass.deleted + pass.moved > 0 => continue,
                Err(_) => End::Blocked(pass.obstacle),
            };
            return Emptied {
                deleted,
                bytes,
                end,
            };
        }
    }

    /// Deletes what is in each directory of the bin. Directories in it that are not empty come into the bin themselves.
    fn pass(&self, pass: &mut Pass) -> Result<(), Errno> {
        for entry in Dir::read_from(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if is_dot(name) {
                continue;
            }
            let emptied = match open_directory(&self.directory, name) {
                Ok(directory) => self.flatten(directory, pass),
                Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = emptied.and_then(|()| delete(&self.directory, name, pass)) {
                pass.note(name, error);
            }
            if pass.is_over() {
                break;
            }
        }
        Ok(())
    }

    fn flatten(&self, directory: OwnedFd, pass: &mut Pass) -> Result<(), Errno> {
        let mut entries = Dir::new(directory)?;
        while let Some(entry) = entries.read() {
            let entry = entry?;
            let (directory, name) = (entries.fd()?, entry.file_name());
            if is_dot(name) {
                continue;
            }
            let deleted = match delete(directory, name, pass) {
                Err(Errno::NOTEMPTY) => self.bring(directory, name, pass),
                deleted => deleted,
            };
            if let Err(error) = deleted {
                pass.note(name, error);
            }
            if pass.is_over() {
                break;
            }
        }
        Ok(())
    }

    /// Renames a directory into the bin, or what has taken its name.
    fn bring(&self, parent: BorrowedFd<'_>, name: &CStr, pass: &mut Pass) -> Result<(), Errno> {
        fs::renameat(parent, name, &self.directory, self.names.next())?;
        pass.moved += 1;
        Ok(())
    }
}

/// Deletes a directory if it is empty, or what else has the name.
fn delete(parent: impl AsFd + Copy, name: &CStr, pass: &mut Pass) -> Result<(), Errno> {
    // A look that may be old when it is used: each way to delete refuses what the other one is for.
    let stat = fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?;
    } else {
        fs::unlinkat(parent, name, AtFlags::empty())?;
        if stat.st_nlink == 1 {
            pass.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        }
    }
    pass.deleted += 1;
    Ok(())
}

/// What one pass over a bin did.
#[derive(Debug)]
struct Pass {
    until: Instant,
    deleted: u64,
    moved: u64,
    bytes: u64,
    obstacle: Option<Obstacle>,
}

impl Pass {
    fn new(until: Instant) -> Self {
        Self {
            until,
            deleted: 0,
            moved: 0,
            bytes: 0,
            obstacle: None,
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Notes the first entry that cannot be deleted, and not that entries came or went meanwhile.
    fn note(&mut self, name: &CStr, error: Errno) {
        let is_change = matches!(
            error,
            Errno::NOENT | Errno::NOTDIR | Errno::ISDIR | Errno::NOTEMPTY
        );
        if !is_change && self.obstacle.is_none() {
            let name = name.to_owned();
            self.obstacle = Some(Obstacle { name, error });
        }
    }
}

/// Names that were not used before: not by this process, and not by one before it.
#[derive(Debug)]
struct Names {
    prefix: u128,
    next: Cell<u64>,
}

impl Names {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            prefix: now.map_or(0, |now| now.as_nanos()),
            next: Cell::new(0),
        }
    }

    fn next(&self) -> String {
        let n = self.next.get();
        self.next.set(n + 1);
        format!("{:x}-{n:x}", self.prefix)
    }
}

fn is_dot(name: &CStr) -> bool {
    name == c"." || name == c".."
}

#[cfg(test)]
mod tests {
    use std::{env, fs, process, time::Duration};

    use super::*;

    #[test]
    fn a_deletion_without_time_goes_on_where_it_stopped() {
        let root = env::temp_dir().join(format!("slipway-gone-{}", process::id()));
        for number in 0..20 {
            fs::create_dir_all(root.join(format!("slot/{number}/below"))).unwrap();
        }
        let directory = OwnedFd::from(fs::File::open(&root).unwrap());
        let gone = Gone::open(&directory).unwrap().unwrap();
        let bin = gone.bin_with(&directory, "slot").unwrap();

        let emptied = bin.empty(Instant::now());
        assert!(matches!(emptied.end, End::OutOfTime), "{emptied:?}");
        let name = bin.name().to_owned();
        assert_eq!(gone.bins().unwrap(), std::slice::from_ref(&name));

        let emptied = gone
            .bin(name)
            .unwrap()
            .empty(Instant::now() + Duration::from_secs(3600));
        assert!(matches!(emptied.end, End::Empty), "{emptied:?}");
        assert_eq!(gone.bins().unwrap(), [""; 0]);
        fs::remove_dir_all(root).unwrap();
    }
}
