//! How verdicts are printed.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use anyhow::bail;
use clap::ValueEnum;

use crate::folder::Judged;

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Aligned columns.
    Table,
    /// Comma-separated values with a header.
    Csv,
    /// One JSON object per line.
    Jsonl,
}

/// Prints verdicts as they come; a reader that has gone (`| head`) is no error, a full disk is one.
pub(super) struct Printer {
    format: Format,
    alpha: f64,
    begun: bool,
    reader_is_gone: bool,
}

impl Printer {
    pub(super) fn new(format: Format, alpha: f64) -> Self {
        Self {
            format,
            alpha,
            begun: false,
            reader_is_gone: false,
        }
    }

    /// True when nobody reads any more.
    pub(super) fn reader_is_gone(&self) -> bool {
        self.reader_is_gone
    }

    /// Prints one verdict, and before the first a header where the format has one.
    pub(super) fn print(&mut self, image: &Judged) -> anyhow::Result<()> {
        let verdict = &image.verdict;
        let anomalous = verdict.is_anomalous(self.alpha);
        let name = image.path.display().to_string();
        let text = match self.format {
            Format::Table => {
                let word = if anomalous { "ANOMALOUS" } else { "normal" };
                let name = on_one_line(&name);
                format!(
                    "{word:<9}  {:>8.4}  {:>9.2}  {:<15}  {name}\n",
                    verdict.p_value, verdict.score, verdict.driver
                )
            }
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(Vec::new());
                let mut row = vec![
                    name,
                    verdict.score.to_string(),
                    verdict.p_value.to_string(),
                    anomalous.to_string(),
                    verdict.driver.clone(),
                ];
                row.extend(verdict.scores.iter().map(|(_, value)| value.to_string()));
                let pictures = pictures(image).into_iter();
                row.extend(pictures.map(|(_, path)| path.display().to_string()));
                writer.write_record(row)?;
                String::from_utf8(writer.into_inner()?)?
            }
            Format::Jsonl => {
                let scores: serde_json::Map<String, serde_json::Value> = verdict
                    .scores
                    .iter()
                    .map(|&(name, value)| (name.to_owned(), value.into()))
                    .collect();
                let mut line = serde_json::json!({
                    "path": name,
                    "score": verdict.score,
                    "p_value": verdict.p_value,
                    "anomalous": anomalous,
                    "driver": verdict.driver,
                    "scores": scores,
                });
                for (name, path) in pictures(image) {
                    line[name] = path.display().to_string().into();
                }
                format!("{line}\n")
            }
        };
        let header = match std::mem::replace(&mut self.begun, true) {
            true => String::new(),
            false => self.header(image),
        };
        let mut out = std::io::stdout().lock();
        let written = out
            .write_all(format!("{header}{text}").as_bytes())
            .and_then(|()| out.flush());
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.reader_is_gone = true,
            Err(error) => bail!("cannot write to standard output: {error}"),
            Ok(()) => {}
        }
        Ok(())
    }

    fn header(&self, image: &Judged) -> String {
        match self.format {
            Format::Table => format!(
                "{:<9}  {:>8}  {:>9}  {:<15}  image\n",
                "verdict", "p-value", "score", "driven by"
            ),
            Format::Csv => {
                let scores = image.verdict.scores.iter().map(|&(name, _)| name);
                let pictures = pictures(image).into_iter().map(|(name, _)| name);
                let more = scores.chain(pictures).map(|name| format!(",{name}"));
                let more: String = more.collect();
                format!("path,score,p_value,anomalous,driver{more}\n")
            }
            Format::Jsonl => String::new(),
        }
    }
}

/// The pictures that were written of an image, where any are wanted.
fn pictures(image: &Judged) -> Vec<(&'static str, &PathBuf)> {
    let kinds = [("heatmap", &image.overlay), ("mask", &image.mask)];
    let written = kinds.into_iter();
    written
        .filter_map(|(name, path)| Some((name, path.as_ref()?)))
        .collect()
}

/// A name without what would break a row or reach the terminal as an order.
fn on_one_line(name: &str) -> String {
    let escaped = |letter: char| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    };
    name.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_its_row() {
        assert_eq!(
            on_one_line("a\nb\u{1b}[2J \u{e4}.png"),
            "a\\nb\\u{1b}[2J \u{e4}.png"
        );
    }
}
