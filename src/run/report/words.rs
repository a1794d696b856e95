//! What a report says in words: title, summary, headline, setup, notes.

use super::{Sources, percent};
use crate::data::DatasetName;

impl Sources<'_> {
    /// `mnist-3`, and the stand-in where there is one.
    pub(super) fn title(&self) -> String {
        let name = self.experiment.name.clone();
        match self.left_out() {
            Some(_) => format!("{name} with {} as stand-in", self.anomaly()),
            None => name,
        }
    }

    /// What plays the anomaly: `digit 3` or `airplane`.
    pub(super) fn anomaly(&self) -> String {
        class_in_words(self.experiment.anomaly_name())
    }

    /// The class left out, where another stands in for it.
    pub(super) fn left_out(&self) -> Option<String> {
        let excluded = self.experiment.excluded_class();
        excluded.map(|_| class_in_words(&self.experiment.class_name))
    }

    pub(super) fn sentence(&self) -> String {
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
            "{trained}, the detector tells {} from normal test images by the {}, with an AUROC of {:.3} (95 % interval {:.3} to {:.3}).",
            self.anomaly(),
            self.describe(self.own_score()),
            m.auroc,
            m.auroc_low,
            m.auroc_high
        );
        for part in self.table.ood() {
            let m = &self.evaluation.metrics[&part.name][self.own_score()];
            let verdict = if m.auroc_high < 0.5 {
                "look more normal than the normal images"
            } else if m.auroc_low > 0.5 {
                "look less normal than the normal images"
            } else {
                "look neither more nor less normal than the normal images"
            };
            sentence += &format!(
                " The images of {} {verdict} (AUROC {:.3}, {:.3} to {:.3}).",
                part.name, m.auroc, m.auroc_low, m.auroc_high
            );
        }
        sentence
    }

    pub(super) fn headline(&self) -> Vec<(String, String)> {
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
        headline.extend(
            self.pixels
                .first()
                .map(|pixels| ("Pixel AUROC".to_owned(), format!("{:.3}", pixels.auroc))),
        );
        headline.extend(self.table.ood().map(|part| {
            let m = &self.evaluation.metrics[&part.name][self.own_score()];
            (format!("AUROC, {}", part.name), format!("{:.3}", m.auroc))
        }));
        headline
    }

    pub(super) fn setup(&self) -> Vec<(String, String)> {
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
            ("False alarms by p-value", self.false_alarms()),
            ("Heat maps against masks", self.pixels()),
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
                    environment.version,
                    environment.revisions(),
                    environment.burn,
                    environment.system
                ),
            ),
            ("Started", environment.starts()),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }

    /// How well heat maps tell defective pixels; nothing where there is nothing to compare them with.
    fn pixels(&self) -> String {
        let pixels = self.pixels.iter().map(ToString::to_string);
        pixels.collect::<Vec<_>>().join(", ")
    }

    /// How often normal test images have small p-values, and how often they would where p-values hold exactly.
    fn false_alarms(&self) -> String {
        let alarms = self.evaluation.false_alarms.iter().map(|at| {
            format!(
                "{} of normal test images at {} ({} ± {} where p-values hold exactly)",
                percent(at.share()),
                at.alpha,
                percent(at.expected),
                percent(at.deviation)
            )
        });
        match self.evaluation.false_alarms.is_empty() {
            true => "too few held-out images for p-values of 0.1".to_owned(),
            false => alarms.collect::<Vec<_>>().join(", "),
        }
    }

    fn protocol(&self) -> String {
        let experiment = self.experiment;
        let (class, name) = (experiment.class, &experiment.class_name);
        match experiment.excluded_class() {
            None if experiment.settings.data.dataset == DatasetName::Folder => {
                "normal images against defective ones, all of which are tested on".to_owned()
            }
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

    pub(super) fn notes(&self) -> Vec<String> {
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
