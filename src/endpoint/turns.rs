//! Turns of the connections of a worker that ask for much.
//!
//! A worker is one thread, and its runtime looks for new requests only once every task that could go on has had its turn (or 61
//! have). So connections that could go on all the time, each a little, would let the others wait for all of them together.
//! Here they queue: one goes on, then the worker looks for what has come, and then the next one goes on.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::task::Waker;

use actix_web::rt::spawn;
use tokio::task::yield_now;

/// Who waits for a turn on this worker.
#[derive(Default)]
struct Turns {
    waiting: VecDeque<Waker>,
    /// A task gives the turns while somebody waits.
    are_given: bool,
}

thread_local! {
    static TURNS: RefCell<Turns> = RefCell::default();
}

/// Wakes a task when those that asked before it have had their turn, and the worker has looked for what is new.
pub(super) fn wake_in_turn(waker: Waker) {
    let are_given = TURNS.with_borrow_mut(|turns| {
        turns.waiting.push_back(waker);
        std::mem::replace(&mut turns.are_given, true)
    });
    if !are_given {
        spawn(give());
    }
}

async fn give() {
    loop {
        // The runtime looks at its sockets before it goes on with a task that yields.
        yield_now().await;
        let next = TURNS.with_borrow_mut(|turns| {
            let next = turns.waiting.pop_front();
            turns.are_given = next.is_some();
            next
        });
        match next {
            Some(waker) => waker.wake(),
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream as Peer;
    use std::rc::Rc;
    use std::task::Poll;
    use std::thread;

    use actix_web::rt::System;
    use tokio::net::UnixStream;

    use super::*;

    /// Ends at its next turn.
    async fn turn() {
        let mut is_mine = false;
        poll_fn(|context| {
            if is_mine {
                return Poll::Ready(());
            }
            is_mine = true;
            wake_in_turn(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// How many turns ten tasks had before a socket was looked at into which something came at the given one.
    fn turns_before_a_look(came_at: u32) -> u32 {
        let (peer, stream) = Peer::pair().unwrap();
        stream.set_nonblocking(true).unwrap();
        let (peer, turns) = (Rc::new(peer), Rc::new(Cell::new(0)));
        System::new().block_on(async {
            let stream = UnixStream::from_std(stream).unwrap();
            for _ in 0..10 {
                let (peer, turns) = (peer.clone(), turns.clone());
                spawn(async move {
                    loop {
                        turn().await;
                        turns.set(turns.get() + 1);
                        if turns.get() == came_at {
                            (&*peer).write_all(b"!").unwrap();
                        }
                    }
                });
            }
            stream.readable().await.unwrap();
        });
        turns.get()
    }

    #[test]
    fn what_has_come_is_looked_at_after_each_turn() {
        for came_at in 100..110 {
            // A worker is a thread.
            let worker = thread::spawn(move || turns_before_a_look(came_at));
            assert_eq!(worker.join().unwrap(), came_at);
        }
    }
}
