//! Which of several settings a study should have, chosen without the class left out: another class
//! stands in for it as the anomaly, and the class itself is in no part of the split.

use super::candidate::{CandidateSettings, fault};
use super::sweep::{Overall, sweep_part};
use super::workspace::{features_folder, stand_in_folder};
use super::{
    ExperimentConfig, ExperimentError, Method, RunOptions, SelectWorkspace, Study, SweepPlan,
    class_tags,
};
use crate::data::{DataStore, DatasetName};
use crate::report::{Candidate, CandidateRun, SelectionReport};

/// What a selection runs over.
#[derive(Clone, Debug)]
pub struct SelectPlan {
    /// The settings to compare, `key=value,key=value` each; empty, or `defaults`, for the study as
    /// it is.
    pub candidates: Vec<String>,
    /// How many classes stand in for every class left out, one at a time: the first ones after it.
    pub stand_ins: usize,
    /// Indices of the classes that are left out, one at a time.
    pub classes: Vec<usize>,
    /// The method.
    pub method: Method,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// Classes at a time.
    pub jobs: usize,
}

/// Runs every candidate with every stand-in on every class and seed, unless that is done, and writes
/// which of them is to be chosen.
///
/// A run that fails is noted and does not stop the others.
///
/// # Errors
/// [`ExperimentError`] when a candidate or a number is impossible, before anything is run, or when
/// the selection cannot go on: another one is using its folder, it was interrupted, or its files
/// cannot be written. After an interruption the same call continues.
pub fn select(
    study: &Study,
    overrides: &[String],
    plan: &SelectPlan,
    store: &DataStore,
    options: &RunOptions,
) -> Result<SelectionReport, ExperimentError> {
    let candidates = plan.candidates(study, overrides)?;
    let dataset = study.resolve(overrides)?.data.dataset;
    let workspace = SelectWorkspace::open(&options.artifacts, &study.name)?;
    let sweep = SweepPlan {
        classes: plan.classes.clone(),
        methods: vec![plan.method],
        seeds: plan.seeds.clone(),
        jobs: plan.jobs,
    };
    let overall = Overall::new(candidates.len() * plan.stand_ins * sweep.cells());
    let mut compared = Vec::new();
    for (settings, folder) in candidates {
        let mut runs = Vec::new();
        for number in 1..=plan.stand_ins {
            let mut all = overrides.to_vec();
            all.extend(settings.assignments.iter().cloned());
            all.push(format!("data.stand_in={number}"));
            let options = RunOptions {
                artifacts: workspace.artifacts(&folder, number),
                log: Some(workspace.log()),
                features: Some(features_folder(&options.artifacts)),
                ..options.clone()
            };
            let label = format!("{}, stand-in {number}: ", settings.name);
            let within = (&overall, label.as_str());
            let table = sweep_part(study, &all, &sweep, store, &options, within)?;
            for row in table.results().iter().filter(|row| sweep.covers(row)) {
                let class = usize::from(row.class);
                runs.push(CandidateRun {
                    left_out: tag(dataset, class),
                    stand_in: tag(dataset, class + number),
                    seed: row.seed,
                    auroc: row.auroc,
                    report: format!("{}/{}", stand_in_folder(&folder, number), row.report),
                    error: row.error.clone(),
                });
            }
        }
        compared.push(Candidate {
            name: settings.name,
            settings: settings.assignments,
            folder,
            runs,
            ..Candidate::default()
        });
    }
    let report = SelectionReport {
        study: study.name.clone(),
        dataset: dataset.to_string(),
        method: plan.method.to_string(),
        seeds: plan.seeds.clone(),
        stand_ins: plan.stand_ins,
        classes: plan
            .classes
            .iter()
            .map(|&class| tag(dataset, class))
            .collect(),
        candidates: compared,
        version: format!(
            "encoder-flow {} ({})",
            env!("CARGO_PKG_VERSION"),
            env!("ENCODER_FLOW_REVISION")
        ),
        command: options.command.clone(),
        ..SelectionReport::default()
    };
    let report = decided(report);
    workspace.write(&report)?;
    Ok(report)
}

impl SelectPlan {
    /// The candidates, each with the name of its folder.
    fn candidates(
        &self,
        study: &Study,
        overrides: &[String],
    ) -> Result<Vec<(CandidateSettings, String)>, ExperimentError> {
        let refused = |place: &str, reason: String| {
            Err(ExperimentError::Setting {
                place: place.to_owned(),
                reason,
            })
        };
        let base = study.resolve(overrides)?;
        let dataset = base.data.dataset;
        let classes = dataset.anomalies().len();
        if base.data.stand_in > 0 {
            return refused(
                "data.stand_in",
                format!(
                    "is {}: a selection takes every stand-in in turn, so leave it at 0",
                    base.data.stand_in
                ),
            );
        }
        if !(1..classes).contains(&self.stand_ins) {
            return refused(
                &format!("--stand-ins {}", self.stand_ins),
                format!(
                    "{dataset} has {classes} classes, so from 1 to {} can stand in for the one left out",
                    classes - 1
                ),
            );
        }
        if self.candidates.is_empty() {
            return refused(
                "--candidate",
                "there is nothing to choose from: name settings, as in --candidate encoder.kind=pca,encoder.latent=16, or `defaults`".to_owned(),
            );
        }
        // What decides which images are tested on.
        let protocol = |config: &ExperimentConfig| {
            let data = &config.data;
            (data.dataset, data.train_share, data.limit, data.stand_in)
        };
        let mut known: Vec<(CandidateSettings, String, ExperimentConfig)> = Vec::new();
        for text in &self.candidates {
            let candidate = CandidateSettings::parse(text)?;
            let config = candidate.resolve(study, overrides)?;
            if protocol(&config) != protocol(&base) {
                return Err(fault(
                    &candidate.name,
                    "changes data.dataset, data.train_share, data.limit or data.stand_in, and so the test images, on which candidates are compared: change them for all with --set",
                ));
            }
            let same = known
                .iter()
                .find(|(_, _, other)| self.method.settings(other) == self.method.settings(&config));
            if let Some((other, ..)) = same {
                return Err(fault(
                    &candidate.name,
                    &format!(
                        "is given twice: for {} its settings are those of --candidate {}",
                        self.method, other.name
                    ),
                ));
            }
            let folder = candidate.folder(self.method, &config);
            known.push((candidate, folder, config));
        }
        let named = known.into_iter();
        Ok(named
            .map(|(candidate, folder, _)| (candidate, folder))
            .collect())
    }
}

/// Name of a class, counted on from the first after the last.
fn tag(dataset: DatasetName, class: usize) -> String {
    let classes = dataset.anomalies().len();
    class_tags(dataset, class % classes).swap_remove(0)
}

/// The report with the means of all runs, and the choices that follow from them.
fn decided(mut report: SelectionReport) -> SelectionReport {
    for candidate in &mut report.candidates {
        let of_class = |class: &String| {
            let runs = candidate.runs.iter().filter(|run| run.left_out == *class);
            mean(runs.map(|run| run.auroc))
        };
        candidate.auroc = report.classes.iter().map(of_class).collect();
        candidate.mean = mean(candidate.auroc.iter().copied());
    }
    let candidates = &report.candidates;
    let name = |index: usize| candidates[index].name.clone();
    let by_class = (0..report.classes.len()).map(|class| {
        let values = candidates.iter().map(|candidate| candidate.auroc[class]);
        highest(values).map(name)
    });
    let chosen_by_class = by_class.collect();
    let means = candidates.iter().map(|candidate| candidate.mean);
    let chosen = highest(means).map(name);
    SelectionReport {
        chosen,
        chosen_by_class,
        ..report
    }
}

/// Mean of at least one value, none of them missing: without a run it would be of something else.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.collect::<Option<_>>()?;
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Index of the highest value, the first of equal ones.
fn highest(values: impl Iterator<Item = Option<f64>>) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (index, value) in values.enumerate() {
        if let Some(value) = value
            && best.is_none_or(|(_, highest)| value > highest)
        {
            best = Some((index, value));
        }
    }
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Studies;

    /// A candidate with two runs on each of two classes.
    fn candidate(name: &str, auroc: [[Option<f64>; 2]; 2]) -> Candidate {
        let run = |(class, number): (usize, usize)| CandidateRun {
            left_out: class.to_string(),
            stand_in: (class + number + 1).to_string(),
            auroc: auroc[class][number],
            ..CandidateRun::default()
        };
        Candidate {
            name: name.to_owned(),
            runs: [(0, 0), (1, 0), (0, 1), (1, 1)].map(run).into(),
            ..Candidate::default()
        }
    }

    fn decide(candidates: Vec<Candidate>) -> SelectionReport {
        decided(SelectionReport {
            classes: vec!["0".to_owned(), "1".to_owned()],
            candidates,
            ..SelectionReport::default()
        })
    }

    fn choices(report: &SelectionReport) -> [Option<&str>; 3] {
        let by_class = |class: usize| report.chosen_by_class[class].as_deref();
        [by_class(0), by_class(1), report.chosen.as_deref()]
    }

    #[test]
    fn every_class_and_all_together_choose_the_highest_mean() {
        let report = decide(vec![
            candidate("a", [[Some(0.75), Some(0.75)], [Some(0.25), Some(0.5)]]),
            candidate("b", [[Some(1.0), Some(0.25)], [Some(0.75), Some(0.75)]]),
        ]);
        assert_eq!(report.candidates[0].auroc, [Some(0.75), Some(0.375)]);
        assert_eq!(report.candidates[0].mean, Some(0.5625));
        assert_eq!(report.candidates[1].auroc, [Some(0.625), Some(0.75)]);
        assert_eq!(choices(&report), [Some("a"), Some("b"), Some("b")]);
    }

    #[test]
    fn a_candidate_without_all_runs_is_not_chosen_and_the_first_of_equals_is() {
        let report = decide(vec![
            candidate("gap", [[Some(1.0), Some(1.0)], [Some(1.0), None]]),
            candidate("first", [[Some(0.5), Some(0.5)], [Some(0.5), Some(0.5)]]),
            candidate("second", [[Some(0.5), Some(0.5)], [Some(0.5), Some(0.5)]]),
        ]);
        assert_eq!(report.candidates[0].auroc, [Some(1.0), None]);
        assert_eq!(report.candidates[0].mean, None);
        assert_eq!(
            choices(&report),
            [Some("gap"), Some("first"), Some("first")]
        );
        let report = decide(vec![candidate("gap", [[None, None], [Some(1.0), None]])]);
        assert_eq!(choices(&report), [None, None, None]);
        assert_eq!(choices(&decide(Vec::new())), [None, None, None]);
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let studies = Studies::open(None).unwrap();
        let study = studies.study("digits").unwrap();
        let refused = |candidates: &[&str], stand_ins: usize, overrides: &[&str]| {
            let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
            let overrides: Vec<String> = owned(overrides);
            let plan = SelectPlan {
                candidates: owned(candidates),
                stand_ins,
                classes: vec![3],
                method: Method::EncoderFlow,
                seeds: vec![0],
                jobs: 1,
            };
            let found = plan.candidates(study, &overrides);
            found.unwrap_err().to_string()
        };
        for (candidates, stand_ins, overrides, expected) in [
            (&[][..], 1, &[][..], "nothing to choose from"),
            (&["defaults"], 10, &[], "from 1 to 9"),
            (&["defaults"], 0, &[], "from 1 to 9"),
            (&["defaults"], 1, &["data.stand_in=1"], "leave it at 0"),
            (&["defaults", ""], 1, &[], "--candidate defaults"),
            (&["flow.hidden=128", "defaults"], 1, &[], "given twice"),
            (&["defaults", "knn.neighbours=3"], 1, &[], "given twice"),
            (&["data.limit=500"], 1, &[], "test images"),
            (&["data.stand_in=2"], 1, &[], "test images"),
            (&["flow.hiden=3"], 1, &[], "did you mean `flow.hidden`"),
        ] {
            let error = refused(candidates, stand_ins, overrides);
            assert!(error.contains(expected), "{candidates:?}: {error}");
        }
    }
}
