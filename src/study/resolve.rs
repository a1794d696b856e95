//! From the defaults, a study's file, a variant and `--set` to one complete set of settings.

use toml::{Table, Value};

use super::{Fault, Settings, StudyError};
use crate::suggest::{did_you_mean, nearest};

/// What settings there are: the methods tell, which a study does not know.
#[derive(Clone)]
pub struct Schema {
    /// Every key with its default.
    pub defaults: Table,
    /// Names of the methods.
    pub methods: Vec<&'static str>,
    /// Makes sure that the methods can read their sections.
    pub readable: fn(&Settings) -> Result<(), toml::de::Error>,
    /// The first setting of a method with which no run is possible.
    pub fault: fn(&Settings) -> Option<Fault>,
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Schema")
            .field("methods", &self.methods)
            .finish_non_exhaustive()
    }
}

/// Settings over others, and where they come from: a file or an option.
pub(super) struct Layer {
    pub place: String,
    pub changes: Table,
}

impl Schema {
    /// The defaults with one layer after the other over them.
    ///
    /// # Errors
    /// [`StudyError::Setting`] naming place, key and value; a misspelt name comes with the nearest
    /// known one.
    pub(super) fn resolve(&self, layers: Vec<Layer>) -> Result<Settings, StudyError> {
        let mut table = self.defaults.clone();
        let mut settings = self.read(&table, "the defaults")?;
        for layer in &layers {
            merge(&mut table, layer.changes.clone(), &layer.place, "")?;
            settings = self.read(&table, &layer.place)?;
        }
        // Checked when all is set: the order of the layers does not matter.
        let Some(Fault { key, must }) = settings.fault().or_else(|| (self.fault)(&settings)) else {
            return Ok(settings);
        };
        let named = layers.iter().rev();
        let mut named = named.filter(|layer| lookup(&layer.changes, &key).is_some());
        let place = named.next().or(layers.first());
        let place = place.map_or("the defaults", |layer| layer.place.as_str());
        let found = lookup(&table, &key).map(|value| format!(" is {value}, and"));
        let reason = format!("`{key}`{} {must}", found.unwrap_or_default());
        Err(StudyError::setting(place, reason))
    }

    fn read(&self, table: &Table, place: &str) -> Result<Settings, StudyError> {
        let settings = Settings::from_table(table.clone());
        let settings = settings.and_then(|settings| (self.readable)(&settings).map(|()| settings));
        settings.map_err(|error| {
            let message = error.to_string();
            StudyError::setting(place, format!("{}{}", message.trim_end(), hint(&message)))
        })
    }
}

/// The layer of an option `--set key.path=value`; a value that is not TOML is taken as text.
///
/// # Errors
/// [`StudyError::Setting`] when there is no `=`.
pub(super) fn assignment(text: &str) -> Result<Layer, StudyError> {
    let place = format!("--set {text}");
    let Some((key, value)) = text.split_once('=') else {
        let reason = "needs the form key=value, as in encoder.training.epochs=2";
        return Err(StudyError::setting(place, reason));
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
    let changes = keys.fold(innermost, |table, key| {
        Table::from_iter([(key.to_owned(), Value::Table(table))])
    });
    Ok(Layer { place, changes })
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

/// Replaces values of `base`, which has every key, by those of `changes`.
fn merge(base: &mut Table, changes: Table, place: &str, prefix: &str) -> Result<(), StudyError> {
    for (key, value) in changes {
        let path = format!("{prefix}{key}");
        let Some(old) = base.get_mut(&key) else {
            let hint = nearest(&key, base.keys().map(String::as_str))
                .map(|known| format!(", did you mean `{prefix}{known}`?"))
                .unwrap_or_default();
            let known = base.keys().cloned().collect::<Vec<_>>().join(", ");
            let reason = format!("unknown key `{path}`{hint} (known here: {known})");
            return Err(StudyError::setting(place, reason));
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
                return Err(StudyError::setting(place, reason));
            }
        }
    }
    Ok(())
}

/// The dotted keys in which two tables differ, with both values.
pub(crate) fn differences(left: &Table, right: &Table) -> Vec<String> {
    let mut found = Vec::new();
    compare(left, right, "", &mut found);
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
            // A section that one side does not look at: its keys say less than its absence.
            (Some(Value::Table(_)), None) => found.push(format!("{prefix}{key}: used there only")),
            (None, Some(Value::Table(_))) => found.push(format!("{prefix}{key}: used now only")),
            (left, right) if left != right => {
                let (left, right) = (shown(left), shown(right));
                found.push(format!("{prefix}{key}: {left} there, {right} now"));
            }
            _ => {}
        }
    }
}
