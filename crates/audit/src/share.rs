//! Much of the same kind, done in pieces by all processors, and put together in its order. Decides nothing about what is done.

/// Threads, whatever the machine has.
const MOST_THREADS: usize = 8;
/// With fewer items in a piece, a thread costs more than it saves.
const LEAST: usize = 512;

/// What `work` makes of the pieces of `items`, in their order. Each piece is done whole by one thread, the last by this one.
pub fn pieces<T: Sync, R: Send>(items: &[T], work: impl Fn(&[T]) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, MOST_THREADS);
    by(threads, items, work)
}

fn by<T: Sync, R: Send>(threads: usize, items: &[T], work: impl Fn(&[T]) -> R + Sync) -> Vec<R> {
    let pieces = threads.min(items.len() / LEAST).max(1);
    let (rest, last) = items.split_at(items.len() / pieces * (pieces - 1));
    std::thread::scope(|scope| {
        let work = &work;
        let begun: Vec<_> = rest
            .chunks((items.len() / pieces).max(1))
            // Without a thread it is done here, in its turn.
            .map(|piece| (piece, std::thread::Builder::new().spawn_scoped(scope, move || work(piece)).ok()))
            .collect();
        let own = work(last);
        let joined = begun.into_iter().map(|(piece, thread)| match thread.map(|thread| thread.join()) {
            Some(Ok(done)) => done,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => work(piece),
        });
        let mut all: Vec<R> = joined.collect();
        all.push(own);
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_kept_and_nothing_is_lost() {
        for length in [0, 1, 511, 512, 1023, 1024, 1025, 5000, 12_345] {
            let items: Vec<usize> = (0..length).collect();
            for threads in [1, 2, 3, 8] {
                let all = by(threads, &items, <[usize]>::to_vec);
                assert!(all.len() <= threads, "{length} by {threads}");
                assert_eq!(all.concat(), items, "{length} by {threads}");
            }
        }
    }
}
