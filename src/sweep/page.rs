//! What the table of a sweep says, for its page and its Markdown.

use std::collections::BTreeSet;

use super::comparison::Comparison;
use super::{SweepResult, SweepTable};
use crate::data::DatasetName;
use crate::method::Method;
use crate::report::{SweepMethod, SweepReport};
use crate::run::RunError;
use crate::study::class_tag;

impl SweepTable {
    /// What the sweep says, for its page and its Markdown.
    ///
    /// # Errors
    /// [`RunError`] when a number is not finite.
    pub fn report(&self) -> Result<SweepReport, RunError> {
        let methods: Vec<SweepMethod> = self
            .methods()
            .into_iter()
            .map(|method| self.method(method))
            .collect();
        let comparison = Comparison::of(&methods, self.classes().len())?;
        let tag = |class: usize| class_tag(self.dataset, class);
        Ok(SweepReport {
            title: match self.stand_in {
                0 => self.study.clone(),
                number => format!("{} with stand-in {number}", self.study),
            },
            summary_sentence: self.summary(&methods),
            setup: self.setup(),
            classes: self.classes().into_iter().map(tag).collect(),
            pairs: comparison.pairs,
            test_name: comparison.test_name,
            failures: self.failed(),
            command: self.command.clone(),
            notes: self.notes(&methods),
            methods,
        })
    }

    /// The method with the highest mean, in a sentence.
    fn summary(&self, methods: &[SweepMethod]) -> String {
        // A mean over fewer classes is not to be compared with one over all.
        let whole = |method: &&SweepMethod| method.cells.iter().all(|cells| !cells.is_empty());
        let best = methods
            .iter()
            .filter(whole)
            .filter_map(|method| Some((method.mean?, &method.name)))
            .max_by(|left, right| left.0.total_cmp(&right.0));
        let Some((mean, name)) = best else {
            return String::new();
        };
        let stand_ins = match self.stand_in {
            0 => String::new(),
            number => format!(
                " with stand-ins (the anomaly is the class {number} after the one left out)"
            ),
        };
        let compared = match self.dataset {
            DatasetName::Folder => "A folder of normal and defective images".to_owned(),
            dataset => format!(
                "Leave-one-class-out on {dataset}{stand_ins}, {} classes",
                self.classes().len()
            ),
        };
        format!(
            "{compared}, seeds {}: the highest mean AUROC is that of {name}, {mean:.3}.",
            self.seeds_in_words()
        )
    }

    fn seeds_in_words(&self) -> String {
        let seeds: Vec<String> = self.seeds().iter().map(u64::to_string).collect();
        seeds.join(", ")
    }

    /// What made the rows, which may be older than this program.
    fn setup(&self) -> Vec<(String, String)> {
        let made_by = |of: fn(&SweepResult) -> &String| -> String {
            let rows = self.results.iter().filter(|row| row.auroc.is_some());
            let values: BTreeSet<&str> = rows.map(|row| of(row).as_str()).collect();
            let values = values.into_iter().filter(|value| !value.is_empty());
            values.collect::<Vec<_>>().join(", ")
        };
        let all = [
            ("Data set", self.dataset.to_string()),
            ("Seeds", self.seeds_in_words()),
            ("Backend", made_by(|row| &row.backend)),
            ("Revision of the runs", made_by(|row| &row.revision)),
            ("Pretrained weights, SHA-256", made_by(|row| &row.weights)),
        ];
        all.into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }

    /// What a reader of the numbers should know, each once.
    fn notes(&self, methods: &[SweepMethod]) -> Vec<String> {
        let mut notes: Vec<&str> = Vec::new();
        if self.stand_in > 0 {
            notes.push("These numbers are for choosing settings: another class stands in as the anomaly for each class left out, of which no image was used.");
        }
        notes.extend([
            "Where a method trains, its numbers are those of the model chosen on held-out normal images; no anomalous image took part in training, selection or thresholds. Networks are in evaluation mode.",
            "Time is the sum over a method's cells; a network that several methods share is counted for each.",
        ]);
        let mut cells = methods.iter().flat_map(|method| &method.cells);
        let seeds = self.seeds().len();
        if cells.any(|cells| cells.len() != seeds) {
            notes.push("Not every method has every class with every seed: a mean is over the seeds that there are, a deviation over those that have all classes.");
        }
        let own = self.methods().into_iter().filter_map(|name| {
            let entry = name.parse::<Method>().ok()?.entry();
            Some(
                entry
                    .notes
                    .iter()
                    .map(move |note| format!("{name}: {note}")),
            )
        });
        let common = notes.into_iter().map(str::to_owned);
        common.chain(own.flatten()).collect()
    }

    /// The cells without a number, and why.
    fn failed(&self) -> Vec<(String, String)> {
        let rows = self.results.iter().filter(|row| row.auroc.is_none());
        rows.map(|row| {
            let cell = format!("{} {} seed {}", row.experiment, row.method, row.seed);
            (cell, row.error.clone())
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::schema;
    use crate::study::Settings;

    #[test]
    fn a_mean_over_fewer_classes_is_not_the_highest() {
        let data = Settings::from_table(schema().defaults).unwrap().data;
        let order = schema().methods.into_iter().map(str::to_owned).collect();
        let mut table = SweepTable::new("digits", order, &data, "a test");
        for (method, class, auroc) in [("gmm", 0, 0.6), ("gmm", 1, 0.8), ("knn", 1, 0.9)] {
            table.enter(SweepResult {
                experiment: format!("digits-{class}"),
                class,
                method: method.to_owned(),
                auroc: Some(auroc),
                ..SweepResult::default()
            });
        }
        let sentence = table.report().unwrap().summary_sentence;
        assert!(sentence.ends_with("that of gmm, 0.700."), "{sentence}");
    }

    #[test]
    fn a_deviation_is_over_seeds_with_all_classes() {
        let data = Settings::from_table(schema().defaults).unwrap().data;
        let order = schema().methods.into_iter().map(str::to_owned).collect();
        let mut table = SweepTable::new("digits", order, &data, "a test");
        let mut enter = |seed, class, auroc| {
            table.enter(SweepResult {
                experiment: format!("digits-{class}"),
                class,
                seed,
                method: "knn".to_owned(),
                auroc: Some(auroc),
                ..SweepResult::default()
            });
            table.report().unwrap()
        };
        enter(0, 3, 0.9);
        let one = enter(0, 4, 0.7);
        assert_eq!(one.methods[0].deviation, None);
        let uneven = enter(1, 3, 0.9);
        assert_eq!(uneven.methods[0].deviation, None);
        let tells = |report: &SweepReport| {
            report
                .notes
                .iter()
                .any(|note| note.contains("every class with every seed"))
        };
        assert!(!tells(&one) && tells(&uneven));
        let even = enter(1, 4, 0.9);
        let deviation = even.methods[0].deviation.unwrap();
        assert!(
            (deviation - 0.1 / 2f64.sqrt()).abs() < 1e-12 && !tells(&even),
            "{deviation}"
        );
    }
}
