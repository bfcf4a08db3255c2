//! The machine, its disk, the programs.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::site::Site;
use crate::machine::{self, Cores};
use crate::measured::Latency;
use crate::report::measure::{PhaseError, Run, now};
use crate::report::model::{Commit, Machine};

/// All that is known before a server runs.
pub(super) fn gather(run: &mut Run) -> Result<(), PhaseError> {
    let folder = run.settings.directory.clone().unwrap_or_else(std::env::temp_dir);
    run.capacity.started = now();
    run.capacity.commit = commit();
    run.capacity.version = run.settings.server.as_deref().and_then(version).unwrap_or_default();
    run.capacity.settings.redis_version = version_of_redis(&run.settings.redis_server);
    run.capacity.machine = machine(&folder);
    run.capacity.machine.sync = Some(syncs(&folder, run.pace.syncs)?);
    if run.capacity.machine.load_at_start > LOAD_NOTED {
        let load = run.capacity.machine.load_at_start;
        run.note(format!("The machine was not idle before the run: {load:.1} threads wanted to run."));
    }
    Ok(())
}

/// More threads than this would have run before: figures may be of a shared machine.
const LOAD_NOTED: f64 = 0.5;

/// How the servers are set up, once one is.
pub(super) fn settings(run: &mut Run, site: &mut Site) -> Result<(), PhaseError> {
    let numbers = |cores: Option<&Cores>| -> Vec<u32> {
        cores.into_iter().flat_map(Cores::iter).filter_map(|core| u32::try_from(core).ok()).collect()
    };
    let placed = site.settings();
    let server_cores = numbers(placed.server_cores.as_ref());
    let workers = u32::try_from(server_cores.len()).unwrap_or(u32::MAX);
    let settings = &mut run.capacity.settings;
    settings.generator_cores = numbers(placed.load_cores.as_ref());
    settings.helper_cores = settings.generator_cores.clone();
    settings.clients = placed.clients;
    (settings.workers, settings.shards) = (workers, workers);
    settings.warm_up_seconds = run.pace.warm_up.as_secs_f64();
    settings.step_seconds = run.pace.step.as_secs_f64();
    settings.server_cores = server_cores;
    run.settings.redis_cores = placed.load_cores.clone();
    let settings = &mut run.capacity.settings;
    settings.others = vec![
        ("arrivals".into(), "even, at a constant rate".into()),
        ("rates of a sweep".into(), format!("{:?} of a closed loop's", run.pace.shares)),
        ("Redis".into(), "has the cores of the load generator, for the rival has a core for it besides".into()),
        ("PostgreSQL".into(), "has all cores".into()),
        ("transparent huge pages".into(), first_line("/sys/kernel/mm/transparent_hugepage/enabled")),
    ];
    Ok(())
}

fn machine(folder: &Path) -> Machine {
    let (disk, file_system) = mount(folder).unwrap_or_default();
    Machine {
        cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        cores: std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX)),
        memory_bytes: field("/proc/meminfo", "MemTotal").and_then(|text| kibibytes(&text)).unwrap_or_default(),
        kernel: first_line("/proc/sys/kernel/osrelease"),
        load_at_start: machine::load(),
        disk,
        file_system,
        sync: None,
    }
}

/// The value of the first line of that name.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let found = text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == name);
    found.map(|(_, value)| value.trim().to_owned())
}

fn kibibytes(text: &str) -> Option<u64> {
    Some(text.strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

/// The device and the file system of a folder.
fn mount(folder: &Path) -> Option<(String, String)> {
    let folder = folder.canonicalize().ok()?;
    find_mount(&fs::read_to_string("/proc/self/mountinfo").ok()?, &folder)
}

/// The last of the mounts that lie the deepest above it (`proc_pid_mountinfo(5)`).
fn find_mount(mounts: &str, folder: &Path) -> Option<(String, String)> {
    let mounts = mounts.lines().filter_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let (file_system, disk) = (kind.next()?, kind.next()?);
        Some((Path::new(place.split(' ').nth(4)?), disk, file_system))
    });
    let above = mounts.filter(|(point, ..)| folder.starts_with(point));
    let deepest = above.max_by_key(|(point, ..)| point.components().count());
    deepest.map(|(_, disk, file_system)| (disk.to_owned(), file_system.to_owned()))
}

/// The source in the current directory, if there is any.
fn commit() -> Commit {
    let git = |arguments: &[&str]| said(Command::new("git").args(arguments));
    let id = git(&["rev-parse", "HEAD"]).unwrap_or_default();
    let is_dirty = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| !changes.is_empty());
    Commit { id, is_dirty }
}

/// `tessera 0.1.0`.
fn version(server: &Path) -> Option<String> {
    Some(said(Command::new(server).arg("--version"))?.split_whitespace().nth(1)?.to_owned())
}

/// `Redis server v=7.0.15 sha=…`.
fn version_of_redis(program: &Path) -> Option<String> {
    let text = said(Command::new(program).arg("--version"))?;
    text.split_whitespace().find_map(|word| word.strip_prefix("v=")).map(ToOwned::to_owned)
}

/// What a program says that ends well.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Writes one page and syncs it, again and again.
fn syncs(folder: &Path, time: Duration) -> io::Result<Latency> {
    let folder = tempfile::Builder::new().prefix("tessera-sync-").tempdir_in(folder)?;
    let file = File::create(folder.path().join("page"))?;
    file.write_all_at(&PAGE, 0)?;
    file.sync_all()?;
    let (began, mut micros) = (Instant::now(), Vec::new());
    while began.elapsed() < time {
        let at = Instant::now();
        file.write_all_at(&PAGE, 0)?;
        file.sync_data()?;
        micros.push(u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    Ok(latency(micros))
}

const PAGE: [u8; 4096] = [0x5a; 4096];

/// Percentiles of times that were all kept.
pub(super) fn latency(mut micros: Vec<u64>) -> Latency {
    micros.sort_unstable();
    let at = |permille: usize| {
        let place = (micros.len() * permille).div_ceil(1000).saturating_sub(1);
        micros.get(place).copied().unwrap_or_default()
    };
    Latency { p50: at(500), p90: at(900), p99: at(990), p999: at(999), max: at(1000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_thousand_are_its_numbers() {
        let expected = Latency { p50: 500, p90: 900, p99: 990, p999: 999, max: 1000 };
        assert_eq!(latency((1..=1000).rev().collect()), expected);
        assert_eq!(latency(vec![7]), Latency { p50: 7, p90: 7, p99: 7, p999: 7, max: 7 });
        assert_eq!(latency(Vec::new()), Latency::default());
    }

    #[test]
    fn a_folder_is_on_the_deepest_mount_above_it() {
        let mounts = "22 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n\
                      40 22 0:3 / /data rw - xfs /dev/vdb rw\n\
                      41 22 0:3 / /data2 rw - tmpfs none rw\n";
        let found = |folder| find_mount(mounts, Path::new(folder)).unwrap();
        assert_eq!(found("/data/tessera"), ("/dev/vdb".to_owned(), "xfs".to_owned()));
        assert_eq!(found("/database"), ("/dev/vda".to_owned(), "ext4".to_owned()));
    }
}
