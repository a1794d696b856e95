//! What scores follow: how well images can be compressed, how large they are, and the two terms of a flow's
//! likelihood.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::index::sample;
use serde::{Deserialize, Serialize};

use super::compression::{COMPRESSOR, bits_per_pixel};
use super::images::Prepared;
use super::{RunError, ScoreTable, ScoredPart};
use crate::data::Images;
use crate::evaluate::{Correlation, auroc};
use crate::method::{Scorer, Terms, derive};

/// Images of each test set that are looked at, at most.
const LOOKED_AT: usize = 300;
/// Sizes of an image, both in grey levels from 0 to 255: the standard deviation of its values, and the root of the mean
/// of their squares.
pub(super) const SIZES: [&str; 2] = ["contrast", "norm"];
/// Name of the set of normal test images.
pub(super) const NORMAL: &str = "normal";

/// What `metrics.json` has of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explanation {
    /// How images were compressed.
    pub compressor: String,
    /// By test set: that of the metrics, and `normal`.
    pub sets: BTreeMap<String, ExplainedSet>,
    /// By score, over the images of all sets: how it goes with the length of the compressed image. None
    /// where one of the two is constant.
    pub together: BTreeMap<String, Option<Correlation>>,
    /// How scores go with the size of an image, by [what is meant by that](SIZES). (Earlier runs have none.)
    #[serde(default)]
    pub size: BTreeMap<String, Followed>,
}

/// How scores go with a size of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Followed {
    /// Its mean, by set.
    pub means: BTreeMap<String, f64>,
    /// By set and score.
    pub correlation: BTreeMap<String, BTreeMap<String, Option<Correlation>>>,
    /// By score, over the images of all sets.
    pub together: BTreeMap<String, Option<Correlation>>,
}

/// What it says of the images of one set, which a seed has drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainedSet {
    /// How many.
    pub images: usize,
    /// Mean length of the compressed image, in bits per pixel.
    pub bits_per_pixel: f64,
    /// By score, as in [`Explanation::together`].
    pub correlation: BTreeMap<String, Option<Correlation>>,
    /// By score, where it is the likelihood of a flow.
    pub terms: BTreeMap<String, MeanTerms>,
    /// AUROC against the normal images, where these are others, of the length alone: a short file is odd. (Earlier runs
    /// have none.)
    #[serde(default)]
    pub by_length: Option<f64>,
    /// The same of scores in bits/dim less the length in bits/dim, by score: input complexity (Serrà et al.,
    /// arXiv:1909.11480).
    #[serde(default)]
    pub by_complexity: BTreeMap<String, f64>,
}

/// Means of the terms of a flow's negative log-likelihood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeanTerms {
    /// Unit of the means.
    pub unit: String,
    /// Of `-ln p(z)`, `z` being what the flow makes of an image.
    pub base: f64,
    /// Of `-ln |det dz/dx|`.
    pub log_det: f64,
    /// AUROC of each term alone against the normal images, where these are others.
    pub auroc: Option<[f64; 2]>,
}

/// An [`Explanation`] with the images that it was made from.
pub(super) struct Explained {
    pub numbers: Explanation,
    /// The sets, the normal one first.
    pub sets: Vec<LookedAt>,
}

/// The images of one set.
pub(super) struct LookedAt {
    /// Name of the set in the explanation.
    pub set: String,
    /// Name of its part in the table of scores.
    pub part: String,
    /// Where they are in that part, in rising order.
    pub rows: Vec<usize>,
    /// The length of each, compressed.
    pub bits_per_pixel: Vec<f32>,
    /// Values of a pixel.
    channels: usize,
    /// The [`SIZES`] of each.
    sizes: [Vec<f32>; 2],
    terms: Vec<Terms>,
}

impl LookedAt {
    /// The images' scores of one kind.
    pub fn scores(&self, column: &[f32]) -> Vec<f32> {
        self.rows.iter().map(|&row| column[row]).collect()
    }

    /// How odd each is by its length alone.
    fn shortness(&self) -> Vec<f32> {
        self.bits_per_pixel.iter().map(|bits| -bits).collect()
    }

    /// What a likelihood of these terms, in bits/dim, has beyond the length of each.
    fn complexity(&self, terms: &Terms) -> Vec<f32> {
        let nll = terms.base.iter().zip(&terms.log_det);
        let lengths = self.bits_per_pixel.iter();
        let lengths = lengths.map(|bits| bits / self.channels as f32);
        nll.zip(lengths)
            .map(|((base, log_det), length)| base + log_det - length)
            .collect()
    }
}

impl Explained {
    /// Looks at some images of every test set. `anomalous` is the name of the anomaly's set among the metrics.
    ///
    /// # Errors
    /// [`RunError`] when an image cannot be compressed, or a term cannot be ranked.
    pub fn new(
        (prepared, scorer): (&Prepared, &dyn Scorer),
        table: &ScoreTable,
        anomalous: &str,
        seed: u64,
    ) -> Result<Self, RunError> {
        let mut sets = Vec::new();
        for scored in &table.parts {
            let set = match scored.name.as_str() {
                "train" | "validation" => continue,
                "test-normal" => NORMAL,
                "test-anomalous" => anomalous,
                other => other,
            };
            let Some(part) = prepared.parts.get(&scored.name) else {
                continue;
            };
            let (all, purpose) = (scored.indices.len(), format!("explained {set}"));
            let rng = &mut StdRng::seed_from_u64(derive(seed, &purpose));
            let mut rows = sample(rng, all, all.min(LOOKED_AT)).into_vec();
            rows.sort_unstable();
            let images = part.images.select(&rows);
            let finite = |terms: &Terms| {
                let mut values = terms.base.iter().chain(&terms.log_det);
                values.all(|value| value.is_finite())
            };
            sets.push(LookedAt {
                set: set.to_owned(),
                part: scored.name.clone(),
                rows,
                bits_per_pixel: bits_per_pixel(&images)?,
                channels: images.shape()[0],
                sizes: sizes(&images),
                terms: scorer.terms(&images).into_iter().filter(finite).collect(),
            });
        }
        sets.sort_by_key(|looked| looked.set != NORMAL);
        let numbers = numbers(table, &sets)?;
        Ok(Self { numbers, sets })
    }
}

/// The [`SIZES`] of images.
fn sizes(images: &Images) -> [Vec<f32>; 2] {
    let (mut contrasts, mut norms) = (Vec::new(), Vec::new());
    for index in 0..images.len() {
        let values = || images.get(index).iter().map(|&value| f64::from(value));
        let count = values().count().max(1) as f64;
        let mean = values().sum::<f64>() / count;
        let squares = values().map(|value| value * value).sum::<f64>() / count;
        contrasts.push((squares - mean * mean).max(0.0).sqrt() as f32);
        norms.push(squares.sqrt() as f32);
    }
    [contrasts, norms]
}

/// How every score of the table goes with a property of images, which `of` gives for those of a set.
fn followed<'a>(
    table: &ScoreTable,
    sets: &'a [LookedAt],
    of: impl Fn(&'a LookedAt) -> &'a [f32],
) -> Followed {
    let scored = |looked: &LookedAt, column: usize| -> Vec<f32> {
        let part: Option<&ScoredPart> = table.part(&looked.part);
        part.map_or_else(Vec::new, |part| looked.scores(&part.columns[column]))
    };
    let columns = || table.names.iter().enumerate();
    let all: Vec<f32> = sets.iter().flat_map(&of).copied().collect();
    let together = columns().map(|(column, name)| {
        let scores = sets.iter().flat_map(|looked| scored(looked, column));
        (
            name.clone(),
            Correlation::of(&all, &scores.collect::<Vec<_>>()),
        )
    });
    let correlation = sets.iter().map(|looked| {
        let of_scores = columns().map(|(column, name)| {
            let found = Correlation::of(of(looked), &scored(looked, column));
            (name.clone(), found)
        });
        (looked.set.clone(), of_scores.collect())
    });
    Followed {
        means: sets
            .iter()
            .map(|looked| (looked.set.clone(), mean(of(looked))))
            .collect(),
        correlation: correlation.collect(),
        together: together.collect(),
    }
}

fn numbers(table: &ScoreTable, sets: &[LookedAt]) -> Result<Explanation, RunError> {
    let mut lengths = followed(table, sets, |looked| &looked.bits_per_pixel);
    let size = SIZES.iter().enumerate().map(|(at, &name)| {
        let size = followed(table, sets, |looked| &looked.sizes[at]);
        (name.to_owned(), size)
    });
    let mut explained = BTreeMap::new();
    let normal = sets.iter().find(|looked| looked.set == NORMAL);
    for looked in sets {
        let (mut terms, mut by_complexity) = (BTreeMap::new(), BTreeMap::new());
        let normal = normal.filter(|normal| normal.set != looked.set);
        for of in &looked.terms {
            let other = normal.and_then(|normal| {
                let mut all = normal.terms.iter();
                Some((normal, all.find(|normal| normal.score == of.score)?))
            });
            let mut both = None;
            if let Some((normal, other)) = other {
                both = Some([
                    auroc(&other.base, &of.base)?,
                    auroc(&other.log_det, &of.log_det)?,
                ]);
                if of.unit == Terms::BITS {
                    let of_normal = normal.complexity(other);
                    let found = auroc(&of_normal, &looked.complexity(of))?;
                    by_complexity.insert(of.score.to_owned(), found);
                }
            }
            let means = MeanTerms {
                unit: of.unit.to_owned(),
                base: mean(&of.base),
                log_det: mean(&of.log_det),
                auroc: both,
            };
            terms.insert(of.score.to_owned(), means);
        }
        let set = ExplainedSet {
            images: looked.rows.len(),
            bits_per_pixel: mean(&looked.bits_per_pixel),
            correlation: lengths.correlation.remove(&looked.set).unwrap_or_default(),
            terms,
            by_length: normal
                .map(|normal| auroc(&normal.shortness(), &looked.shortness()))
                .transpose()?,
            by_complexity,
        };
        explained.insert(looked.set.clone(), set);
    }
    Ok(Explanation {
        compressor: COMPRESSOR.to_owned(),
        sets: explained,
        together: lengths.together,
        size: size.collect(),
    })
}

/// Zero of nothing: a file holds no NaN.
fn mean(values: &[f32]) -> f64 {
    let sum: f64 = values.iter().map(|&value| f64::from(value)).sum();
    sum / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(set: &str, bits_per_pixel: Vec<f32>, base: Vec<f32>) -> LookedAt {
        LookedAt {
            set: set.to_owned(),
            part: set.to_owned(),
            rows: vec![2, 0, 1],
            sizes: [bits_per_pixel.clone(), vec![1.0; bits_per_pixel.len()]],
            bits_per_pixel,
            channels: 1,
            terms: vec![Terms {
                score: "nll",
                unit: Terms::BITS,
                log_det: base.iter().map(|value| -value).collect(),
                base,
            }],
        }
    }

    #[test]
    fn the_sizes_of_an_image_are_those_of_its_values() {
        let images = Images::new([1, 1, 2], vec![3, 4, 200, 200]).unwrap();
        let [contrasts, norms] = sizes(&images);
        assert_eq!(contrasts, [0.5, 0.0]);
        assert_eq!(norms, [12.5f32.sqrt(), 200.0]);
    }

    #[test]
    fn numbers_are_those_of_the_images_looked_at() {
        let part = |name: &str, column: Vec<f32>| ScoredPart {
            name: name.to_owned(),
            indices: (0..column.len()).collect(),
            labels: vec![0; column.len()],
            columns: vec![column],
        };
        let table = ScoreTable {
            names: vec!["nll".to_owned()],
            parts: vec![
                part(NORMAL, vec![2.0, 3.0, 1.0, 99.0]),
                part("svhn", vec![5.0, 5.0, 5.0]),
            ],
        };
        let sets = [
            looked(NORMAL, vec![1.0, 2.0, 3.0], vec![1.0, 2.0, 3.0]),
            looked("svhn", vec![1.0, 1.0, 4.0], vec![4.0, 5.0, 6.0]),
        ];
        let found = numbers(&table, &sets).unwrap();
        let normal = &found.sets[NORMAL];
        // Rows 2, 0 and 1 have the scores 1, 2 and 3.
        assert_eq!(normal.correlation["nll"].unwrap().pearson, 1.0);
        assert_eq!((normal.images, normal.bits_per_pixel), (3, 2.0));
        assert_eq!(normal.terms["nll"].auroc, None);
        let svhn = &found.sets["svhn"];
        assert_eq!(svhn.correlation["nll"], None);
        assert_eq!(
            (svhn.terms["nll"].base, svhn.terms["nll"].log_det),
            (5.0, -5.0)
        );
        assert_eq!(svhn.terms["nll"].auroc, Some([1.0, 0.0]));
        // Lengths of 1, 1 and 4 against 1, 2 and 3: of nine pairs four have the shorter file, two are even.
        assert_eq!((normal.by_length, svhn.by_length), (None, Some(5.0 / 9.0)));
        // The terms cancel: what is left is the length.
        assert_eq!(svhn.by_complexity["nll"], 5.0 / 9.0);
        assert!(found.together["nll"].unwrap().spearman < 1.0);
        let contrast = &found.size["contrast"];
        assert_eq!(contrast.means[NORMAL], 2.0);
        assert_eq!(contrast.correlation[NORMAL], normal.correlation);
        assert_eq!(contrast.together, found.together);
        // What is the same for all explains nothing.
        assert_eq!(found.size["norm"].together["nll"], None);
        let text = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<Explanation>(&text).unwrap(), found);
    }
}
