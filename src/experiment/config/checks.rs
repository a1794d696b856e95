//! Which settings make a run possible. The limits of sizes are those of the encoders that have them.

use std::ops::RangeInclusive;

use super::ExperimentConfig;
use crate::data::DatasetName;
use crate::encoder::{AutoEncoderConfig, EncoderSizes, PatchPca, SqueezeNet};
use crate::train::Optimisation;

/// A setting, whether it is possible, and what it must be.
struct Check {
    key: &'static str,
    holds: bool,
    must: String,
}

impl ExperimentConfig {
    /// The first setting with which no run is possible: its key, and what is possible.
    pub(in crate::experiment) fn fault(&self) -> Option<(String, String)> {
        let Self {
            data,
            encoder,
            flow,
            ganomaly,
            knn,
            gmm,
            mahalanobis,
            evaluation,
        } = self;
        // The flow and the densities need two entries.
        let latents = || 2..=EncoderSizes::LARGEST_LATENT;
        let mut ood = data.ood.clone();
        ood.sort();
        ood.dedup();
        let classes = data.dataset.anomalies().len();
        let own = data.dataset == DatasetName::Folder;
        let checks = [
            check(
                "data.channels",
                matches!(data.channels, 1 | 3),
                "must be 1 (grey) or 3 (RGB)",
            ),
            check(
                "data.size",
                matches!(data.size, 32 | 64 | 128),
                "must be 32, 64 or 128",
            ),
            share("data.train_share", data.train_share, ""),
            share("data.validation_share", data.validation_share, ""),
            check(
                "data.ood",
                !data.ood.contains(&data.dataset),
                "must not name the data set that is trained on",
            ),
            check(
                "data.ood",
                ood.len() == data.ood.len(),
                "must name every data set once",
            ),
            check(
                "data.ood",
                !data.ood.contains(&DatasetName::Folder),
                "must not name `folder`: of your own images, those of test/<defect> are tested on",
            ),
            check(
                "data.folder",
                own || data.folder.is_empty(),
                "must be empty unless data.dataset is \"folder\"",
            ),
            check(
                "data.limit",
                data.limit == 0 || !own,
                "must be 0 for a folder of your own images: all of them count",
            ),
            check(
                "data.limit",
                data.limit == 0 || data.limit >= 100,
                "must be 0 (all images) or at least 100",
            ),
            check(
                "data.stand_in",
                data.stand_in < classes,
                &format!("must be less than the number of classes, {classes} (0 for none)"),
            ),
            within("encoder.width", encoder.width, AutoEncoderConfig::WIDTHS),
            within("encoder.latent", encoder.latent, latents()),
            within(
                "encoder.patch_components",
                encoder.patch_components,
                PatchPca::COMPONENTS,
            ),
            within("encoder.input", encoder.input, SqueezeNet::INPUTS),
            check(
                "encoder.pixel_components",
                encoder.pixel_components <= EncoderSizes::MOST_PIXEL_COMPONENTS,
                &format!(
                    "must be at most {} (0 for none)",
                    EncoderSizes::MOST_PIXEL_COMPONENTS
                ),
            ),
            check(
                "flow.gaussians",
                flow.gaussians <= 10_000,
                "must be at most 10000 (0 for a standard normal)",
            ),
            check(
                "flow.noise",
                (0.0..=10.0).contains(&flow.noise),
                "must be from 0 (none) to 10",
            ),
            within("flow.couplings", flow.couplings, 1..=256),
            within("flow.hidden", flow.hidden, 1..=8192),
            check("flow.layers", flow.layers <= 16, "must be at most 16"),
            check(
                "flow.clamp",
                flow.clamp > 0.0 && flow.clamp <= 20.0,
                "must be above 0 and at most 20 nats",
            ),
            within("ganomaly.width", ganomaly.width, AutoEncoderConfig::WIDTHS),
            within("ganomaly.latent", ganomaly.latent, latents()),
            within("knn.components", knn.components, latents()),
            within("knn.neighbours", knn.neighbours, 1..=1000),
            within("gmm.components", gmm.components, 2..=256),
            within("gmm.gaussians", gmm.gaussians, 1..=1000),
            check("gmm.samples", gmm.samples >= 2, "must be at least 2"),
            within("mahalanobis.components", mahalanobis.components, latents()),
            share(
                "evaluation.confidence",
                evaluation.confidence,
                " (0.95 calls 95 % of the training images normal)",
            ),
        ];
        let fault = checks
            .into_iter()
            .find(|check| !check.holds)
            .map(|check| (check.key.to_owned(), check.must));
        fault
            .or_else(|| training_fault("encoder", &encoder.training))
            .or_else(|| training_fault("flow", &flow.training))
            .or_else(|| training_fault("ganomaly", &ganomaly.training))
    }
}

fn training_fault(stage: &str, training: &Optimisation) -> Option<(String, String)> {
    let checks = [
        within("epochs", training.epochs, 1..=100_000),
        within("batch_size", training.batch_size, 2..=65_536),
        check(
            "learning_rate",
            training.learning_rate > 0.0 && training.learning_rate <= 1.0,
            "must be above 0 and at most 1",
        ),
        check(
            "beta_1",
            (0.0..1.0).contains(&training.beta_1),
            "must be at least 0 and below 1",
        ),
        check(
            "weight_decay",
            (0.0..=1.0).contains(&training.weight_decay),
            "must be from 0 (none) to 1",
        ),
        check(
            "clip_norm",
            training.clip_norm >= 0.0 && training.clip_norm.is_finite(),
            "must be 0 (no limit) or above",
        ),
    ];
    let fault = checks.into_iter().find(|check| !check.holds);
    fault.map(|check| (format!("{stage}.training.{}", check.key), check.must))
}

fn check(key: &'static str, holds: bool, must: &str) -> Check {
    Check {
        key,
        holds,
        must: must.to_owned(),
    }
}

fn within(key: &'static str, value: usize, allowed: RangeInclusive<usize>) -> Check {
    let must = format!("must be from {} to {}", allowed.start(), allowed.end());
    check(key, allowed.contains(&value), &must)
}

/// A share of something, which is neither nothing nor all; `note` says more.
fn share(key: &'static str, value: f64, note: &str) -> Check {
    let must = format!("must be between 0 and 1, both excluded{note}");
    check(key, value > 0.0 && value < 1.0, &must)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[track_caller]
    fn fault(change: impl FnOnce(&mut ExperimentConfig)) -> Option<(String, String)> {
        let mut config = ExperimentConfig::default();
        change(&mut config);
        config.fault()
    }

    #[test]
    fn the_default_settings_are_possible() {
        assert_eq!(fault(|_| ()), None);
    }

    #[test]
    fn limits_are_named_with_their_key() {
        let (key, must) = fault(|config| config.encoder.latent = 1).unwrap();
        assert_eq!(
            (key.as_str(), must.as_str()),
            ("encoder.latent", "must be from 2 to 4096")
        );
        let (key, must) = fault(|config| config.encoder.input = 24).unwrap();
        assert_eq!(
            (key.as_str(), must.as_str()),
            ("encoder.input", "must be from 25 to 512")
        );
        let (key, must) = fault(|config| config.evaluation.confidence = 1.0).unwrap();
        assert_eq!(key, "evaluation.confidence");
        assert!(must.contains("both excluded (0.95"), "{must}");
        let (key, _) = fault(|config| config.flow.training.beta_1 = 1.0).unwrap();
        assert_eq!(key, "flow.training.beta_1");
        let (key, _) = fault(|config| config.data.ood = vec![DatasetName::Digits]).unwrap();
        assert_eq!(key, "data.ood");
        let (key, _) = fault(|config| config.data.train_share = f64::NAN).unwrap();
        assert_eq!(key, "data.train_share");
    }

    #[test]
    fn a_stand_in_is_another_class() {
        assert_eq!(fault(|config| config.data.stand_in = 9), None);
        let (key, must) = fault(|config| config.data.stand_in = 10).unwrap();
        assert_eq!(key, "data.stand_in");
        assert!(must.contains("number of classes, 10"), "{must}");
    }
}
