//! One study file: its settings, its variants, its runs.

use std::path::PathBuf;

use serde::Deserialize;
use toml::{Table, Value};

use super::names::{class_tags, slug};
use super::resolve::{Layer, Schema, assignment};
use super::{Settings, StudyError};
use crate::suggest::did_you_mean;

/// Section of a study file that names its variants.
const VARIANTS: &str = "variants";
/// Section of a study file that says what a sweep compares.
const SWEEP: &str = "sweep";

/// One study file.
#[derive(Clone, Debug)]
pub struct Study {
    /// File name without `.toml`.
    pub name: String,
    /// Where it was read, for messages.
    pub path: PathBuf,
    pub(super) text: String,
    pub(super) schema: Schema,
}

/// A method, with settings of its own where it is a variant that the study names.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Name of the variant, or of the method: what tables call it, and its folder.
    pub name: String,
    /// Name of the method.
    pub method: String,
    /// The variant's settings over those of the study.
    changes: Table,
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

impl Choice {
    /// A variant's settings, `key=value` each.
    pub fn settings(&self) -> Vec<String> {
        fn leaves(table: &Table, prefix: &str, found: &mut Vec<String>) {
            for (key, value) in table {
                match value {
                    Value::Table(inner) => leaves(inner, &format!("{prefix}{key}."), found),
                    leaf => found.push(format!("{prefix}{key}={leaf}")),
                }
            }
        }
        let mut found = Vec::new();
        leaves(&self.changes, "", &mut found);
        found
    }
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
        self.settings(Some(choice), overrides)
    }

    fn settings(
        &self,
        choice: Option<&Choice>,
        overrides: &[String],
    ) -> Result<Settings, StudyError> {
        let file = self.path.display().to_string();
        let mut changes = self.parsed()?;
        changes.remove(VARIANTS);
        changes.remove(SWEEP);
        let mut layers = vec![Layer {
            place: file.clone(),
            changes,
        }];
        layers.extend(choice.map(|choice| Layer {
            place: format!("{file}, [{VARIANTS}.{}]", choice.name),
            changes: choice.changes.clone(),
        }));
        for text in overrides {
            layers.push(assignment(text)?);
        }
        self.schema.resolve(layers)
    }

    fn parsed(&self) -> Result<Table, StudyError> {
        let table = self.text.parse();
        table.map_err(|error| StudyError::setting(self.path.display().to_string(), error))
    }

    /// Its variants, in the file's order of names.
    ///
    /// # Errors
    /// [`StudyError::Setting`] when one of them has no method or bears the name of one.
    pub fn variants(&self) -> Result<Vec<Choice>, StudyError> {
        let mut table = self.parsed()?;
        let variants = match table.remove(VARIANTS) {
            None => return Ok(Vec::new()),
            Some(Value::Table(variants)) => variants,
            Some(_) => {
                let reason = format!("`{VARIANTS}` must be a table of tables");
                return Err(StudyError::setting(self.path.display().to_string(), reason));
            }
        };
        let variants = variants.into_iter();
        variants
            .map(|(name, value)| self.variant(name, value))
            .collect()
    }

    fn variant(&self, name: String, value: Value) -> Result<Choice, StudyError> {
        let place = format!("{}, [{VARIANTS}.{name}]", self.path.display());
        let wrong = |reason: String| Err(StudyError::setting(place.clone(), reason));
        if slug(&name) != name {
            return wrong(format!(
                "`{name}` is no name for a folder: use `{}`",
                slug(&name)
            ));
        }
        if self.schema.methods.contains(&name.as_str()) {
            return wrong(format!(
                "`{name}` is a method: give the variant another name"
            ));
        }
        let Value::Table(mut changes) = value else {
            return wrong("must be a table with `method` and settings".to_owned());
        };
        let method = match changes.remove("method") {
            Some(Value::String(method)) => method,
            _ => return wrong("needs `method`, such as method = \"encoder-flow\"".to_owned()),
        };
        if !self.schema.methods.contains(&method.as_str()) {
            let known = self.schema.methods.iter().copied();
            return wrong(format!(
                "unknown method `{method}`{} Known: {}",
                did_you_mean(&method, known),
                self.schema.methods.join(", ")
            ));
        }
        Ok(Choice {
            name,
            method,
            changes,
        })
    }

    /// What can be run: every method as the study has it, then its variants.
    ///
    /// # Errors
    /// As for [`variants`](Self::variants).
    pub fn choices(&self) -> Result<Vec<Choice>, StudyError> {
        let plain = self.schema.methods.iter().map(|&method| Choice {
            name: method.to_owned(),
            method: method.to_owned(),
            changes: Table::new(),
        });
        Ok(plain.chain(self.variants()?).collect())
    }

    /// What a sweep compares unless it is told otherwise: the methods and variants of the file's `[sweep]`, or every
    /// method.
    ///
    /// # Errors
    /// [`StudyError`] when the section holds something else, or a name that is neither.
    pub fn compared(&self) -> Result<Vec<String>, StudyError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Sweep {
            methods: Vec<String>,
        }
        let Some(section) = self.parsed()?.remove(SWEEP) else {
            return Ok(self
                .schema
                .methods
                .iter()
                .map(|&name| name.into())
                .collect());
        };
        let place = format!("{}, [{SWEEP}]", self.path.display());
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

    /// The file's text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// First comment line of the file: what the study is.
    pub fn description(&self) -> &str {
        let first = self.text.lines().next().unwrap_or_default();
        first.trim_start_matches('#').trim()
    }

    /// The run that leaves `class` out.
    pub fn experiment(&self, class: usize, choice: &Choice, settings: Settings) -> Experiment {
        let dataset = settings.data.dataset;
        Experiment {
            study: self.name.clone(),
            name: format!("{}-{}", self.name, class_tags(dataset, class)[0]),
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
