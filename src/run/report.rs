//! What the report of a run says: from a run's results to the page's contents.

use std::path::Path;

use super::evaluation::{Evaluation, anomalous_set};
use super::images::Prepared;
use super::score_table::DECIDING;
use super::{Done, Environment, RunError, ScoreTable, ScoredPart};
use crate::data::DatasetName;
use crate::evaluate::roc_curve;
use crate::method::{Method, Part, Scorer, derive};
use crate::report::{
    Extremes, Gallery, Histogram, ImageRows, LearningCurve, MetricRow, Reconstructions, RocCurve,
    RunReport, ScoredImage, Series, render as render_page,
};
use crate::study::Experiment;
use crate::train::{Kind, Stage};

/// Images reconstructed of each part, and samples drawn.
const SHOWN: usize = 24;
/// Images at each end of a ranking.
const EXTREMES: usize = 12;

/// Where the contents come from.
pub(super) struct Sources<'a> {
    pub experiment: &'a Experiment,
    pub method: Method,
    pub prepared: &'a Prepared,
    pub detector: &'a dyn Scorer,
    pub table: &'a ScoreTable,
    pub evaluation: &'a Evaluation,
    pub environment: &'a Environment,
    pub done: &'a Done,
    /// Folder with a folder for each training stage.
    pub stages: &'a Path,
}

/// Renders the report.
pub(super) fn render(sources: &Sources) -> Result<String, RunError> {
    let report = RunReport {
        title: sources.title(),
        method: sources.experiment.variant.clone(),
        summary_sentence: sources.sentence(),
        headline: sources.headline(),
        setup: sources.setup(),
        metrics: sources.metrics(),
        histograms: sources.histograms(),
        roc: sources.roc()?,
        curves: sources.curves()?,
        reconstructions: sources.reconstructions(),
        samples: sources
            .detector
            .sample(SHOWN, derive(sources.environment.seed, "samples")),
        pictures: sources.pictures(),
        extremes: sources.extremes(),
        timings: sources.done.timings.clone(),
        peak_memory_mib: sources.done.peak_memory_mib,
        config_toml: sources.experiment.settings.to_toml(),
        command: sources.environment.command.clone(),
        notes: sources.notes(),
    };
    Ok(render_page(&report)?)
}

impl Sources<'_> {
    /// `mnist-3`, and the stand-in where there is one.
    fn title(&self) -> String {
        let name = self.experiment.name.clone();
        match self.left_out() {
            Some(_) => format!("{name} with {} as stand-in", self.anomaly()),
            None => name,
        }
    }

    /// What plays the anomaly: `digit 3` or `airplane`.
    fn anomaly(&self) -> String {
        class_in_words(self.experiment.anomaly_name())
    }

    /// The class left out, where another stands in for it.
    fn left_out(&self) -> Option<String> {
        let excluded = self.experiment.excluded_class();
        excluded.map(|_| class_in_words(&self.experiment.class_name))
    }

    /// Name of the anomaly's test set among the metrics.
    fn anomalous_set(&self) -> &'static str {
        anomalous_set(&self.experiment.settings)
    }

    /// Name of a score for readers.
    fn describe<'a>(&self, score: &'a str) -> &'a str {
        match score {
            DECIDING => "deciding score",
            score => self.method.entry().describe(score),
        }
    }

    /// The score that the method is judged by: where it is one of the method's own, that name.
    fn own_score(&self) -> &str {
        match self.detector.deciding() {
            [only] => only,
            _ => DECIDING,
        }
    }

    /// Column of that score.
    fn own_column(&self) -> usize {
        self.table.column(self.own_score()).unwrap_or_default()
    }

    /// The scores that are shown, the one that decides first; where it is one of the method's own, its
    /// scaled form is the same but for its unit.
    fn shown(&self) -> impl Iterator<Item = &String> {
        let own = self.own_score();
        let names = &self.table.names;
        let first = names.iter().filter(move |name| *name == own);
        let others = names
            .iter()
            .filter(move |name| *name != own && *name != DECIDING);
        first.chain(others)
    }

    fn sentence(&self) -> String {
        let m = &self.evaluation.metrics[self.anomalous_set()][self.own_score()];
        let data = &self.experiment.settings.data;
        let dataset = data.dataset;
        let trained = match self.left_out() {
            None if dataset == DatasetName::Folder => {
                format!("Trained on the normal images of {} alone", data.folder)
            }
            None => format!("Trained on the other classes of {dataset} alone"),
            Some(left_out) => format!(
                "Trained on {dataset} without {left_out}, which is left out and was not used at all, and without {}, which stands in as the anomaly",
                self.anomaly()
            ),
        };
        let mut sentence = format!(
            "{trained}, the {} tells {} from normal test images with an AUROC of {:.3} (95 % interval {:.3} to {:.3}).",
            self.describe(self.own_score()),
            self.anomaly(),
            m.auroc,
            m.auroc_low,
            m.auroc_high
        );
        for part in self.table.ood() {
            let m = &self.evaluation.metrics[&part.name][self.own_score()];
            let verdict = if m.auroc < 0.5 {
                "look more normal than the normal images"
            } else {
                "look less normal than the normal images"
            };
            sentence += &format!(
                " The images of {} {verdict} (AUROC {:.3}).",
                part.name, m.auroc
            );
        }
        sentence
    }

    fn headline(&self) -> Vec<(String, String)> {
        let anomalous = &self.evaluation.metrics[self.anomalous_set()];
        let own = &anomalous[self.own_score()];
        let mut headline: Vec<(String, String)> = self
            .shown()
            .take(2)
            .map(|score| {
                let auroc = format!("{:.3}", anomalous[score].auroc);
                (format!("AUROC, {}", self.describe(score)), auroc)
            })
            .collect();
        headline.push((
            "False alarms at threshold".to_owned(),
            percent(own.one_sided.false_alarm_rate),
        ));
        headline.push((
            "Detected at threshold".to_owned(),
            percent(own.one_sided.detection_rate),
        ));
        headline.extend(self.table.ood().map(|part| {
            let m = &self.evaluation.metrics[&part.name][self.own_score()];
            (format!("AUROC, {}", part.name), format!("{:.3}", m.auroc))
        }));
        headline
    }

    fn setup(&self) -> Vec<(String, String)> {
        let environment = self.environment;
        let sizes: Vec<String> = self
            .table
            .parts
            .iter()
            .map(|part| format!("{} {}", part.indices.len(), part.name))
            .collect();
        [
            ("Images", environment.data.join("; ")),
            ("Conversion", environment.conversion.join("; ")),
            ("Protocol", self.protocol()),
            ("Split", sizes.join(", ")),
            ("Seed", environment.seed.to_string()),
            ("Backend", environment.backend.clone()),
            (
                "Device",
                format!("{}, {} threads", environment.device, environment.threads),
            ),
            (
                "Versions",
                format!(
                    "encoder-flow {} ({}), Burn {}, {}",
                    environment.version, environment.revision, environment.burn, environment.system
                ),
            ),
            ("Started", environment.started.clone()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    fn protocol(&self) -> String {
        let experiment = self.experiment;
        let (class, name) = (experiment.class, &experiment.class_name);
        match experiment.excluded_class() {
            None => format!(
                "leave-one-class-out: class {class} ({name}) is the anomaly, all of its images are tested on"
            ),
            Some(_) => format!(
                "leave-one-class-out with a stand-in: class {} ({}) plays the anomaly, all of its images are tested on; class {class} ({name}) is left out, none of its images is used",
                experiment.anomalous_class(),
                experiment.anomaly_name()
            ),
        }
    }

    fn metrics(&self) -> Vec<MetricRow> {
        let own = self.anomalous_set();
        let sets =
            std::iter::once(own.to_owned()).chain(self.table.ood().map(|part| part.name.clone()));
        sets.flat_map(|set| {
            let test_set = if set == own {
                self.anomaly()
            } else {
                set.clone()
            };
            self.shown().map(move |score| MetricRow {
                test_set: test_set.clone(),
                score: self.describe(score).to_owned(),
                metrics: self.evaluation.metrics[&set][score].clone(),
            })
        })
        .collect()
    }

    /// The paper's Figure 1: log-likelihoods of normal images against each set of anomalies.
    fn histograms(&self) -> Vec<Histogram> {
        let threshold = &self.evaluation.thresholds[self.own_score()];
        let confidence = threshold.one_sided.rule.confidence;
        let calibration = match self.table.part("train") {
            Some(_) => "training",
            None => "held-out normals",
        };
        // A likelihood is shown as such, as in the paper; any other score as it is.
        let (sign, quantity, figure) = match self.own_score() {
            "nll" => (
                -1.0,
                "log-likelihood (nats)",
                ", as in the paper's Figure 1",
            ),
            score => (1.0, self.describe(score), ""),
        };
        let shown = |part: &ScoredPart| {
            part.columns[self.own_column()]
                .iter()
                .map(|score| sign * score)
                .collect()
        };
        let Some(normal) = self.table.part("test-normal") else {
            return Vec::new();
        };
        self.anomalous_parts()
            .map(|(name, part)| Histogram {
                title: format!("Normal test images and {name}"),
                caption: format!(
                    "{} of normal test images and of {name}{figure}.",
                    capital(quantity)
                ),
                score_label: quantity.to_owned(),
                series: vec![
                    Series {
                        name: "normal".to_owned(),
                        values: shown(normal),
                    },
                    Series {
                        name: name.clone(),
                        values: shown(part),
                    },
                ],
                thresholds: vec![(
                    format!("{} of {calibration}", percent(confidence)),
                    sign * threshold.one_sided.upper,
                )],
            })
            .collect()
    }

    /// Every set of anomalies with its name in the report.
    fn anomalous_parts(&self) -> impl Iterator<Item = (String, &ScoredPart)> {
        let left_out = self
            .table
            .part("test-anomalous")
            .map(|part| (self.anomaly(), part));
        left_out
            .into_iter()
            .chain(self.table.ood().map(|part| (part.name.clone(), part)))
    }

    fn roc(&self) -> Result<Vec<RocCurve>, RunError> {
        let Some(normal) = self.table.part("test-normal") else {
            return Ok(Vec::new());
        };
        let mut curves = Vec::new();
        for (position, (name, part)) in self.anomalous_parts().enumerate() {
            let set = match position {
                0 => self.anomalous_set(),
                _ => &part.name,
            };
            // Of the other data sets only the score that decides: the figure stays readable.
            let count = if position > 0 { 1 } else { usize::MAX };
            for score in self.shown().take(count) {
                let index = self.table.column(score).unwrap_or_default();
                curves.push(RocCurve {
                    name: format!("{name}, {}", self.describe(score)),
                    roc: roc_curve(&normal.columns[index], &part.columns[index])?,
                    auroc: self.evaluation.metrics[set][score].auroc,
                });
            }
        }
        Ok(curves)
    }

    fn curves(&self) -> Result<Vec<LearningCurve>, RunError> {
        let mut curves = Vec::new();
        let kinds = self.method.entry().stages;
        for stage in &self.done.stages {
            // A stage lies in its own folder, or in one of several parts of the method.
            let name = &stage.name;
            let of = |kind: &&&Kind| name.rsplit('/').next() == Some(kind.name);
            let Some(kind) = kinds.iter().find(of) else {
                continue;
            };
            let monitors = kind.monitors;
            let history = Stage::history(&self.stages.join(name))?;
            let loss = kind.loss();
            // A game of two networks is judged by more than one curve.
            let shown = if kind.adversarial { monitors.len() } else { 1 };
            curves.extend(monitors[..shown].iter().map(|monitor| LearningCurve {
                title: format!("{name} stage: {}", monitor.name),
                unit: monitor.unit.to_owned(),
                epochs: (1..=history.epochs.len()).collect(),
                train: history.train(monitor.name).collect(),
                valid: history.valid(monitor.name).collect(),
                best_epoch: history.best_epoch(loss.name),
            }));
        }
        Ok(curves)
    }

    fn reconstructions(&self) -> Vec<Reconstructions> {
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
                reconstructions: self.detector.reconstruct(&originals)?,
                originals,
            })
        };
        ["test-normal", "test-anomalous"]
            .into_iter()
            .filter_map(of_part)
            .collect()
    }

    /// What the method shows of itself, on the first images of every set that is tested on.
    fn pictures(&self) -> Vec<ImageRows> {
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
        self.detector.pictures(&tested.collect::<Vec<_>>())
    }

    fn extremes(&self) -> Vec<Extremes> {
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

    fn gallery(&self, part: &Part, scored: &ScoredPart, rows: &[usize]) -> Gallery {
        let own_class = matches!(scored.name.as_str(), "test-normal" | "test-anomalous");
        let items = rows.iter().map(|&row| {
            let label = usize::from(scored.labels[row]);
            let names = &self.prepared.class_names;
            ScoredImage {
                score: scored.columns[self.own_column()][row],
                label: match names.get(label) {
                    Some(name) if own_class => name.clone(),
                    _ => label.to_string(),
                },
                anomalous: scored.truth() == "anomalous",
            }
        });
        Gallery {
            items: items.collect(),
            images: part.images.select(rows),
        }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(left_out) = self.left_out() {
            notes.push(format!(
                "These numbers are for choosing settings: {} stands in as the anomaly for {left_out}, of which no image was used. They say nothing of how well {left_out} is detected.",
                self.anomaly()
            ));
        }
        if !self.done.stages.is_empty() {
            notes.push(format!(
                "The model of each stage is the one with the lowest loss on {} held-out normal images. No anomalous image and no test image took part in training, model selection or the threshold.",
                self.prepared.parts.validation().images.len()
            ));
        }
        let own = self.method.entry().notes;
        notes.extend(own.iter().map(|&note| note.to_owned()));
        if self
            .environment
            .data
            .iter()
            .any(|source| source.contains("not the complete"))
        {
            notes.push("One data set is a part of the official file: see Images above.".to_owned());
        }
        notes
    }
}

/// `digit 3` or `airplane`.
fn class_in_words(name: &str) -> String {
    if name.chars().all(|character| character.is_ascii_digit()) {
        format!("digit {name}")
    } else {
        name.to_owned()
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// With a capital first letter.
fn capital(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters
        .next()
        .map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + characters.as_str()
}
