use std::{
    num::NonZeroUsize,
    panic::resume_unwind,
    sync::{Mutex, PoisonError},
    thread,
};

/// What workers make of each part, in the parts' order.
///
/// Each thread has a worker of its own, which may remember what serves the parts to come, and takes the
/// next part whenever it is done with one. The caller's thread is one of them: with a single one, or a
/// single part, none is started.
pub fn in_parallel<T: Send, R: Send, W: FnMut(T) -> R>(
    parts: Vec<T>,
    threads: NonZeroUsize,
    worker: impl Fn() -> W + Sync,
) -> Vec<R> {
    let threads = threads.get().min(parts.len());
    if threads <= 1 {
        return parts.into_iter().map(worker()).collect();
    }
    let queue = Mutex::new(parts.into_iter().enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let take = || {
        let mut work = worker();
        let one = || next().map(|(place, part)| (place, work(part)));
        std::iter::from_fn(one).collect::<Vec<_>>()
    };
    let mut done = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(take)).collect();
        let mut done = take();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, made)| made).collect()
}

/// What two functions give that run at the same time, the second one on the caller's thread.
pub fn both<A: Send, B>(one: impl FnOnce() -> A + Send, other: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (one.join().unwrap_or_else(|panic| resume_unwind(panic)), other)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_out_is_in_order() {
        for threads in [1, 2, 7, 200] {
            let threads = NonZeroUsize::new(threads).unwrap();
            let squares = in_parallel((0..100).collect(), threads, || |n: u64| n * n);
            assert!(squares.into_iter().eq((0..100).map(|n| n * n)));
            assert!(in_parallel(Vec::<u8>::new(), threads, || |n| n).is_empty());
        }
    }

    #[test]
    fn both_are_made_and_only_one_of_them_elsewhere() {
        let id = || thread::current().id();
        let (one, other) = both(id, id);
        assert!(one != id() && other == id());
    }

    #[test]
    fn one_thread_is_the_callers() {
        let here = thread::current().id();
        let ids = in_parallel(vec![(); 3], NonZeroUsize::MIN, || |()| thread::current().id());
        assert_eq!(ids, [here; 3]);
    }
}
