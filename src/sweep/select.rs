//! Which of several settings a study should have, chosen without the class left out: another class
//! stands in for it as the anomaly, and the class itself is in no part of the split.

use serde::{Deserialize, Serialize};

use super::plan::{Overall, anew, sweep_part};
use super::request::Part;
use super::{Request, SelectWorkspace, SweepPlan, SweepTable, SweepWorkspace};
use crate::data::{DataStore, DatasetName};
use crate::evaluate::whole_mean;
use crate::report::{Candidate, CandidateRun, SelectionReport};
use crate::run::{RunError, RunOptions, features_folder};
use crate::study::{Settings, Study, StudyError, class_tag};

/// What a selection runs over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectPlan {
    /// The variants or methods to compare, by name.
    pub candidates: Vec<String>,
    /// How many classes stand in for every class left out, one at a time: the first ones after it.
    pub stand_ins: usize,
    /// Indices of the classes that are left out, one at a time.
    pub classes: Vec<usize>,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// Classes at a time.
    pub jobs: usize,
}

/// Runs every candidate with every stand-in on every class and seed, unless that is done, and writes
/// which of them is to be chosen.
///
/// The images of these runs are the training and validation images that the final run of the class
/// left out will have, and nothing else: no image that it tests on is scored, and none of its
/// class. What is chosen for a class comes from the runs that leave this class out, in which it plays
/// no part. The choice for all classes together is shown beside it; in it every class takes part,
/// as a normal one and as a stand-in for others.
///
/// A run that fails is noted and does not stop the others.
///
/// # Errors
/// [`RunError`] when a candidate or a number is impossible, before anything is run, or when the
/// selection cannot go on: another one is using its folder, it was interrupted, or its files cannot
/// be written. After an interruption the same call continues.
pub fn select(
    study: &Study,
    overrides: &[String],
    plan: &SelectPlan,
    store: &DataStore,
    options: &RunOptions,
) -> Result<SelectionReport, RunError> {
    plan.check(study, overrides)?;
    let workspace = SelectWorkspace::open(&options.artifacts, &study.name)?;
    let overall = Overall::new(plan.stand_ins * plan.sweep().cells());
    let request = Request::Select(plan.clone());
    let options = &RunOptions {
        log: Some(workspace.log()),
        ..options.clone()
    };
    anew(
        workspace.root(),
        (&request, overrides),
        options,
        |options| {
            let mut tables = Vec::new();
            for part in plan.parts(&study.name, overrides, options) {
                let (overrides, options) = (&part.overrides, &part.options);
                let sweep = SweepWorkspace::open(&options.artifacts, &study.name)?;
                let within = (&sweep, &overall, part.label.as_str());
                tables.push(sweep_part(
                    study, overrides, &part.plan, store, options, within,
                )?);
            }
            let report = selection(study, overrides, plan, &tables, &options.command)?;
            workspace.write(&report)?;
            Ok(report)
        },
    )
}

/// What the tables of a selection's parts, one for every stand-in, say together.
///
/// # Errors
/// [`StudyError`] when there is no such candidate.
pub(super) fn selection(
    study: &Study,
    overrides: &[String],
    plan: &SelectPlan,
    tables: &[SweepTable],
    command: &str,
) -> Result<SelectionReport, StudyError> {
    let dataset = study.shared(overrides)?.data.dataset;
    let sweep = plan.sweep();
    let mut compared: Vec<Candidate> = Vec::new();
    for name in &plan.candidates {
        let choice = study.choice(name)?;
        compared.push(Candidate {
            name: choice.name.clone(),
            method: choice.method.clone(),
            settings: choice.settings(),
            ..Candidate::default()
        });
    }
    for (number, table) in (1..).zip(tables) {
        for row in table.results().iter().filter(|row| sweep.covers(row)) {
            let class = usize::from(row.class);
            let candidate = compared.iter_mut().find(|known| known.name == row.method);
            let Some(candidate) = candidate else {
                continue;
            };
            candidate.runs.push(CandidateRun {
                left_out: tag(dataset, class),
                stand_in: tag(dataset, class + number),
                seed: row.seed,
                auroc: row.auroc,
                report: format!("{}/{}", SelectWorkspace::folder(number), row.report),
                error: row.error.clone(),
            });
        }
    }
    let report = SelectionReport {
        study: study.name.clone(),
        dataset: dataset.to_string(),
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
        command: command.to_owned(),
        ..SelectionReport::default()
    };
    Ok(decided(report))
}

impl SelectPlan {
    /// The sweep that is made with every stand-in.
    fn sweep(&self) -> SweepPlan {
        SweepPlan {
            classes: self.classes.clone(),
            methods: self.candidates.clone(),
            seeds: self.seeds.clone(),
            jobs: self.jobs,
        }
    }

    /// Its tables, one for every stand-in.
    pub(super) fn parts(
        &self,
        study: &str,
        overrides: &[String],
        options: &RunOptions,
    ) -> Vec<Part> {
        let part = |number: usize| {
            let mut all = overrides.to_vec();
            all.push(format!("data.stand_in={number}"));
            // A stand-in is the only anomaly: other data sets are tested on by the final runs.
            all.push("data.ood=[]".to_owned());
            Part {
                label: format!("stand-in {number}: "),
                overrides: all,
                plan: self.sweep(),
                options: RunOptions {
                    artifacts: SelectWorkspace::artifacts(&options.artifacts, study, number),
                    features: Some(features_folder(&options.artifacts)),
                    ..options.clone()
                },
            }
        };
        (1..=self.stand_ins).map(part).collect()
    }

    /// Refuses before anything is run.
    pub(super) fn check(&self, study: &Study, overrides: &[String]) -> Result<(), StudyError> {
        let refused = |place: &str, reason: String| -> Result<(), StudyError> {
            Err(StudyError::setting(place, reason))
        };
        let base = study.shared(overrides)?;
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
        if classes < 2 {
            return refused(
                &study.name,
                format!(
                    "{dataset} has no class that could stand in for another: `sweep` compares methods on it"
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
        // What decides which images are tested on.
        let protocol = |settings: &Settings| {
            let data = settings.data.clone();
            (data.dataset, data.train_share, data.limit, data.stand_in)
        };
        let mut known: Vec<(&String, Settings, String)> = Vec::new();
        for name in &self.candidates {
            let choice = study.choice(name)?;
            let settings = study.resolve(&choice, overrides)?;
            if protocol(&settings) != protocol(&base) {
                return refused(
                    &format!("--candidate {name}"),
                    "changes data.dataset, data.train_share, data.limit or data.stand_in, and so the test images, on which candidates are compared: change them for all with --set".to_owned(),
                );
            }
            let same = known
                .iter()
                .find(|(_, other, method)| *other == settings && *method == choice.method);
            if let Some((other, ..)) = same {
                return refused(
                    &format!("--candidate {name}"),
                    format!("is given twice: its settings are those of --candidate {other}"),
                );
            }
            known.push((name, settings, choice.method));
        }
        Ok(())
    }
}

/// Name of a class, counted on from the first after the last.
fn tag(dataset: DatasetName, class: usize) -> String {
    let classes = dataset.anomalies().len();
    class_tag(dataset, class % classes)
}

/// The report with the means of all runs, and the choices that follow from them.
fn decided(mut report: SelectionReport) -> SelectionReport {
    for candidate in &mut report.candidates {
        let of_class = |class: &String| {
            let runs = candidate.runs.iter().filter(|run| run.left_out == *class);
            whole_mean(runs.map(|run| run.auroc))
        };
        candidate.auroc = report.classes.iter().map(of_class).collect();
        candidate.mean = whole_mean(candidate.auroc.iter().copied());
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
    use crate::method::schema;
    use crate::study::Studies;

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
    fn runs_with_stand_ins_see_no_other_data_set() {
        let studies = Studies::open(None, &schema()).unwrap();
        let study = studies.study("cifar10").unwrap();
        assert!(!study.shared(&[]).unwrap().data.ood.is_empty());
        let plan = SelectPlan {
            candidates: vec!["knn".to_owned()],
            stand_ins: 2,
            classes: vec![3],
            seeds: vec![0],
            jobs: 1,
        };
        let options = RunOptions {
            seed: 0,
            since: None,
            device: None,
            display: crate::train::Display::Quiet,
            artifacts: "artifacts".into(),
            command: String::new(),
            log: None,
            features: None,
            among_others: true,
        };
        let parts = plan.parts("cifar10", &["data.ood=[\"mnist\"]".to_owned()], &options);
        for (number, part) in (1..).zip(&parts) {
            let data = study.shared(&part.overrides).unwrap().data;
            assert_eq!((data.stand_in, data.ood.len()), (number, 0));
        }
        assert_eq!(parts.len(), 2);
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let studies = Studies::open(None, &schema()).unwrap();
        let study = studies.study("digits").unwrap();
        let refused = |candidates: &[&str], stand_ins: usize, overrides: &[&str]| {
            let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
            let overrides: Vec<String> = owned(overrides);
            let plan = SelectPlan {
                candidates: owned(candidates),
                stand_ins,
                classes: vec![3],
                seeds: vec![0],
                jobs: 1,
            };
            plan.check(study, &overrides).unwrap_err().to_string()
        };
        for (candidates, stand_ins, overrides, expected) in [
            (&["knn"][..], 10, &[][..], "from 1 to 9"),
            (&["knn"], 0, &[], "from 1 to 9"),
            (&["knn"], 1, &["data.stand_in=1"], "leave it at 0"),
            (&["knn", "knn"], 1, &[], "given twice"),
            (&["kn"], 1, &[], "did you mean `knn`"),
        ] {
            let error = refused(candidates, stand_ins, overrides);
            assert!(error.contains(expected), "{candidates:?}: {error}");
        }
    }
}
