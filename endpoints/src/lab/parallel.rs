//! Work on many items on every core, its results in order.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// Results that may wait for their turn, for each thread.
const WAITING: usize = 4;

/// Does `work` for the items 0..`items` on all cores and gives `collect` the results in the order of
/// the items, so that nothing depends on the number of cores. `state` makes what a thread keeps between
/// items. A progress bar called `title` is drawn on standard error if that is a terminal.
///
/// # Errors
/// The first failure in the order of the items; no further items are begun then.
pub fn in_order<S, T: Send>(
    title: &'static str,
    items: usize,
    state: impl Fn() -> Result<S> + Sync,
    work: impl Fn(&mut S, usize) -> Result<T> + Sync,
    collect: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let threads = thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(items);
    on_threads(
        threads,
        &progress(title, items),
        items,
        state,
        work,
        collect,
    )
}

fn on_threads<S, T: Send>(
    threads: usize,
    progress: &ProgressBar,
    items: usize,
    state: impl Fn() -> Result<S> + Sync,
    work: impl Fn(&mut S, usize) -> Result<T> + Sync,
    mut collect: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::sync_channel(WAITING * threads);
    let done = thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next, state, work) = (sender.clone(), &next, &state, &work);
            scope.spawn(move || {
                let mut kept = state();
                loop {
                    let item = next.fetch_add(1, Ordering::Relaxed);
                    if item >= items {
                        return;
                    }
                    let result = match &mut kept {
                        Ok(kept) => work(kept, item),
                        Err(error) => Err(anyhow::anyhow!("{error:#}")),
                    };
                    // Nobody listens any more after a failure.
                    if sender.send((item, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut turn = 0;
        // Owned here, so that a failure ends the threads that wait to send.
        for (item, result) in results {
            early.insert(item, result);
            while let Some(result) = early.remove(&turn) {
                collect(result?)?;
                turn += 1;
                progress.inc(1);
            }
        }
        Ok(())
    });
    progress.finish_and_clear();
    done
}

/// A bar that counts `items`; nothing where standard error is no terminal.
#[must_use]
pub fn progress(title: &'static str, items: usize) -> ProgressBar {
    let bar = ProgressBar::new(items as u64).with_prefix(title);
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len}, {eta} left");
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::bail;

    use super::*;

    fn squares(threads: usize, fail_from: usize) -> (Result<()>, Vec<usize>) {
        let mut found = vec![];
        let work = |_: &mut (), item: usize| {
            // The first of each four comes last.
            thread::sleep(Duration::from_micros(if item.is_multiple_of(4) {
                900
            } else {
                10
            }));
            if item >= fail_from {
                bail!("item {item}");
            }
            Ok(item * item)
        };
        let hidden = ProgressBar::hidden();
        let done = on_threads(
            threads,
            &hidden,
            50,
            || Ok(()),
            work,
            |square| {
                found.push(square);
                Ok(())
            },
        );
        (done, found)
    }

    #[test]
    fn results_come_in_order() {
        let expected: Vec<usize> = (0..50).map(|item| item * item).collect();
        for threads in [1, 2, 7] {
            let (done, found) = squares(threads, 50);
            assert!(done.is_ok());
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_first_failure_is_reported() {
        for threads in [1, 2, 7] {
            let (done, found) = squares(threads, 8);
            assert_eq!(done.unwrap_err().to_string(), "item 8");
            assert_eq!(found.len(), 8);
        }
    }

    #[test]
    fn failing_to_start_or_to_collect_ends_the_work() {
        let hidden = ProgressBar::hidden();
        let refuse = || -> Result<()> { bail!("no state") };
        let done = on_threads(2, &hidden, 5, refuse, |(), item| Ok(item), |_| Ok(()));
        assert_eq!(done.unwrap_err().to_string(), "no state");
        let full = |item| if item == 3 { bail!("full") } else { Ok(()) };
        let done = on_threads(2, &hidden, 500, || Ok(()), |(), item| Ok(item), full);
        assert_eq!(done.unwrap_err().to_string(), "full");
    }
}
