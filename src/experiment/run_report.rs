//! What the report of a run says: from a run's results to the page's contents.

use super::evaluation::{ANOMALOUS, Evaluation};
use super::prepare::{Part, Prepared};
use super::run::{METHOD, derive};
use super::{Done, Environment, Experiment, ExperimentError, ScoreTable, ScoredPart};
use crate::detector::EncoderFlow;
use crate::evaluate::roc_curve;
use crate::report::{
    Extremes, Gallery, Histogram, LearningCurve, MetricRow, Reconstructions, RocCurve, RunReport,
    ScoredImage, Series, render as render_page,
};
use crate::train::History;

/// Images in a row of reconstructions, and decoded samples.
const SHOWN: usize = 24;
/// Images at each end of a ranking.
const EXTREMES: usize = 12;

/// Where the contents come from.
pub(super) struct Sources<'a> {
    pub experiment: &'a Experiment,
    pub prepared: &'a Prepared,
    pub detector: &'a EncoderFlow,
    pub table: &'a ScoreTable,
    pub evaluation: &'a Evaluation,
    pub environment: &'a Environment,
    pub done: &'a Done,
    /// Of the encoder stage and of the flow stage.
    pub histories: [&'a History; 2],
}

/// Renders the report.
pub(super) fn render(sources: &Sources) -> Result<String, ExperimentError> {
    let report = RunReport {
        title: sources.experiment.name.clone(),
        method: METHOD.to_owned(),
        summary_sentence: sources.sentence(),
        headline: sources.headline(),
        setup: sources.setup(),
        metrics: sources.metrics(),
        histograms: sources.histograms(),
        roc: sources.roc()?,
        curves: sources.curves(),
        reconstructions: sources.reconstructions(),
        samples: Some(
            sources
                .detector
                .sample(SHOWN, derive(sources.environment.seed, "samples")),
        ),
        extremes: sources.extremes(),
        timings: sources.done.report_timings(),
        peak_memory_mib: sources.done.peak_memory_mib,
        config_toml: sources.experiment.config.to_toml(),
        command: sources.environment.command.clone(),
        notes: sources.notes(),
    };
    Ok(render_page(&report)?)
}

impl Sources<'_> {
    /// `class 3` or `airplane`.
    fn anomaly(&self) -> String {
        let name = &self.experiment.class_name;
        if name.chars().all(|character| character.is_ascii_digit()) {
            format!("digit {name}")
        } else {
            name.clone()
        }
    }

    fn own_score(&self) -> &str {
        &self.table.names[0]
    }

    fn sentence(&self) -> String {
        let m = &self.evaluation.metrics[ANOMALOUS][self.own_score()];
        let mut sentence = format!(
            "Trained on the other classes of {} alone, the flow's likelihood tells {} from normal test images with an AUROC of {:.3} (95 % interval {:.3} to {:.3}).",
            self.experiment.config.data.dataset,
            self.anomaly(),
            m.auroc,
            m.auroc_low,
            m.auroc_high
        );
        for part in self.table.ood() {
            let m = &self.evaluation.metrics[&part.name][self.own_score()];
            let verdict = if m.auroc < 0.5 {
                "are given a higher likelihood than normal images"
            } else {
                "are given a lower likelihood than normal images"
            };
            sentence += &format!(
                " The images of {} {verdict} (AUROC {:.3}).",
                part.name, m.auroc
            );
        }
        sentence
    }

    fn headline(&self) -> Vec<(String, String)> {
        let anomalous = &self.evaluation.metrics[ANOMALOUS];
        let own = &anomalous[self.own_score()];
        let mut headline = vec![
            ("AUROC, flow NLL".to_owned(), format!("{:.3}", own.auroc)),
            (
                "AUROC, reconstruction".to_owned(),
                format!("{:.3}", anomalous["reconstruction"].auroc),
            ),
            (
                "False alarms at threshold".to_owned(),
                percent(own.one_sided.false_alarm_rate),
            ),
            (
                "Detected at threshold".to_owned(),
                percent(own.one_sided.detection_rate),
            ),
        ];
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
            (
                "Protocol",
                format!(
                    "leave-one-class-out: class {} ({}) is the anomaly, all of its images are tested on",
                    self.experiment.class, self.experiment.class_name
                ),
            ),
            ("Split", sizes.join(", ")),
            ("Seed", environment.seed.to_string()),
            ("Backend", environment.backend.clone()),
            ("Device", format!("{}, {} threads", environment.device, environment.threads)),
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

    fn metrics(&self) -> Vec<MetricRow> {
        let sets = std::iter::once(ANOMALOUS.to_owned())
            .chain(self.table.ood().map(|part| part.name.clone()));
        sets.flat_map(|set| {
            let test_set = if set == ANOMALOUS {
                self.anomaly()
            } else {
                set.clone()
            };
            self.table.names.iter().map(move |score| MetricRow {
                test_set: test_set.clone(),
                score: describe_score(score).to_owned(),
                metrics: self.evaluation.metrics[&set][score].clone(),
            })
        })
        .collect()
    }

    /// The paper's Figure 1: log-likelihoods of normal images against each set of anomalies.
    fn histograms(&self) -> Vec<Histogram> {
        let threshold = &self.evaluation.thresholds[self.own_score()];
        let confidence = threshold.one_sided.rule.confidence;
        let likelihoods = |part: &ScoredPart| part.columns[0].iter().map(|nll| -nll).collect();
        let Some(normal) = self.table.part("test-normal") else {
            return Vec::new();
        };
        self.anomalous_parts()
            .map(|(name, part)| Histogram {
                title: format!("Normal test images and {name}"),
                caption: format!(
                    "Log-likelihood of the latents of normal test images and of {name}, as in the paper's Figure 1."
                ),
                score_label: "log-likelihood (nats)".to_owned(),
                series: vec![
                    Series {
                        name: "normal".to_owned(),
                        values: likelihoods(normal),
                    },
                    Series {
                        name: name.clone(),
                        values: likelihoods(part),
                    },
                ],
                thresholds: vec![(
                    format!("{} of training", percent(confidence)),
                    -threshold.one_sided.upper,
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

    fn roc(&self) -> Result<Vec<RocCurve>, ExperimentError> {
        let Some(normal) = self.table.part("test-normal") else {
            return Ok(Vec::new());
        };
        let mut curves = Vec::new();
        for (position, (name, part)) in self.anomalous_parts().enumerate() {
            let set = if position == 0 { ANOMALOUS } else { &part.name };
            for (index, score) in self.table.names.iter().enumerate() {
                // Of the other data sets only the method's own score: the figure stays readable.
                if position > 0 && index > 0 {
                    continue;
                }
                curves.push(RocCurve {
                    name: format!("{name}, {}", describe_score(score)),
                    roc: roc_curve(&normal.columns[index], &part.columns[index])?,
                    auroc: self.evaluation.metrics[set][score].auroc,
                });
            }
        }
        Ok(curves)
    }

    fn curves(&self) -> Vec<LearningCurve> {
        let [encoder, flow] = self.histories;
        [
            ("Encoder stage: L1", "mean absolute error", "L1", encoder),
            ("Flow stage: NLL", "nats", "NLL", flow),
        ]
        .map(|(title, unit, monitor, history)| LearningCurve {
            title: title.to_owned(),
            unit: unit.to_owned(),
            epochs: (1..=history.epochs.len()).collect(),
            train: history.train(monitor).collect(),
            valid: history.valid(monitor).collect(),
            best_epoch: history.best_epoch(monitor),
        })
        .into()
    }

    fn reconstructions(&self) -> Vec<Reconstructions> {
        ["test-normal", "test-anomalous"]
            .map(|name| {
                let part = self.prepared.part(name);
                let first: Vec<usize> = (0..part.images.len().min(SHOWN)).collect();
                let originals = part.images.select(&first);
                let title = match name {
                    "test-normal" => "normal test images".to_owned(),
                    _ => self.anomaly(),
                };
                Reconstructions {
                    title,
                    reconstructions: self.detector.reconstruct(&originals),
                    originals,
                }
            })
            .into()
    }

    fn extremes(&self) -> Vec<Extremes> {
        self.table
            .parts
            .iter()
            .filter(|part| !matches!(part.name.as_str(), "train" | "validation"))
            .filter_map(|scored| {
                let part = self
                    .prepared
                    .parts
                    .iter()
                    .find(|part| part.name == scored.name)?;
                let mut order: Vec<usize> = (0..scored.indices.len()).collect();
                order.sort_by(|&a, &b| scored.columns[0][b].total_cmp(&scored.columns[0][a]));
                let most = &order[..order.len().min(EXTREMES)];
                let least: Vec<usize> = order.iter().rev().take(EXTREMES).copied().collect();
                let title = match scored.name.as_str() {
                    "test-normal" => "Normal test images, by NLL".to_owned(),
                    "test-anomalous" => format!("{}, by NLL", self.anomaly()),
                    other => format!("{other}, by NLL"),
                };
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
                score: scored.columns[0][row],
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
        let config = &self.experiment.config;
        let mut notes = vec![
            format!(
                "The model of each stage is the one with the lowest loss on {} held-out normal images. No anomalous image and no test image took part in training, model selection or the threshold.",
                self.prepared.part("validation").images.len()
            ),
            format!(
                "The log-likelihood is that of the standardised latent ({} entries), in nats.",
                config.encoder.latent
            ),
        ];
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

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Name of a score for readers.
fn describe_score(score: &str) -> &str {
    match score {
        "nll" => "flow NLL",
        "reconstruction" => "reconstruction error",
        "latent_norm" => "norm after the flow",
        other => other,
    }
}
