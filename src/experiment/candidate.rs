//! A candidate of a selection: settings over those of a study, from the command line.

use super::names::slug;
use super::sweep_table::config_hash;
use super::{ExperimentConfig, ExperimentError, Method, Study};

/// What stands for the study's own settings.
const DEFAULTS: &str = "defaults";
/// Characters of the settings that a folder's name begins with, at most.
const SLUG: usize = 48;

/// Settings to be compared with others.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CandidateSettings {
    /// The settings in one line, or `defaults`.
    pub name: String,
    /// `key=value` each.
    pub assignments: Vec<String>,
}

impl CandidateSettings {
    /// From `key=value,key=value`; nothing, or `defaults`, is the study as it is. Commas within
    /// brackets, braces and quotes belong to a value.
    ///
    /// # Errors
    /// [`ExperimentError::Setting`] when a bracket or a quote is not closed or there is nothing
    /// between two commas.
    pub fn parse(text: &str) -> Result<Self, ExperimentError> {
        let text = text.trim();
        if text.is_empty() || text == DEFAULTS {
            return Ok(Self {
                name: DEFAULTS.to_owned(),
                assignments: Vec::new(),
            });
        }
        let Some(assignments) = split(text) else {
            return Err(fault(text, "a bracket or a quote is not closed"));
        };
        if assignments.iter().any(String::is_empty) {
            return Err(fault(
                text,
                "there is nothing before, after or between its commas: it needs the form key=value,key=value",
            ));
        }
        Ok(Self {
            name: assignments.join(","),
            assignments,
        })
    }

    /// The study's settings with the user's overrides, and with these over them.
    ///
    /// # Errors
    /// [`ExperimentError::Setting`] naming what is wrong with the candidate.
    pub fn resolve(
        &self,
        study: &Study,
        overrides: &[String],
    ) -> Result<ExperimentConfig, ExperimentError> {
        let all: Vec<String> = overrides.iter().chain(&self.assignments).cloned().collect();
        study.resolve(&all).map_err(|error| match error {
            // The overrides have been resolved by themselves before.
            ExperimentError::Setting { reason, .. } => fault(&self.name, &reason),
            other => other,
        })
    }

    /// Name of the folder of its runs: what the settings are, and a fingerprint of all those that
    /// matter to the method, so that other settings never meet in one folder.
    pub fn folder(&self, method: Method, config: &ExperimentConfig) -> String {
        let start: String = slug(&self.name).chars().take(SLUG).collect();
        let start = start.trim_end_matches('-');
        format!("{start}-{}", config_hash(method, config))
    }
}

/// An error of one candidate.
pub(super) fn fault(candidate: &str, reason: &str) -> ExperimentError {
    ExperimentError::Setting {
        place: format!("--candidate {candidate}"),
        reason: reason.to_owned(),
    }
}

/// Splits at the commas that are not within brackets, braces or quotes; None when one of these is
/// not closed, or closed and not open.
fn split(text: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut open = Vec::new();
    let mut quote = None;
    let mut escaped = false;
    for letter in text.chars() {
        let literal = std::mem::take(&mut escaped);
        match (quote, letter) {
            // TOML knows escapes in double quotes alone.
            (Some('"'), '\\') => escaped = !literal,
            (Some(mark), _) if letter == mark && !literal => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(letter),
            (None, '[') => open.push(']'),
            (None, '{') => open.push('}'),
            (None, ']' | '}') => (open.pop()? == letter).then_some(())?,
            (None, ',') if open.is_empty() => {
                parts.push(String::new());
                continue;
            }
            (None, _) => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    let closed = open.is_empty() && quote.is_none();
    closed.then(|| parts.iter().map(|part| part.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Studies;

    fn assignments(text: &str) -> Vec<String> {
        CandidateSettings::parse(text).unwrap().assignments
    }

    #[test]
    fn commas_within_brackets_and_quotes_belong_to_the_value() {
        for (text, expected) in [
            ("encoder.latent=16", &["encoder.latent=16"][..]),
            (
                " encoder.kind=pca, encoder.latent = 16 ",
                &["encoder.kind=pca", "encoder.latent = 16"],
            ),
            (
                r#"data.ood=["mnist", "svhn"],flow.hidden=64"#,
                &[r#"data.ood=["mnist", "svhn"]"#, "flow.hidden=64"],
            ),
            (
                r#"a="x,\"y,",b='p,"q\',c={d=[1,2],e=3}"#,
                &[r#"a="x,\"y,""#, r#"b='p,"q\'"#, "c={d=[1,2],e=3}"],
            ),
            (r#"a="x\\",b=1"#, &[r#"a="x\\""#, "b=1"]),
        ] {
            assert_eq!(assignments(text), expected, "{text}");
        }
    }

    #[test]
    fn nothing_is_the_study_as_it_is() {
        for text in ["", "  ", "defaults"] {
            let candidate = CandidateSettings::parse(text).unwrap();
            assert_eq!(candidate.name, "defaults");
            assert!(candidate.assignments.is_empty());
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for (text, expected) in [
            ("data.ood=[mnist", "not closed"),
            ("data.ood=mnist]", "not closed"),
            ("data.ood=[mnist}", "not closed"),
            ("encoder.kind=\"pca", "not closed"),
            ("a=1,,b=2", "between its commas"),
            ("a=1,", "between its commas"),
            (",", "between its commas"),
        ] {
            let error = CandidateSettings::parse(text).unwrap_err().to_string();
            assert!(error.contains("--candidate"), "{error}");
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn settings_are_those_of_the_study_the_overrides_and_the_candidate() {
        let studies = Studies::open(None).unwrap();
        let study = studies.study("digits").unwrap();
        let overrides = ["encoder.latent=8".to_owned(), "flow.hidden=16".to_owned()];
        let resolve = |text: &str| {
            let candidate = CandidateSettings::parse(text).unwrap();
            candidate.resolve(study, &overrides)
        };
        let config = resolve("encoder.kind=pca,encoder.latent=4").unwrap();
        assert_eq!((config.encoder.latent, config.flow.hidden), (4, 16));
        for (text, expected) in [
            ("encoder.latnt=4", "did you mean `encoder.latent`"),
            ("encoder.latent=1", "from 2 to 4096"),
            ("encoder", "key=value"),
        ] {
            let error = resolve(text).unwrap_err().to_string();
            let place = format!("--candidate {text}: ");
            assert!(error.starts_with(&place), "{error}");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn folders_tell_settings_apart_that_matter() {
        let studies = Studies::open(None).unwrap();
        let study = studies.study("digits").unwrap();
        let folder = |text: &str| {
            let candidate = CandidateSettings::parse(text).unwrap();
            let config = candidate.resolve(study, &[]).unwrap();
            candidate.folder(Method::Knn, &config)
        };
        let hash = |text| folder(text).split_off(folder(text).len() - 12);
        assert!(folder("knn.components=8").starts_with("knn-components-8-"));
        assert!(folder("").starts_with("defaults-"));
        assert_ne!(hash("knn.components=8"), hash(""));
        assert_eq!(hash("gmm.components=8"), hash(""), "not of the method");
        assert_eq!(hash("knn.components=8"), hash("knn.components = 8"));
        let long = format!("{},knn.neighbours=7", ["knn.components=8"; 40].join(","));
        assert!(folder(&long).len() < 64, "{}", folder(&long));
    }
}
