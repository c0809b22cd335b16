use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    ops::ControlFlow,
    panic::resume_unwind,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::{
    scan::{Partial, Place, Scanner},
    source::Stretch,
};

impl Scanner {
    /// Takes the frames of `stretches`, which follow each other, and tells of each one that it is
    /// done with, in order. The result is that of pushing all frames one after the other.
    ///
    /// Threads scan stretches ahead, each on its own; this one appends what they found. At most
    /// three stretches a thread are under way at a time.
    pub fn push_stretches(
        &mut self,
        stretches: impl Iterator<Item = Stretch> + Send,
        threads: NonZeroUsize,
        mut on_done: impl FnMut(Stretch),
    ) {
        let (limits, resolvers) = (self.limits(), self.resolvers());
        let stretches = Mutex::new((0..).zip(stretches));
        let (sender, receiver) = bounded(threads.get());
        thread::scope(|scope| {
            let workers: Vec<_> = (0..threads.get())
                .map(|_| {
                    let (sender, resolvers) = (sender.clone(), Arc::clone(&resolvers));
                    let next = || {
                        let mut stretches =
                            stretches.lock().unwrap_or_else(PoisonError::into_inner);
                        stretches.next()
                    };
                    let scanner =
                        move || Scanner::new(Place::Ahead, limits, Arc::clone(&resolvers));
                    scope.spawn(move || scan_ahead(next, scanner, &sender))
                })
                .collect();
            drop(sender);
            self.append_in_order(&receiver, &mut on_done);
            for worker in workers {
                if let Err(panic) = worker.join() {
                    resume_unwind(panic);
                }
            }
        });
    }

    fn append_in_order(
        &mut self,
        receiver: &Receiver<(usize, Stretch, Partial)>,
        on_done: &mut impl FnMut(Stretch),
    ) {
        let mut waiting = BTreeMap::new();
        let mut turn = 0;
        for (index, stretch, partial) in receiver {
            waiting.insert(index, (stretch, partial));
            while let Some((mut stretch, partial)) = waiting.remove(&turn) {
                if self.follows(&partial) {
                    self.append(partial, &mut ());
                } else {
                    stretch.for_each(|frame| {
                        self.push(&frame, &mut ());
                        ControlFlow::Continue(())
                    });
                }
                on_done(stretch);
                turn += 1;
            }
        }
    }
}

fn scan_ahead(
    next: impl Fn() -> Option<(usize, Stretch)>,
    scanner: impl Fn() -> Scanner,
    sender: &Sender<(usize, Stretch, Partial)>,
) {
    while let Some((index, mut stretch)) = next() {
        let mut scanner = scanner().with_backing(stretch.backing());
        stretch.for_each(|frame| {
            scanner.push(&frame, &mut ());
            match scanner.is_spoiled() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        if sender.send((index, stretch, scanner.finish())).is_err() {
            return;
        }
    }
}
