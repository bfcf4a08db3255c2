//! The journal's two threads, and what happens when one of them fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use crate::journal::commit::{CommitOutcome, Committer};
use crate::journal::error::JournalError;
use crate::journal::spare::keep_ready;

/// Called with a failure of the log. In the server it does not return.
pub(crate) type FatalHook = Arc<dyn Fn(&JournalError) + Send + Sync>;

/// Starts the commit thread, and the spare thread that ends before it.
pub(crate) fn spawn(
    mut committer: Committer,
    on_fatal: FatalHook,
) -> Result<JoinHandle<Option<Committer>>, JournalError> {
    let (wanted, receiver) = crossbeam_channel::bounded(1);
    let (spare, clock, on_spare_fatal) =
        (Arc::clone(&committer.spare), Arc::clone(&committer.clock), Arc::clone(&on_fatal));
    let spare_thread = thread::Builder::new().name("spare".to_owned()).spawn(move || {
        guarded(&on_spare_fatal, || keep_ready(&spare, &receiver, &clock));
    });
    let spare_thread = spare_thread.map_err(cannot_start)?;
    committer.spare_wanted = Some(wanted);
    committer.want_spare();
    let commit_thread = thread::Builder::new().name("commit".to_owned()).spawn(move || {
        run_in_batches();
        let done = guarded(&on_fatal, || run(&mut committer));
        committer.spare_wanted = None;
        // Its panic has been reported already.
        let _ = spare_thread.join();
        done.map(|()| committer)
    });
    commit_thread.map_err(cannot_start)
}

/// Lets this thread preempt no other when it is woken (`SCHED_BATCH`). Where cores are short, the thread that wakes it then
/// goes on with the requests that it has at hand, and what they ask for arrives here as one batch; where a core is free,
/// nothing changes.
pub fn run_in_batches() {
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
    // Without it everything works, at the price of more switches.
    let before = rustix::process::getpriority_process(None);
    if let Ok(nice_zero) = ThreadPriorityValue::try_from(NICE_ZERO) {
        let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(nice_zero), policy);
    }
    // With the policy it takes a niceness too; who started the server may have chosen another.
    let _ = before.map(|niceness| rustix::process::setpriority_process(None, niceness));
}

/// Lets every other thread go first (nice 19): for work that can wait.
pub fn run_at_lowest_priority() {
    // Without it the others only wait a little longer.
    let _ = rustix::process::setpriority_process(None, LOWEST_PRIORITY);
}

const LOWEST_PRIORITY: i32 = 19;
/// The niceness that every thread begins with, on the crate's scale of 0 to 99.
const NICE_ZERO: u8 = 48;

/// Loops until all lanes are gone.
fn run(committer: &mut Committer) -> Result<(), JournalError> {
    loop {
        match committer.commit_ready()? {
            CommitOutcome::Closed => return Ok(()),
            // A send wakes even a thread that is only about to park.
            CommitOutcome::Idle(wait) => thread::park_timeout(wait),
            CommitOutcome::Committed(_) => committer.pause().into_iter().for_each(thread::sleep),
            CommitOutcome::Replied | CommitOutcome::Marked => {}
        }
        // Whoever shares this core may have more for the next batch at hand. On a core of its own this costs nothing.
        thread::yield_now();
    }
}

/// Reports an error or a panic of a journal thread: neither may leave a process that acknowledges nothing.
fn guarded(on_fatal: &FatalHook, body: impl FnOnce() -> Result<(), JournalError>) -> Option<()> {
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or(Err(JournalError::Stopped));
    outcome.inspect_err(|error| on_fatal(error)).ok()
}

/// What the server does when the log fails: a page that a failed sync marked clean may never reach the disk, so no
/// later sync can be believed.
pub fn stop_process(error: &JournalError) {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::error!(
        %error, %cause,
        "the journal failed and the process stops; nothing that was acknowledged is lost: check the disk of the data \
         directory and its free space, then start again"
    );
    std::process::abort();
}

fn cannot_start(source: std::io::Error) -> JournalError {
    JournalError::Io { action: "start a thread for", name: "the journal".to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use thread_priority::thread_schedule_policy;

    use super::*;
    use crate::clock::Clock;
    use crate::journal::sim::{SimDisk, entry, keys, options};
    use crate::journal::{Block, Entry, Lane, Lsn, Options, RealDisk, Reply, open, open_with};

    #[test]
    fn a_thread_that_runs_in_batches_is_as_nice_as_before() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        thread::spawn(move || {
            let before = niceness();
            run_in_batches();
            let batch = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
            assert_eq!((thread_schedule_policy().unwrap(), niceness()), (batch, before));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn the_commit_thread_reports_a_failure_once_and_ends() {
        let disk = SimDisk::new();
        let (sender, reports) = mpsc::channel();
        let on_fatal: FatalHook = Arc::new(move |error| sender.send(error.to_string()).unwrap());
        let mut opened =
            open_with(Arc::new(disk.clone()), options(1), Arc::new(Clock::system()), &mut |_| {}, on_fatal).unwrap();
        let (sender, replies) = mpsc::channel();
        let reply = |sender: mpsc::Sender<()>| Some(Box::new(move || sender.send(()).unwrap()) as Reply);
        opened.lanes[0].append(entry(0, b"x"), reply(sender.clone()));
        replies.recv().unwrap();
        while !disk.names().contains(&"spare.tmp".to_owned()) {
            thread::yield_now();
        }
        disk.faults(|faults| faults.power_cut_in = Some(0));
        opened.lanes[0].append(entry(0, b"y"), reply(sender));
        assert!(reports.recv().unwrap().contains("cannot "));
        assert!(matches!(opened.journal.close(), Err(JournalError::Stopped)));
        assert!(replies.recv().is_err());
    }

    #[test]
    fn threads_append_read_and_close_on_a_real_disk() {
        const EACH: u64 = 300;
        let directory = tempfile::tempdir().unwrap();
        let reopen = |visit: &mut dyn FnMut(Arc<Block>)| {
            let disk = Arc::new(RealDisk::new(directory.path()).unwrap());
            let options =
                Options { segment_bytes: 256 << 10, journal_bytes_max: 8 << 20, ..Options::new(keys(), 3, 16) };
            open(disk, options, Arc::new(Clock::system()), visit).unwrap()
        };
        let opened = reopen(&mut |_| {});
        let (reader, replies) = (opened.journal.reader(), Arc::new(AtomicUsize::new(0)));
        let actors = opened.lanes.into_iter().zip(0..).map(|(lane, id)| {
            let replies = Arc::clone(&replies);
            thread::spawn(move || append_all(lane, id, EACH, &replies))
        });
        let actors: Vec<_> = actors.collect();
        let mut next = 1;
        while next <= 3 * EACH {
            let (from, until) = (Lsn::new(next), reader.durable_lsn().value());
            reader
                .read(from, &mut |block| {
                    assert!(block.first_lsn().value() <= next);
                    next = block.first_lsn().value() + u64::from(block.len());
                })
                .unwrap();
            assert!(next > until);
        }
        actors.into_iter().for_each(|actor| actor.join().unwrap());
        opened.journal.close().unwrap();
        assert_eq!(replies.load(Ordering::Relaxed), 3 * usize::try_from(EACH).unwrap());
        let mut of_lane = [0; 3];
        let opened = reopen(&mut |block| {
            for record in block.records() {
                let count = &mut of_lane[usize::try_from(record.routing_id).unwrap()];
                assert_eq!(record.payload, u64::to_le_bytes(*count));
                *count += 1;
            }
        });
        assert_eq!((of_lane, opened.recovered.last_lsn.value()), ([EACH; 3], 3 * EACH));
        drop(opened.lanes);
        opened.journal.close().unwrap();
    }

    fn append_all(mut lane: Lane, routing_id: u64, count: u64, replies: &Arc<AtomicUsize>) {
        for number in 0..count {
            let replies = Arc::clone(replies);
            let reply: Reply = Box::new(move || _ = replies.fetch_add(1, Ordering::Relaxed));
            let entry: Entry = entry(routing_id, &number.to_le_bytes());
            lane.append(entry, Some(reply));
        }
    }
}
