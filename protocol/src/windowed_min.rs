//! The least of the samples of the last seconds.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Time;

/// A window is kept in this many parts, each with its least: a sample leaves with its part,
/// at most a part early.
const PARTS: u32 = 10;

/// The least sample of a sliding window, in bounded memory.
#[derive(Clone, Debug)]
pub(crate) struct WindowedMin {
    part: Duration,
    /// Start and least of each part, newest last.
    parts: VecDeque<(Time, i64)>,
}

impl WindowedMin {
    pub(crate) fn new(window: Duration) -> Self {
        Self {
            part: window / PARTS,
            parts: VecDeque::with_capacity(PARTS as usize + 1),
        }
    }

    pub(crate) fn push(&mut self, now: Time, sample: i64) {
        match self.parts.back_mut() {
            Some((start, least)) if now - *start < self.part => *least = sample.min(*least),
            _ => self.parts.push_back((now, sample)),
        }
        let window = self.part * PARTS;
        while self
            .parts
            .front()
            .is_some_and(|(start, _)| now - *start > window)
        {
            self.parts.pop_front();
        }
    }

    /// The least of the window that ended with the newest sample.
    pub(crate) fn get(&self) -> Option<i64> {
        self.parts.iter().map(|(_, least)| *least).min()
    }

    /// The least of the window that ends at `now`; none where it is empty.
    pub(crate) fn within(&self, now: Time) -> Option<i64> {
        let window = self.part * PARTS;
        let recent = self
            .parts
            .iter()
            .filter(|(start, _)| now - *start <= window);
        recent.map(|(_, least)| *least).min()
    }

    /// The least of the window that ends at `now`; the newest part's where the window is empty.
    pub(crate) fn at(&self, now: Time) -> Option<i64> {
        let (_, newest) = *self.parts.back()?;
        Some(self.within(now).unwrap_or(newest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_least_leaves_with_its_window() {
        let mut min = WindowedMin::new(Duration::from_secs(10));
        min.push(Time::from_millis(0), 5);
        for ms in (500..=9_500).step_by(500) {
            min.push(Time::from_millis(ms), 8);
            assert_eq!(min.get(), Some(5));
        }
        min.push(Time::from_millis(12_000), 9);
        assert_eq!(min.get(), Some(8));
    }

    #[test]
    fn a_least_leaves_although_no_sample_comes() {
        let mut min = WindowedMin::new(Duration::from_secs(10));
        min.push(Time::from_millis(0), 5);
        min.push(Time::from_millis(4_000), 8);
        assert_eq!(min.at(Time::from_millis(10_000)), Some(5));
        assert_eq!(min.at(Time::from_millis(10_001)), Some(8));
        assert_eq!(min.at(Time::from_millis(90_000)), Some(8), "the newest");
        assert_eq!(min.within(Time::from_millis(10_001)), Some(8));
        assert_eq!(min.within(Time::from_millis(90_000)), None);
    }

    #[test]
    fn the_newest_sample_is_kept_however_old() {
        let mut min = WindowedMin::new(Duration::from_secs(10));
        assert_eq!(min.get(), None);
        min.push(Time::from_millis(0), 5);
        assert_eq!(min.get(), Some(5), "nothing newer says otherwise");
    }

    #[test]
    fn memory_is_bounded() {
        let mut min = WindowedMin::new(Duration::from_secs(1));
        (0..100_000).for_each(|ms| min.push(Time::from_millis(ms), 1));
        assert!(min.parts.len() <= 12);
    }
}
