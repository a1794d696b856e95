//! One study file: its settings, its variants, its runs.

use std::sync::Arc;

use serde::Deserialize;

use super::lineage::{Ancestor, Sources, lineage};
use super::names::class_tag;
use super::resolve::{Layer, Schema, assignment};
use super::variants::{VARIANTS, variants};
use super::{Choice, Settings, StudyError};
use crate::data::DatasetName;
use crate::suggest::did_you_mean;

/// Section of a study file that says what a sweep compares.
const SWEEP: &str = "sweep";

/// One study file, over those that it extends.
#[derive(Clone, Debug)]
pub struct Study {
    /// File name without `.toml`.
    pub name: String,
    /// The files of all studies.
    pub(super) sources: Arc<Sources>,
    pub(super) schema: Schema,
}

/// One run of a study, but for its seed: a class left out as the anomaly, and a method.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// Name of the study.
    pub study: String,
    /// Canonical name, `<study>-<class>`, also its folder's.
    pub name: String,
    /// Index of the class left out.
    pub class: u8,
    /// Official name of the class left out.
    pub class_name: String,
    /// Name of the variant, or of the method.
    pub variant: String,
    /// Name of the method.
    pub method: String,
    /// Resolved settings.
    pub settings: Settings,
}

impl Study {
    /// Its settings with the user's overrides and without a variant's: what all of its runs share,
    /// the data among them.
    ///
    /// # Errors
    /// [`StudyError::Setting`] naming what is wrong.
    pub fn shared(&self, overrides: &[String]) -> Result<Settings, StudyError> {
        self.settings(None, overrides)
    }

    /// Its settings, with those of the variant over them and the user's overrides above all.
    ///
    /// # Errors
    /// [`StudyError::Setting`] naming what is wrong.
    pub fn resolve(&self, choice: &Choice, overrides: &[String]) -> Result<Settings, StudyError> {
        let settings = self.settings(Some(choice), overrides)?;
        let shared = self.shared(overrides)?.data.dataset;
        // The classes are the study's.
        match settings.data.dataset == shared {
            true => Ok(settings),
            false => Err(StudyError::setting(
                choice.place.clone(),
                format!(
                    "`data.dataset` is {}, and the study's is {shared}: of another data set, make a study (`extends = \"{}\"` takes the rest from this one)",
                    settings.data.dataset, self.name
                ),
            )),
        }
    }

    fn settings(
        &self,
        choice: Option<&Choice>,
        overrides: &[String],
    ) -> Result<Settings, StudyError> {
        let mut layers = Vec::new();
        for mut ancestor in self.lineage()? {
            ancestor.table.remove(VARIANTS);
            ancestor.table.remove(SWEEP);
            layers.push(Layer {
                place: ancestor.source.place(),
                changes: ancestor.table,
            });
        }
        layers.extend(choice.map(|choice| Layer {
            place: choice.place.clone(),
            changes: choice.changes.clone(),
        }));
        for text in overrides {
            layers.push(assignment(text)?);
        }
        self.schema.resolve(layers)
    }

    fn lineage(&self) -> Result<Vec<Ancestor<'_>>, StudyError> {
        lineage(&self.name, &self.sources)
    }

    /// Its variants by name, with those of the files that it extends.
    ///
    /// # Errors
    /// [`StudyError::Setting`] when one of them has no method, bears the name of one, or extends what is no variant.
    pub fn variants(&self) -> Result<Vec<Choice>, StudyError> {
        variants(self.lineage()?, &self.schema.methods)
    }

    /// What can be run: every method as the study has it, then its variants.
    ///
    /// # Errors
    /// As for [`variants`](Self::variants).
    pub fn choices(&self) -> Result<Vec<Choice>, StudyError> {
        let methods = self.schema.methods.iter();
        let plain = methods.map(|&method| Choice::plain(method));
        Ok(plain.chain(self.variants()?).collect())
    }

    /// What a sweep compares unless it is told otherwise: the methods and variants of the file's `[sweep]`, or that of
    /// the nearest file that it extends, or every method.
    ///
    /// # Errors
    /// [`StudyError`] when the section holds something else, or a name that is neither.
    pub fn compared(&self) -> Result<Vec<String>, StudyError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Sweep {
            methods: Vec<String>,
        }
        let lineage = self.lineage()?.into_iter().rev();
        let section = lineage.filter_map(|mut ancestor| {
            let section = ancestor.table.remove(SWEEP)?;
            Some((format!("{}, [{SWEEP}]", ancestor.source.place()), section))
        });
        let Some((place, section)) = section.into_iter().next() else {
            let methods = self.schema.methods.iter();
            return Ok(methods.map(|&name| name.into()).collect());
        };
        let sweep: Result<Sweep, _> = section.try_into();
        let Sweep { methods } =
            sweep.map_err(|error| StudyError::setting(place.clone(), error.message()))?;
        if methods.is_empty() {
            let reason = "`methods` must name one method or variant at least".to_owned();
            return Err(StudyError::setting(place, reason));
        }
        for name in &methods {
            self.choice(name)
                .map_err(|error| StudyError::setting(place.clone(), error))?;
        }
        Ok(methods)
    }

    /// The method or variant called `name`.
    ///
    /// # Errors
    /// [`StudyError::Name`] with the nearest valid name.
    pub fn choice(&self, name: &str) -> Result<Choice, StudyError> {
        let choices = self.choices()?;
        let found = choices.iter().find(|choice| choice.name == name);
        found.cloned().ok_or_else(|| {
            let known: Vec<&str> = choices.iter().map(|choice| choice.name.as_str()).collect();
            StudyError::Name(format!(
                "unknown method `{name}`{} Known in {}: {}",
                did_you_mean(name, known.iter().copied()),
                self.name,
                known.join(", ")
            ))
        })
    }

    /// Its file with those that it extends, the first of them first: name of the study, and text.
    ///
    /// # Errors
    /// [`StudyError::Setting`] when one of them is no TOML, or extends itself or what is no study.
    pub fn files(&self) -> Result<Vec<(String, String)>, StudyError> {
        let lineage = self.lineage()?.into_iter();
        let files = lineage.map(|ancestor| (ancestor.study.into(), ancestor.source.text.clone()));
        Ok(files.collect())
    }

    /// First comment line of the file: what the study is.
    pub fn description(&self) -> &str {
        let source = self.sources.get(&self.name);
        let first = source.and_then(|source| source.text.lines().next());
        first.unwrap_or_default().trim_start_matches('#').trim()
    }

    /// `mnist-3`: the name of the experiment that leaves a class of its data set out.
    pub fn experiment_name(&self, dataset: DatasetName, class: usize) -> String {
        format!("{}-{}", self.name, class_tag(dataset, class))
    }

    /// The run that leaves `class` out.
    pub fn experiment(&self, class: usize, choice: &Choice, settings: Settings) -> Experiment {
        let dataset = settings.data.dataset;
        Experiment {
            study: self.name.clone(),
            name: self.experiment_name(dataset, class),
            class: class as u8,
            class_name: dataset.class_names()[class].to_owned(),
            variant: choice.name.clone(),
            method: choice.method.clone(),
            settings,
        }
    }
}

impl Experiment {
    /// Index of the class that plays the anomaly: the one left out, unless another stands in for it.
    pub fn anomalous_class(&self) -> u8 {
        let classes = self.settings.data.dataset.class_names().len();
        ((usize::from(self.class) + self.settings.data.stand_in) % classes) as u8
    }

    /// Official name of the class that plays the anomaly.
    pub fn anomaly_name(&self) -> &str {
        let names = self.settings.data.dataset.class_names();
        match self.excluded_class() {
            Some(_) => names[usize::from(self.anomalous_class())],
            None => &self.class_name,
        }
    }

    /// Index of the class left out, where another stands in for it: it is in no part of the split.
    pub fn excluded_class(&self) -> Option<u8> {
        (self.settings.data.stand_in > 0).then_some(self.class)
    }
}

#[cfg(test)]
mod tests;
