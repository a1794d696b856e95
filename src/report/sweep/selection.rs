//! Candidate settings compared on classes that stand in for the anomaly: plain values, filled by the
//! owner of the selection, and the same as GitHub Markdown.

use serde::Serialize;

use super::markdown::{escape, fence, head};

/// Which settings were compared, and which were chosen. AUROC everywhere in 0..=1.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SelectionReport {
    /// Whose settings are chosen, e.g. "mnist".
    pub study: String,
    /// The data set.
    pub dataset: String,
    /// Seeds of the runs.
    pub seeds: Vec<u64>,
    /// Classes that stood in for every class left out.
    pub stand_ins: usize,
    /// Names of the classes left out.
    pub classes: Vec<String>,
    /// The settings compared, in the order in which they were given.
    pub candidates: Vec<Candidate>,
    /// Name of the candidate with the highest mean over all classes.
    pub chosen: Option<String>,
    /// For every class, the name of the candidate that its own runs alone would choose.
    pub chosen_by_class: Vec<Option<String>>,
    /// The program that made this.
    pub version: String,
    /// The command that repeats the selection.
    pub command: String,
}

/// One of the settings compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Candidate {
    /// Name of the variant, or of the method.
    pub name: String,
    /// Name of the method.
    pub method: String,
    /// What is set over the study's own settings, `key=value` each.
    pub settings: Vec<String>,
    /// Mean AUROC over stand-ins and seeds, by class left out; None unless all of its runs have one.
    pub auroc: Vec<Option<f64>>,
    /// Mean over all classes; None unless all of them have a value.
    pub mean: Option<f64>,
    /// Every run.
    pub runs: Vec<CandidateRun>,
}

/// One run of a candidate.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CandidateRun {
    /// Name of the class left out, of which no image was used.
    pub left_out: String,
    /// Name of the class that played the anomaly.
    pub stand_in: String,
    /// Seed of the run.
    pub seed: u64,
    /// Its AUROC; None when it failed.
    pub auroc: Option<f64>,
    /// Its page, relative to the folder of the selection.
    pub report: String,
    /// Why it failed, or empty.
    pub error: String,
}

impl SelectionReport {
    /// The runs without a result, each with its candidate.
    pub fn failures(&self) -> impl Iterator<Item = (&Candidate, &CandidateRun)> {
        self.candidates.iter().flat_map(|candidate| {
            let failed = candidate.runs.iter().filter(|run| run.auroc.is_none());
            failed.map(move |run| (candidate, run))
        })
    }

    /// Names of the classes whose own runs alone choose the candidate called `name`.
    pub fn choosing(&self, name: Option<&str>) -> Vec<&str> {
        let choices = self.classes.iter().zip(&self.chosen_by_class);
        choices
            .filter(|(_, choice)| choice.as_deref() == name)
            .map(|(class, _)| class.as_str())
            .collect()
    }

    fn sentence(&self) -> String {
        let setup = format!(
            "{} candidates on {}, {} classes left out one at a time, {} of the others standing in for each, seeds {}",
            self.candidates.len(),
            self.dataset,
            self.classes.len(),
            self.stand_ins,
            self.seeds
                .iter()
                .map(u64::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        );
        match &self.chosen {
            None => format!("{setup}: nothing is chosen, as no candidate has all of its runs."),
            Some(name) => format!(
                "{setup}: by their own runs alone, {} of {} classes choose {}, which also has the highest overall mean.",
                self.choosing(Some(name)).len(),
                self.classes.len(),
                code(name)
            ),
        }
    }
}

/// `report` as Markdown: the table of candidates and classes, what every class would choose, failures
/// and what the numbers mean. The choice of each column is in bold.
pub fn selection_markdown(report: &SelectionReport) -> String {
    let mut out = format!(
        "# {}: settings chosen on stand-ins\n\n{}\n",
        escape(&report.study),
        report.sentence()
    );
    out.push_str("\n## Mean AUROC against stand-ins, by class left out\n\n");
    let classes = report.classes.iter().map(String::as_str);
    head(&mut out, "candidate", classes);
    for candidate in &report.candidates {
        out.push_str(&format!("| {} |", code(&candidate.name)));
        let choices = report.chosen_by_class.iter().chain([&report.chosen]);
        let values = candidate.auroc.iter().chain([&candidate.mean]);
        for (value, choice) in values.zip(choices) {
            let chosen = choice.as_ref() == Some(&candidate.name);
            out.push_str(&format!(" {} |", number(*value, chosen)));
        }
        out.push('\n');
    }
    let variants = report.candidates.iter();
    let mut variants = variants
        .filter(|candidate| candidate.name != candidate.method)
        .peekable();
    if variants.peek().is_some() {
        out.push_str("\n## Candidates\n\n");
    }
    for candidate in variants {
        let settings = candidate.settings.iter().map(|setting| code(setting));
        let settings = settings.collect::<Vec<_>>().join(", ");
        let (name, method) = (code(&candidate.name), code(&candidate.method));
        out.push_str(&format!("- {name}: {method} with {settings}\n"));
    }
    out.push_str("\n## What every class left out would choose by its own runs alone\n\n");
    for candidate in &report.candidates {
        let classes = report.choosing(Some(&candidate.name));
        if !classes.is_empty() {
            let line = format!("- {}: {}\n", code(&candidate.name), classes.join(", "));
            out.push_str(&line);
        }
    }
    let undecided = report.choosing(None);
    if !undecided.is_empty() {
        out.push_str(&format!("- undecided: {}\n", undecided.join(", ")));
    }
    let mut failures = report.failures().peekable();
    if failures.peek().is_some() {
        out.push_str("\n## Failures\n\n");
    }
    for (candidate, run) in failures {
        out.push_str(&format!(
            "- {}, {} left out, {} standing in, seed {}: {}\n",
            code(&candidate.name),
            escape(&run.left_out),
            escape(&run.stand_in),
            run.seed,
            escape(&run.error)
        ));
    }
    out.push_str("\n## Notes\n\n");
    for note in NOTES {
        out.push_str(&format!("- {note}\n"));
    }
    if !report.command.is_empty() {
        let fence = fence(&report.command);
        out.push_str(&format!(
            "\n## Repeat\n\n{fence}sh\n{}\n{fence}\n",
            report.command
        ));
    }
    out
}

/// What the numbers mean.
const NOTES: [&str; 5] = [
    "In every run another class plays the anomaly, and the class left out is in no part of the split. All images are training and validation images of the final run of the class left out: none that it tests on has been scored. So what a class chooses by its own runs alone has seen nothing of its result.",
    "The choice by the overall mean is no such choice: every class took part in it, as a normal one and as a stand-in for others. Classes that would choose otherwise by themselves are named above.",
    "Every run is judged by its deciding score, the one that a verdict rests on.",
    "A candidate without all of its runs is not chosen; of equal ones the first is.",
    "An AUROC against a stand-in compares settings. It is no result on the class left out.",
];

/// AUROC with three decimals.
fn number(value: Option<f64>, chosen: bool) -> String {
    match value {
        Some(value) if chosen => format!("**{value:.3}**"),
        Some(value) => format!("{value:.3}"),
        None => "\u{2013}".to_owned(),
    }
}

/// `text` as code, where Markdown can say it.
fn code(text: &str) -> String {
    match text.contains(['`', '|', '\n', '\r']) {
        true => escape(text),
        false => format!("`{text}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str, auroc: [Option<f64>; 2], mean: Option<f64>) -> Candidate {
        let run = |(class, auroc): (usize, Option<f64>)| CandidateRun {
            left_out: class.to_string(),
            stand_in: (class + 1).to_string(),
            auroc,
            error: auroc.map_or("no <data>", |_| "").to_owned(),
            ..CandidateRun::default()
        };
        Candidate {
            name: name.to_owned(),
            auroc: auroc.into(),
            mean,
            runs: auroc.into_iter().enumerate().map(run).collect(),
            ..Candidate::default()
        }
    }

    fn report() -> SelectionReport {
        SelectionReport {
            study: "mnist".to_owned(),
            dataset: "mnist".to_owned(),
            seeds: vec![0, 1],
            stand_ins: 1,
            classes: vec!["0".to_owned(), "1".to_owned()],
            candidates: vec![
                candidate("defaults", [Some(0.9), Some(0.4)], Some(0.65)),
                candidate("a.b_c=1", [Some(0.8), Some(0.6)], Some(0.7)),
            ],
            chosen: Some("a.b_c=1".to_owned()),
            chosen_by_class: vec![Some("defaults".to_owned()), Some("a.b_c=1".to_owned())],
            command: "encoder-flow select mnist".to_owned(),
            ..SelectionReport::default()
        }
    }

    #[test]
    fn the_choice_of_every_column_is_bold() {
        let text = selection_markdown(&report());
        for expected in [
            "# mnist: settings chosen on stand-ins\n",
            "2 candidates on mnist, 2 classes left out one at a time, 1 of the others standing in for each, seeds 0, 1: by their own runs alone, 1 of 2 classes choose `a.b_c=1`, which",
            "| candidate | 0 | 1 | mean |\n|---|---:|---:|---:|\n",
            "| `defaults` | **0.900** | 0.400 | 0.650 |\n",
            "| `a.b_c=1` | 0.800 | **0.600** | **0.700** |\n",
            "- `defaults`: 0\n- `a.b_c=1`: 1\n",
            "```sh\nencoder-flow select mnist\n```\n",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        assert!(!text.contains("Failures"), "{text}");
    }

    #[test]
    fn a_run_that_failed_leaves_a_gap_and_is_named() {
        let report = SelectionReport {
            candidates: vec![candidate("x", [Some(0.9), None], None)],
            chosen: None,
            chosen_by_class: vec![Some("x".to_owned()), None],
            ..report()
        };
        assert_eq!(report.failures().count(), 1);
        let text = selection_markdown(&report);
        for expected in [
            "nothing is chosen",
            "| `x` | **0.900** | \u{2013} | \u{2013} |\n",
            "- undecided: 1\n",
            "- `x`, 1 left out, 2 standing in, seed 0: no &lt;data&gt;\n",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }
}
