//! The engine's worker threads.

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
    /// queries run on their callers' threads.
    pub(crate) fn new(threads: usize) -> Option<Self> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        if threads < 2 {
            return None;
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("query-{i}")).build();
        pool.ok().map(Self)
    }

    /// Runs `0..count` in parallel and hands the results to `fold` in order.
    pub(crate) fn ordered<T: Send, E>(
        &self,
        count: usize,
        run: &(impl Fn(usize, &mut (Rows, Scratch)) -> T + Sync),
        mut fold: impl FnMut(T) -> Result<(), E>,
    ) -> Result<(), E> {
        let wave = self.0.current_num_threads() * BATCHES_PER_THREAD;
        let mut first = 0;
        while first < count {
            let last = (first + wave).min(count);
            let results: Vec<T> = self.0.install(|| {
                (first..last)
                    .into_par_iter()
                    .with_max_len(1)
                    .map_init(|| (Rows::default(), Scratch::default()), |space, batch| run(batch, space))
                    .collect()
            });
            for result in results {
                fold(result)?;
            }
            first = last;
        }
        Ok(())
    }
}
