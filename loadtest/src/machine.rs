//! What is asked of the machine: cores, limits, and how much memory a process holds.

use std::fs;
use std::io;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, nice, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Runs `start` on the first core that this process may use, so that what it starts stays there, and moves this thread to
/// the others for good, with all that it will start. With one core everything stays where it is.
pub(crate) fn on_the_first_core<T>(start: impl FnOnce() -> T) -> io::Result<T> {
    let all = sched_getaffinity(None)?;
    let (mut first, mut others) = (CpuSet::new(), CpuSet::new());
    for core in (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)) {
        if first.count() == 0 { first.set(core) } else { others.set(core) }
    }
    if others.count() == 0 {
        return Ok(start());
    }
    sched_setaffinity(None, &first)?;
    let started = start();
    sched_setaffinity(None, &others)?;
    Ok(started)
}

/// Lets other threads go first where this one shares a core with them.
pub(crate) fn give_way() -> io::Result<()> {
    nice(10)?;
    Ok(())
}

/// Raises the number of open files to the most that this process may have, and the server with it.
pub(crate) fn raise_open_files() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

/// How many threads wanted to run in the last minute, on average: what the machine did besides.
pub(crate) fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default()
}

/// How much of a process is in memory, in bytes; zero once it is gone.
pub(crate) fn resident_bytes(pid: Option<Pid>) -> u64 {
    let status = pid.map(|pid| fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())));
    let status = status.and_then(Result::ok).unwrap_or_default();
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = kibibytes.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or_default() * 1024
}
