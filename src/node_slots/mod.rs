//! Node slots on a node's disk: the sweeper that deletes those that no dockerd took for some time.
//!
//! ```text
//! root/                 made by the kubelet, and so are the next two levels
//!   .gone/              [`Gone`]: the sweeper's own, which no pod sees
//!   namespace/
//!     key/              a pod sees this directory: jobs have root here
//!       lock-N slot-N   a slot, and the file that its dockerd locks, and touches when it takes the slot
//!       trash           what start wrappers set aside and did not get to delete
//! ```
//!
//! Jobs can make anything of what is below a key, at any moment. So
//!
//! - no path is resolved: each name is used in an open directory, and a link is not followed. What a name was found to be is
//!   a hint, and nothing that is done with it relies on that;
//! - nothing is deleted within reach of jobs. A slot is first renamed into `.gone`, in one step and under its lock;
//! - a directory below it is renamed into `.gone`, too, before it is entered. If a job swaps it for a link, the link is renamed.
//!   The kernel refuses to rename a mount point, so no mount is crossed; and however deep a tree is, two of its directories
//!   are open at a time;
//! - a key has one minute in each round, and what cannot be deleted is skipped: no tree holds up the others.
//!
//! A process of a job that has a directory open keeps it open in `.gone`. It can change what is in it, but not leave it: the kernel
//! does not let `..` lead out of what a mount shows.
//!
//! The directories of keys and their locks stay. After the kubelet has seen that a key's directory is there, and before it is
//! mounted into the pod, nothing tells that a pod is about to need it. And a lock that is deleted while a pod opens it
//! would be held by two.

mod gone;
mod lock;
mod told;

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{self, AtFlags, CWD, Dir, Mode, OFlags},
    io::Errno,
};
use tracing::{debug, info, warn};

use gone::{Bin, Emptied, End, Gone, Obstacle};
use lock::{IdleLock, unused_for};
use told::Told;

/// How long a key, or what an earlier round left, may take in one round.
const TIME_FOR_A_KEY: Duration = Duration::from_secs(60);
/// The numbers of slots that the start wrapper accepts.
const SLOT_NUMBERS: std::ops::Range<u8> = 0..100;
const TRASH: &str = "trash";
/// How long trash is left alone, at least: a start wrapper may be putting something there.
const TRASH_IDLE: Duration = Duration::from_secs(60);

/// Deletes the slots below one root that no dockerd took for some time.
#[derive(Debug)]
pub struct Sweeper {
    root: PathBuf,
    idle: Duration,
    told: Told,
}

/// The result of a round.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// How many slots, and directories of trash, are gone.
    pub deleted: usize,
    /// Whether time ran out during deletions that make progress, so that the next round should follow at once.
    pub is_unfinished: bool,
}

/// The root cannot be swept.
#[derive(Debug, thiserror::Error)]
#[error("failed to sweep {}", root.display())]
pub struct SweepError {
    root: PathBuf,
    source: io::Error,
}

impl Sweeper {
    /// Returns the sweeper of the slots below `root` that were not taken for `idle`.
    #[must_use]
    pub fn new(root: PathBuf, idle: Duration) -> Self {
        Self {
            root,
            idle,
            told: Told::default(),
        }
    }

    /// Deletes what is idle now, and what earlier rounds left.
    ///
    /// # Errors
    /// When the root cannot be read or written. What else fails is logged and skipped.
    pub fn round(&mut self) -> Result<Swept, SweepError> {
        let swept = self.sweep().map_err(|source| SweepError {
            root: self.root.clone(),
            source: source.into(),
        });
        self.told.end_round();
        swept
    }

    fn sweep(&mut self) -> Result<Swept, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = fs::openat(CWD, &self.root, flags, Mode::empty())?;
        let Some(gone) = Gone::open(&root)? else {
            warn!(root = %self.root.display(), "another sweeper is at work");
            return Ok(Swept::default());
        };
        let left = gone.bins()?;
        let mut round = Round {
            root: &self.root,
            idle: self.idle,
            told: &mut self.told,
            gone: &gone,
            swept: Swept::default(),
        };
        round.visit_namespaces(&root)?;
        // After the others: it had its minute.
        for name in left {
            round.finish(name);
        }
        debug!(root = %self.root.display(), swept = ?round.swept, "round");
        Ok(round.swept)
    }
}

/// One round over one root.
struct Round<'s> {
    root: &'s Path,
    idle: Duration,
    told: &'s mut Told,
    gone: &'s Gone,
    swept: Swept,
}

/// Names one slot, or the trash of a key, for the log.
struct Place<'p> {
    namespace: &'p str,
    key: &'p str,
    entry: &'p str,
}

impl<'s> Round<'s> {
    fn visit_namespaces(&mut self, root: &OwnedFd) -> Result<(), Errno> {
        for_each_directory(root, |namespace, directory| match directory {
            Ok(directory) => self.visit_keys(namespace, &directory),
            Err(error) => self.tell(namespace, error),
        })
    }

    fn visit_keys(&mut self, namespace: &str, directory: &OwnedFd) {
        let visited = for_each_directory(directory, |key, directory| match directory {
            Ok(directory) => self.visit_slots(namespace, key, &directory),
            Err(error) => self.tell(&format!("{namespace}/{key}"), error),
        });
        if let Err(error) = visited {
            self.tell(namespace, error);
        }
    }

    fn visit_slots(&mut self, namespace: &str, key: &str, directory: &OwnedFd) {
        let until = Instant::now() + TIME_FOR_A_KEY;
        let slots = SLOT_NUMBERS.map(|n| (format!("slot-{n}"), Some(format!("lock-{n}"))));
        for (entry, lock) in slots.chain([(TRASH.to_owned(), None)]) {
            if Instant::now() >= until {
                self.swept.is_unfinished = true;
                break;
            }
            let place = Place {
                namespace,
                key,
                entry: &entry,
            };
            match self.take(directory, &entry, lock.as_deref()) {
                Ok(Some((bin, idle))) => self.delete(&bin, &place, idle, until),
                Ok(None) => {}
                Err(error) => self.tell(&format!("{namespace}/{key}/{entry}"), error),
            }
        }
    }

    /// Renames an entry of a key into a bin of its own, if it was idle for long enough and nobody holds its lock. Trash has
    /// no lock: a start wrapper that finds its trash gone makes a new one.
    fn take(
        &self,
        key: &OwnedFd,
        entry: &str,
        lock: Option<&str>,
    ) -> Result<Option<(Bin<'s>, Duration)>, Errno> {
        let stat = match fs::statat(key, entry, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(None),
            stat => stat?,
        };
        // The lock is held until the slot is renamed.
        let (idle, _lock) = match lock {
            Some(lock) => match IdleLock::acquire(key, lock, self.idle)? {
                Some(lock) => (lock.idle(), Some(lock)),
                None => return Ok(None),
            },
            None => match unused_for(&stat) {
                Some(idle) if idle >= self.idle.max(TRASH_IDLE) => (idle, None),
                _ => return Ok(None),
            },
        };
        match self.gone.bin_with(key, entry) {
            Err(Errno::NOENT) => Ok(None),
            bin => bin.map(|bin| Some((bin, idle))),
        }
    }

    fn delete(&mut self, bin: &Bin<'_>, place: &Place<'_>, idle: Duration, until: Instant) {
        let Place {
            namespace,
            key,
            entry,
        } = place;
        let idle_days = idle.as_secs() / (24 * 60 * 60);
        let emptied = bin.empty(until);
        let bytes = emptied.bytes;
        if let End::Empty = emptied.end {
            info!(namespace, key, slot = entry, idle_days, bytes, "deleted");
        } else {
            let left_in = bin.name();
            info!(
                namespace,
                key,
                slot = entry,
                idle_days,
                bytes,
                left_in,
                "partly deleted"
            );
        }
        self.count(bin.name(), emptied);
    }

    /// Goes on with what an earlier round left.
    fn finish(&mut self, name: String) {
        let bin = match self.gone.bin(name) {
            Ok(bin) => bin,
            Err(error) => return self.tell(Gone::NAME, error),
        };
        let emptied = bin.empty(Instant::now() + TIME_FOR_A_KEY);
        if let End::Empty = emptied.end {
            let bytes = emptied.bytes;
            info!(left_in = bin.name(), bytes, "deleted the rest");
        }
        self.count(bin.name(), emptied);
    }

    fn count(&mut self, bin: &str, emptied: Emptied) {
        match emptied.end {
            End::Empty => self.swept.deleted += 1,
            End::OutOfTime => self.swept.is_unfinished |= emptied.deleted > 0,
            End::Blocked(obstacle) => {
                let path = format!("{}/{bin}", Gone::NAME);
                if let Some(Obstacle { name, error }) = obstacle
                    && self.told.is_news(&path)
                {
                    let root = self.root.display();
                    warn!(%root, path, entry = ?name, %error, "cannot be deleted, and is left");
                }
            }
        }
    }

    /// Logs what could not be swept, once.
    fn tell(&mut self, path: &str, error: Errno) {
        if self.told.is_news(path) {
            warn!(root = %self.root.display(), path, %error, "cannot be swept");
        }
    }
}

/// Calls `visit` with each directory in `parent` whose name is one of Kubernetes: not with links to directories, nor with `.gone`.
fn for_each_directory(
    parent: &OwnedFd,
    mut visit: impl FnMut(&str, Result<OwnedFd, Errno>),
) -> Result<(), Errno> {
    for entry in Dir::read_from(parent)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        match open_directory(parent, name) {
            Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => {}
            directory => visit(name, directory),
        }
    }
    Ok(())
}

/// Opens a directory, and nothing that has taken its name.
fn open_directory(parent: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(parent, name, flags, Mode::empty())
}
