//! From the defaults, a study's file and `--set` to one complete configuration.

use std::path::Path;

use toml::{Table, Value};

use super::config::DEFAULTS;
use super::{ExperimentConfig, ExperimentError, Method};
use crate::suggest::{did_you_mean, nearest};

/// Resolves a study's text, read from `source`, with the user's overrides (`key.path=value`).
///
/// # Errors
/// [`ExperimentError::Setting`] naming file or option, key and value; a misspelt name comes with the
/// nearest known one.
pub fn resolve(
    source: &Path,
    text: &str,
    overrides: &[String],
) -> Result<ExperimentConfig, ExperimentError> {
    let file = source.display().to_string();
    // The text rather than the settings: it names every key, those left out of files as well.
    let mut table: Table = DEFAULTS.parse().map_err(|error| failure(&file, error))?;
    let study: Table = text.parse().map_err(|error| failure(&file, error))?;
    let mut config = apply(&mut table, study, &file)?;
    let mut assignments = Vec::new();
    for assignment in overrides {
        let place = format!("--set {assignment}");
        let change = parse(assignment, &place)?;
        config = apply(&mut table, change.clone(), &place)?;
        assignments.push((place, change));
    }
    // Checked when all is set: the order of the options does not matter.
    let Some((key, reason)) = config.fault() else {
        return Ok(config);
    };
    let place = assignments
        .into_iter()
        .rev()
        .find(|(_, change)| lookup(change, &key).is_some())
        .map_or(file, |(place, _)| place);
    let found = lookup(&table, &key).map(|value| format!(" is {value}, and"));
    Err(failure(
        &place,
        format!("`{key}`{} {reason}", found.unwrap_or_default()),
    ))
}

/// Merges changes into the table, and makes sure that the whole can be read.
fn apply(
    table: &mut Table,
    changes: Table,
    place: &str,
) -> Result<ExperimentConfig, ExperimentError> {
    merge(table, changes, place, "")?;
    table.clone().try_into().map_err(|error: toml::de::Error| {
        let message = error.to_string();
        failure(place, format!("{}{}", message.trim_end(), hint(&message)))
    })
}

/// The value at a dotted key.
fn lookup<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    let mut keys = key.split('.');
    let first = table.get(keys.next()?)?;
    keys.try_fold(first, |value, key| value.as_table()?.get(key))
}

/// Of serde's "unknown variant `x`, expected one of `y`, `z`": which of these is meant.
fn hint(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    match (message.contains("unknown variant"), quoted.next()) {
        (true, Some(wrong)) => did_you_mean(wrong, quoted),
        _ => String::new(),
    }
}

fn failure(place: &str, error: impl std::fmt::Display) -> ExperimentError {
    ExperimentError::Setting {
        place: place.to_owned(),
        reason: error.to_string().trim_end().to_owned(),
    }
}

/// `a.b=value` as a nested table; a value that is not TOML is taken as text.
fn parse(assignment: &str, place: &str) -> Result<Table, ExperimentError> {
    let Some((key, value)) = assignment.split_once('=') else {
        return Err(failure(
            place,
            "needs the form key=value, as in encoder.training.epochs=2",
        ));
    };
    let value = value.trim();
    let value = format!("value = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(value.to_owned()));
    let mut keys = key.trim().rsplit('.');
    let innermost = keys.next().unwrap_or_default().to_owned();
    let innermost = Table::from_iter([(innermost, value)]);
    Ok(keys.fold(innermost, |table, key| {
        Table::from_iter([(key.to_owned(), Value::Table(table))])
    }))
}

/// Replaces values of `base`, which has every key, by those of `changes`.
fn merge(
    base: &mut Table,
    changes: Table,
    place: &str,
    prefix: &str,
) -> Result<(), ExperimentError> {
    for (key, value) in changes {
        let path = format!("{prefix}{key}");
        let Some(old) = base.get_mut(&key) else {
            let hint = nearest(&key, base.keys().map(String::as_str))
                .map(|known| format!(", did you mean `{prefix}{known}`?"))
                .unwrap_or_default();
            let known = base.keys().cloned().collect::<Vec<_>>().join(", ");
            let reason = format!("unknown key `{path}`{hint} (known here: {known})");
            return Err(failure(place, reason));
        };
        match (old, value) {
            (Value::Table(old), Value::Table(value)) => {
                merge(old, value, place, &format!("{path}."))?;
            }
            (old @ Value::Float(_), Value::Integer(value)) => *old = Value::Float(value as f64),
            (old, value) if old.type_str() == value.type_str() => *old = value,
            (old, value) => {
                let reason = format!(
                    "`{path}` is {value}, which is of type {}; it must be of type {}",
                    value.type_str(),
                    old.type_str()
                );
                return Err(failure(place, reason));
            }
        }
    }
    Ok(())
}

/// The keys that matter to `method` in which two configurations differ, with both values.
pub fn differences(
    method: Method,
    left: &ExperimentConfig,
    right: &ExperimentConfig,
) -> Vec<String> {
    let mut found = Vec::new();
    compare(
        &method.settings(left),
        &method.settings(right),
        "",
        &mut found,
    );
    found
}

fn compare(left: &Table, right: &Table, prefix: &str, found: &mut Vec<String>) {
    let shown = |value: Option<&Value>| value.map_or_else(|| "none".to_owned(), Value::to_string);
    let only_right = right.keys().filter(|key| !left.contains_key(*key));
    for key in left.keys().chain(only_right) {
        match (left.get(key), right.get(key)) {
            (Some(Value::Table(left)), Some(Value::Table(right))) => {
                compare(left, right, &format!("{prefix}{key}."), found);
            }
            // A section that one side does not look at: the setting that says so differs as well.
            (Some(Value::Table(_)), None) | (None, Some(Value::Table(_))) => {}
            (left, right) if left != right => {
                let (left, right) = (shown(left), shown(right));
                found.push(format!("{prefix}{key}: {left} there, {right} now"));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str, overrides: &[&str]) -> Result<ExperimentConfig, String> {
        let overrides: Vec<String> = overrides.iter().map(|&item| item.to_owned()).collect();
        resolve(Path::new("x.toml"), text, &overrides).map_err(|error| error.to_string())
    }

    #[test]
    fn later_settings_win_and_the_rest_stays() {
        let config = resolved(
            "[encoder]\nlatent = 16\n[encoder.training]\nepochs = 3",
            &[
                "encoder.training.epochs=2",
                "flow.mixing=alternate",
                "flow.clamp=1",
            ],
        )
        .unwrap();
        let default = ExperimentConfig::default();
        assert_eq!(config.encoder.latent, 16);
        assert_eq!(config.encoder.training.epochs, 2);
        assert_eq!(config.flow.clamp, 1.0);
        assert_eq!(config.encoder.width, default.encoder.width);
        assert_eq!(resolved(&config.to_toml(), &[]).unwrap(), config);
        let differing = differences(Method::EncoderFlow, &config, &default).join("\n");
        assert!(
            differing.contains("encoder.training.epochs: 2 there"),
            "{differing}"
        );
        let unused = differences(Method::Ganomaly, &config, &default);
        assert!(unused.is_empty(), "{unused:?}");
    }

    #[test]
    fn the_defaults_name_every_key() {
        let mut expected = Table::try_from(ExperimentConfig::default()).unwrap();
        let data = expected["data"].as_table_mut().unwrap();
        for (key, value) in [
            ("stand_in", Value::Integer(0)),
            ("folder", Value::String(String::new())),
        ] {
            assert_eq!(data.insert(key.to_owned(), value), None);
        }
        assert_eq!(DEFAULTS.parse::<Table>().unwrap(), expected);
    }

    #[test]
    fn a_stand_in_is_written_and_told_apart_only_where_there_is_one() {
        let none = resolved("", &["data.stand_in=0"]).unwrap();
        assert!(!none.to_toml().contains("stand_in"), "{}", none.to_toml());
        let some = resolved("", &["data.stand_in=2"]).unwrap();
        assert_eq!(resolved(&some.to_toml(), &[]).unwrap(), some);
        for (left, right, expected) in [
            (&none, &some, "data.stand_in: none there, 2 now"),
            (&some, &none, "data.stand_in: 2 there, none now"),
        ] {
            assert_eq!(differences(Method::Knn, left, right), [expected]);
        }
    }

    #[test]
    fn every_wrong_setting_is_named() {
        for (text, overrides, expected) in [
            (
                "[encoder]\nlatnt = 3",
                &[][..],
                "did you mean `encoder.latent`",
            ),
            ("[encodr]\nlatent = 3", &[], "did you mean `encoder`"),
            ("[encoder]\nlatent = \"3\"", &[], "must be of type integer"),
            ("[encoder\n", &[], "x.toml"),
            ("[data]\ndataset = \"mnits\"", &[], "did you mean `mnist`"),
            ("", &["data.dataset=mnits"], "--set data.dataset=mnits"),
            ("", &["flow.mixing=permutate"], "did you mean `permutation`"),
            ("", &["data.ood=[\"svhn\", \"svhn\"]"], "once"),
            (
                "",
                &["encoder.latent=1"],
                "`encoder.latent` is 1, and must be",
            ),
            (
                "",
                &["encoder.training.epoch=2"],
                "did you mean `encoder.training.epochs`",
            ),
            ("", &["encoder"], "key=value"),
            ("", &["encoder=3"], "must be of type table"),
            (
                "",
                &["encoder.training.epochs=0"],
                "encoder.training.epochs",
            ),
            ("", &["encoder.training.epochs=-1"], "epochs"),
            ("", &["flow.training.learning_rate=nan"], "learning_rate"),
            ("", &["data.size=33"], "data.size"),
            ("", &["evaluation.confidence=1"], "evaluation.confidence"),
            ("", &["data.ood=[\"digits\"]"], "data.ood"),
            ("", &["data.stand_in=10"], "number of classes"),
            ("", &["data.stand_in=-1"], "stand_in"),
        ] {
            let error = resolved(text, overrides).unwrap_err();
            assert!(error.contains(expected), "{text} {overrides:?}: {error}");
        }
    }
}
