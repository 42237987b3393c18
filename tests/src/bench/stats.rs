//! Medians, other quantiles, and what two of them say of each other.

/// Where most of a few values lie, and how far apart they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Half lie below it.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of at least one value.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        Self { median: quantile(values, 0.5), min: quantile(values, 0.0), max: quantile(values, 1.0) }
    }

    /// Whether all values of one lie on the same side of all values of the other: the rest may be chance.
    #[must_use]
    pub fn is_apart_from(&self, other: &Self) -> bool {
        self.max < other.min || other.max < self.min
    }
}

/// The value that `part` of the values do not exceed; between two neighbours in proportion.
///
/// # Panics
/// When there are no values.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a place in a list"
)]
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = part * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// Half of the values lie below it.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_the_values_in_proportion() {
        let values = [40.0, 10.0, 30.0, 20.0];
        for (part, expected) in [(0.0, 10.0), (0.5, 25.0), (1.0, 40.0), (0.99, 39.7), (0.25, 17.5)] {
            let found = quantile(&values, part);
            assert!((found - expected).abs() < 1e-9, "{part}: {found}");
        }
        assert!((quantile(&[7.0], 0.99) - 7.0).abs() < 1e-9);
    }

    #[test]
    fn only_spreads_without_a_common_value_are_apart() {
        let spread = |values: &[f64]| Spread::of(values);
        assert!(spread(&[1.0, 2.0]).is_apart_from(&spread(&[3.0, 2.1])));
        assert!(spread(&[3.0, 2.1]).is_apart_from(&spread(&[1.0, 2.0])));
        assert!(!spread(&[1.0, 2.0]).is_apart_from(&spread(&[2.0, 9.0])));
        assert!(!spread(&[1.0, 9.0]).is_apart_from(&spread(&[2.0, 3.0])));
    }
}
