//! The metric table: as text for the page and as LaTeX for the paper draft.

use crate::evaluate::Verdicts;
use crate::report::MetricRow;
use crate::report::format::count;

/// A row of the metric table, formatted.
pub(in crate::report) struct Row<'a> {
    pub test_set: &'a str,
    pub score: &'a str,
    pub counts: String,
    pub auroc: String,
    pub interval: String,
    /// Highest AUROC on its test set, when there are several scores to choose from.
    pub best: bool,
    pub aupr_anomalous: String,
    pub aupr_normal: String,
    pub fpr: String,
    pub one_sided: [String; 3],
    pub two_sided: [String; 3],
}

/// The table as text, row by row, all rates in percent.
pub(in crate::report) fn rows(metrics: &[MetricRow]) -> Vec<Row<'_>> {
    let rate = |value: f64| format!("{:.1}", 100.0 * value);
    let verdicts = |verdicts: &Verdicts| {
        [
            rate(verdicts.false_alarm_rate),
            rate(verdicts.detection_rate),
            rate(verdicts.f1),
        ]
    };
    let is_best = |row: &MetricRow| {
        let rivals = metrics
            .iter()
            .filter(|other| other.test_set == row.test_set);
        let (mut rival_count, mut beaten) = (0, false);
        for rival in rivals {
            rival_count += 1;
            beaten |= rival.metrics.auroc > row.metrics.auroc;
        }
        rival_count > 1 && !beaten
    };
    metrics
        .iter()
        .map(|content| {
            let m = &content.metrics;
            Row {
                test_set: &content.test_set,
                score: &content.score,
                counts: format!("{} / {}", count(m.normal_count), count(m.anomalous_count)),
                auroc: rate(m.auroc),
                interval: format!("{}\u{2013}{}", rate(m.auroc_low), rate(m.auroc_high)),
                best: is_best(content),
                aupr_anomalous: rate(m.aupr_anomalous),
                aupr_normal: rate(m.aupr_normal),
                fpr: rate(m.fpr_at_95_tpr),
                one_sided: verdicts(&m.one_sided),
                two_sided: verdicts(&m.two_sided),
            }
        })
        .collect()
}

/// The table as LaTeX, ready to paste (needs the booktabs package): per row AUROC with its 95 %
/// interval, AUPR both ways and FPR at 95 % TPR, all in percent.
pub(in crate::report) fn latex(rows: &[MetricRow]) -> String {
    let mut out = String::from(
        "\\begin{tabular}{llcccc}\n\\toprule\n\
         Test set & Score & AUROC [95\\,\\% CI] & AUPR (anom.) & AUPR (norm.) & FPR@95TPR \\\\\n\\midrule\n",
    );
    for row in rows {
        let m = &row.metrics;
        let p = |value: f64| format!("{:.1}", 100.0 * value);
        out.push_str(&format!(
            "{} & {} & {} [{}, {}] & {} & {} & {} \\\\\n",
            escape(&row.test_set),
            escape(&row.score),
            p(m.auroc),
            p(m.auroc_low),
            p(m.auroc_high),
            p(m.aupr_anomalous),
            p(m.aupr_normal),
            p(m.fpr_at_95_tpr),
        ));
    }
    out.push_str("\\bottomrule\n\\end{tabular}");
    out
}

/// `text` with LaTeX's special letters taken literally.
pub(in crate::report) fn escape(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                out.push('\\');
                out.push(letter);
            }
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            _ => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
pub(in crate::report) mod tests {
    use super::*;
    use crate::evaluate::ScoreMetrics;

    /// Made-up metrics with the given AUROC.
    pub(in crate::report) fn metrics(auroc: f64) -> ScoreMetrics {
        let verdicts = Verdicts {
            false_alarm_rate: 0.05,
            detection_rate: 0.4,
            precision: 0.8,
            f1: 0.53,
        };
        ScoreMetrics {
            auroc,
            auroc_low: 0.8,
            auroc_high: 0.9,
            aupr_anomalous: 0.7,
            aupr_normal: 0.9,
            fpr_at_95_tpr: 0.6,
            one_sided: verdicts,
            two_sided: verdicts,
            normal_count: 12_600,
            anomalous_count: 7_000,
            normal_mean: 1.0,
            anomalous_mean: 2.0,
        }
    }

    #[test]
    fn special_letters_are_escaped() {
        assert_eq!(escape("a_b & 5% \\x"), "a\\_b \\& 5\\% \\textbackslash{}x");
    }

    #[test]
    fn the_best_score_of_a_test_set_is_marked_once() {
        let rows_of =
            |metrics: &[MetricRow]| rows(metrics).iter().map(|row| row.best).collect::<Vec<_>>();
        let mut metrics = [0.85, 0.75].map(|auroc| MetricRow {
            test_set: "one".into(),
            score: "NLL".into(),
            metrics: metrics(auroc),
        });
        assert_eq!(rows_of(&metrics), [true, false]);
        metrics[1].test_set = "another".into();
        assert_eq!(rows_of(&metrics), [false, false], "nothing to choose from");
    }
}
