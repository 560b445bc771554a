//! The arithmetic of a comparison: medians, ratios paired within rounds, an interval that
//! assumes nothing about the shape of the noise, and a verdict.
//!
//! Numbers in, numbers out: nothing here knows a server, a clock or a file.

use serde::{Deserialize, Serialize};

/// The least coverage that an interval must have before a verdict is drawn from it.
pub const COVERAGE: f64 = 0.95;

/// Returns the middle of the values, the mean of the two middle ones if their number is
/// even, `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// An interval for the median of a population, from the order statistics of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// How probable it is that such an interval holds the median.
    pub coverage: f64,
}

/// Returns the narrowest symmetric pair of order statistics that holds the median of the
/// population with a probability of [`COVERAGE`] or more, `None` of nothing.
///
/// With `n` values in order, the k-th from below and the k-th from above enclose the median
/// unless fewer than `k` of the `n` fell on one side of it. Each value falls there with a
/// probability of one half, whatever the distribution is, so the coverage is
/// `1 - 2 P(Binomial(n, 1/2) < k)`. Six values are the fewest that reach 95 %: their range
/// has 96.9 %. Fewer than that give their range with the coverage that it has.
///
/// # References
///
/// H. A. David, H. N. Nagaraja, *Order Statistics*, 3rd edition, section 7.1.
pub fn median_interval(values: &[f64]) -> Option<Interval> {
    let sorted = sorted(values);
    let count = sorted.len();
    if count == 0 {
        return None;
    }
    let mut depth = 1;
    while 2 * (depth + 1) <= count && coverage(count, depth + 1) >= COVERAGE {
        depth += 1;
    }
    Some(Interval {
        low: sorted[depth - 1],
        high: sorted[count - depth],
        coverage: coverage(count, depth),
    })
}

/// `1 - 2 P(Binomial(count, 1/2) < depth)`, never below zero.
fn coverage(count: usize, depth: usize) -> f64 {
    let mut term = 0.5f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let mut tail = 0.0;
    for below in 0..depth {
        tail += term;
        term *= (count - below) as f64 / (below + 1) as f64;
    }
    (1.0 - 2.0 * tail).max(0.0)
}

/// What a ratio and its interval say. Three answers, never two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The whole interval lies within the margin around one.
    Same,
    /// The interval excludes one and reaches out of the margin.
    Different,
    /// Neither can be said, or there are too few rounds to say anything.
    Undecided,
}

/// The ratio of one contestant to another, from figures paired within rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// The median of the rounds' ratios.
    pub median: f64,
    /// The interval around it.
    pub interval: Interval,
    /// How many rounds had both figures.
    pub rounds: usize,
    /// What follows from it.
    pub verdict: Verdict,
}

/// Divides each round's figure by the same round's baseline and judges the ratios.
///
/// The slices run over the rounds. A round in which either figure is missing is left out;
/// `None` if none is left. `margin` is the distance from one within which two contestants
/// count as the same: 0.03 for 3 %.
pub fn paired_ratio(
    figures: &[Option<f64>],
    baseline: &[Option<f64>],
    margin: f64,
) -> Option<Ratio> {
    let ratios: Vec<f64> = figures
        .iter()
        .zip(baseline)
        .filter_map(|(figure, base)| Some(((*figure)?, (*base)?)))
        .filter(|&(_, base)| base > 0.0)
        .map(|(figure, base)| figure / base)
        .collect();
    let interval = median_interval(&ratios)?;
    Some(Ratio {
        median: median(&ratios)?,
        interval,
        rounds: ratios.len(),
        verdict: verdict(interval, margin),
    })
}

/// Judges an interval of ratios.
pub(crate) fn verdict(interval: Interval, margin: f64) -> Verdict {
    if interval.coverage < COVERAGE {
        Verdict::Undecided
    } else if interval.low >= 1.0 / (1.0 + margin) && interval.high <= 1.0 + margin {
        Verdict::Same
    } else if interval.low > 1.0 || interval.high < 1.0 {
        Verdict::Different
    } else {
        Verdict::Undecided
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(values: &[f64]) -> Vec<Option<f64>> {
        values.iter().copied().map(Some).collect()
    }

    #[test]
    fn the_median_does_not_mind_the_order() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[4.0]), Some(4.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[8.0, 2.0, 4.0, 6.0]), Some(5.0));
    }

    #[test]
    fn coverage_is_that_of_the_tables() {
        // David and Nagaraja, and any table of sign-test intervals.
        let known = [
            (5, 1, 0.9375),
            (6, 1, 0.96875),
            (9, 2, 0.9609375),
            (10, 2, 0.978515625),
            (20, 6, 0.958610534),
        ];
        for (count, depth, expected) in known {
            assert!((coverage(count, depth) - expected).abs() < 1e-8, "{count}");
        }
    }

    #[test]
    fn the_interval_takes_the_deepest_pair_that_still_covers() {
        let values: Vec<f64> = (1..=9).rev().map(f64::from).collect();
        let interval = median_interval(&values).unwrap();
        assert_eq!((interval.low, interval.high), (2.0, 8.0));

        let interval = median_interval(&values[..6]).unwrap();
        assert_eq!((interval.low, interval.high), (4.0, 9.0));
        assert!(interval.coverage >= COVERAGE);

        let interval = median_interval(&values[..3]).unwrap();
        assert_eq!((interval.low, interval.high), (7.0, 9.0));
        assert!((interval.coverage - 0.75).abs() < 1e-12);
        assert_eq!(median_interval(&[]), None);
    }

    #[test]
    fn a_thousand_rounds_are_no_trouble() {
        let values: Vec<f64> = (0..1000).map(f64::from).collect();
        let interval = median_interval(&values).unwrap();
        assert_eq!((interval.low, interval.high), (468.0, 531.0));
    }

    #[test]
    fn ratios_are_paired_within_their_round() {
        // The machine became three times slower; the ratio did not change.
        let base = some(&[1.0, 1.0, 1.0, 3.0, 3.0, 3.0]);
        let figures = some(&[2.0, 2.0, 2.0, 6.0, 6.0, 6.0]);
        let ratio = paired_ratio(&figures, &base, 0.03).unwrap();
        assert_eq!((ratio.median, ratio.interval.low), (2.0, 2.0));
        assert_eq!(ratio.verdict, Verdict::Different);
    }

    #[test]
    fn rounds_that_miss_a_figure_are_left_out() {
        let base = [Some(2.0), None, Some(2.0), Some(0.0)];
        let figures = [Some(4.0), Some(4.0), None, Some(1.0)];
        let ratio = paired_ratio(&figures, &base, 0.03).unwrap();
        assert_eq!((ratio.rounds, ratio.median), (1, 2.0));
        assert_eq!(paired_ratio(&[None], &[Some(1.0)], 0.03), None);
    }

    #[test]
    fn there_are_three_verdicts() {
        let judge = |figures: &[f64]| {
            let base = vec![Some(1.0); figures.len()];
            paired_ratio(&some(figures), &base, 0.03).unwrap().verdict
        };
        assert_eq!(judge(&[0.99, 1.0, 1.01, 1.0, 1.02, 0.98]), Verdict::Same);
        assert_eq!(judge(&[1.001, 1.002, 1.003, 1.01, 1.02, 1.029]), Verdict::Same);
        assert_eq!(judge(&[1.01, 1.02, 1.03, 1.04, 1.05, 1.06]), Verdict::Different);
        assert_eq!(judge(&[0.5, 0.6, 0.5, 0.6, 0.5, 0.6]), Verdict::Different);
        assert_eq!(judge(&[0.9, 1.0, 1.1, 1.2, 1.3, 1.0]), Verdict::Undecided);
        // Clear as they look, five rounds are too few.
        assert_eq!(judge(&[2.0, 2.0, 2.0, 2.0, 2.0]), Verdict::Undecided);
    }
}
