//! Whether adaptive parity spends more than a fixed ratio that is as good.

use serde::Serialize;

use super::cell::Strategy;
use super::measure::Row;
use crate::lab::rising::rising;
use crate::lab::table::{Table, figures, words};
use crate::options::Fec;

/// A cell with adaptive parity, and the smallest fixed ratio of the same path that loses no more.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Thrift {
    pub(super) losses: Vec<f64>,
    pub(super) burst: f64,
    pub(super) rtt_ms: u32,
    pub(super) k: u16,
    pub(super) fec: String,
    /// REPAIR packets for each source packet.
    pub(super) parity_ratio: f64,
    /// The drop to expect from what was missing, a fraction, and its standard error from the number of
    /// tensors that were streamed.
    pub(super) drop: f64,
    pub(super) error: f64,
    /// The same without parity.
    pub(super) drop_without: Option<f64>,
    /// The fixed ratio; none if all that were measured lose more.
    pub(super) fixed: Option<Fixed>,
    /// The greatest fixed ratio below that, which loses more.
    pub(super) below: Option<Fixed>,
}

/// A fixed ratio.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Fixed {
    pub(super) parity_ratio: f64,
    pub(super) drop: f64,
    pub(super) error: f64,
}

impl Thrift {
    /// Whether adaptive parity spends no more than the fixed ratio. Where it spends more and loses as much,
    /// as far as so many tensors can tell (95 %), that is unclear.
    fn verdict(&self) -> &'static str {
        // A part in a million is rounding.
        let more = |fixed: &Fixed| self.parity_ratio > fixed.parity_ratio + 1e-6;
        match self.fixed.filter(more) {
            None => "yes",
            Some(fixed) if self.drop - fixed.drop < 1.96 * self.error.hypot(fixed.error) => {
                "unclear"
            }
            Some(_) => "NO",
        }
    }
}

/// Compares every adaptive cell with the fixed ratios of the same path, if there are any.
///
/// The drop of a cell is the mean of its tensors' expected drops by the number of packets that are
/// missing, which all cells of as many packets measure together. It depends on how parity was spent and
/// not on which images happened to be hit, so that cells compare to a fraction of what their own hits
/// resolve.
pub(super) fn thrift(rows: &[Row]) -> Vec<Thrift> {
    let adaptive = rows.iter().filter_map(|row| {
        let strategy = strategy(row)?;
        (strategy.parity == Fec::Adaptive).then_some((row, strategy))
    });
    adaptive
        .filter_map(|(row, strategy)| compare(rows, row, strategy))
        .collect()
}

fn strategy(row: &Row) -> Option<Strategy> {
    row.fec.parse().ok()
}

fn compare(rows: &[Row], row: &Row, repair: Strategy) -> Option<Thrift> {
    let cost = Cost::of(rows.iter().filter(|other| other.k == row.k));
    let same_path = |other: &&Row| {
        (&other.losses, other.burst, other.k) == (&row.losses, row.burst, row.k)
            && (other.rtt_ms, other.deadline_ms) == (row.rtt_ms, row.deadline_ms)
    };
    let mut fixed: Vec<Fixed> = rows
        .iter()
        .filter(same_path)
        .filter(|other| {
            strategy(other).is_some_and(|other| {
                other.parity != Fec::Adaptive && other.retransmission == repair.retransmission
            })
        })
        .map(|other| {
            let (drop, error) = cost.of_cell(other);
            Fixed {
                parity_ratio: other.parity_ratio,
                drop,
                error,
            }
        })
        .collect();
    fixed.sort_by(|a, b| a.parity_ratio.total_cmp(&b.parity_ratio));
    let (drop, error) = cost.of_cell(row);
    let first = fixed.iter().position(|fixed| fixed.drop <= drop);
    let below = first.unwrap_or(fixed.len()).checked_sub(1);
    (!fixed.is_empty()).then(|| Thrift {
        losses: row.losses.clone(),
        burst: row.burst,
        rtt_ms: row.rtt_ms,
        k: row.k,
        fec: row.fec.clone(),
        parity_ratio: row.parity_ratio,
        drop,
        error,
        drop_without: fixed
            .first()
            .filter(|fixed| fixed.parity_ratio == 0.0)
            .map(|fixed| fixed.drop),
        fixed: first.and_then(|place| fixed.get(place).copied()),
        below: below.and_then(|place| fixed.get(place).copied()),
    })
}

/// The expected drop by the number of packets missing.
struct Cost(Vec<f64>);

impl Cost {
    /// From all tensors of these cells. More packets missing never cost less: where they seem to, too
    /// few tensors were looked at to tell.
    fn of<'a>(rows: impl Iterator<Item = &'a Row> + Clone) -> Self {
        let most = rows.clone().map(|row| usize::from(row.k)).max();
        let mut sums = vec![(0.0, 0.0); most.unwrap_or(0) + 1];
        for stratum in rows.flat_map(|row| &row.strata) {
            if let Some((lost, tensors)) = sums.get_mut(usize::from(stratum.packets_missing)) {
                *lost += stratum.right_whole as f64 - stratum.right as f64;
                *tensors += stratum.classified as f64;
            }
        }
        let means = sums.iter().map(|&(lost, tensors)| {
            if tensors > 0.0 {
                (lost / tensors, tensors)
            } else {
                (0.0, 0.0)
            }
        });
        Self(rising(&means.collect::<Vec<_>>()))
    }

    /// The mean over the tensors of a cell, and its standard error.
    fn of_cell(&self, row: &Row) -> (f64, f64) {
        let all = row.tensors.max(1) as f64;
        let mean = |power: i32| -> f64 {
            let drops = row.strata.iter().map(|stratum| {
                let drop = self.0.get(usize::from(stratum.packets_missing));
                stratum.tensors as f64 / all * drop.copied().unwrap_or(1.0).powi(power)
            });
            drops.sum()
        };
        let drop = mean(1);
        let variance = (mean(2) - drop * drop).max(0.0);
        (drop, (variance / all).sqrt())
    }
}

pub(super) fn table(thrift: &[Thrift]) -> Table {
    let mut table = Table::new(&[
        words("loss"),
        figures("burst"),
        words("repair"),
        figures("RTT, ms"),
        figures("k"),
        figures("without"),
        figures("drop"),
        figures("parity"),
        figures("fixed as good"),
        figures("its drop"),
        figures("next lower"),
        figures("its drop"),
        words("no more"),
    ]);
    let points = |drop: f64| format!("{:.2}", 100.0 * drop);
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    for one in thrift {
        table.row([
            super::table::losses(&one.losses),
            format!("{:.1}", one.burst),
            one.fec.clone(),
            one.rtt_ms.to_string(),
            one.k.to_string(),
            or_dash(one.drop_without.map(points)),
            format!("{} ±{}", points(one.drop), points(1.96 * one.error)),
            percent(one.parity_ratio),
            or_dash(one.fixed.map(|fixed| percent(fixed.parity_ratio))),
            or_dash(one.fixed.map(|fixed| points(fixed.drop))),
            or_dash(one.below.map(|fixed| percent(fixed.parity_ratio))),
            or_dash(one.below.map(|fixed| points(fixed.drop))),
            one.verdict().to_owned(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::measure::Stratum;
    use super::*;

    /// A cell of 100 tensors of 2 packets, of which so many miss none, one and both; every second tensor
    /// that misses one is wrong, and all that miss both.
    fn row(fec: &str, parity_ratio: f64, tensors: [usize; 3]) -> Row {
        let strata = [(0, 1.0), (1, 0.5), (2, 0.0)].into_iter().zip(tensors);
        let strata = strata.map(|((packets_missing, right), tensors)| Stratum {
            packets_missing,
            tensors,
            classified: tensors,
            right_whole: tensors,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "small numbers"
            )]
            right: (tensors as f64 * right) as usize,
        });
        Row {
            model: "m".to_owned(),
            split: "s".to_owned(),
            loss: 0.1,
            losses: vec![0.1],
            burst: 1.0,
            fec: fec.to_owned(),
            rtt_ms: 10,
            deadline_ms: 100,
            k: 2,
            method: "auto".to_owned(),
            tensors: 100,
            classified: 100,
            whole_share: 0.0,
            whole_interval: [0.0, 1.0],
            whole_expected: None,
            parity_ratio,
            retransmitted_ratio: 0.0,
            missing_share: 0.0,
            top1_clean: 1.0,
            top1: 1.0,
            drop_interval: [0.0, 1.0],
            strata: strata.collect(),
        }
    }

    #[test]
    fn the_smallest_ratio_that_loses_no_more_is_found() {
        let mut rows = vec![
            row("fixed:50%", 0.5, [80, 20, 0]),
            row("off", 0.0, [40, 40, 20]),
            row("fixed:100%", 1.0, [100, 0, 0]),
            row("adaptive", 0.4, [70, 30, 0]),
            // Other paths and other repair do not count.
            row("off+retransmission", 0.0, [100, 0, 0]),
            row("retransmission", 0.0, [100, 0, 0]),
        ];
        rows.push(Row {
            rtt_ms: 80,
            ..row("off", 0.0, [100, 0, 0])
        });
        let found = thrift(&rows);
        let [one] = found.as_slice() else {
            panic!("{found:?}")
        };
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(one.drop, 0.15) && close(one.drop_without.unwrap(), 0.4));
        let (fixed, below) = (one.fixed.unwrap(), one.below.unwrap());
        assert!(close(fixed.parity_ratio, 0.5) && close(fixed.drop, 0.1));
        assert!(close(below.parity_ratio, 0.0) && close(below.drop, 0.4));
        // Of 100 tensors 30 lose half of their hits: 0.3 × 0.25 − 0.15².
        assert!(close(one.error, (0.0525_f64 / 100.0).sqrt()));
        assert!(table(&found).to_string().contains("yes"));

        // Wasteful: what half of the packets reach, it reaches with more.
        rows[3].parity_ratio = 0.6;
        assert_eq!(thrift(&rows)[0].verdict(), "unclear");
        rows[3] = row("adaptive", 0.6, [30, 70, 0]);
        rows[0] = row("fixed:50%", 0.5, [70, 30, 0]);
        let found = thrift(&rows);
        assert_eq!(found[0].verdict(), "NO");
        assert!(table(&found).to_string().contains("NO"));

        // Better than all that were measured.
        rows[3] = row("adaptive", 0.6, [100, 0, 0]);
        rows[2] = row("fixed:100%", 1.0, [99, 1, 0]);
        let found = thrift(&rows);
        assert_eq!((found[0].fixed, found[0].verdict()), (None, "yes"));
    }

    #[test]
    fn without_fixed_ratios_there_is_nothing_to_compare() {
        assert_eq!(thrift(&[row("adaptive", 0.1, [90, 10, 0])]), []);
        assert_eq!(thrift(&[row("off", 0.0, [90, 10, 0])]), []);
    }
}
