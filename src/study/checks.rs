//! Which settings make a run possible. The limits of a method's settings are checked in its own room.

use std::ops::RangeInclusive;

use super::Settings;
use crate::data::DatasetName;
use crate::data::folder::GroupBy;
use crate::train::Optimisation;

/// A setting with which no run is possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The dotted key.
    pub key: String,
    /// What it must be, in words.
    pub must: String,
}

/// A setting, whether it is possible, and what it must be.
pub struct Check {
    key: &'static str,
    holds: bool,
    must: String,
}

impl Check {
    /// `key` must be what `must` says, and is if it `holds`.
    pub fn new(key: &'static str, holds: bool, must: impl Into<String>) -> Self {
        Self {
            key,
            holds,
            must: must.into(),
        }
    }

    /// `key` must be within `allowed`.
    pub fn within(key: &'static str, value: usize, allowed: RangeInclusive<usize>) -> Self {
        let must = format!("must be from {} to {}", allowed.start(), allowed.end());
        Self::new(key, allowed.contains(&value), must)
    }

    /// `key` is a share of something, which is neither nothing nor all; `note` says more.
    pub fn share(key: &'static str, value: f64, note: &str) -> Self {
        let must = format!("must be between 0 and 1, both excluded{note}");
        Self::new(key, value > 0.0 && value < 1.0, must)
    }
}

/// The first check that does not hold; its key is below `section`.
pub(crate) fn first_fault(section: &str, checks: impl IntoIterator<Item = Check>) -> Option<Fault> {
    let fault = checks.into_iter().find(|check| !check.holds)?;
    Some(Fault {
        key: format!("{section}.{}", fault.key),
        must: fault.must,
    })
}

/// What is wrong with the settings of a stage, whose keys are below `<section>.training`.
pub(crate) fn optimisation_fault(section: &str, training: &Optimisation) -> Option<Fault> {
    let checks = [
        Check::within("epochs", training.epochs, 1..=100_000),
        Check::within("batch_size", training.batch_size, 2..=65_536),
        Check::new(
            "learning_rate",
            training.learning_rate > 0.0 && training.learning_rate <= 1.0,
            "must be above 0 and at most 1",
        ),
        Check::new(
            "beta_1",
            (0.0..1.0).contains(&training.beta_1),
            "must be at least 0 and below 1",
        ),
        Check::new(
            "weight_decay",
            (0.0..=1.0).contains(&training.weight_decay),
            "must be from 0 (none) to 1",
        ),
        Check::new(
            "clip_norm",
            training.clip_norm >= 0.0 && training.clip_norm.is_finite(),
            "must be 0 (no limit) or above",
        ),
    ];
    first_fault(&format!("{section}.training"), checks)
}

impl Settings {
    /// The first shared setting with which no run is possible.
    pub(crate) fn fault(&self) -> Option<Fault> {
        let data = &self.data;
        let mut ood = data.ood.clone();
        ood.sort();
        ood.dedup();
        let classes = data.dataset.anomalies().len();
        let own = data.dataset == DatasetName::Folder;
        let grouping = match data.group_by.as_str() {
            "" => None,
            pattern => GroupBy::new(pattern).err(),
        };
        let checks = [
            Check::new(
                "channels",
                matches!(data.channels, 1 | 3),
                "must be 1 (grey) or 3 (RGB)",
            ),
            Check::new(
                "size",
                (16..=1024).contains(&data.size),
                "must be from 16 to 1024",
            ),
            Check::share("train_share", data.train_share, ""),
            Check::share("validation_share", data.validation_share, ""),
            Check::new(
                "ood",
                !data.ood.contains(&data.dataset),
                "must not name the data set that is trained on",
            ),
            Check::new(
                "ood",
                ood.len() == data.ood.len(),
                "must name every data set once",
            ),
            Check::new(
                "ood",
                !data.ood.contains(&DatasetName::Folder),
                "must not name `folder`: of your own images, those of test/<defect> are tested on",
            ),
            Check::new(
                "folder",
                own || data.folder.is_empty(),
                "must be empty unless data.dataset is \"folder\"",
            ),
            Check::new(
                "group_by",
                own || data.group_by.is_empty(),
                "must be empty unless data.dataset is \"folder\"",
            ),
            Check::new(
                "enlarge",
                own || data.enlarge,
                "must be true unless `dataset` is \"folder\"",
            ),
            Check::new("group_by", grouping.is_none(), grouping.unwrap_or_default()),
            Check::new(
                "limit",
                data.limit == 0 || !own,
                "must be 0 for a folder of your own images: all of them count",
            ),
            Check::new(
                "limit",
                data.limit == 0 || data.limit >= 100,
                "must be 0 (all images) or at least 100",
            ),
            Check::new(
                "stand_in",
                data.stand_in < classes,
                format!("must be less than the number of classes, {classes} (0 for none)"),
            ),
        ];
        let confidence = Check::share(
            "confidence",
            self.evaluation.confidence,
            " (0.95 calls 95 % of the training images normal)",
        );
        first_fault("data", checks).or_else(|| first_fault("evaluation", [confidence]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::SETTINGS;

    #[track_caller]
    fn fault(change: impl FnOnce(&mut Settings)) -> Option<Fault> {
        let mut settings = Settings::from_table(SETTINGS.parse().unwrap()).unwrap();
        change(&mut settings);
        settings.fault()
    }

    #[test]
    fn the_default_settings_are_possible() {
        assert_eq!(fault(|_| ()), None);
    }

    #[test]
    fn limits_are_named_with_their_key() {
        let found = fault(|settings| settings.evaluation.confidence = 1.0).unwrap();
        assert_eq!(found.key, "evaluation.confidence");
        assert!(found.must.contains("both excluded (0.95"), "{found:?}");
        let found = fault(|settings| settings.data.ood = vec![DatasetName::Digits]).unwrap();
        assert_eq!(found.key, "data.ood");
        let found = fault(|settings| settings.data.train_share = f64::NAN).unwrap();
        assert_eq!(found.key, "data.train_share");
    }

    #[test]
    fn groups_are_of_the_user_s_own_images_and_an_expression() {
        let own = |pattern: &str| {
            fault(|settings| {
                settings.data.dataset = DatasetName::Folder;
                settings.data.group_by = pattern.to_owned();
            })
        };
        assert_eq!(own("^(a)"), None);
        assert!(
            own("a")
                .unwrap()
                .must
                .contains("must have a group in parentheses")
        );
        let found = fault(|settings| settings.data.group_by = "^(a)".to_owned()).unwrap();
        assert_eq!(found.key, "data.group_by");
    }

    #[test]
    fn a_stand_in_is_another_class() {
        assert_eq!(fault(|settings| settings.data.stand_in = 9), None);
        let found = fault(|settings| settings.data.stand_in = 10).unwrap();
        assert_eq!(found.key, "data.stand_in");
        assert!(found.must.contains("number of classes, 10"), "{found:?}");
    }
}
