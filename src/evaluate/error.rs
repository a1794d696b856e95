//! Why scores cannot be evaluated, said so that the reader knows what to do.

/// An error of evaluating scores.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EvaluateError {
    /// A set of scores that has to hold at least one.
    #[error("no {set} scores: nothing was scored, check the split sizes of the experiment")]
    Empty {
        /// Which scores: "normal", "anomalous", "calibration", ...
        set: &'static str,
    },
    /// Only one of the two classes has scores; a comparison needs both.
    #[error(
        "there are {present_count} {present} scores but no {missing} ones: \
             a test set needs normal and anomalous images"
    )]
    OneClass {
        /// The class that has scores.
        present: &'static str,
        /// How many it has.
        present_count: usize,
        /// The class that has none.
        missing: &'static str,
    },
    /// A score that is NaN or infinite.
    #[error(
        "{set} score {index} is {value}: a detector must give finite scores, \
             look for a diverged training or overflow at that image"
    )]
    NotFinite {
        /// Which scores.
        set: &'static str,
        /// Position of the first such score.
        index: usize,
        /// The score.
        value: f32,
    },
    /// A confidence level, rate or quantile outside its range.
    #[error("{name} is {value} but has to lie {range}")]
    Level {
        /// What the number is called.
        name: &'static str,
        /// The number given.
        value: f64,
        /// The range it must lie in, in words.
        range: &'static str,
    },
    /// A bootstrap without resamples.
    #[error("a bootstrap interval needs at least one resample: ask for 1000")]
    NoResamples,
    /// A level of p-values that so few calibration images do not reach.
    #[error(
        "alpha = {alpha} needs at least {needed} calibration images and there are {available}: \
             add normal images or ask for an alpha of at least {possible}"
    )]
    TooFewCalibration {
        /// The level asked for.
        alpha: f64,
        /// Least number of calibration images for that level.
        needed: usize,
        /// Number of calibration images.
        available: usize,
        /// A level that they reach.
        possible: f64,
    },
    /// A heat map and its mask that differ in size.
    #[error(
        "heat map {index} has {map} values and its mask {mask}: bring both to the size of the image"
    )]
    MaskSize {
        /// Position of the heat map.
        index: usize,
        /// Number of values of the map.
        map: usize,
        /// Number of values of the mask.
        mask: usize,
    },
}

/// `Ok` when `scores` are at least one and all finite.
///
/// # Errors
/// [`EvaluateError::Empty`] or [`EvaluateError::NotFinite`], naming `set`.
pub(super) fn check_scores(set: &'static str, scores: &[f32]) -> Result<(), EvaluateError> {
    if scores.is_empty() {
        return Err(EvaluateError::Empty { set });
    }
    match scores.iter().position(|score| !score.is_finite()) {
        Some(index) => Err(EvaluateError::NotFinite {
            set,
            index,
            value: scores[index],
        }),
        None => Ok(()),
    }
}

/// `Ok` when `normal` and `anomalous` both have scores and all are finite.
///
/// # Errors
/// [`EvaluateError::OneClass`] when exactly one is empty, else as [`check_scores`].
pub(super) fn check_classes(normal: &[f32], anomalous: &[f32]) -> Result<(), EvaluateError> {
    check_counts(normal.len(), anomalous.len())?;
    check_scores("normal", normal)?;
    check_scores("anomalous", anomalous)
}

/// `Ok` when both classes have scores.
///
/// # Errors
/// [`EvaluateError::OneClass`] when exactly one has none, [`EvaluateError::Empty`] when both have.
pub(super) fn check_counts(normal: usize, anomalous: usize) -> Result<(), EvaluateError> {
    let one_class = |present, present_count, missing| EvaluateError::OneClass {
        present,
        present_count,
        missing,
    };
    match (normal, anomalous) {
        (0, 0) => Err(EvaluateError::Empty { set: "normal" }),
        (count, 0) => Err(one_class("normal", count, "anomalous")),
        (0, count) => Err(one_class("anomalous", count, "normal")),
        _ => Ok(()),
    }
}

/// `Ok` when `value` lies strictly between 0 and 1.
///
/// # Errors
/// [`EvaluateError::Level`] otherwise (NaN included), naming `name`.
pub(super) fn check_open_unit(name: &'static str, value: f64) -> Result<(), EvaluateError> {
    if value > 0.0 && value < 1.0 {
        return Ok(());
    }
    Err(EvaluateError::Level {
        name,
        value,
        range: "strictly between 0 and 1",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_class_empty_and_non_finite_are_told_apart() {
        let one = check_classes(&[1.0, 2.0], &[]).unwrap_err();
        assert!(matches!(
            one,
            EvaluateError::OneClass {
                present_count: 2,
                missing: "anomalous",
                ..
            }
        ));
        let one = check_classes(&[], &[1.0]).unwrap_err();
        assert!(matches!(
            one,
            EvaluateError::OneClass {
                missing: "normal",
                ..
            }
        ));
        let none = check_classes(&[], &[]).unwrap_err();
        assert_eq!(none, EvaluateError::Empty { set: "normal" });
        let nan = check_classes(&[1.0], &[0.0, 1.0, f32::NAN]).unwrap_err();
        assert!(matches!(
            nan,
            EvaluateError::NotFinite {
                set: "anomalous",
                index: 2,
                ..
            }
        ));
        assert!(nan.to_string().contains("anomalous score 2 is NaN"));
        assert!(check_classes(&[f32::INFINITY], &[0.0]).is_err());
    }

    #[test]
    fn levels_outside_the_open_interval_are_refused() {
        for bad in [0.0, 1.0, -0.1, 95.0, f64::NAN] {
            assert!(check_open_unit("confidence", bad).is_err(), "{bad}");
        }
        assert!(check_open_unit("confidence", 0.95).is_ok());
    }
}
