//! Which pictures show one object: the parts of a split keep them together.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::data::DataError;

/// Files that are named when they belong to no group.
const NAMED: usize = 3;

/// Finds the object that a file shows in its name.
#[derive(Clone, Debug)]
pub struct GroupBy(Regex);

impl GroupBy {
    /// From a regular expression with a group in parentheses: what the first one matches names the
    /// object.
    ///
    /// # Errors
    /// In words, what it must be.
    pub fn new(pattern: &str) -> Result<Self, String> {
        const EXAMPLE: &str = "such as ^([^_]+)_ for what precedes the first underscore";
        let regex = Regex::new(pattern).map_err(|error| {
            // The last line says what is wrong, those before it point there.
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim().to_owned();
            format!("must be a regular expression, {EXAMPLE} ({reason})")
        })?;
        match regex.captures_len() {
            0 | 1 => Err(format!("must have a group in parentheses, {EXAMPLE}")),
            _ => Ok(Self(regex)),
        }
    }

    /// The group of every file, numbered by first appearance. What is searched is the path below
    /// `folder`, with `/` between folders: of a file in it, the name.
    ///
    /// # Errors
    /// [`DataError::Format`] naming files that it does not match.
    pub fn groups(&self, folder: &Path, files: &[PathBuf]) -> Result<Vec<usize>, DataError> {
        let names: Vec<String> = files.iter().map(|file| below(folder, file)).collect();
        let found: Vec<Option<&str>> = names
            .iter()
            .map(|name| Some(self.0.captures(name)?.get(1)?.as_str()))
            .collect();
        let missing: Vec<&str> = found
            .iter()
            .zip(&names)
            .filter(|(group, _)| group.is_none())
            .map(|(_, name)| name.as_str())
            .collect();
        if !missing.is_empty() {
            return Err(DataError::format(
                folder,
                format!(
                    "the expression `{}`, which groups images by their names, does not match {} of {} of them, such as {}: change --group-by",
                    self.0,
                    missing.len(),
                    files.len(),
                    missing[..missing.len().min(NAMED)].join(", ")
                ),
            ));
        }
        Ok(numbered(found.into_iter().flatten()))
    }
}

/// The group of every file in `folder` or below it: by its name where that is asked for, otherwise by
/// the sub-folder that it lies in.
///
/// # Errors
/// As of [`GroupBy::groups`].
pub(super) fn groups_of(
    folder: &Path,
    files: &[PathBuf],
    group_by: Option<&GroupBy>,
) -> Result<Option<Vec<usize>>, DataError> {
    match group_by {
        Some(group_by) => group_by.groups(folder, files).map(Some),
        None => Ok(sub_folders(folder, files)),
    }
}

/// The group of every file where all of them lie in sub-folders of `folder`: each of these is one.
/// `None` where a file lies in the folder itself, or all are in one sub-folder.
fn sub_folders(folder: &Path, files: &[PathBuf]) -> Option<Vec<usize>> {
    let names: Vec<String> = files.iter().map(|file| below(folder, file)).collect();
    let first: Option<Vec<&str>> = names
        .iter()
        .map(|name| Some(name.split_once('/')?.0))
        .collect();
    let groups = numbered(first?.into_iter());
    groups.iter().any(|&group| group > 0).then_some(groups)
}

/// The path of a file below a folder, with `/` on every system.
pub(crate) fn below(folder: &Path, file: &Path) -> String {
    let inside = file.strip_prefix(folder).unwrap_or(file);
    let parts = inside.components().map(|part| part.as_os_str());
    let parts: Vec<_> = parts.map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

fn numbered<'a>(names: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let mut numbers = HashMap::new();
    names
        .map(|name| {
            let next = numbers.len();
            *numbers.entry(name).or_insert(next)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<PathBuf> {
        let inside = |name: &&str| Path::new("parts").join(name);
        names.iter().map(inside).collect()
    }

    #[test]
    fn the_first_group_of_the_expression_names_the_object() {
        let by_name = GroupBy::new(r"^(kos\d+)_(Part\d)").unwrap();
        let files = files(&["kos01_Part0.jpg", "kos02_Part0.jpg", "kos01_Part3.jpg"]);
        let groups = by_name.groups(Path::new("parts"), &files).unwrap();
        assert_eq!(groups, [0, 1, 0]);
        let by_folder = GroupBy::new("^([^/]+)/").unwrap();
        let error = by_folder
            .groups(Path::new("parts"), &files)
            .unwrap_err()
            .to_string();
        for part in [
            "does not match 3 of 3",
            "kos01_Part0.jpg, kos02",
            "--group-by",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn paths_below_the_folder_are_searched() {
        let by_folder = GroupBy::new("^([^/]+)/").unwrap();
        let files = files(&["b/0.png", "a/0.png", "b/deep/0.png"]);
        let groups = by_folder.groups(Path::new("parts"), &files).unwrap();
        assert_eq!(groups, [0, 1, 0]);
        assert_eq!(sub_folders(Path::new("parts"), &files), Some(groups));
    }

    #[test]
    fn sub_folders_are_groups_where_every_image_lies_in_one() {
        let folder = Path::new("parts");
        assert_eq!(sub_folders(folder, &files(&["a/0.png", "1.png"])), None);
        assert_eq!(sub_folders(folder, &files(&["a/0.png", "a/1.png"])), None);
        assert_eq!(
            sub_folders(folder, &files(&["a/0.png", "b/0.png"])),
            Some(vec![0, 1])
        );
        assert_eq!(sub_folders(folder, &[]), None);
    }

    #[test]
    fn what_is_no_expression_is_refused_with_an_example() {
        let refused = |pattern: &str| GroupBy::new(pattern).unwrap_err();
        assert!(refused("kos").contains("must have a group in parentheses, such as"));
        let text = refused("(kos");
        assert!(
            text.contains("must be a regular expression") && text.contains("unclosed group"),
            "{text}"
        );
        assert!(!text.contains('\n'), "{text}");
    }
}
