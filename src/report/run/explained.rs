//! The part of a page that says what scores follow.

use crate::report::figures::scatter::scatter;
use crate::report::format::{count, decimals, panel};
use crate::report::parts::Figure;
use crate::report::{Explained, ReportError, TermsRow};

/// In place of a number that there is not.
const NONE: &str = "\u{2013}";

/// A figure and one or two tables, in text and numbered.
pub(in crate::report) struct ExplainedPart<'a> {
    pub scatter: Figure,
    pub correlations_label: String,
    pub correlations_caption: String,
    /// Heads of the columns.
    pub sets: Vec<&'a str>,
    pub correlations: Vec<Line>,
    /// None where there are no terms.
    pub terms_label: Option<String>,
    pub terms_caption: &'static str,
    pub terms: Vec<Terms<'a>>,
}

/// A line of the first table: each cell a number, and a smaller one below it.
pub(in crate::report) struct Line {
    pub name: String,
    pub cells: Vec<[String; 2]>,
}

/// A line of the second table.
pub(in crate::report) struct Terms<'a> {
    pub content: &'a TermsRow,
    pub values: [String; 5],
}

impl<'a> ExplainedPart<'a> {
    /// With the number of its figure and of its first table.
    ///
    /// # Errors
    /// [`ReportError::Figure`] when plotters fails.
    pub fn new(content: &'a Explained, figure: usize, table: usize) -> Result<Self, ReportError> {
        let (svg, note) = scatter(&content.scatter)?;
        let facts = |name: &str, fact: &dyn Fn(usize) -> String| Line {
            name: name.to_owned(),
            cells: (0..content.sets.len())
                .map(|set| [fact(set), String::new()])
                .chain([[String::new(), String::new()]])
                .collect(),
        };
        let images = facts("images", &|set| count(content.sets[set].images));
        let bits = facts("bits per pixel, mean", &|set| {
            decimals(content.sets[set].bits_per_pixel, 2)
        });
        let sizes = content.sets.first().map_or(0, |set| set.sizes.len());
        let sizes = (0..sizes).map(|size| {
            let name = format!("{}, mean", content.sets[0].sizes[size].0);
            facts(&name, &|set| decimals(content.sets[set].sizes[size].1, 1))
        });
        let auroc = |value: Option<f64>| value.map_or(NONE.to_owned(), |value| decimals(value, 3));
        let mut aurocs = vec![facts("AUROC of a short file alone", &|set| {
            auroc(content.sets[set].by_length)
        })];
        if content.sets.iter().any(|set| set.by_complexity.is_some()) {
            let name = "AUROC of bits/dim less the file's";
            aurocs.push(facts(name, &|set| auroc(content.sets[set].by_complexity)));
        }
        let correlations = content.correlations.iter().chain(&content.sizes);
        let correlations = correlations.map(|(name, values)| Line {
            name: name.clone(),
            cells: values
                .iter()
                .map(|value| match value {
                    Some(value) => [value.spearman, value.pearson].map(|r| decimals(r, 2)),
                    None => [NONE.to_owned(), String::new()],
                })
                .collect(),
        });
        Ok(Self {
            scatter: Figure {
                label: panel(figure, 0, 1),
                title: content.scatter.title.clone(),
                svg,
                caption: format!("{} {note}", content.scatter.caption)
                    .trim()
                    .to_owned(),
            },
            correlations_label: format!("Table {table}"),
            correlations_caption: format!(
                "How scores go with the length of the image as {}: Spearman's rank correlation, below it Pearson's. \
                 Where it is high, the score says how complex an image is, whatever it shows. Calling \
                 short files odd, with no model at all, has the AUROC that every score has to be compared with; from a \
                 likelihood of pixels the file's length can be taken away (input complexity, Serrà et al.). The last lines are of the \
                 image's size instead: the standard deviation of its values (contrast) and the root of the mean of their \
                 squares (norm), in grey levels of 255.",
                content.compressor
            ),
            sets: content
                .sets
                .iter()
                .map(|set| set.name.as_str())
                .chain(["all together"])
                .collect(),
            correlations: [images, bits]
                .into_iter()
                .chain(sizes)
                .chain(aurocs)
                .chain(correlations)
                .collect(),
            terms_label: (!content.terms.is_empty()).then(|| format!("Table {}", table + 1)),
            terms_caption: "The negative log-likelihood as the sum that it is: of what the flow makes of an image under \
                            the base distribution, and of the log-determinant, that is, how strongly the flow shrinks \
                            what is around the image. Means over the same images; AUROCs are those of one term alone, \
                            against the normal images.",
            terms: content.terms.iter().map(terms).collect(),
        })
    }
}

fn terms(content: &TermsRow) -> Terms<'_> {
    let TermsRow { base, log_det, .. } = content;
    let means = [*base, *log_det, base + log_det].map(|mean| decimals(mean, 3));
    let [base, log_det, sum] = means;
    let aurocs = content
        .auroc
        .map(|both| both.map(|auroc| decimals(auroc, 3)));
    let [first, second] = aurocs.unwrap_or_else(|| [NONE, NONE].map(str::to_owned));
    Terms {
        content,
        values: [base, log_det, sum, first, second],
    }
}

#[cfg(test)]
pub(in crate::report) mod tests {
    use super::*;
    use crate::evaluate::Correlation;
    use crate::report::{ComparedSet, Scatter};

    /// Every part filled, every text being `text`.
    pub fn content(text: String) -> Explained {
        let text = || text.clone();
        Explained {
            scatter: Scatter {
                title: text(),
                caption: text(),
                x_label: text(),
                y_label: text(),
                series: vec![(text(), vec![[0.0, 1.0], [1.0, f32::NAN]])],
            },
            compressor: text(),
            sets: vec![ComparedSet {
                name: text(),
                images: 1234,
                bits_per_pixel: 4.5,
                sizes: vec![(text(), 61.25)],
                by_length: None,
                by_complexity: Some(0.75),
            }],
            correlations: vec![(
                text(),
                vec![
                    Some(Correlation {
                        pearson: -0.5,
                        spearman: 0.25,
                    }),
                    None,
                ],
            )],
            sizes: vec![(text(), vec![None, None])],
            terms: [None, Some([0.25, 0.75])]
                .map(|auroc| TermsRow {
                    test_set: text(),
                    score: text(),
                    unit: text(),
                    base: 40.0,
                    log_det: -8.5,
                    auroc,
                })
                .into(),
        }
    }

    #[test]
    fn numbers_are_rounded_and_what_is_missing_is_a_dash() {
        let content = content("words".to_owned());
        let part = ExplainedPart::new(&content, 3, 2).unwrap();
        assert_eq!(part.scatter.label, "Figure 3");
        assert_eq!(part.correlations_label, "Table 2");
        assert_eq!(part.terms_label.as_deref(), Some("Table 3"));
        assert_eq!(part.sets, ["words", "all together"]);
        assert_eq!(part.correlations[0].cells[0][0], "1,234");
        assert_eq!(part.correlations[2].name, "words, mean");
        assert_eq!(part.correlations[2].cells[0][0], "61.2");
        assert_eq!(part.correlations[3].cells[0][0], NONE);
        assert_eq!(part.correlations[4].cells[0][0], "0.750");
        let cells = &part.correlations[5].cells;
        assert_eq!(cells[0], ["0.25", "\u{2212}0.50"]);
        assert_eq!(cells[1][0], NONE);
        let sum = ["40.000", "\u{2212}8.500", "31.500"];
        assert_eq!(part.terms[0].values[..3], sum);
        assert_eq!(part.terms[0].values[3..], [NONE, NONE]);
        assert_eq!(part.terms[1].values[3..], ["0.250", "0.750"]);
    }
}
