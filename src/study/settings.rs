//! The settings of an experiment: those that every method shares, typed, and the sections of the
//! methods, which only the methods understand.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::StudyError;
use crate::data::folder::{GroupBy, Sizing};
use crate::data::{Conversion, DatasetName, Framing, SplitShares};
use crate::evaluate::{Sides, ThresholdRule};

/// The shared settings with their defaults, every key with a comment.
pub const SETTINGS: &str = include_str!("settings.toml");

/// Everything that decides a run's numbers, but for the method, the class left out and the seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Images and their split.
    pub data: DataSettings,
    /// Threshold.
    pub evaluation: EvaluationSettings,
    /// Every section by name, these two included.
    table: Table,
}

/// Images and their split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSettings {
    /// Data set whose classes are normal but for one.
    pub dataset: DatasetName,
    /// The user's own images, where `dataset` is `folder`.
    #[serde(default)]
    pub folder: String,
    /// Which of them show one object, by their names: a regular expression, see [`GroupBy`]; empty for
    /// none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group_by: String,
    /// Channels that images are brought to.
    pub channels: usize,
    /// Side that images are brought to, in pixels.
    pub size: usize,
    /// How images of other sides are brought to that side.
    pub fit: Framing,
    /// Whether the user's own images are enlarged where most are smaller.
    #[serde(default = "enlarged", skip_serializing_if = "Clone::clone")]
    pub enlarge: bool,
    /// Share of the normal images that is trained on.
    pub train_share: f64,
    /// Share of those that is held out for model selection and calibration.
    pub validation_share: f64,
    /// Other data sets to test on as anomalies.
    pub ood: Vec<DatasetName>,
    /// Use the first so many images of every data set only, for a quick trial; 0 is all.
    pub limit: usize,
    /// The so-many-th class after the one left out plays the anomaly in its place, and the class
    /// left out is in no part of the split; 0 for none.
    #[serde(default)]
    pub stand_in: usize,
}

/// Threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationSettings {
    /// Share of the training images that the threshold calls normal; of the validation images, where a method does not score
    /// those.
    pub confidence: f64,
}

fn enlarged() -> bool {
    true
}

impl DataSettings {
    /// Which images show one object, by their names, where that is asked for.
    ///
    /// # Errors
    /// [`StudyError::Setting`] when it is no such expression.
    pub fn group_by(&self) -> Result<Option<GroupBy>, StudyError> {
        match self.group_by.as_str() {
            "" => Ok(None),
            pattern => GroupBy::new(pattern)
                .map(Some)
                .map_err(|reason| StudyError::setting("data.group_by", reason)),
        }
    }
}

impl Settings {
    /// Reads the shared sections of a table that has every section.
    ///
    /// # Errors
    /// What is missing, unknown or of another type.
    pub fn from_table(table: Table) -> Result<Self, toml::de::Error> {
        Ok(Self {
            data: section(&table, "data")?,
            evaluation: section(&table, "evaluation")?,
            table,
        })
    }

    /// A section of a method, as its type.
    ///
    /// # Errors
    /// What is missing, unknown or of another type.
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> Result<T, toml::de::Error> {
        section(&self.table, name)
    }

    /// Every section.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// What images are brought to.
    pub fn conversion(&self) -> Conversion {
        Conversion {
            channels: self.data.channels,
            height: self.data.size,
            width: self.data.size,
            fit: self.data.fit,
        }
    }

    /// What the user's own images are brought to.
    pub fn sizing(&self) -> Sizing {
        Sizing {
            conversion: self.conversion(),
            enlarge: self.data.enlarge,
        }
    }

    /// Shares of the split.
    pub fn split_shares(&self) -> SplitShares {
        SplitShares {
            train: self.data.train_share,
            validation: self.data.validation_share,
        }
    }

    /// The paper's threshold, one- or two-sided.
    pub fn threshold(&self, sides: Sides) -> ThresholdRule {
        ThresholdRule {
            confidence: self.evaluation.confidence,
            sides,
        }
    }

    /// The same with another confidence level.
    ///
    /// # Errors
    /// [`StudyError::Setting`] when that is not between 0 and 1.
    pub fn with_confidence(mut self, confidence: f64) -> Result<Self, StudyError> {
        self.evaluation.confidence = confidence;
        if let Some(fault) = self.fault() {
            let place = format!("--confidence {confidence}");
            return Err(StudyError::setting(
                place,
                format!("`{}` {}", fault.key, fault.must),
            ));
        }
        if let Some(table) = self.table.get_mut("evaluation") {
            let level = Table::from_iter([("confidence".to_owned(), confidence.into())]);
            *table = toml::Value::Table(level);
        }
        Ok(self)
    }

    /// As TOML.
    pub fn to_toml(&self) -> String {
        // Tables of plain values always can be written.
        toml::to_string_pretty(&self.table).unwrap_or_else(|_| self.table.to_string())
    }
}

fn section<T: DeserializeOwned>(table: &Table, name: &str) -> Result<T, toml::de::Error> {
    let value = table.get(name).cloned();
    value
        .unwrap_or_else(|| toml::Value::Table(Table::new()))
        .try_into()
}
