//! Means and deviations over runs.

/// Mean, of at least one value.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0usize, 0.0), |(count, sum), value| {
        (count + 1, sum + value)
    });
    (count > 0).then(|| sum / count as f64)
}

/// Mean of at least one value, none of them missing: without one it would be of something else.
pub(crate) fn whole_mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.collect::<Option<_>>()?;
    mean(values.into_iter())
}

/// Sample standard deviation, of at least two values.
pub(crate) fn deviation(values: &[f64]) -> Option<f64> {
    let centre = mean(values.iter().copied())?;
    let squares: f64 = values.iter().map(|value| (value - centre).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_not_averaged_away() {
        // numpy: mean([.7, .8, .6]), std([.7, .8, .6], ddof=1) -> 0.7, 0.1
        let values = [0.7, 0.8, 0.6];
        assert!((mean(values.into_iter()).unwrap() - 0.7).abs() < 1e-12);
        assert!((deviation(&values).unwrap() - 0.1).abs() < 1e-12);
        assert_eq!(deviation(&values[..1]), None);
        assert_eq!(mean([].into_iter()), None);
        assert_eq!(whole_mean([Some(1.0), Some(2.0)].into_iter()), Some(1.5));
        assert_eq!(whole_mean([Some(1.0), None].into_iter()), None);
        assert_eq!(whole_mean([].into_iter()), None);
    }
}
