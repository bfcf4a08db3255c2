//! What is asked of the machine: cores, limits, and how much memory a process holds.

use std::fmt;
use std::fs;
use std::io;
use std::str::FromStr;
use std::time::Duration;

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

/// Some cores of this machine, by their numbers, rising.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cores(Vec<usize>);

impl Cores {
    /// Those that this process may use.
    pub(crate) fn all() -> io::Result<Self> {
        let all = sched_getaffinity(None)?;
        Ok(Self((0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).collect()))
    }

    /// Those that this process may use, in two halves: the first for the server, the second for the load. With one core
    /// both have it.
    pub(crate) fn halves() -> io::Result<(Self, Self)> {
        let Self(all) = Self::all()?;
        let (first, second) = all.split_at(all.len() / 2);
        let first = if first.is_empty() { second } else { first };
        Ok((Self(first.to_vec()), Self(second.to_vec())))
    }

    /// The first so many.
    pub(crate) fn first(&self, count: usize) -> Self {
        Self(self.iter().take(count).collect())
    }

    /// Those after the first so many, if there are any.
    pub(crate) fn after(&self, count: usize) -> Option<Self> {
        let rest: Vec<_> = self.iter().skip(count).collect();
        (!rest.is_empty()).then_some(Self(rest))
    }

    /// The last.
    pub(crate) fn last(&self) -> Self {
        Self(self.iter().last().into_iter().collect())
    }

    pub(crate) const fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().copied()
    }

    pub(crate) fn overlap(&self, other: &Self) -> bool {
        self.0.iter().any(|core| other.0.contains(core))
    }

    /// Keeps this thread there, with all that it starts from now on.
    pub(crate) fn pin(&self) -> io::Result<()> {
        let mut cores = CpuSet::new();
        for core in self.iter().filter(|core| *core < CpuSet::MAX_CPU) {
            cores.set(core);
        }
        Ok(sched_setaffinity(None, &cores)?)
    }

    /// Keeps this thread on the core of that number, counted round.
    pub(crate) fn pin_to(&self, number: usize) -> io::Result<()> {
        let one = self.iter().nth(number % self.count().max(1));
        Self(one.into_iter().collect()).pin()
    }

    /// Runs `start` there, so that what it starts stays there, and comes back.
    pub(crate) fn start<T>(&self, start: impl FnOnce() -> T) -> io::Result<T> {
        let before = sched_getaffinity(None)?;
        self.pin()?;
        let started = start();
        sched_setaffinity(None, &before)?;
        Ok(started)
    }
}

impl FromStr for Cores {
    type Err = &'static str;

    /// Numbers and ranges, as `taskset -c` takes them: `0`, `2-3`, `0,2-3`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "not of the form 0 or 2-3 or 0,2-3";
        let mut cores = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (usize, usize) = (first.parse().map_err(|_| WRONG)?, last.parse().map_err(|_| WRONG)?);
            if first > last || last >= CpuSet::MAX_CPU {
                return Err(WRONG);
            }
            cores.extend(first..=last);
        }
        cores.sort_unstable();
        cores.dedup();
        Ok(Self(cores))
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        formatter.write_str(&numbers.join(","))
    }
}

/// User and system time of a process so far, all threads together; zero once it is gone.
pub(crate) fn cpu_time(pid: Option<Pid>) -> Duration {
    let stat = pid.map(|pid| fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())));
    let ticks = stat.and_then(Result::ok).and_then(|stat| cpu_ticks(&stat)).unwrap_or_default();
    Duration::from_secs(ticks) / TICKS_PER_SECOND
}

/// What the kernel counts the time of processes in, as it tells it: `USER_HZ`, the same on every machine that we run on.
const TICKS_PER_SECOND: u32 = 100;

/// The sum of `utime` and `stime`. The name of the program stands in brackets before them, and may hold any character.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_numbers_and_ranges() {
        let check = |text: &str, expected: Option<&[usize]>| {
            assert_eq!(text.parse::<Cores>().ok(), expected.map(|cores| Cores(cores.to_vec())), "{text}");
        };
        check("0", Some(&[0]));
        check("3,0-1,1", Some(&[0, 1, 3]));
        check("2-1", None);
        check("", None);
        check("0,", None);
        check("99999999", None);
    }

    #[test]
    fn the_time_of_a_process_stands_after_its_name_whatever_that_is() {
        let fields = "S 1 1 1 0 -1 4194560 900 0 0 0 250 50 7 7 20 0 4 0 100 1000000 500";
        assert_eq!(cpu_ticks(&format!("12 (tessera) {fields}")), Some(300));
        assert_eq!(cpu_ticks(&format!("12 (a) R (b)) {fields}")), Some(300));
        assert_eq!(cpu_ticks("12 (tessera) S 1"), None);
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        let own = Some(rustix::process::getpid());
        assert!(resident_bytes(own) > 100_000);
        let before = cpu_time(own);
        while cpu_time(own) == before {}
        assert_eq!(cpu_time(None), Duration::ZERO);
    }
}
