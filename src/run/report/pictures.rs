//! The images of a report: reconstructions, what only a method shows, both ends of the rankings.

use super::Sources;
use crate::method::Part;
use crate::report::{Extremes, Gallery, ImageRows, Reconstructions, ScoredImage};
use crate::run::ScoredPart;

/// Images reconstructed of each part, and samples drawn.
pub(super) const SHOWN: usize = 24;
/// Images at each end of a ranking.
const EXTREMES: usize = 12;

impl Sources<'_> {
    pub(super) fn reconstructions(&self) -> Vec<Reconstructions> {
        let of_part = |name: &str| {
            let part = self.prepared.parts.get(name)?;
            let first: Vec<usize> = (0..part.images.len().min(SHOWN)).collect();
            let originals = part.images.select(&first);
            let title = match name {
                "test-normal" => "normal test images".to_owned(),
                _ => self.anomaly(),
            };
            Some(Reconstructions {
                title,
                reconstructions: self.scorer.reconstruct(&originals)?,
                originals,
            })
        };
        ["test-normal", "test-anomalous"]
            .into_iter()
            .filter_map(of_part)
            .collect()
    }

    /// What the method shows of itself, on the first images of every set that is tested on.
    pub(super) fn pictures(&self) -> Vec<ImageRows> {
        let tested = self.table.parts.iter().filter_map(|scored| {
            let part = self.prepared.parts.get(&scored.name)?;
            let title = match scored.name.as_str() {
                "train" | "validation" => return None,
                "test-normal" => "normal test images".to_owned(),
                "test-anomalous" => self.anomaly(),
                other => other.to_owned(),
            };
            let first: Vec<usize> = (0..part.images.len().min(EXTREMES)).collect();
            Some((title, part.images.select(&first)))
        });
        self.scorer.pictures(&tested.collect::<Vec<_>>())
    }

    pub(super) fn extremes(&self) -> Vec<Extremes> {
        self.table
            .parts
            .iter()
            .filter(|part| !matches!(part.name.as_str(), "train" | "validation"))
            .filter_map(|scored| {
                let part = self.prepared.parts.get(&scored.name)?;
                let column = &scored.columns[self.own_column()];
                let mut order: Vec<usize> = (0..scored.indices.len()).collect();
                order.sort_by(|&a, &b| column[b].total_cmp(&column[a]));
                let most = &order[..order.len().min(EXTREMES)];
                let least: Vec<usize> = order.iter().rev().take(EXTREMES).copied().collect();
                let title = match scored.name.as_str() {
                    "test-normal" => "Normal test images".to_owned(),
                    "test-anomalous" => self.anomaly(),
                    other => other.to_owned(),
                };
                let title = format!("{title}, by {}", self.describe(self.own_score()));
                Some(Extremes {
                    title,
                    most: self.gallery(part, scored, most),
                    least: self.gallery(part, scored, &least),
                })
            })
            .collect()
    }

    /// The file of an image, where it has one of its own.
    fn file(&self, scored: &ScoredPart, row: usize) -> Option<&str> {
        let files = self.prepared.files.as_ref().filter(|_| scored.is_own())?;
        files.get(scored.indices[row]).map(String::as_str)
    }

    fn gallery(&self, part: &Part, scored: &ScoredPart, rows: &[usize]) -> Gallery {
        let items = rows.iter().map(|&row| {
            let label = usize::from(scored.labels[row]);
            let names = &self.prepared.class_names;
            ScoredImage {
                score: scored.columns[self.own_column()][row],
                label: match (self.file(scored, row), names.get(label)) {
                    (Some(file), _) => file.to_owned(),
                    (None, Some(name)) if scored.is_own() => name.clone(),
                    _ => label.to_string(),
                },
                anomalous: scored.is_anomalous(),
            }
        });
        Gallery {
            items: items.collect(),
            images: part.images.select(rows),
        }
    }
}
