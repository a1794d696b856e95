//! A study's file, and those that it extends.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::{Table, Value};

use super::StudyError;
use crate::suggest::did_you_mean;

/// Key of a study file, and of a variant, that names what it starts from.
pub(super) const EXTENDS: &str = "extends";

/// The text of a study file.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Where it was read, for messages.
    pub path: PathBuf,
    pub text: String,
}

/// The files of all studies, by their names.
pub(super) type Sources = BTreeMap<String, Source>;

/// One file of a study's lineage, parsed.
pub(super) struct Ancestor<'a> {
    /// Name of the study whose file it is.
    pub study: &'a str,
    pub source: &'a Source,
    pub table: Table,
}

impl Source {
    /// Where it was read, as messages name it.
    pub fn place(&self) -> String {
        self.path.display().to_string()
    }
}

/// The file of `study` with those that it extends, from the first to its own.
///
/// # Errors
/// [`StudyError::Setting`] when one is no TOML, or extends itself or what is no study.
pub(super) fn lineage<'a>(
    study: &'a str,
    sources: &'a Sources,
) -> Result<Vec<Ancestor<'a>>, StudyError> {
    let mut found: Vec<Ancestor<'a>> = Vec::new();
    let mut next = sources.get_key_value(study);
    while let Some((study, source)) = next {
        let wrong = |reason: String| StudyError::setting(source.place(), reason);
        let mut table: Table = source
            .text
            .parse()
            .map_err(|error: toml::de::Error| wrong(error.to_string()))?;
        next = match table.remove(EXTENDS) {
            None => None,
            // As on the command line.
            Some(Value::String(base)) => {
                let base = base.to_lowercase();
                let of_base = sources.get_key_value(&base).ok_or_else(|| {
                    let known: Vec<&str> = sources.keys().map(String::as_str).collect();
                    wrong(format!(
                        "`{EXTENDS}` is \"{base}\", which is no study{} Known: {}",
                        did_you_mean(&base, known.iter().copied()),
                        known.join(", ")
                    ))
                })?;
                let seen = found.iter().map(|ancestor| ancestor.study);
                if seen.chain([study.as_str()]).any(|seen| seen == base) {
                    let reason = format!("`{EXTENDS}` is \"{base}\", which goes round in a circle");
                    return Err(wrong(reason));
                }
                Some(of_base)
            }
            Some(other) => {
                let reason = format!("`{EXTENDS}` is {other}, and must be the name of a study");
                return Err(wrong(reason));
            }
        };
        found.push(Ancestor {
            study,
            source,
            table,
        });
    }
    found.reverse();
    Ok(found)
}

/// Values of `changes` over those of `base`, table by table.
pub(super) fn overlay(base: &mut Table, changes: Table) {
    for (key, value) in changes {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => overlay(old, new),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}
