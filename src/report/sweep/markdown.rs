//! A sweep as GitHub Markdown, for a README or an issue.

use super::chart::{CHART_FILE, FIGURE, has_chart};
use super::table::{BESIDE, Entry, beside, lines, precisions, probability, signed, verdict};
use crate::report::SweepReport;

/// `report` as Markdown: the table of methods and classes, the comparisons,
/// failures and notes. Numbers link to their runs' reports as the page's do; the figure is the file
/// [`CHART_FILE`] beside the Markdown.
pub fn sweep_markdown(report: &SweepReport) -> String {
    let mut out = format!("# {}\n", escape(&report.title));
    if !report.summary_sentence.is_empty() {
        out.push_str(&format!("\n{}\n", escape(&report.summary_sentence)));
    }
    results(&mut out, report);
    comparisons(&mut out, report);
    if !report.failures.is_empty() {
        out.push_str("\n## Failures\n\n");
        for (cell, reason) in &report.failures {
            out.push_str(&format!("- {}: {}\n", escape(cell), escape(reason)));
        }
    }
    if !report.notes.is_empty() {
        out.push_str("\n## Notes\n\n");
        for note in &report.notes {
            out.push_str(&format!("- {}\n", escape(note)));
        }
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

fn results(out: &mut String, report: &SweepReport) {
    if report.methods.is_empty() {
        return;
    }
    out.push_str(&format!("\n## {FIGURE}\n\n"));
    if has_chart(report) {
        out.push_str(&format!("![{FIGURE}]({CHART_FILE})\n\n"));
    }
    head(out, "method", report.classes.iter().map(String::as_str));
    for line in lines(report) {
        out.push_str(&format!("| {} |", escape(line.name)));
        for cell in &line.cells {
            out.push_str(&format!(" {} |", entry(cell.as_ref())));
        }
        let covers = line.covers.map(|covers| format!(" ({covers})"));
        out.push_str(&format!(
            " {}{} |\n",
            entry(line.mean.as_ref()),
            covers.unwrap_or_default()
        ));
    }
    if let Some(beside) = beside(report) {
        out.push_str(&format!(
            "\n## Other data sets, time and memory\n\n{BESIDE}\n\n| method |"
        ));
        for column in &beside.columns {
            out.push_str(&format!(" {} |", escape(column)));
        }
        out.push_str("\n|---|");
        out.push_str(&"---:|".repeat(beside.columns.len()));
        for (name, cells) in beside.lines {
            out.push_str(&format!("\n| {} | {} |", escape(name), cells.join(" | ")));
        }
        out.push('\n');
    }
    let precisions = precisions(report);
    if precisions.is_empty() {
        return;
    }
    out.push_str("\n## AUPRC per anomalous class\n\nAverage precision, anomalies positive.\n\n");
    head(out, "method", report.classes.iter().map(String::as_str));
    for line in precisions {
        let cells = line.cells.join(" | ");
        out.push_str(&format!("| {} | {cells} |\n", escape(line.name)));
    }
}

fn comparisons(out: &mut String, report: &SweepReport) {
    if report.pairs.is_empty() {
        return;
    }
    out.push_str(&format!(
        "\n## Is it more than chance?\n\n{}.\n\n",
        escape(&report.test_name)
    ));
    for pair in &report.pairs {
        out.push_str(&format!(
            "- {} vs {}: {} ({} AUROC, {} pairs, adjusted p {})\n",
            escape(&pair.left),
            escape(&pair.right),
            escape(&verdict(pair)),
            signed(pair.difference),
            pair.pairs,
            escape(&probability(pair.adjusted)),
        ));
    }
}

/// The first two lines of a table of classes.
pub(in crate::report) fn head<'a>(
    out: &mut String,
    first: &str,
    classes: impl Iterator<Item = &'a str> + Clone,
) {
    out.push_str(&format!("| {first} |"));
    for class in classes.clone() {
        out.push_str(&format!(" {} |", escape(class)));
    }
    out.push_str(" mean |\n|---|");
    out.push_str(&"---:|".repeat(classes.count() + 1));
    out.push('\n');
}

fn entry(entry: Option<&Entry>) -> String {
    let Some(entry) = entry else {
        return "\u{2013}".into();
    };
    let mut text = entry.number();
    if entry.best {
        text = format!("**{text}**");
    }
    if let Some(link) = entry.link() {
        text = format!("[{text}]({link})");
    }
    if let Some(spread) = entry.spread() {
        text.push_str(&format!(" ± {spread}"));
    }
    if entry.runs.len() > 1 && entry.runs.iter().any(|(_, link)| link.is_some()) {
        let runs: Vec<String> = entry
            .runs
            .iter()
            .map(|(seed, link)| match link {
                Some(link) => format!("[{seed}]({link})"),
                None => seed.to_string(),
            })
            .collect();
        text.push_str(&format!("<br><sub>{}</sub>", runs.join(" ")));
    }
    text
}

/// `text` on one line with Markdown's and HTML's special letters taken literally.
pub(in crate::report) fn escape(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' => {
                out.push('\\');
                out.push(letter);
            }
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\n' | '\r' => out.push(' '),
            _ => out.push(letter),
        }
    }
    out
}

/// A fence longer than any run of backticks in `text`.
pub(in crate::report) fn fence(text: &str) -> String {
    let (mut longest, mut run) = (2, 0);
    for letter in text.chars() {
        run = if letter == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    "`".repeat(longest + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::PairComparison;
    use crate::report::sweep::table::tests::method;

    #[test]
    fn the_whole_document_reads_as_expected() {
        let report = SweepReport {
            title: "digits".into(),
            summary_sentence: "encoder-flow leads.".into(),
            classes: vec!["0".into(), "1".into()],
            methods: vec![
                method("encoder-flow", &[&[0.9], &[0.7, 0.8]]),
                method("knn", &[&[0.8]]),
            ],
            pairs: vec![PairComparison {
                left: "encoder-flow".into(),
                right: "knn".into(),
                difference: 0.1,
                pairs: 10,
                p_value: 0.002,
                adjusted: 0.0004,
                family: 1,
            }],
            test_name: "Wilcoxon signed-rank".into(),
            failures: vec![("knn, 1".into(), "a|b <c>".into())],
            command: "just sweep digits".into(),
            ..SweepReport::default()
        };
        let expected = "\
# digits

encoder-flow leads.

## AUROC per anomalous class

![AUROC per anomalous class](chart.svg)

| method | 0 | 1 | mean |
|---|---:|---:|---:|
| encoder-flow | [**0.900**](0/seed-0/report.html) | 0.750 ± 0.071<br><sub>[0](1/seed-0/report.html) [1](1/seed-1/report.html)</sub> | 0.800 |
| knn | [0.800](0/seed-0/report.html) | \u{2013} | 0.800 (1 of 2 classes) |

## AUPRC per anomalous class

Average precision, anomalies positive.

| method | 0 | 1 | mean |
|---|---:|---:|---:|
| encoder-flow | 0.600 | 0.450 | 0.525 |
| knn | 0.500 | \u{2013} | \u{2013} |

## Is it more than chance?

Wilcoxon signed-rank.

- encoder-flow vs knn: encoder-flow is higher, more than chance at 5 % (+0.100 AUROC, 10 pairs, adjusted p &lt; 0.001)

## Failures

- knn, 1: a\\|b &lt;c&gt;

## Repeat

```sh
just sweep digits
```
";
        assert_eq!(sweep_markdown(&report), expected);
    }

    #[test]
    fn nothing_to_say_is_a_heading() {
        assert_eq!(sweep_markdown(&SweepReport::default()), "# \n");
        assert_eq!(fence("a ``` b"), "````");
        assert_eq!(escape("a\nb_c"), "a b\\_c");
    }
}
