//! What can be run of a study: methods, and the variants of them that its file names.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::StudyError;
use super::lineage::{Ancestor, EXTENDS, overlay};
use super::names::slug;
use crate::suggest::did_you_mean;

/// Section of a study file that names its variants.
pub(super) const VARIANTS: &str = "variants";
/// Key of a variant that names its method.
const METHOD: &str = "method";

/// A method, with settings of its own where it is a variant that the study names.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Name of the variant, or of the method: what tables call it, and its folder.
    pub name: String,
    /// Name of the method.
    pub method: String,
    /// The variant's settings over those of the study.
    pub(super) changes: Table,
    /// Where these stand, for messages.
    pub(super) place: String,
}

impl Choice {
    /// A method as the study has it.
    pub(super) fn plain(method: &str) -> Self {
        Self {
            name: method.to_owned(),
            method: method.to_owned(),
            changes: Table::new(),
            place: String::new(),
        }
    }

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

/// The variants of a study by name, those of its own file over those of the files that this extends.
///
/// # Errors
/// [`StudyError::Setting`] when one of them has no method, bears the name of one, or extends what is no variant.
pub(super) fn variants(
    lineage: Vec<Ancestor>,
    methods: &[&str],
) -> Result<Vec<Choice>, StudyError> {
    let mut known = BTreeMap::new();
    for mut ancestor in lineage {
        let place = ancestor.source.place();
        let own = match ancestor.table.remove(VARIANTS) {
            None => continue,
            Some(Value::Table(own)) => own,
            Some(_) => {
                let reason = format!("`{VARIANTS}` must be a table of tables");
                return Err(StudyError::setting(place, reason));
            }
        };
        let file = File {
            place,
            own: &own,
            extended: &known,
            methods,
        };
        let found = own.keys().map(|name| file.variant(name, &mut Vec::new()));
        let found = found.collect::<Result<Vec<Choice>, StudyError>>()?;
        known.extend(
            found
                .into_iter()
                .map(|choice| (choice.name.clone(), choice)),
        );
    }
    Ok(known.into_values().collect())
}

/// The variants that one file names.
struct File<'a> {
    place: String,
    own: &'a Table,
    /// Those of the files that it extends.
    extended: &'a BTreeMap<String, Choice>,
    methods: &'a [&'a str],
}

impl<'a> File<'a> {
    /// The variant called `name`; `open` are those that extend it.
    fn variant(&self, name: &'a str, open: &mut Vec<&'a str>) -> Result<Choice, StudyError> {
        let place = format!("{}, [{VARIANTS}.{name}]", self.place);
        let wrong = |reason: String| Err(StudyError::setting(place.clone(), reason));
        if slug(name) != name {
            let right = slug(name);
            return wrong(format!("`{name}` is no name for a folder: use `{right}`"));
        }
        if self.methods.contains(&name) {
            return wrong(format!(
                "`{name}` is a method: give the variant another name"
            ));
        }
        let Some(Value::Table(table)) = self.own.get(name) else {
            return wrong("must be a table with `method` and settings".to_owned());
        };
        let mut own = table.clone();
        let mut changes = Table::new();
        let mut method = None;
        match table.get(EXTENDS) {
            None => {}
            Some(Value::String(base)) => {
                let base = self.base(base, name, open, &place)?;
                (method, changes) = (Some(base.method), base.changes);
                own.remove(EXTENDS);
            }
            Some(other) => {
                return wrong(format!(
                    "`{EXTENDS}` is {other}, and must be the name of a variant"
                ));
            }
        }
        match own.remove(METHOD) {
            Some(Value::String(own)) => method = Some(own),
            Some(other) => {
                return wrong(format!(
                    "`{METHOD}` is {other}, and must be a name, such as \"encoder-flow\""
                ));
            }
            None => {}
        }
        let Some(method) = method else {
            return wrong(format!(
                "needs `{METHOD}`, such as {METHOD} = \"encoder-flow\", or `{EXTENDS}` with another variant"
            ));
        };
        if !self.methods.contains(&method.as_str()) {
            return wrong(format!(
                "unknown method `{method}`{} Known: {}",
                did_you_mean(&method, self.methods.iter().copied()),
                self.methods.join(", ")
            ));
        }
        overlay(&mut changes, own);
        // What is wrong with a setting may stand in either.
        let place = match table.contains_key(EXTENDS) {
            true => format!("{place} or what it extends"),
            false => place,
        };
        Ok(Choice {
            name: name.to_owned(),
            method,
            changes,
            place,
        })
    }

    /// The variant called `wanted` that `name` extends. By its own name that is the one of the files that this file extends.
    fn base(
        &self,
        wanted: &str,
        name: &'a str,
        open: &mut Vec<&'a str>,
        place: &str,
    ) -> Result<Choice, StudyError> {
        let wrong = |reason: String| Err(StudyError::setting(place, reason));
        let beside = self.own.get_key_value(wanted);
        if let Some((wanted, _)) = beside.filter(|_| wanted != name) {
            open.push(name);
            if open.contains(&wanted.as_str()) {
                return wrong(format!(
                    "`{EXTENDS}` is \"{wanted}\", which goes round in a circle"
                ));
            }
            let found = self.variant(wanted, open);
            open.pop();
            return found;
        }
        self.extended.get(wanted).cloned().map_or_else(
            || {
                let known = self.own.keys().filter(|known| *known != name);
                let known: Vec<&str> = known
                    .chain(self.extended.keys())
                    .map(|k| k.as_str())
                    .collect();
                wrong(format!(
                    "`{EXTENDS}` is \"{wanted}\", which is no other variant{} Known: {}",
                    did_you_mean(wanted, known.iter().copied()),
                    if known.is_empty() {
                        "none".to_owned()
                    } else {
                        known.join(", ")
                    }
                ))
            },
            Ok,
        )
    }
}
