//! The scores of every image of a run, as a table on disk.

use std::path::Path;

use crate::files::{self, FileError};
use crate::method::{Calibration, Part, Parts, Scores};

/// Name of the column of the deciding scores.
pub const DECIDING: &str = "deciding";

/// Columns before the scores.
const FIXED: [&str; 4] = ["split", "index", "label", "truth"];
/// The column after these, where every image has a file.
const FILE: &str = "file";

/// Scores of one part of the data.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredPart {
    /// `train`, `validation`, `test-normal`, `test-anomalous`, or the name of another data set.
    pub name: String,
    /// Index of each image in its data set's pool.
    pub indices: Vec<usize>,
    /// Class of each image.
    pub labels: Vec<u8>,
    /// One column per score; higher is more anomalous.
    pub columns: Vec<Vec<f32>>,
}

/// Scores of all parts.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreTable {
    /// Names of the scores: the method's, then the deciding one.
    pub names: Vec<String>,
    /// The parts.
    pub parts: Vec<ScoredPart>,
}

impl ScoredPart {
    /// Joins scores, and the deciding one that `calibration` makes of them, with the images they
    /// belong to.
    pub fn new(part: &Part, scores: &Scores, calibration: &Calibration) -> Self {
        let mut columns = scores.columns().to_vec();
        columns.push(calibration.deciding(scores));
        let labels = part.indices.iter().map(|&index| part.labels[index]);
        Self {
            name: part.name.clone(),
            indices: part.indices.clone(),
            labels: labels.collect(),
            columns,
        }
    }

    /// Whether the part's images are of the data set that is trained on.
    pub fn is_own(&self) -> bool {
        let own = ["train", "validation", "test-normal", "test-anomalous"];
        own.contains(&self.name.as_str())
    }

    /// Whether the part's images are anomalous, by the protocol: those of the class left out, and of other data sets.
    pub fn is_anomalous(&self) -> bool {
        !matches!(self.name.as_str(), "train" | "validation" | "test-normal")
    }
}

impl ScoreTable {
    /// The scores of all parts that were scored.
    pub fn new(parts: &Parts, scores: &[(String, Scores)], calibration: &Calibration) -> Self {
        let names = scores.first().map_or(&[][..], |(_, scores)| scores.names());
        let names = names.iter().copied().chain([DECIDING]);
        let scored = scores.iter().filter_map(|(name, scores)| {
            let part = parts.get(name)?;
            Some(ScoredPart::new(part, scores, calibration))
        });
        Self {
            names: names.map(str::to_owned).collect(),
            parts: scored.collect(),
        }
    }

    /// Column of a score.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// The part called `name`.
    pub fn part(&self, name: &str) -> Option<&ScoredPart> {
        self.parts.iter().find(|part| part.name == name)
    }

    /// The test sets other than the anomalous class: other data sets.
    pub fn ood(&self) -> impl Iterator<Item = &ScoredPart> {
        self.parts
            .iter()
            .filter(|part| part.is_anomalous() && part.name != "test-anomalous")
    }

    /// Writes the table as CSV: `split,index,label,truth`, with `files` (of the images of the data set that is trained on)
    /// `file`, and one column per score, in the shortest decimal form that reads back as the same number.
    ///
    /// # Errors
    /// [`FileError`] naming the file.
    pub fn write(&self, path: &Path, files: Option<&[String]>) -> Result<(), FileError> {
        files::replace(path, |file| {
            let mut csv = csv::Writer::from_writer(file);
            let names = self.names.iter().map(String::as_str);
            let fixed = FIXED.into_iter().chain(files.map(|_| FILE));
            csv.write_record(fixed.chain(names))?;
            for part in &self.parts {
                for (row, (index, label)) in part.indices.iter().zip(&part.labels).enumerate() {
                    let fixed = [
                        part.name.clone(),
                        index.to_string(),
                        label.to_string(),
                        match part.is_anomalous() {
                            true => "anomalous".to_owned(),
                            false => "normal".to_owned(),
                        },
                    ];
                    let file = files.map(|files| match files.get(*index) {
                        Some(file) if part.is_own() => file.clone(),
                        _ => String::new(),
                    });
                    let scores = part.columns.iter().map(|column| column[row].to_string());
                    csv.write_record(fixed.into_iter().chain(file).chain(scores))?;
                }
            }
            csv.flush()
        })
    }

    /// Reads what [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// [`FileError`] naming the file, and the line where it is not such a table.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let text = files::read_text(path)?;
        let mut csv = csv::Reader::from_reader(text.as_bytes());
        let damaged = |reason: &dyn std::fmt::Display| FileError::contents(path, reason);
        let header = csv.headers().map_err(|error| damaged(&error))?.clone();
        if header.len() <= FIXED.len() || !header.iter().zip(FIXED).all(|(a, b)| a == b) {
            return Err(damaged(&format!(
                "its first line must begin with {}",
                FIXED.join(",")
            )));
        }
        let first = match header.get(FIXED.len()) {
            Some(FILE) => FIXED.len() + 1,
            _ => FIXED.len(),
        };
        let names: Vec<String> = header.iter().skip(first).map(str::to_owned).collect();
        let mut parts: Vec<ScoredPart> = Vec::new();
        for (line, record) in (2..).zip(csv.records()) {
            let record = record.map_err(|error| damaged(&error))?;
            let number = |column: usize| {
                record[column].parse::<f32>().map_err(|_| {
                    damaged(&format!(
                        "line {line}: `{}` is not a number",
                        &record[column]
                    ))
                })
            };
            if parts.last().is_none_or(|part| part.name != record[0]) {
                parts.push(ScoredPart {
                    name: record[0].to_owned(),
                    indices: Vec::new(),
                    labels: Vec::new(),
                    columns: vec![Vec::new(); names.len()],
                });
            }
            let Some(part) = parts.last_mut() else {
                continue;
            };
            let whole = |column: usize| {
                record[column].parse::<usize>().map_err(|_| {
                    damaged(&format!(
                        "line {line}: `{}` is not an index",
                        &record[column]
                    ))
                })
            };
            part.indices.push(whole(1)?);
            let label = u8::try_from(whole(2)?)
                .map_err(|_| damaged(&format!("line {line}: label out of range")))?;
            part.labels.push(label);
            for (index, column) in part.columns.iter_mut().enumerate() {
                column.push(number(first + index)?);
            }
        }
        Ok(Self { names, parts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.csv");
        let part = |name: &str, score: f32| ScoredPart {
            name: name.to_owned(),
            indices: vec![3, 1],
            labels: vec![9, 0],
            columns: vec![vec![score, 1e-30], vec![0.1, -0.0]],
        };
        let table = ScoreTable {
            names: vec!["nll".to_owned(), "reconstruction".to_owned()],
            parts: vec![part("train", 1.0 / 3.0), part("svhn", 16_777_217.0)],
        };
        let files: Vec<String> = ["a.png", "b,c.png", "d.png", "e.png"]
            .map(str::to_owned)
            .into();
        table.write(&path, Some(&files)).unwrap();
        assert_eq!(ScoreTable::read(&path).unwrap(), table);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("split,index,label,truth,file,nll,reconstruction\n"));
        // Of another data set there are no files.
        assert!(
            text.contains("train,1,0,normal,\"b,c.png\",") && text.contains("svhn,3,9,anomalous,,")
        );
        table.write(&path, None).unwrap();
        assert_eq!(ScoreTable::read(&path).unwrap(), table);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("split,index,label,truth,nll,reconstruction\ntrain,3,9,normal,"));
    }

    #[test]
    fn damaged_tables_are_named_with_their_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.csv");
        for (text, expected) in [
            ("", "first line"),
            ("a,b\n1,2\n", "first line"),
            (
                "split,index,label,truth,nll\ntrain,0,1,normal,x\n",
                "line 2",
            ),
            ("split,index,label,truth,nll\ntrain,0,1,normal\n", "record"),
            (
                "split,index,label,truth,nll\ntrain,0,999,normal,1\n",
                "line 2",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = ScoreTable::read(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
