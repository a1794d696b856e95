//! The rooms of `src` use those below them, never one above, and not each other where they stand side
//! by side.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// From the ground up; rooms of one row do not use each other.
const ROWS: [&[&str]; 13] = [
    &["files", "suggest", "logging", "progress"],
    &["safetensors_file", "lock", "backend"],
    &["ops"],
    &["evaluate"],
    &["data"],
    &["train"],
    &["encoder", "flow"],
    &["report"],
    &["study"],
    &["method"],
    &["run"],
    &["sweep", "folder"],
    &["cli"],
];

fn row(room: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&room))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The rooms that a text names as `crate::room`, in comments too: a link is an arrow as well.
fn used(text: &str) -> BTreeSet<&str> {
    let after = text.split("crate::").skip(1);
    let names = after.map(|rest| {
        let end = rest.find(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
        &rest[..end.unwrap_or(rest.len())]
    });
    names.filter(|name| row(name).is_some()).collect()
}

/// What is above its tests, and nothing of a file of tests: those may bring in whatever they like.
fn without_tests<'text>(path: &Path, text: &'text str) -> &'text str {
    if path.ends_with("tests.rs") {
        return "";
    }
    let marker = "#[cfg(test)]\n";
    let mut starts = text.match_indices(marker).map(|(start, _)| start);
    // What is for tests alone among other things (a name, a function) does not end them.
    let is_module = |&start: &usize| {
        let line = text[start + marker.len()..]
            .lines()
            .next()
            .unwrap_or_default();
        line.contains("mod ") && line.ends_with('{')
    };
    starts.find(is_module).map_or(text, |start| &text[..start])
}

#[test]
fn no_room_uses_one_above_or_beside_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 100, "{} files", files.len());
    let mut wrong = Vec::new();
    let mut known = 0;
    for path in files {
        let relative = path.strip_prefix(&src).unwrap();
        let first = relative.components().next().unwrap();
        let room = Path::new(first.as_os_str()).file_stem().unwrap();
        let room = room.to_str().unwrap();
        if ["lib", "main"].contains(&room) {
            continue;
        }
        let Some(own) = row(room) else {
            wrong.push(format!(
                "{}: say in this test where it stands",
                relative.display()
            ));
            continue;
        };
        known += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        for other in used(without_tests(&path, &text)) {
            let upward = row(other).is_some_and(|other| other >= own);
            if other != room && upward {
                wrong.push(format!("{} uses {other}", relative.display()));
            }
        }
    }
    assert!(known > 100, "{known} files");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A method may use what all share, and what lies below, but not another method.
#[test]
fn no_method_uses_another() {
    let room = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/method");
    let folders: Vec<PathBuf> = std::fs::read_dir(&room)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        // What methods share has no entry of its own.
        .filter(|path| {
            let text = std::fs::read_to_string(path.join("mod.rs"));
            text.is_ok_and(|text| text.contains("static ENTRY: Entry"))
        })
        .collect();
    assert!(folders.len() >= 6, "{folders:?}");
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let names: Vec<String> = folders.iter().map(|path| name(path)).collect();
    for folder in &folders {
        let mut files = Vec::new();
        sources(folder, &mut files);
        for path in files {
            let text = std::fs::read_to_string(&path).unwrap();
            for other in names.iter().filter(|other| **other != name(folder)) {
                let uses = format!("method::{other}::");
                // `super::{one, two::Three}` as well, on however many lines.
                let beside = |statement: &str| {
                    let named = format!("{other}::");
                    statement.contains("use super::") && statement.contains(&named)
                };
                let text = without_tests(&path, &text);
                assert!(
                    !text.contains(&uses) && !text.split(';').any(beside),
                    "{} uses {other}",
                    path.display()
                );
            }
        }
    }
}
