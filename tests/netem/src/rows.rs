//! What all runs come to: the file that is written, and the tables that are shown.

use anyhow::Result;
use serde::Serialize;

use crate::accuracy::AccuracyRow;
use crate::cell::Cell;
use crate::paired::{Difference, differences};
use crate::record::Record;
use crate::report::{self, Parts, carrier};
use crate::row::Row;
use crate::scenario::Source;

/// What a run comes to.
#[derive(Debug)]
pub(crate) enum Measured {
    StandIn(Box<Row>),
    Model(Box<AccuracyRow>),
}

impl Measured {
    /// Makes what a cell's source comes to of a record.
    pub(crate) fn new(cell: &Cell, record: &Record) -> Result<Self> {
        Ok(match cell.stream.source {
            Source::StandIn => Self::StandIn(Box::new(Row::new(cell, record)?)),
            Source::Model => Self::Model(Box::new(AccuracyRow::new(cell, record)?)),
        })
    }
}

/// The rows of all runs.
#[derive(Serialize, Debug)]
pub(crate) struct Rows {
    /// Of stand-ins.
    rows: Vec<Row>,
    /// Of models.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    accuracy: Vec<AccuracyRow>,
    /// Of models, the first case of a scenario against each of the others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differences: Vec<Difference>,
}

impl Rows {
    pub(crate) fn new(measured: Vec<Measured>) -> Self {
        let (mut rows, mut accuracy) = (Vec::new(), Vec::new());
        for measured in measured {
            match measured {
                Measured::StandIn(row) => rows.push(*row),
                Measured::Model(row) => accuracy.push(*row),
            }
        }
        Self {
            differences: differences(&accuracy),
            rows,
            accuracy,
        }
    }

    /// The tables for people, an empty line between two.
    pub(crate) fn tables(&self) -> String {
        let stand_ins = self.rows.iter().map(|row| {
            let carrier = carrier(&row.carrier, &row.congestion);
            (
                [row.scenario.clone(), carrier, row.loss.clone()],
                &row.windows,
            )
        });
        let models = self.accuracy.iter().map(|row| {
            let carrier = carrier(&row.carrier, &row.congestion);
            let which = format!("{} {}", row.loss, row.case);
            ([row.scenario.clone(), carrier, which], &row.windows)
        });
        let parts: Vec<_> = stand_ins.chain(models).collect();
        let parts: Vec<Parts<'_>> = parts
            .iter()
            .map(|(names, windows)| (names.each_ref().map(String::as_str), windows.as_slice()))
            .collect();
        let tables = [
            (!self.rows.is_empty()).then(|| report::rows(&self.rows)),
            (!self.accuracy.is_empty()).then(|| report::accuracy::rows(&self.accuracy)),
            report::accuracy::by_rate(&self.accuracy),
            report::accuracy::differences(&self.differences),
            report::windows(&parts),
        ];
        let tables: Vec<String> = tables.into_iter().flatten().collect();
        tables.join("\n\n")
    }
}
