//! The section POLICY: which method conceals which loss best, as measured.

use std::time::Duration;

use super::{
    BundleError, Section, SectionError,
    bytes::{read_rows, word32},
};
use crate::{kind::LossKind, limits, method::Method};

/// What one method cost and lost in one cell of a measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PolicyRow {
    /// The kind of loss.
    pub kind: LossKind,
    /// The row holds for missing shares up to this one, above 0 and at most 1.
    pub share: f32,
    /// The method; any but `auto`.
    pub method: Method,
    /// Median time a tensor, in microseconds, on the machine that calibrated.
    pub cost_us: u32,
    /// Points of accuracy lost against the whole tensor, −100 to 100.
    pub drop: f32,
}

impl PolicyRow {
    /// Strictly ascending over the rows of a policy.
    fn key(&self) -> (LossKind, u32, u8) {
        // Shares are above zero, so their bits are ordered as they are.
        (
            self.kind,
            self.share.to_bits(),
            self.method.code().unwrap_or(u8::MAX),
        )
    }
}

/// Measurements from which [`Method::Auto`] chooses.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Sorted by kind, share and code of the method.
    rows: Vec<PolicyRow>,
}

impl Policy {
    /// Sorts the rows by kind, share and code of the method.
    ///
    /// # Errors
    ///
    /// [`SectionError`] if there are more than [`MAX_POLICY_ROWS`](limits::MAX_POLICY_ROWS) rows, a
    /// cell has a method twice, a method is `auto`, a share is not above 0 and at most 1, or a drop
    /// is not between −100 and 100.
    pub fn new(mut rows: Vec<PolicyRow>) -> Result<Self, SectionError> {
        rows.sort_by_key(PolicyRow::key);
        Self::sorted(rows)
    }

    fn sorted(rows: Vec<PolicyRow>) -> Result<Self, SectionError> {
        let broken = |rule| Err(SectionError::new(Section::Policy, rule));
        if rows.len() > limits::MAX_POLICY_ROWS {
            return broken("more rows than the limit");
        }
        if !rows.iter().all(|row| row.share > 0.0 && row.share <= 1.0) {
            return broken("a missing share is above 0 and at most 1");
        }
        if !rows.iter().all(|row| row.drop.abs() <= 100.0) {
            return broken("a drop is between -100 and 100 points");
        }
        if rows.iter().any(|row| row.method.code().is_none()) {
            return broken("a row names a method that conceals, not auto");
        }
        if !rows.is_sorted_by(|a, b| a.key() < b.key()) {
            return broken("rows ascend by kind, share and method, each once");
        }
        Ok(Self { rows })
    }

    /// The rows, ascending by kind, share and code of the method.
    #[must_use]
    pub fn rows(&self) -> &[PolicyRow] {
        &self.rows
    }

    /// The method that lost least among those of the cell that cost no more than `budget` and are
    /// `possible`.
    ///
    /// The cell is the one of the smallest share that is not below `share`, or of the largest share
    /// there is. Of equal drops the cheaper wins. `None` if the policy has nothing for the kind, or
    /// nothing possible as cheap.
    pub(crate) fn best(
        &self,
        kind: LossKind,
        share: f64,
        budget: Duration,
        possible: impl Fn(Method) -> bool,
    ) -> Option<Method> {
        let of_kind = || self.rows.iter().filter(|row| row.kind == kind);
        let cell = of_kind()
            .map(|row| row.share)
            .find(|&up_to| f64::from(up_to) >= share)
            .or_else(|| of_kind().next_back().map(|row| row.share))?;
        of_kind()
            .filter(|row| row.share == cell && possible(row.method))
            .filter(|row| Duration::from_micros(u64::from(row.cost_us)) <= budget)
            .min_by(|a, b| a.drop.total_cmp(&b.drop).then(a.cost_us.cmp(&b.cost_us)))
            .map(|row| row.method)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = word32(self.rows.len()).to_vec();
        for row in &self.rows {
            bytes.push(row.kind.code());
            bytes.push(row.method.code().unwrap_or(u8::MAX));
            bytes.extend(row.share.to_be_bytes());
            bytes.extend(row.cost_us.to_be_bytes());
            bytes.extend(row.drop.to_be_bytes());
        }
        bytes
    }

    /// Rows of a kind or method that this version does not know are left out.
    pub(super) fn decode(content: &[u8]) -> Result<Self, BundleError> {
        let section = Section::Policy;
        let rows = read_rows::<14>(section, content)?;
        if rows.len() > limits::MAX_POLICY_ROWS {
            return Err(BundleError::Value { section });
        }
        let keys = rows.iter().map(|row| row.first_chunk::<6>());
        if !keys.is_sorted_by(|a, b| a.map(policy_key) < b.map(policy_key)) {
            return Err(BundleError::Value { section });
        }
        let known = rows.iter().filter_map(|&row| {
            let [kind, method, s0, s1, s2, s3, c0, c1, c2, c3, d0, d1, d2, d3] = row;
            Some(PolicyRow {
                kind: LossKind::from_code(kind)?,
                method: Method::from_code(method)?,
                share: f32::from_be_bytes([s0, s1, s2, s3]),
                cost_us: u32::from_be_bytes([c0, c1, c2, c3]),
                drop: f32::from_be_bytes([d0, d1, d2, d3]),
            })
        });
        Ok(Self::sorted(known.collect())?)
    }
}

/// Kind, share and method of a row on file, by which rows ascend.
fn policy_key(&[kind, method, share @ ..]: &[u8; 6]) -> (u8, [u8; 4], u8) {
    (kind, share, method)
}
