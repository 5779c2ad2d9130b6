//! From a sequence of fates to the model that made it.

use super::baum_welch::Chain;
use super::{LossModel, LossTrace, share_bad};

/// Bursts from which the four figures of Gilbert and Elliott are estimated, at least.
const FEWEST_BURSTS: usize = 10;

/// What was observed, and the models that fit it best.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Fit {
    /// Packets observed.
    pub packets: usize,
    /// Packets lost.
    pub lost: usize,
    /// Runs of lost packets.
    pub bursts: usize,
    /// Independent losses; [`LossModel::None`] if nothing was lost.
    pub independent: Fitted,
    /// Gilbert's model, of which [`LossModel::rate`] and [`LossModel::mean_burst`] are the figures.
    /// None where no burst was seen to begin after a packet that arrived, or none to end.
    pub gilbert: Option<Fitted>,
    /// Gilbert and Elliott's model. None where Gilbert's is, or with fewer than ten bursts.
    pub gilbert_elliott: Option<Fitted>,
}

/// A model, and how well it fits.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Fitted {
    /// The model.
    pub model: LossModel,
    /// Figures of it that were estimated.
    pub parameters: u32,
    /// Natural logarithm of the probability that the model gives the whole observation.
    pub log_likelihood: f64,
    /// Schwarz's criterion, parameters · ln(packets) − 2 · log-likelihood: less is better.
    pub bic: f64,
}

impl Fitted {
    fn new(model: LossModel, parameters: u32, log_likelihood: f64, packets: usize) -> Self {
        let penalty = f64::from(parameters) * (packets as f64).ln();
        Self {
            model,
            parameters,
            log_likelihood,
            bic: penalty - 2.0 * log_likelihood,
        }
    }

    fn of_chain(chain: Chain, parameters: u32, trace: &LossTrace) -> Option<Self> {
        // Judged as it will run: begun in the long run, not in the state that suits this trace.
        let start_bad = share_bad(chain.to_bad, chain.to_good);
        let likelihood = Chain { start_bad, ..chain }.log_likelihood(trace.fates());
        let Chain {
            to_bad,
            to_good,
            loss_good,
            loss_bad,
            ..
        } = chain;
        let model = LossModel::gilbert_elliott(to_bad, to_good, loss_good, loss_bad).ok()?;
        likelihood
            .is_finite()
            .then(|| Self::new(model, parameters, likelihood, trace.packets()))
    }
}

impl Fit {
    /// Packets lost in a row, on average; 0 if none was lost.
    pub fn mean_burst(&self) -> f64 {
        if self.bursts == 0 {
            0.0
        } else {
            self.lost as f64 / self.bursts as f64
        }
    }

    /// The best of the models by Schwarz's criterion (BIC; Annals of Statistics 6, 1978), which asks of
    /// every further figure that it makes the observation likelier by ln(packets)/2. The one with fewer
    /// figures if two are equally good.
    pub fn chosen(&self) -> &Fitted {
        let further = [&self.gilbert, &self.gilbert_elliott];
        let further = further.into_iter().flatten();
        further.fold(&self.independent, |best, next| {
            if next.bic < best.bic { next } else { best }
        })
    }
}

/// Fits independent losses, Gilbert's and Gilbert and Elliott's model to an observation.
///
/// - Independent: the share lost.
/// - Gilbert: the state shows itself in the fate, so that the likeliest chain is that of the counted
///   transitions, p(good→bad) = bursts begun / packets received that have a successor, p(bad→good) =
///   bursts ended / packets lost that have one (Gilbert, Bell System Technical Journal 39, 1960, for
///   the chain; Billingsley, Annals of Mathematical Statistics 32, 1961, for the estimate).
/// - Gilbert and Elliott: `baum_welch`, from chains around Gilbert's.
///
/// Nothing is drawn at random: the same trace gives the same fit. What is not stationary, or lost
/// periodically, gets the closest of the three all the same. Takes 9 bytes a packet and at most some
/// 600 passes over the trace, fewer than 100 as a rule.
pub fn fit(trace: &LossTrace) -> Fit {
    let packets = trace.packets();
    let gilbert = gilbert(trace);
    let elliott = gilbert.filter(|_| trace.bursts() >= FEWEST_BURSTS);
    let elliott = elliott.and_then(|gilbert| {
        let fates: Vec<bool> = trace.fates().collect();
        Chain::climb(&starts(&gilbert, trace.rate()), &fates)
    });
    Fit {
        packets,
        lost: trace.lost(),
        bursts: trace.bursts(),
        independent: independent(trace),
        gilbert: gilbert.and_then(|chain| Fitted::of_chain(chain, 2, trace)),
        gilbert_elliott: elliott.and_then(|chain| Fitted::of_chain(chain, 4, trace)),
    }
}

fn independent(trace: &LossTrace) -> Fitted {
    let rate = trace.rate();
    let (lost, received) = (trace.lost(), trace.packets() - trace.lost());
    let part = |count: usize, share: f64| {
        if count == 0 {
            0.0
        } else {
            count as f64 * share.ln()
        }
    };
    let likelihood = part(lost, rate) + part(received, 1.0 - rate);
    let model = if lost == 0 {
        LossModel::None
    } else {
        LossModel::Independent { rate }
    };
    Fitted::new(model, 1, likelihood, trace.packets())
}

/// The chain of the counted transitions, if bursts were seen to begin and to end.
fn gilbert(trace: &LossTrace) -> Option<Chain> {
    let [[stayed_good, began], [ended, stayed_bad]] = trace.transitions();
    (began > 0 && ended > 0).then(|| Chain {
        start_bad: trace.rate(),
        to_bad: began as f64 / (stayed_good + began) as f64,
        to_good: ended as f64 / (ended + stayed_bad) as f64,
        loss_good: 0.0,
        loss_bad: 1.0,
    })
}

/// Where to climb from. Gilbert's chain itself is a place that no step leaves, as a probability of 0 or
/// 1 stays so. Beside it: bad times three and thirty times as long, in which less is lost.
fn starts(gilbert: &Chain, rate: f64) -> [Chain; 3] {
    let slower = |times: f64, loss_good: f64, loss_bad: f64| Chain {
        to_bad: gilbert.to_bad / times,
        to_good: gilbert.to_good / times,
        loss_good,
        loss_bad,
        ..*gilbert
    };
    [
        slower(1.0, rate / 10.0, 0.9),
        slower(3.0, rate / 3.0, f64::midpoint(rate, 1.0).min(0.6)),
        slower(30.0, rate / 2.0, (4.0 * rate).min(0.9)),
    ]
}

#[cfg(test)]
mod tests;
