//! The engine's worker threads.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::grid::Rows;
use super::source::Scratch;

/// Batches that each thread gets before results are folded: more balance better, fewer hold less memory.
const BATCHES_PER_THREAD: usize = 4;

/// Worker threads named `query-0` and so on. They end with the engine.
#[derive(Debug)]
pub(crate) struct Pool(rayon::ThreadPool);

impl Pool {
    /// Starts `threads` threads, one per core if 0. `None` if one is enough, or if the system has none to give: then
    /// queries run on their callers' threads. Each thread calls `on_start` first.
    pub(crate) fn new(threads: usize, on_start: fn()) -> Option<Self> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        if threads < 2 {
            return None;
        }
        let builder = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("query-{i}"));
        let pool = builder.start_handler(move |_| on_start()).build();
        pool.ok().map(Self)
    }

    /// Runs `0..count` in parallel and hands the results to `fold` in order, on this thread, while the next are computed.
    pub(crate) fn ordered<T: Send, E>(
        &self,
        count: usize,
        run: &(impl Fn(usize, &mut (Rows, Scratch)) -> T + Sync),
        mut fold: impl FnMut(T) -> Result<(), E>,
    ) -> Result<(), E> {
        let wave = self.0.current_num_threads() * BATCHES_PER_THREAD;
        // Working memory goes from batch to batch: what has grown need not grow again.
        let spaces: Mutex<Vec<(Rows, Scratch)>> = Mutex::default();
        let spare = || spaces.lock().unwrap_or_else(PoisonError::into_inner);
        // Once folding has failed, nobody needs the batches that follow.
        let failed = AtomicBool::new(false);
        let one = |batch| {
            if failed.load(Ordering::Relaxed) {
                return None;
            }
            let mut space = spare().pop().unwrap_or_default();
            let result = run(batch, &mut space);
            spare().push(space);
            Some(result)
        };
        let results =
            |batches: Range<usize>| -> Vec<Option<T>> { batches.into_par_iter().with_max_len(1).map(one).collect() };
        let mut last = wave.min(count);
        let mut ready = self.0.install(|| results(0..last));
        while last < count {
            let batches = last..(last + wave).min(count);
            last = batches.end;
            let mut next = Vec::new();
            self.0.in_place_scope(|scope| {
                scope.spawn(|_| next = results(batches));
                let folded = ready.drain(..).flatten().try_for_each(&mut fold);
                failed.store(folded.is_err(), Ordering::Relaxed);
                folded
            })?;
            ready = next;
        }
        ready.into_iter().flatten().try_for_each(fold)
    }
}
