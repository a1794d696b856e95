//! How well scores rank anomalous above normal, over all thresholds at once: ROC and precision-recall.

use serde::{Deserialize, Serialize};

use super::EvaluateError;
use super::ranked::Ranked;

/// Most points of a [`Roc`]; enough that no pixel of a figure changes.
const MAX_POINTS: usize = 400;

/// A receiver operating characteristic, anomalous = positive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Roc {
    /// (false-positive rate, true-positive rate) from (0, 0) to (1, 1), both never falling.
    pub points: Vec<(f64, f64)>,
}

/// Area under the ROC curve: the probability that an anomalous image scores above a normal one,
/// equal scores counting half. Exact: rank sums, no binning.
///
/// Source: Hanley & McNeil, "The meaning and use of the area under a ROC curve", Radiology 1982;
/// the "AUC score" of the paper's Figure 2.
///
/// # Errors
/// When a class has no score or a score is not finite.
pub fn auroc(normal: &[f32], anomalous: &[f32]) -> Result<f64, EvaluateError> {
    Ok(Ranked::new(normal, anomalous)?.auroc())
}

/// The ROC curve for plotting, at most 400 points.
///
/// Points on a straight line between their neighbours go first; if more remain, those are kept
/// that lie farthest from the line through the ones kept so far, so corners survive. Use
/// [`auroc`] for the area, not these points.
///
/// # Errors
/// When a class has no score or a score is not finite.
pub fn roc_curve(normal: &[f32], anomalous: &[f32]) -> Result<Roc, EvaluateError> {
    let ranked = Ranked::new(normal, anomalous)?;
    let rates = |(normal, anomalous): (usize, usize)| {
        (
            normal as f64 / ranked.normal as f64,
            anomalous as f64 / ranked.anomalous as f64,
        )
    };
    let points: Vec<_> = std::iter::once((0.0, 0.0))
        .chain(ranked.flagged().map(rates))
        .collect();
    Ok(Roc {
        points: thin(&points, MAX_POINTS),
    })
}

/// Fraction of normal images flagged by the strictest threshold that flags at least `tpr` of the
/// anomalous ones ("FPR at 95 % TPR" for `tpr = 0.95`).
///
/// An image is flagged when its score is at or above the threshold; thresholds are the observed
/// scores, without interpolation: scikit-learn's `fpr[argmax(tpr >= level)]` on
/// `roc_curve(..., drop_intermediate=False)`. OOD papers that call the *normal* class positive
/// report another number under the same name.
///
/// # Errors
/// When `tpr` is not in (0, 1], a class has no score or a score is not finite.
pub fn fpr_at_tpr(normal: &[f32], anomalous: &[f32], tpr: f64) -> Result<f64, EvaluateError> {
    if !(tpr > 0.0 && tpr <= 1.0) {
        return Err(EvaluateError::Level {
            name: "true-positive rate",
            value: tpr,
            range: "above 0 and at most 1",
        });
    }
    let ranked = Ranked::new(normal, anomalous)?;
    let flagged_normal = ranked
        .flagged()
        .find(|&(_, found)| found as f64 / ranked.anomalous as f64 >= tpr)
        // The lowest threshold flags everything, so one is always found.
        .map_or(ranked.normal, |(flagged, _)| flagged);
    Ok(flagged_normal as f64 / ranked.normal as f64)
}

/// Area under the precision-recall curve as average precision: sum over thresholds of
/// (recall gained) x (precision there); equal scores are one threshold, no interpolation. The same
/// number as scikit-learn's `average_precision_score`.
///
/// A ranking by chance scores the share of positives, so compare only on equal test sets.
///
/// # Errors
/// When a side has no score or a score is not finite; `positive` is named "anomalous" then.
pub fn aupr(positive: &[f32], negative: &[f32]) -> Result<f64, EvaluateError> {
    let ranked = Ranked::new(negative, positive)?;
    let mut area = 0.0;
    let mut found_before = 0;
    for (false_alarms, found) in ranked.flagged() {
        let gained = (found - found_before) as f64;
        area += gained * found as f64 / (found + false_alarms) as f64;
        found_before = found;
    }
    Ok(area / ranked.anomalous as f64)
}

/// [`aupr`] with the anomalous images as positives ("AUPR-out").
///
/// # Errors
/// When a class has no score or a score is not finite.
pub fn aupr_anomalous(normal: &[f32], anomalous: &[f32]) -> Result<f64, EvaluateError> {
    aupr(anomalous, normal)
}

/// [`aupr`] with the normal images as positives, ranked by the negated score ("AUPR-in").
///
/// # Errors
/// When a class has no score or a score is not finite.
pub fn aupr_normal(normal: &[f32], anomalous: &[f32]) -> Result<f64, EvaluateError> {
    // Errors must name the classes as the caller knows them, not swapped.
    super::error::check_classes(normal, anomalous)?;
    let negate = |scores: &[f32]| scores.iter().map(|score| -score).collect::<Vec<_>>();
    aupr(&negate(normal), &negate(anomalous))
}

/// At most `limit` of `points`, first and last included, chosen greedily by distance from the
/// polyline of those already chosen (Douglas & Peucker 1973, stopped by count).
fn thin(points: &[(f64, f64)], limit: usize) -> Vec<(f64, f64)> {
    let Some(last) = points.len().checked_sub(1) else {
        return Vec::new();
    };
    let mut kept = vec![0, last];
    let mut segments = vec![farthest(points, 0, last)];
    while kept.len() < limit {
        let widest = segments
            .iter()
            .enumerate()
            .max_by(|left, right| left.1.distance.total_cmp(&right.1.distance));
        // Below this the point is on the line, up to rounding.
        let Some((position, widest)) = widest.filter(|found| found.1.distance > 1e-12) else {
            break;
        };
        let Segment { from, at, to, .. } = *widest;
        kept.push(at);
        segments[position] = farthest(points, from, at);
        segments.push(farthest(points, at, to));
    }
    kept.sort_unstable();
    kept.dedup();
    kept.into_iter().map(|index| points[index]).collect()
}

/// A stretch of the curve between two kept points, and the point in it farthest from their chord.
struct Segment {
    from: usize,
    at: usize,
    to: usize,
    distance: f64,
}

fn farthest(points: &[(f64, f64)], from: usize, to: usize) -> Segment {
    let (x0, y0) = points[from];
    let (dx, dy) = (points[to].0 - x0, points[to].1 - y0);
    let chord = dx.hypot(dy).max(f64::MIN_POSITIVE);
    let mut segment = Segment {
        from,
        at: from,
        to,
        distance: 0.0,
    };
    for (index, &(x, y)) in points.iter().enumerate().take(to).skip(from + 1) {
        let distance = (dx * (y - y0) - dy * (x - x0)).abs() / chord;
        if distance > segment.distance {
            segment.at = index;
            segment.distance = distance;
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // scikit-learn 1.x:
    //   y = r_[zeros(10), ones(7)]; s = r_[NORMAL, ANOMALOUS]
    //   roc_auc_score(y, s); average_precision_score(y, s); average_precision_score(1 - y, -s)
    //   fpr, tpr, _ = roc_curve(y, s, drop_intermediate=False); fpr[argmax(tpr >= level)]
    const NORMAL: [f32; 10] = [0.1, 0.4, 0.4, 0.35, 0.8, 0.2, 0.5, 0.7, 0.05, 0.4];
    const ANOMALOUS: [f32; 7] = [0.4, 0.9, 0.65, 0.8, 0.3, 1.2, 0.7];

    fn close(left: f64, right: f64) {
        assert!((left - right).abs() < 1e-12, "{left} is not {right}");
    }

    #[test]
    fn numbers_are_those_of_scikit_learn() {
        close(auroc(&NORMAL, &ANOMALOUS).unwrap(), 0.7785714285714286);
        close(
            aupr_anomalous(&NORMAL, &ANOMALOUS).unwrap(),
            0.7329931972789117,
        );
        close(
            aupr_normal(&NORMAL, &ANOMALOUS).unwrap(),
            0.8292307692307691,
        );
        close(fpr_at_tpr(&NORMAL, &ANOMALOUS, 0.95).unwrap(), 0.7);
        close(fpr_at_tpr(&NORMAL, &ANOMALOUS, 0.8).unwrap(), 0.6);
    }

    #[test]
    fn curve_has_the_corners_of_scikit_learn() {
        // roc_curve(y, s, drop_intermediate=True), whose heuristic keeps the same corners here.
        let expected = [
            (0.0, 0.0),
            (0.0, 2.0 / 7.0),
            (0.2, 4.0 / 7.0),
            (0.2, 5.0 / 7.0),
            (0.3, 5.0 / 7.0),
            (0.6, 6.0 / 7.0),
            (0.7, 6.0 / 7.0),
            (0.7, 1.0),
            (1.0, 1.0),
        ];
        let points = roc_curve(&NORMAL, &ANOMALOUS).unwrap().points;
        assert_eq!(points.len(), expected.len(), "{points:?}");
        for (point, expected) in points.iter().zip(expected) {
            close(point.0, expected.0);
            close(point.1, expected.1);
        }
    }

    #[test]
    fn separated_inverted_and_constant_scores() {
        let (low, high) = ([0.0, 1.0], [2.0, 3.0, 4.0]);
        close(auroc(&low, &high).unwrap(), 1.0);
        close(auroc(&high, &low).unwrap(), 0.0);
        close(fpr_at_tpr(&low, &high, 0.95).unwrap(), 0.0);
        close(aupr_anomalous(&low, &high).unwrap(), 1.0);
        let (same_normal, same_anomalous) = ([1.0; 6], [1.0; 2]);
        close(auroc(&same_normal, &same_anomalous).unwrap(), 0.5);
        close(aupr_anomalous(&same_normal, &same_anomalous).unwrap(), 0.25);
        close(
            fpr_at_tpr(&same_normal, &same_anomalous, 0.95).unwrap(),
            1.0,
        );
        let points = roc_curve(&same_normal, &same_anomalous).unwrap().points;
        assert_eq!(points, [(0.0, 0.0), (1.0, 1.0)]);
    }

    #[test]
    fn errors_name_the_class_of_the_caller() {
        let nan = [f32::NAN];
        let error = aupr_normal(&nan, &[1.0]).unwrap_err();
        assert!(error.to_string().starts_with("normal score 0"), "{error}");
        assert!(fpr_at_tpr(&[1.0], &[1.0], 0.0).is_err());
        assert!(fpr_at_tpr(&[1.0], &[1.0], f64::NAN).is_err());
        assert!(roc_curve(&[1.0], &[]).is_err());
    }

    #[test]
    fn a_long_curve_is_thinned_close_to_its_area() {
        let wave = |index: u32| ((index * 7919) % 10_007) as f32;
        let normal: Vec<f32> = (0..10_000).map(wave).collect();
        let anomalous: Vec<f32> = (0..7_000).map(|index| wave(index * 3) + 2_000.0).collect();
        let points = roc_curve(&normal, &anomalous).unwrap().points;
        assert!(points.len() <= 400, "{}", points.len());
        let area: f64 = points
            .windows(2)
            .map(|pair| (pair[1].0 - pair[0].0) * (pair[0].1 + pair[1].1) / 2.0)
            .sum();
        assert!(
            (area - auroc(&normal, &anomalous).unwrap()).abs() < 1e-3,
            "{area}"
        );
    }

    fn scores() -> impl Strategy<Value = Vec<f32>> {
        // Few distinct values, so that ties are the rule.
        prop::collection::vec((-8i8..8).prop_map(f32::from), 1..40)
    }

    proptest! {
        #![proptest_config(crate::property_tests(256))]
        #[test]
        fn auroc_is_the_share_of_pairs_in_order(normal in scores(), anomalous in scores()) {
            let mut wins = 0.0;
            for low in &normal {
                for high in &anomalous {
                    wins += if high > low { 1.0 } else if high == low { 0.5 } else { 0.0 };
                }
            }
            let pairs = (normal.len() * anomalous.len()) as f64;
            prop_assert!((auroc(&normal, &anomalous).unwrap() - wins / pairs).abs() < 1e-12);
        }

        #[test]
        fn swapping_classes_or_sign_mirrors_auroc(normal in scores(), anomalous in scores()) {
            let area = auroc(&normal, &anomalous).unwrap();
            let negate = |scores: &[f32]| scores.iter().map(|score| -score).collect::<Vec<_>>();
            prop_assert!((area + auroc(&anomalous, &normal).unwrap() - 1.0).abs() < 1e-12);
            let negated = auroc(&negate(&normal), &negate(&anomalous)).unwrap();
            prop_assert!((area + negated - 1.0).abs() < 1e-12);
        }

        #[test]
        fn a_rising_transform_and_the_order_change_nothing(normal in scores(), anomalous in scores()) {
            let map = |scores: &[f32]| {
                scores.iter().rev().map(|score| score.powi(3) + 5.0).collect::<Vec<_>>()
            };
            let (mapped_normal, mapped_anomalous) = (map(&normal), map(&anomalous));
            for metric in [auroc, aupr_anomalous, aupr_normal] {
                prop_assert_eq!(
                    metric(&normal, &anomalous).unwrap(),
                    metric(&mapped_normal, &mapped_anomalous).unwrap()
                );
            }
        }

        #[test]
        fn the_curve_never_falls(normal in scores(), anomalous in scores()) {
            let points = roc_curve(&normal, &anomalous).unwrap().points;
            prop_assert_eq!(points.first(), Some(&(0.0, 0.0)));
            prop_assert_eq!(points.last(), Some(&(1.0, 1.0)));
            prop_assert!(points.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1));
        }
    }
}
