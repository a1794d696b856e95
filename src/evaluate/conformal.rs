//! Split conformal p-values: how rarely a normal image scores as high, with a finite-sample guarantee.

use serde::{Deserialize, Serialize};

use super::EvaluateError;
use super::error::{check_open_unit, check_scores};

/// Scores of held-out normal images, among which a new score is ranked.
///
/// # Guarantee
/// Let the n calibration images and a new normal image be exchangeable (drawn independently from
/// one source, for instance), none of them having had a part in training or in choosing the model.
/// Then P(p <= alpha) <= alpha for every alpha, whatever the distribution of the scores: at level
/// alpha, at most that share of new normal images is called anomalous. Without equal scores, the
/// share is floor(alpha (n + 1)) / (n + 1) exactly.
///
/// # Limits
/// - The probability is over the draw of the calibration images too. Given *one* set of them, the
///   false-alarm rate is higher or lower: of independent scores from a continuous distribution it
///   is a draw from Beta(k, n + 1 - k) with k = floor(alpha (n + 1)), which has the mean k / (n + 1)
///   and the variance k (n + 1 - k) / ((n + 1)^2 (n + 2)). For n = 99 and alpha = 0.05, that is
///   0.05 with a standard deviation of 0.022; for n = 999, of 0.007.
/// - Of m normal images, alpha m are expected to be false alarms; since all are ranked among the
///   same scores, many of them or few come together.
/// - After a change of what is normal (camera, light, supplier), nothing is promised: calibrate again.
/// - Nothing is promised about how many anomalous images are found.
///
/// # Source
/// Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World", 2005; for anomaly detection
/// Laxhammar & Falkman, "Conformal prediction for distribution-independent anomaly detection in
/// streaming vessel data", StreamKDD 2010, and Bates, Candès, Lei, Romano & Sesia, "Testing for
/// outliers with conformal p-values", Annals of Statistics 2023, arXiv:2104.08279. The Beta
/// distribution: Vovk, "Conditional validity of inductive conformal predictors", ACML 2012.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Conformal {
    /// In rising order, at least one, all finite.
    scores: Vec<f32>,
}

/// What a file says, which has to be checked like any other scores.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    scores: Vec<f32>,
}

impl TryFrom<Stored> for Conformal {
    type Error = EvaluateError;

    fn try_from(stored: Stored) -> Result<Self, EvaluateError> {
        Self::new(stored.scores)
    }
}

impl Conformal {
    /// Calibrates on the `scores` of normal images (higher = more anomalous, any order).
    ///
    /// # Errors
    /// When there is no score or one is not finite.
    pub fn new(mut scores: Vec<f32>) -> Result<Self, EvaluateError> {
        check_scores("calibration", &scores)?;
        scores.sort_unstable_by(f32::total_cmp);
        Ok(Self { scores })
    }

    /// Number of images it was calibrated on, at least 1.
    pub fn calibrated_on(&self) -> usize {
        self.scores.len()
    }

    /// The calibration scores, in rising order.
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// (1 + number of calibration scores that are at least `score`) / (n + 1), above 0 and at most
    /// 1: small where few normal images score as high.
    ///
    /// An equal score counts against the image being odd, which errs on the side of fewer false
    /// alarms. NaN has the smallest p-value, 1 / (n + 1): an image that cannot be scored is not
    /// called normal.
    pub fn p_value(&self, score: f32) -> f64 {
        let at_least = if score.is_nan() {
            0
        } else {
            // `<` and not `total_cmp`: -0.0 and 0.0 are one score.
            self.scores.len() - self.scores.partition_point(|&below| below < score)
        };
        (1 + at_least) as f64 / self.places()
    }

    /// The smallest p-value there can be, 1 / (n + 1); below this level nothing is ever anomalous.
    pub fn smallest_alpha(&self) -> f64 {
        1.0 / self.places()
    }

    /// [`smallest_alpha`](Self::smallest_alpha) as it is told: rounded up to three significant digits,
    /// so that verdicts can be asked for at the level that was read.
    pub fn reachable_alpha(&self) -> f64 {
        round_up(self.smallest_alpha())
    }

    /// `Ok` when verdicts at the level `alpha` can be given.
    ///
    /// # Errors
    /// [`EvaluateError::Level`] when `alpha` is not in (0, 1);
    /// [`EvaluateError::TooFewCalibration`] when it is below [`smallest_alpha`](Self::smallest_alpha).
    pub fn check(&self, alpha: f64) -> Result<(), EvaluateError> {
        check_open_unit("alpha", alpha)?;
        if alpha >= self.smallest_alpha() {
            return Ok(());
        }
        Err(EvaluateError::TooFewCalibration {
            alpha,
            needed: images_needed(alpha),
            available: self.scores.len(),
            possible: self.reachable_alpha(),
        })
    }

    /// The verdict at the level `alpha`: p-value at most `alpha`. Whether that level can be had at
    /// all is for [`check`](Self::check) to say, before the first verdict.
    pub fn is_anomalous(&self, score: f32, alpha: f64) -> bool {
        self.p_value(score) <= alpha
    }

    /// The score beyond which, itself excluded, images are anomalous at the level `alpha`: a
    /// calibration score, or an infinite one where none or all are.
    pub fn border(&self, alpha: f64) -> f32 {
        let n = self.scores.len();
        // Verdicts rest on this quotient, which rounds.
        let reached = (1..=n + 1).take_while(|&place| place as f64 / self.places() <= alpha);
        match reached.last() {
            None => f32::INFINITY,
            Some(places) if places > n => f32::NEG_INFINITY,
            Some(places) => self.scores[n - places],
        }
    }

    /// n + 1: how many places a new score can take among the others.
    fn places(&self) -> f64 {
        (self.scores.len() + 1) as f64
    }
}

/// Least n with 1 / (n + 1) <= `alpha`, that is ceil(1 / alpha) - 1.
fn images_needed(alpha: f64) -> usize {
    let places = (1.0 / alpha).ceil();
    // The quotient can be a rounding error above a whole number.
    let fewer = places - 1.0;
    let places = if 1.0 / fewer <= alpha { fewer } else { places };
    (places - 1.0) as usize
}

/// The next number of three significant digits, so that it can be copied from a message.
fn round_up(level: f64) -> f64 {
    let scale = 10_f64.powi(2 - level.log10().floor() as i32);
    (level * scale).ceil() / scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use rand_distr::{Cauchy, Distribution, Exp1, StandardNormal};

    #[test]
    fn p_values_by_hand() {
        let conformal = Conformal::new(vec![3.0, 1.0, 2.0, 2.0, 5.0]).unwrap();
        assert_eq!(conformal.calibrated_on(), 5);
        for (score, places) in [
            (f32::NEG_INFINITY, 6.0),
            (0.0, 6.0),
            (1.0, 6.0),
            (1.5, 5.0),
            (2.0, 5.0),
            (2.5, 3.0),
            (3.0, 3.0),
            (5.0, 2.0),
            (5.1, 1.0),
            (f32::INFINITY, 1.0),
            (f32::NAN, 1.0),
        ] {
            assert_eq!(conformal.p_value(score), places / 6.0, "{score}");
        }
        assert_eq!(conformal.smallest_alpha(), 1.0 / 6.0);
        assert!(conformal.is_anomalous(5.1, 1.0 / 6.0), "p = alpha");
        assert!(!conformal.is_anomalous(5.0, 0.3));

        let zeros = Conformal::new(vec![0.0, -0.0]).unwrap();
        assert_eq!((zeros.p_value(0.0), zeros.p_value(-0.0)), (1.0, 1.0));
    }

    #[test]
    fn false_alarms_are_as_rare_as_promised_whatever_the_distribution() {
        const DRAWS: usize = 10_000;
        const ALPHAS: [f64; 2] = [0.05, 0.01];
        let sources: [fn(&mut StdRng) -> f32; 4] = [
            |rng| StandardNormal.sample(rng),
            |rng| Exp1.sample(rng),
            // It has neither mean nor variance.
            |rng| Cauchy::new(0.0_f32, 1.0).unwrap().sample(rng),
            |rng| rng.random(),
        ];
        let rng = &mut StdRng::seed_from_u64(3);
        for (number, source) in sources.into_iter().enumerate() {
            for n in [19_usize, 49, 99] {
                let mut alarms = [0_usize; 2];
                for _ in 0..DRAWS {
                    let calibration: Vec<f32> = (0..n).map(|_| source(rng)).collect();
                    let conformal = Conformal::new(calibration).unwrap();
                    let score = source(rng);
                    for (count, alpha) in alarms.iter_mut().zip(ALPHAS) {
                        *count += usize::from(conformal.is_anomalous(score, alpha));
                    }
                }
                for (count, alpha) in alarms.into_iter().zip(ALPHAS) {
                    let places = (n + 1) as f64;
                    let expected = (alpha * places).floor() / places;
                    assert!(expected <= alpha);
                    let rate = count as f64 / DRAWS as f64;
                    let error = (expected * (1.0 - expected) / DRAWS as f64).sqrt();
                    assert!(
                        (rate - expected).abs() <= 4.0 * error,
                        "source {number}, n = {n}, alpha = {alpha}: {rate}, not {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn given_one_calibration_set_the_rate_is_a_draw_from_a_beta_distribution() {
        const N: usize = 99;
        const K: usize = 5;
        const SETS: usize = 4_000;
        let rng = &mut StdRng::seed_from_u64(4);
        let rates: Vec<f64> = (0..SETS)
            .map(|_| {
                let calibration: Vec<f32> = (0..N).map(|_| rng.random()).collect();
                let conformal = Conformal::new(calibration).unwrap();
                let border = conformal.border(0.05);
                assert_eq!(border, conformal.scores[N - K]);
                assert!(!conformal.is_anomalous(border, 0.05));
                assert!(conformal.is_anomalous(border.next_up(), 0.05));
                // The share of uniform scores above it.
                1.0 - f64::from(border)
            })
            .collect();
        let mean = rates.iter().sum::<f64>() / SETS as f64;
        let variance = rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / SETS as f64;
        let (n, k) = (N as f64, K as f64);
        let expected = k * (n + 1.0 - k) / ((n + 1.0).powi(2) * (n + 2.0));
        let error = (expected / SETS as f64).sqrt();
        assert!((mean - k / (n + 1.0)).abs() < 4.0 * error, "{mean}");
        assert!((variance / expected - 1.0).abs() < 0.12, "{variance}");
    }

    #[test]
    fn beyond_the_border_everything_is_anomalous() {
        let rng = &mut StdRng::seed_from_u64(6);
        for n in [1_usize, 9, 28, 99, 100] {
            let scores: Vec<f32> = (0..n).map(|_| rng.random()).collect();
            let conformal = Conformal::new(scores).unwrap();
            for percent in 1..100 {
                let alpha = f64::from(percent) / 100.0;
                let border = conformal.border(alpha);
                for _ in 0..20 {
                    let score: f32 = rng.random();
                    let anomalous = conformal.is_anomalous(score, alpha);
                    assert_eq!(score > border, anomalous, "{n} {alpha}: {score} {border}");
                }
            }
        }
    }

    #[test]
    fn equal_scores_only_make_false_alarms_rarer() {
        const DRAWS: usize = 10_000;
        let rng = &mut StdRng::seed_from_u64(5);
        let p_values: Vec<f64> = (0..DRAWS)
            .map(|_| {
                let mut draw = || f32::from(rng.random_range(0..4_u8));
                let calibration: Vec<f32> = (0..20).map(|_| draw()).collect();
                Conformal::new(calibration).unwrap().p_value(draw())
            })
            .collect();
        for step in 1..=20 {
            let alpha = f64::from(step) / 20.0;
            let share = p_values.iter().filter(|&&p| p <= alpha).count() as f64 / DRAWS as f64;
            let error = (alpha * (1.0 - alpha) / DRAWS as f64).sqrt();
            assert!(share <= alpha + 4.0 * error, "{share} at {alpha}");
        }
    }

    #[test]
    fn an_impossible_level_is_refused_with_what_it_needs() {
        let conformal = |n: u16| Conformal::new((0..n).map(f32::from).collect()).unwrap();
        let error = |n, alpha| conformal(n).check(alpha).unwrap_err().to_string();
        for bad in [0.0, 1.0, -0.1, 5.0, f64::NAN] {
            assert!(error(99, bad).starts_with("alpha is "), "{bad}");
        }
        assert_eq!(conformal(99).check(0.01), Ok(()));
        assert_eq!(conformal(19).check(0.05), Ok(()));
        let text = error(98, 0.01);
        assert!(
            text.contains("alpha = 0.01 needs at least 99 calibration images and there are 98"),
            "{text}"
        );
        assert!(text.ends_with("of at least 0.0102"), "{text}");
        assert_eq!(conformal(98).check(0.0102), Ok(()));
        assert!(error(18, 0.05).contains("at least 19 calibration images"));
        assert!(error(99, 0.003).contains("at least 333 calibration images"));
        // 1 / (1 / 49) is above 49 in floating point.
        assert!(error(47, 1.0 / 49.0).contains("at least 48 calibration images"));
        assert_eq!(conformal(48).check(1.0 / 49.0), Ok(()));
        assert!(error(1, 1e-300).contains("there are 1"));
        // 1 / 64 is 0.015625, and 0.0156 would be refused.
        assert_eq!(conformal(63).reachable_alpha(), 0.0157);
        for n in 1..200 {
            let conformal = conformal(n);
            assert_eq!(conformal.check(conformal.reachable_alpha()), Ok(()), "{n}");
        }
    }

    #[test]
    fn scores_that_cannot_be_ranked_are_refused() {
        let empty = Conformal::new(Vec::new()).unwrap_err();
        assert_eq!(empty, EvaluateError::Empty { set: "calibration" });
        for bad in [f32::NAN, f32::INFINITY] {
            let error = Conformal::new(vec![1.0, bad]).unwrap_err().to_string();
            assert!(error.starts_with("calibration score 1 is "), "{error}");
        }
    }

    #[test]
    fn it_survives_json_and_checks_what_it_reads() {
        let conformal = Conformal::new(vec![0.3, -1.1e-7, 2.5e8, 0.1]).unwrap();
        let json = serde_json::to_string(&conformal).unwrap();
        assert_eq!(serde_json::from_str::<Conformal>(&json).unwrap(), conformal);

        let read = |json: &str| serde_json::from_str::<Conformal>(json);
        let unsorted = read(r#"{"scores":[2.0,1.0]}"#).unwrap();
        assert_eq!(unsorted.p_value(1.5), 2.0 / 3.0);
        let error = read(r#"{"scores":[]}"#).unwrap_err().to_string();
        assert!(error.contains("no calibration scores"), "{error}");
        // Beyond the range of f32.
        assert!(read(r#"{"scores":[1e300]}"#).is_err());
        assert!(read(r#"{"scores":[1.0],"alpha":0.1}"#).is_err());
    }
}
