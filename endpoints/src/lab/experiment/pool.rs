//! Work on every core: cells that differ in length, and the images within a cell.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context as _, Result};
use rayon::prelude::*;

use crate::lab::parallel::progress;

/// Images of a cell that one thread takes at a time. Fixed, so that what is kept between images never
/// depends on the number of cores.
const CHUNK: usize = 50;

/// Measures `cells` on a pool of work-stealing threads (none given: one a core) and hands each result to
/// `finished` as soon as it is there, in whatever order. A thread that has run out of cells helps with the
/// images of another's, where that is in [`each`]. A progress bar is drawn on standard error if that is a
/// terminal.
///
/// # Errors
/// The first failure, of a cell or of `finished`; cells that were begun are still measured, further ones
/// are not.
pub(in crate::lab) fn measure<C: Sync, T: Send>(
    title: &'static str,
    threads: Option<usize>,
    cells: &[C],
    measure: impl Fn(&C) -> Result<T> + Sync,
    mut finished: impl FnMut(&C, T) -> Result<()>,
) -> Result<()> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.unwrap_or(0))
        .build()
        .context("cannot start threads")?;
    let bar = progress(title, cells.len());
    let stop = AtomicBool::new(false);
    let (sender, results) = mpsc::channel();
    let done = thread::scope(|scope| {
        scope.spawn(|| {
            pool.install(|| {
                let one = |sender: &mut mpsc::Sender<_>, cell| {
                    if !stop.load(Ordering::Relaxed) {
                        // Whoever listens does so until all senders are gone.
                        let _ = sender.send((cell, measure(cell)));
                    }
                };
                cells.par_iter().with_max_len(1).for_each_with(sender, one);
            });
        });
        let mut done = Ok(());
        for (cell, result) in results {
            let kept = result.and_then(|result| finished(cell, result));
            if kept.is_err() && done.is_ok() {
                stop.store(true, Ordering::Relaxed);
                done = kept;
            }
            bar.inc(1);
        }
        done
    });
    bar.finish_and_clear();
    done
}

/// Does `work` for every item and gives the results in their order. Within [`measure`] the items are
/// shared with threads that have nothing else to do; `state` makes what is kept from item to item of a
/// run of 50.
///
/// # Errors
/// The first failure in the order of the items.
pub(in crate::lab) fn each<I: Sync, S, T: Send>(
    items: &[I],
    state: impl Fn() -> Result<S> + Sync,
    work: impl Fn(&mut S, &I) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let chunk = |items: &[I]| -> Result<Vec<T>> {
        let mut kept = state()?;
        items.iter().map(|item| work(&mut kept, item)).collect()
    };
    let chunks: Vec<Result<Vec<T>>> = items.par_chunks(CHUNK).map(chunk).collect();
    let mut results = Vec::with_capacity(items.len());
    for chunk in chunks {
        results.extend(chunk?);
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use anyhow::bail;

    use super::*;

    #[test]
    fn every_cell_is_measured_once_and_its_items_stay_in_order() {
        let cells: Vec<usize> = (0..20).collect();
        let items: Vec<usize> = (0..333).collect();
        for threads in [1, 3] {
            let mut found = BTreeSet::new();
            let one = |cell: &usize| each(&items, || Ok(0), |_, item| Ok(item * cell));
            let done = measure("cells", Some(threads), &cells, one, |cell, products| {
                let expected: Vec<usize> = items.iter().map(|item| item * cell).collect();
                assert_eq!(products, expected);
                assert!(found.insert(*cell));
                Ok(())
            });
            done.unwrap();
            assert_eq!(found.len(), 20);
        }
    }

    #[test]
    fn what_is_kept_begins_anew_for_every_run_of_items() {
        let items = [(); 120];
        let counts = each(
            &items,
            || Ok(0),
            |count, ()| {
                *count += 1;
                Ok(*count)
            },
        );
        let expected: Vec<i32> = (0..120).map(|item| item % 50 + 1).collect();
        assert_eq!(counts.unwrap(), expected);
    }

    #[test]
    fn a_failure_ends_the_run() {
        let cells: Vec<usize> = (0..1_000).collect();
        let fail = |cell: &usize| if *cell == 3 { bail!("cell 3") } else { Ok(()) };
        let mut kept = 0;
        let done = measure("cells", Some(1), &cells, fail, |_, ()| {
            kept += 1;
            Ok(())
        });
        assert_eq!(done.unwrap_err().to_string(), "cell 3");
        assert!(kept < 1_000);
        let full = measure("cells", Some(2), &cells, |_| Ok(()), |_, ()| bail!("full"));
        assert_eq!(full.unwrap_err().to_string(), "full");
    }
}
