//! What scores follow, for the report.

use std::collections::BTreeMap;

use super::{Sources, capital};
use crate::evaluate::Correlation;
use crate::report::{ComparedSet, Explained, Scatter, TermsRow};
use crate::run::explanation::{LookedAt, NORMAL};

impl Sources<'_> {
    /// The deciding score against the length of the compressed image, and the terms of likelihoods.
    pub(super) fn explained(&self) -> Explained {
        let numbers = &self.explained.numbers;
        let sets = || self.explained.sets.iter();
        let score = self.describe(self.own_score());
        let shown = self.shown();
        Explained {
            scatter: Scatter {
                title: format!("{} and compressed length", capital(&score)),
                caption: format!(
                    "Images of every test set, at most {} of each, which the seed has drawn: {score} against the length of the image as a {} file; higher is more anomalous. ρ is Spearman's rank correlation.",
                    sets()
                        .map(|looked| looked.rows.len())
                        .max()
                        .unwrap_or_default(),
                    numbers.compressor
                ),
                x_label: format!("length as {} (bits per pixel)", numbers.compressor),
                y_label: score,
                series: sets().map(|looked| self.points(looked)).collect(),
            },
            compressor: numbers.compressor.clone(),
            sets: sets()
                .map(|looked| {
                    let set = &numbers.sets[&looked.set];
                    ComparedSet {
                        name: self.set_in_words(&looked.set),
                        images: set.images,
                        bits_per_pixel: set.bits_per_pixel,
                        sizes: numbers
                            .size
                            .iter()
                            .map(|(name, size)| (name.clone(), size.means[&looked.set]))
                            .collect(),
                        by_length: set.by_length,
                        by_complexity: set.by_complexity.values().next().copied(),
                    }
                })
                .collect(),
            correlations: shown
                .map(|score| {
                    let of_sets = sets().map(|looked| self.correlation(&looked.set, score));
                    let together = numbers.together.get(score).copied().flatten();
                    (self.describe(score), of_sets.chain([together]).collect())
                })
                .collect(),
            sizes: numbers
                .size
                .iter()
                .map(|(name, size)| {
                    let score = self.own_score();
                    let found = |of: &BTreeMap<_, _>| of.get(score).copied().flatten();
                    let of_sets = sets().map(|looked| found(&size.correlation[&looked.set]));
                    let together = found(&size.together);
                    let line = format!("{}, with the {name}", self.describe(score));
                    (line, of_sets.chain([together]).collect())
                })
                .collect(),
            terms: sets().flat_map(|looked| self.terms(&looked.set)).collect(),
        }
    }

    fn correlation(&self, set: &str, score: &str) -> Option<Correlation> {
        let set = &self.explained.numbers.sets[set];
        set.correlation.get(score).copied().flatten()
    }

    fn points(&self, looked: &LookedAt) -> (String, Vec<[f32; 2]>) {
        let name = self.set_in_words(&looked.set);
        let name = match self.correlation(&looked.set, self.own_score()) {
            Some(found) => {
                let rho = format!("{:.2}", found.spearman).replace('-', "\u{2212}");
                format!("{name} (ρ {rho})")
            }
            None => name,
        };
        let part = self.table.part(&looked.part);
        let scores = part.map(|part| looked.scores(&part.columns[self.own_column()]));
        let points = looked.bits_per_pixel.iter().zip(scores.unwrap_or_default());
        (name, points.map(|(&bits, score)| [bits, score]).collect())
    }

    fn terms<'a>(&'a self, set: &'a str) -> impl Iterator<Item = TermsRow> + 'a {
        let terms = self.explained.numbers.sets[set].terms.iter();
        terms.map(move |(score, means)| TermsRow {
            test_set: self.set_in_words(set),
            score: self.describe(score),
            unit: means.unit.clone(),
            base: means.base,
            log_det: means.log_det,
            auroc: means.auroc,
        })
    }

    fn set_in_words(&self, set: &str) -> String {
        match set {
            NORMAL => "normal".to_owned(),
            set if set == self.anomalous_set() => self.anomaly(),
            other => other.to_owned(),
        }
    }
}
