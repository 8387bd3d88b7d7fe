//! The locks of slots.

use std::{
    os::fd::AsRawFd,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::{
    fd::OwnedFd,
    fs::{self, CWD, FileType, FlockOperation, Mode, OFlags, Stat},
    io::Errno,
};

/// The lock of a slot that no dockerd has or took lately, held until it is dropped.
#[derive(Debug)]
pub(super) struct IdleLock {
    _file: OwnedFd,
    idle: Duration,
}

impl IdleLock {
    /// Takes the lock. Returns nothing when it was used within `idle`, when somebody holds it, and when it is not a file.
    pub fn acquire(key: &OwnedFd, name: &str, idle: Duration) -> Result<Option<Self>, Errno> {
        // Looks without opening: opening a device may do something, and opening a pipe waits.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = match fs::openat(key, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            found => found?,
        };
        let stat = fs::fstat(&found)?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !is_file || unused_for(&stat).is_none_or(|unused| unused < idle) {
            return Ok(None);
        }
        // The file that was looked at, whatever has its name now. A lease on it, too, would make others wait.
        let path = format!("/proc/self/fd/{}", found.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match fs::openat(CWD, path, flags, Mode::empty()) {
            Err(Errno::AGAIN) => return Ok(None),
            file => file?,
        };
        match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::AGAIN) => return Ok(None),
            locked => locked?,
        }
        // A dockerd may have taken and released it since.
        let unused = unused_for(&fs::fstat(&file)?).filter(|unused| *unused >= idle);
        Ok(unused.map(|idle| Self { _file: file, idle }))
    }

    /// Returns how long ago a dockerd took it.
    pub fn idle(&self) -> Duration {
        self.idle
    }
}

/// Returns how long ago a file was used. Jobs can set a file's time of modification, also to one in the future; not that of
/// its last change of any kind.
pub(super) fn unused_for(stat: &Stat) -> Option<Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let used = stat.st_mtime.min(stat.st_ctime);
    let seconds = i64::try_from(now.as_secs()).ok()?.saturating_sub(used);
    u64::try_from(seconds).ok().map(Duration::from_secs)
}
