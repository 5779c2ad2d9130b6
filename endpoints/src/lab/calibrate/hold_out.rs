//! Which images the statistics are made from, and which the methods are judged on.

use std::collections::BTreeSet;

use anyhow::Result;

use super::super::parallel::in_order;
use crate::digest::Digest;
use crate::images::Dataset;

/// Fewer images than this are not worth measuring on.
const FEWEST: usize = 20;

/// The images of a calibration as indices into its set, each image once.
#[derive(Debug)]
pub(super) struct Images {
    /// The statistics are made from these, in the order of the set.
    pub(super) training: Vec<usize>,
    /// The methods are judged on these, in the order of their digests. Empty if there is nothing to
    /// judge by.
    pub(super) held_out: Vec<usize>,
    /// The training images in parts of as many as are held out: each can be held out in its turn.
    pub(super) turns: Vec<Vec<usize>>,
    /// Images that were in the set before.
    pub(super) duplicates: usize,
    /// Why nothing is held out, if so.
    pub(super) reason: Option<&'static str>,
}

impl Images {
    /// Holds out `share` of the images: those with the least digests, so that neither their order nor
    /// a duplicate matters.
    pub(super) fn split(dataset: &Dataset, share: f64) -> Result<Self> {
        let mut found = Vec::with_capacity(dataset.len());
        let look = |(): &mut (), index: usize| {
            let sample = dataset.get(index)?;
            Ok((sample.digest, index, sample.label.is_some()))
        };
        in_order(
            "reading",
            dataset.len(),
            || Ok(()),
            look,
            |image| {
                found.push(image);
                Ok(())
            },
        )?;
        Ok(Self::of(&found, share))
    }

    fn of(images: &[(Digest, usize, bool)], share: f64) -> Self {
        let mut seen = BTreeSet::new();
        let mut once: Vec<(Digest, usize)> = images
            .iter()
            .filter(|(digest, ..)| seen.insert(*digest))
            .map(|&(digest, index, _)| (digest, index))
            .collect();
        let duplicates = images.len() - once.len();
        once.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a share of the number of images"
        )]
        let wanted = (share * once.len() as f64) as usize;
        let reason = if !images.iter().all(|(.., labelled)| *labelled) {
            Some("the images have no labels")
        } else if wanted == 0 {
            Some("no images are held out")
        } else if wanted < FEWEST {
            Some("too few images are held out")
        } else {
            None
        };
        let rest = once.split_off(if reason.is_none() { wanted } else { 0 });
        let indices = |images: Vec<(Digest, usize)>| images.into_iter().map(|(_, index)| index);
        let mut training: Vec<usize> = indices(rest).collect();
        let turns = training.chunks(once.len().max(1)).map(<[usize]>::to_vec);
        let turns = if once.is_empty() {
            vec![]
        } else {
            turns.collect()
        };
        training.sort_unstable();
        Self {
            training,
            held_out: indices(once).collect(),
            turns,
            duplicates,
            reason,
        }
    }

    /// All images but those of a turn, in the order of the set.
    pub(super) fn without(&self, turn: &[usize]) -> Vec<usize> {
        let turn: BTreeSet<usize> = turn.iter().copied().collect();
        let all = self.training.iter().chain(&self.held_out).copied();
        let mut rest: Vec<usize> = all.filter(|index| !turn.contains(index)).collect();
        rest.sort_unstable();
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(number: usize) -> Vec<(Digest, usize, bool)> {
        let image = |index: usize| (Digest::of(index.to_le_bytes()), index, true);
        (0..number).map(image).collect()
    }

    #[test]
    fn the_parts_are_disjoint_and_depend_on_digests_alone() {
        let mut set = images(200);
        let first = Images::of(&set, 0.2);
        assert_eq!((first.training.len(), first.held_out.len()), (160, 40));
        assert!(
            first
                .held_out
                .iter()
                .all(|index| !first.training.contains(index))
        );
        assert!(first.training.is_sorted());
        // The same images at other places, one of them twice.
        let digest = |set: &[(Digest, usize, bool)], index: usize| set[index].0;
        let before: BTreeSet<Digest> = first.held_out.iter().map(|&i| digest(&set, i)).collect();
        set.reverse();
        for (index, image) in set.iter_mut().enumerate() {
            image.1 = index;
        }
        set.push((set[0].0, 200, true));
        let second = Images::of(&set, 0.2);
        let after = second.held_out.iter().map(|&i| digest(&set, i)).collect();
        assert_eq!((before, second.duplicates), (after, 1));
    }

    #[test]
    fn every_image_is_held_out_in_one_turn() {
        let images = Images::of(&images(130), 0.3);
        let lengths: Vec<usize> = images.turns.iter().map(Vec::len).collect();
        assert_eq!(
            (images.held_out.len(), &lengths[..]),
            (39, &[39, 39, 13][..])
        );
        let mut all = images.held_out.clone();
        for turn in &images.turns {
            all.extend(turn);
            let rest = images.without(turn);
            assert_eq!(rest.len(), 130 - turn.len());
            assert!(rest.is_sorted() && turn.iter().all(|index| !rest.contains(index)));
        }
        all.sort_unstable();
        assert_eq!(all, (0..130).collect::<Vec<_>>());
        assert_eq!(images.without(&images.held_out), images.training);
    }

    #[test]
    fn nothing_is_held_out_where_nothing_can_be_judged() {
        let mut set = images(200);
        for (share, reason) in [(0.0, "no images"), (0.05, "too few")] {
            let images = Images::of(&set, share);
            assert_eq!((images.training.len(), images.held_out.len()), (200, 0));
            assert!(images.reason.unwrap().contains(reason));
            assert!(images.turns.is_empty());
        }
        set[7].2 = false;
        let images = Images::of(&set, 0.5);
        assert_eq!(images.training.len(), 200);
        assert!(images.reason.unwrap().contains("no labels"));
    }
}
