//! Comparisons of rows on the same images and losses: `auto` with the others, map with map.

use std::f64::consts::FRAC_1_SQRT_2;

use serde::Serialize;
use tensorwire_concealment::Method;

use super::row::{Kept, ends};
use crate::lab::experiment::loss::Lost;
use crate::lab::table::{Table, figures, interval, points, words};
use crate::statistics::{Interval, mean_interval, ratio_interval};

/// How `auto` does in a cell. Drops are fractions.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Verdict {
    map: String,
    missing: f64,
    images: usize,
    /// What `auto` took most often.
    took: String,
    auto_drop: f64,
    best_simple: String,
    best_simple_drop: f64,
    /// The drop of `auto` over that of the best simple fill; none if that loses nothing.
    ratio: Option<f64>,
    /// None where the drop of the best simple fill is not told from zero.
    ratio_ci95: Option<[f64; 2]>,
    /// The method with the least drop, `auto` left out.
    best: String,
    best_drop: f64,
    /// The drop of `auto` less that of the best, paired.
    behind: f64,
    behind_ci95: [f64; 2],
    /// Squared error of `auto` over the variance.
    variance_share: Option<f64>,
}

/// One for each cell in which `auto`, a simple fill and any other method have seen the same images.
pub(super) fn verdicts(rows: &[Kept]) -> Vec<Verdict> {
    let autos = rows.iter().filter(|kept| kept.row.is_method(Method::Auto));
    autos.filter_map(|auto| verdict(auto, rows)).collect()
}

fn verdict(auto: &Kept, rows: &[Kept]) -> Option<Verdict> {
    let others = || {
        rows.iter().filter(|kept| {
            same_cell(auto, kept)
                && kept.drops.len() == auto.drops.len()
                && !kept.row.is_method(Method::Auto)
        })
    };
    let is_simple = |kept: &&Kept| {
        Method::SIMPLE
            .iter()
            .any(|method| kept.row.is_method(*method))
    };
    let simple = least(others().filter(is_simple))?;
    let best = least(others())?;
    let behind = auto.less(best);
    let whole = simple.row.figures.accuracy.drop;
    Some(Verdict {
        map: auto.row.figures.map.clone(),
        missing: auto.row.figures.missing,
        images: auto.row.figures.images,
        took: auto
            .row
            .figures
            .took
            .first()
            .map_or_else(String::new, |took| took.0.clone()),
        auto_drop: auto.row.figures.accuracy.drop,
        best_simple: simple.row.figures.method.clone(),
        best_simple_drop: whole,
        ratio: (whole > 0.0).then(|| auto.row.figures.accuracy.drop / whole),
        ratio_ci95: ratio_of_drops(auto, simple)
            .filter(|_| whole > 0.0)
            .map(ends),
        best: best.row.figures.method.clone(),
        best_drop: best.row.figures.accuracy.drop,
        behind: mean(&behind),
        behind_ci95: mean_interval(&behind).map_or([0.0; 2], ends),
        variance_share: auto.row.figures.variance_share,
    })
}

/// The interval of the ratio of two drops. As in [`mean_interval`], an image's worth of spread is added
/// to each, so that it keeps a width where no image is lost.
fn ratio_of_drops(numerator: &Kept, denominator: &Kept) -> Option<Interval> {
    const SPREAD: [f64; 2] = [FRAC_1_SQRT_2, -FRAC_1_SQRT_2];
    let (mut numerators, mut denominators) = (numerator.shares(), denominator.shares());
    numerators.extend(SPREAD.into_iter().chain([0.0; 2]));
    denominators.extend([0.0; 2].into_iter().chain(SPREAD));
    ratio_interval(&numerators, &denominators)
}

/// How a map does at a share of lost packets, repaired in the way that suits it best.
#[derive(Clone, Debug, Serialize)]
pub(super) struct MapLine {
    missing: f64,
    map: String,
    method: String,
    missing_share: f64,
    drop: f64,
    ci95: [f64; 2],
    /// The drop less that of the best map at this share, paired.
    behind: f64,
    behind_ci95: [f64; 2],
}

/// Two for each map of packets and share of loss: the best method's, and that of `auto`. The best map
/// comes first.
pub(super) fn maps(rows: &[Kept]) -> Vec<MapLine> {
    let mut shares: Vec<f64> = rows.iter().map(|kept| kept.row.figures.missing).collect();
    shares.sort_by(f64::total_cmp);
    shares.dedup();
    shares
        .into_iter()
        .flat_map(|share| maps_at(share, rows))
        .collect()
}

fn maps_at(share: f64, rows: &[Kept]) -> Vec<MapLine> {
    let images = rows.iter().map(|kept| kept.drops.len()).max();
    let of = |pattern: Lost| {
        let name = pattern.to_string();
        rows.iter().filter(move |kept| {
            kept.row.figures.map == name
                && kept.row.figures.missing == share
                && Some(kept.drops.len()) == images
        })
    };
    let mut best: Vec<&Kept> = Lost::packets()
        .filter_map(|pattern| least(of(pattern)))
        .collect();
    if best.len() < 2 {
        return vec![];
    }
    best.sort_by(|a, b| {
        a.row
            .figures
            .accuracy
            .drop
            .total_cmp(&b.row.figures.accuracy.drop)
    });
    let first = best.first().copied();
    let with_auto = best.into_iter().flat_map(|kept| {
        let is_auto =
            |other: &&Kept| other.row.is_method(Method::Auto) && !kept.row.is_method(Method::Auto);
        let auto = rows
            .iter()
            .find(|other| same_cell(kept, other) && is_auto(other));
        [Some(kept), auto]
    });
    let lines = with_auto.flatten().zip(std::iter::repeat(first));
    lines
        .filter_map(|(kept, first)| {
            let behind = kept.less(first?);
            Some(MapLine {
                missing: share,
                map: kept.row.figures.map.clone(),
                method: kept.row.figures.method.clone(),
                missing_share: kept.row.figures.missing_share,
                drop: kept.row.figures.accuracy.drop,
                ci95: kept.row.figures.accuracy.ci95,
                behind: mean(&behind),
                behind_ci95: mean_interval(&behind).map_or([0.0; 2], ends),
            })
        })
        .collect()
}

fn same_cell(one: &Kept, other: &Kept) -> bool {
    (&one.row.figures.map, one.row.figures.missing)
        == (&other.row.figures.map, other.row.figures.missing)
}

/// The row with the least drop; of equal ones the first.
fn least<'k>(rows: impl Iterator<Item = &'k Kept>) -> Option<&'k Kept> {
    rows.min_by(|a, b| {
        a.row
            .figures
            .accuracy
            .drop
            .total_cmp(&b.row.figures.accuracy.drop)
    })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

pub(super) fn verdict_table(verdicts: &[Verdict]) -> Table {
    let mut table = Table::new(&[
        words("map"),
        figures("missing"),
        words("auto took"),
        figures("drop"),
        words("best simple"),
        figures("drop"),
        figures("ratio"),
        figures("95 % interval"),
        words("best of all"),
        figures("drop"),
        figures("auto less best"),
        figures("95 % interval"),
        words("within"),
    ]);
    for verdict in verdicts {
        let [low, high] = verdict.behind_ci95;
        table.row([
            verdict.map.clone(),
            share(verdict.missing),
            verdict.took.clone(),
            points(verdict.auto_drop),
            verdict.best_simple.clone(),
            points(verdict.best_simple_drop),
            verdict.ratio.map_or_else(
                || "–".into(),
                |ratio| format!("{ratio:.2}").replace('-', "−"),
            ),
            verdict.ratio_ci95.map_or_else(
                || "unresolved".into(),
                |[low, high]| format!("{low:.2} to {high:.2}").replace('-', "−"),
            ),
            verdict.best.clone(),
            points(verdict.best_drop),
            points(verdict.behind),
            interval(Interval { low, high }),
            if low <= 0.0 { "yes" } else { "NO" }.into(),
        ]);
    }
    table
}

pub(super) fn map_table(lines: &[MapLine]) -> Table {
    let mut table = Table::new(&[
        figures("packets lost"),
        words("map"),
        words("method"),
        figures("missing"),
        figures("drop, points"),
        figures("95 % interval"),
        figures("behind the best"),
        figures("95 % interval"),
    ]);
    for line in lines {
        let [low, high] = line.ci95;
        let [behind_low, behind_high] = line.behind_ci95;
        let is_best = line.behind_ci95 == [0.0; 2] || line.behind == 0.0;
        table.row([
            share(line.missing),
            line.map.clone(),
            line.method.clone(),
            format!("{:.1} %", 100.0 * line.missing_share),
            points(line.drop),
            interval(Interval { low, high }),
            points(line.behind),
            if is_best {
                "–".into()
            } else {
                interval(Interval {
                    low: behind_low,
                    high: behind_high,
                })
            },
        ]);
    }
    table
}

/// A share of loss as it is asked for: `5 %`, `12.5 %`.
pub(super) fn share(share: f64) -> String {
    format!("{} %", (1e4 * share).round() / 1e2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::conceal::row::Row;
    use crate::lab::experiment::loss;
    use crate::lab::tally::Tally;

    /// Ten images, all right as a whole, of which the first `wrong` are not found.
    fn kept(map: &str, method: Method, wrong: usize) -> Kept {
        let mut tally = Tally::default();
        (0..10).for_each(|image| tally.add(true, &[image >= wrong]));
        let figures = loss::Row {
            model: "m".into(),
            split: "s".into(),
            map: map.into(),
            missing: 0.1,
            burst: None,
            method: method.name().into(),
            images: 10,
            accuracy: tally.accuracy().unwrap(),
            p_true_clean: 1.0,
            p_true: 1.0,
            p_true_drop_ci95: [0.0; 2],
            missing_share: 0.1,
            nmse: None,
            nmse_ci95: None,
            variance_share: None,
            variance_share_ci95: None,
            took: vec![("lmmse".into(), 1.0)],
        };
        Kept {
            row: Row {
                figures,
                us_per_tensor: 1.0,
            },
            seeds: 1,
            drops: (0..10).map(|image| i32::from(image < wrong)).collect(),
        }
    }

    #[test]
    fn auto_is_held_against_the_best() {
        let mut low_rank = kept("rows", Method::Halrtc, 0);
        low_rank.drops.truncate(5);
        let rows = [
            kept("rows", Method::Zero, 9),
            kept("rows", Method::Hybrid, 8),
            kept("rows", Method::Spatial, 1),
            kept("rows", Method::Auto, 2),
            // Of another cell, and on other images.
            kept("blocks", Method::Hybrid, 1),
            low_rank,
        ];
        let verdicts = verdicts(&rows);
        let [verdict] = &verdicts[..] else {
            panic!("{verdicts:?}")
        };
        assert_eq!(
            (&*verdict.best_simple, &*verdict.best, verdict.ratio),
            ("hybrid", "spatial", Some(0.25))
        );
        assert!((verdict.behind - 0.1).abs() < 1e-12);
        let [low, high] = verdict.ratio_ci95.unwrap();
        assert!(low < 0.25 && 0.25 < high, "{low} to {high}");
        assert!(verdict_table(&verdicts).to_string().contains("yes"));
    }

    #[test]
    fn maps_are_ranked() {
        let rows = [
            kept("row-packets", Method::Hybrid, 6),
            kept("row-packets", Method::Auto, 5),
            kept("random-packets", Method::Hybrid, 2),
            kept("random-packets", Method::Auto, 3),
            kept("elements", Method::Auto, 0),
        ];
        let lines = maps(&rows);
        let found: Vec<_> = lines
            .iter()
            .map(|line| (&*line.map, &*line.method))
            .collect();
        assert_eq!(
            found,
            [
                ("random-packets", "hybrid"),
                ("random-packets", "auto"),
                ("row-packets", "auto"),
            ]
        );
        assert_eq!(lines[0].behind, 0.0);
        assert!((lines[2].behind - 0.3).abs() < 1e-12);
        assert!(maps(&rows[..2]).is_empty());
    }
}
