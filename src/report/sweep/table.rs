//! The numbers of a sweep's tables, formatted once for the page, for Markdown and for LaTeX.

use std::collections::BTreeSet;

use crate::evaluate::{SIGNIFICANCE, can_differ, deviation, mean, whole_mean};
use crate::report::format::{duration, relative_link};
use crate::report::run::table::escape;
use crate::report::{PairComparison, SweepCell, SweepMethod, SweepReport};

/// One method's line of the table.
pub(in crate::report) struct Line<'a> {
    pub name: &'a str,
    /// One per class; None where there is no result.
    pub cells: Vec<Option<Entry>>,
    /// Over classes; without seeds of its own.
    pub mean: Option<Entry>,
    /// "8 of 10 classes" when the mean leaves classes out.
    pub covers: Option<String>,
    pub time: String,
}

/// One number of the table.
pub(in crate::report) struct Entry {
    pub auroc: f64,
    /// Over seeds, when there are several.
    pub deviation: Option<f64>,
    /// Seed and link of each run behind the number.
    pub runs: Vec<(u64, Option<String>)>,
    /// Highest of its column, to the digits shown, among several.
    pub best: bool,
}

impl Entry {
    /// AUROC with three decimals.
    pub fn number(&self) -> String {
        format!("{:.3}", self.auroc)
    }

    /// Standard deviation with three decimals.
    pub fn spread(&self) -> Option<String> {
        self.deviation.map(|deviation| format!("{deviation:.3}"))
    }

    /// The link of a number with a single run behind it.
    pub fn link(&self) -> Option<&str> {
        match self.runs.as_slice() {
            [(_, link)] => link.as_deref(),
            _ => None,
        }
    }
}

/// One method's areas under the precision-recall curve.
pub(in crate::report) struct Precisions<'a> {
    pub name: &'a str,
    /// One per class, over seeds, and last their mean where none is missing.
    pub cells: Vec<String>,
}

/// One line per method; none where no run has such an area.
pub(in crate::report) fn precisions(report: &SweepReport) -> Vec<Precisions<'_>> {
    let of_class = |method: &SweepMethod, class: usize| {
        let cells = method.cells.get(class).map_or(&[][..], Vec::as_slice);
        whole_mean(cells.iter().map(|cell| cell.auprc))
    };
    let classes = 0..report.classes.len();
    let lines = report.methods.iter().map(|method| {
        let values: Vec<Option<f64>> = classes.clone().map(|at| of_class(method, at)).collect();
        (method, values)
    });
    let lines: Vec<_> = lines.collect();
    if lines
        .iter()
        .all(|(_, values)| values.iter().all(Option::is_none))
    {
        return Vec::new();
    }
    let shown = |value: Option<f64>| {
        let value = value.filter(|value| value.is_finite());
        value.map_or_else(|| "\u{2013}".to_owned(), |value| format!("{value:.3}"))
    };
    let lines = lines.into_iter().map(|(method, values)| {
        let all = whole_mean(values.iter().copied());
        let cells = values.into_iter().chain([all]).map(shown);
        Precisions {
            name: &method.name,
            cells: cells.collect(),
        }
    });
    lines.collect()
}

/// How to read [`Beside`].
pub(in crate::report) const BESIDE: &str = "Means over the runs: AUROC against the normal test images, below 0.5 where the other data set is the more normal one; time of all steps, of a shared network too. Methods may have runs of different classes. Peak memory is the largest of the runs that had a process of their own, made one by one or on a cluster.";

/// What is known of methods beside the classes: other data sets, pixels, time and memory.
pub(in crate::report) struct Beside<'a> {
    pub columns: Vec<String>,
    /// Name and one entry for each column.
    pub lines: Vec<(&'a str, Vec<String>)>,
}

/// One line per method; None where nothing of the kind is known.
pub(in crate::report) fn beside(report: &SweepReport) -> Option<Beside<'_>> {
    let methods = &report.methods;
    let sets: BTreeSet<&str> = methods
        .iter()
        .flat_map(|method| method.others.iter().map(|(set, _)| set.as_str()))
        .collect();
    let has_pixels = methods.iter().any(|method| method.pixel_auroc.is_some());
    let is_timed = methods.iter().any(|method| method.run_seconds.is_some());
    let is_measured = methods
        .iter()
        .any(|method| method.peak_memory_mib.is_some());
    let shown = |value: Option<String>| value.unwrap_or_else(|| "\u{2013}".to_owned());
    let columns = sets.iter().map(|set| format!("AUROC, {set}"));
    let columns = columns
        .chain(has_pixels.then(|| "pixel AUROC".to_owned()))
        .chain(has_pixels.then(|| "AUPRO".to_owned()))
        .chain(is_timed.then(|| "time of a run".to_owned()))
        .chain(is_measured.then(|| "peak memory".to_owned()));
    let columns: Vec<String> = columns.collect();
    let lines = methods.iter().map(|method| {
        let of_set = |set: &&str| {
            let mut others = method.others.iter();
            let found = others.find(|(name, _)| name == set);
            shown(found.map(|(_, auroc)| format!("{auroc:.3}")))
        };
        let mut line: Vec<String> = sets.iter().map(of_set).collect();
        if has_pixels {
            let pixels = [method.pixel_auroc, method.aupro];
            line.extend(pixels.map(|area| shown(area.map(|area| format!("{area:.3}")))));
        }
        line.extend(is_timed.then(|| shown(method.run_seconds.map(duration))));
        let memory = method.peak_memory_mib.map(|mib| format!("{mib:.0} MiB"));
        line.extend(is_measured.then(|| shown(memory)));
        (method.name.as_str(), line)
    });
    (!columns.is_empty()).then(|| Beside {
        lines: lines.collect(),
        columns,
    })
}

/// The table, one line per method, the best of each column marked.
pub(in crate::report) fn lines(report: &SweepReport) -> Vec<Line<'_>> {
    let classes = report.classes.len();
    let mut lines: Vec<Line> = report
        .methods
        .iter()
        .map(|method| line(method, classes))
        .collect();
    for class in 0..classes {
        mark_best(lines.iter_mut().map(|line| &mut line.cells[class]));
    }
    // A mean over fewer classes is of something else.
    let complete = lines.iter_mut().filter(|line| line.covers.is_none());
    mark_best(complete.map(|line| &mut line.mean));
    lines
}

fn line(method: &SweepMethod, classes: usize) -> Line<'_> {
    let cells: Vec<Option<Entry>> = (0..classes)
        .map(|class| entry(method.cells.get(class).map_or(&[], Vec::as_slice)))
        .collect();
    let mean = method.mean.filter(|mean| mean.is_finite());
    let present = cells.iter().flatten().count();
    Line {
        name: &method.name,
        covers: (mean.is_some() && present < classes)
            .then(|| format!("{present} of {classes} classes")),
        cells,
        mean: mean.map(|auroc| Entry {
            auroc,
            deviation: method.deviation.filter(|deviation| deviation.is_finite()),
            runs: Vec::new(),
            best: false,
        }),
        time: duration(method.seconds),
    }
}

/// Mean and sample standard deviation over the runs of one class.
fn entry(cells: &[SweepCell]) -> Option<Entry> {
    let runs: Vec<&SweepCell> = cells.iter().filter(|cell| cell.auroc.is_finite()).collect();
    let aurocs: Vec<f64> = runs.iter().map(|run| run.auroc).collect();
    Some(Entry {
        auroc: mean(aurocs.iter().copied())?,
        deviation: deviation(&aurocs),
        runs: runs
            .iter()
            .map(|run| (run.seed, run.link.as_deref().and_then(relative_link)))
            .collect(),
        best: false,
    })
}

fn mark_best<'a>(column: impl Iterator<Item = &'a mut Option<Entry>>) {
    let shown = |entry: &Entry| (entry.auroc * 1000.0).round();
    let mut entries: Vec<&mut Entry> = column.flatten().collect();
    let highest = entries
        .iter()
        .map(|entry| shown(entry))
        .fold(f64::NEG_INFINITY, f64::max);
    if entries.len() > 1 {
        for entry in &mut entries {
            entry.best = shown(entry) == highest;
        }
    }
}

/// What a comparison says, in plain words.
pub(in crate::report) fn verdict(pair: &PairComparison) -> String {
    if pair.adjusted < SIGNIFICANCE {
        let higher = if pair.difference >= 0.0 {
            &pair.left
        } else {
            &pair.right
        };
        return format!("{higher} is higher, more than chance at 5 %");
    }
    if pair.adjusted.is_nan() {
        return "not tested".into();
    }
    // Without a class in which they differ there is nothing to tell.
    if pair.pairs > 0 && !can_differ(pair.family, pair.pairs) {
        return match pair.family {
            1 => "too few classes to tell".into(),
            family => format!("too few classes to tell among {family} comparisons"),
        };
    }
    "no difference beyond chance".into()
}

/// A difference of AUROCs with its sign.
pub(in crate::report) fn signed(difference: f64) -> String {
    // Adding zero turns "-0" into "0".
    let rounded = (difference * 1000.0).round() / 1000.0 + 0.0;
    format!("{rounded:+.3}").replace('-', "\u{2212}")
}

/// A p-value in the digits that matter.
pub(in crate::report) fn probability(p_value: f64) -> String {
    if p_value.is_nan() {
        "\u{2013}".into()
    } else if p_value < 0.001 {
        "< 0.001".into()
    } else {
        format!("{p_value:.3}")
    }
}

/// The table of methods and classes as LaTeX, ready to paste (needs the booktabs package).
pub(in crate::report) fn latex(classes: &[String], lines: &[Line]) -> String {
    let entry = |entry: &Option<Entry>| {
        let Some(entry) = entry else {
            return "--".to_owned();
        };
        let number = if entry.best {
            format!("\\textbf{{{}}}", entry.number())
        } else {
            entry.number()
        };
        match entry.spread() {
            Some(spread) => format!("{number} $\\pm$ {spread}"),
            None => number,
        }
    };
    let mut out = format!(
        "\\begin{{tabular}}{{l{}}}\n\\toprule\nMethod",
        "c".repeat(classes.len() + 1)
    );
    for class in classes {
        out.push_str(&format!(" & {}", escape(class)));
    }
    out.push_str(" & Mean \\\\\n\\midrule\n");
    for line in lines {
        out.push_str(&escape(line.name));
        for cell in line.cells.iter().chain([&line.mean]) {
            out.push_str(&format!(" & {}", entry(cell)));
        }
        out.push_str(" \\\\\n");
    }
    out.push_str("\\bottomrule\n\\end{tabular}");
    out
}

#[cfg(test)]
pub(in crate::report) mod tests {
    use super::*;

    /// A method with `aurocs[class][seed]`, linked to "class/seed-N/report.html".
    pub(in crate::report) fn method(name: &str, aurocs: &[&[f64]]) -> SweepMethod {
        let cell = |class: usize, seed: usize, auroc: f64| SweepCell {
            seed: seed as u64,
            auroc,
            auprc: Some(auroc - 0.3),
            link: Some(format!("{class}/seed-{seed}/report.html")),
        };
        let cells: Vec<Vec<SweepCell>> = aurocs
            .iter()
            .enumerate()
            .map(|(class, seeds)| {
                let seeds = seeds.iter().enumerate();
                seeds
                    .map(|(seed, &auroc)| cell(class, seed, auroc))
                    .collect()
            })
            .collect();
        SweepMethod {
            name: name.into(),
            cells,
            mean: Some(0.8),
            seconds: 60.0,
            ..SweepMethod::default()
        }
    }

    fn report(methods: Vec<SweepMethod>) -> SweepReport {
        SweepReport {
            classes: vec!["0".into(), "1".into()],
            methods,
            ..SweepReport::default()
        }
    }

    #[test]
    fn what_is_known_beside_the_classes_has_a_column() {
        let plain = method("plain", &[&[0.9]]);
        assert!(beside(&report(vec![plain.clone()])).is_none());
        let timed = SweepMethod {
            others: vec![("svhn".into(), 0.25)],
            run_seconds: Some(65.0),
            ..method("timed", &[&[0.9]])
        };
        let report = report(vec![plain, timed]);
        let found = beside(&report).unwrap();
        assert_eq!(found.columns, ["AUROC, svhn", "time of a run"]);
        let missing = vec!["\u{2013}".to_owned(); 2];
        assert_eq!(found.lines[0], ("plain", missing));
        assert_eq!(found.lines[1].1, ["0.250", &duration(65.0)]);
    }

    #[test]
    fn seeds_become_mean_and_sample_deviation() {
        let report = report(vec![method("a", &[&[0.7, 0.8, 0.6], &[0.9]])]);
        let line = &lines(&report)[0];
        let first = line.cells[0].as_ref().unwrap();
        // numpy: mean([.7, .8, .6]), std([.7, .8, .6], ddof=1) -> 0.7, 0.1
        assert_eq!(
            (first.number().as_str(), first.spread()),
            ("0.700", Some("0.100".into()))
        );
        assert_eq!((first.link(), first.runs.len()), (None, 3));
        let second = line.cells[1].as_ref().unwrap();
        assert_eq!(
            (second.spread(), second.link()),
            (None, Some("1/seed-0/report.html"))
        );
        assert!(!first.best && !second.best, "one method has no rival");
    }

    #[test]
    fn the_best_are_marked_and_partial_means_left_out() {
        let methods = vec![
            method("a", &[&[0.7], &[0.9]]),
            method("b", &[&[0.70001], &[0.8]]),
            SweepMethod {
                mean: Some(0.99),
                ..method("c", &[&[f64::NAN], &[]])
            },
        ];
        let report = report(methods);
        let lines = lines(&report);
        let best = |class: usize| -> Vec<bool> {
            let cells = lines.iter().map(|line| &line.cells[class]);
            cells
                .map(|cell| cell.as_ref().is_some_and(|cell| cell.best))
                .collect()
        };
        assert_eq!(best(0), [true, true, false], "equal to the digits shown");
        assert_eq!(best(1), [true, false, false]);
        assert_eq!(lines[2].covers.as_deref(), Some("0 of 2 classes"));
        let mean = |line: &Line| line.mean.as_ref().unwrap().best;
        assert!(mean(&lines[0]) && mean(&lines[1]) && !mean(&lines[2]));
        let latex = latex(&report.classes, &lines);
        assert!(
            latex.contains("b & \\textbf{0.700} & 0.800 & \\textbf{0.800} \\\\"),
            "{latex}"
        );
        assert!(latex.contains("c & -- & -- & 0.990 \\\\"), "{latex}");
    }

    #[test]
    fn comparisons_are_said_in_words() {
        let pair = |difference, pairs, adjusted| {
            verdict(&PairComparison {
                left: "a".into(),
                right: "b".into(),
                difference,
                pairs,
                adjusted,
                family: 3,
                ..PairComparison::default()
            })
        };
        assert_eq!(pair(0.1, 10, 0.01), "a is higher, more than chance at 5 %");
        assert_eq!(pair(-0.1, 10, 0.01), "b is higher, more than chance at 5 %");
        assert_eq!(pair(0.1, 10, 0.05), "no difference beyond chance");
        assert_eq!(
            pair(0.1, 5, 0.1875),
            "too few classes to tell among 3 comparisons"
        );
        assert_eq!(pair(0.0, 0, 1.0), "no difference beyond chance");
        assert_eq!(pair(0.0, 10, f64::NAN), "not tested");
        assert_eq!(
            (signed(-0.0001), signed(-0.05)),
            ("+0.000".into(), "\u{2212}0.050".into())
        );
        assert_eq!(probability(0.0004), "< 0.001");
    }
}
