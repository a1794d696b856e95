//! What the report of a sweep says: plain values, filled by the owner of the sweep. Every list may
//! be empty; its part of the page is left out then. AUROC everywhere in 0..=1.

/// Methods compared on every class of one data set. All text is escaped when rendered.
#[derive(Clone, Debug, Default)]
pub struct SweepReport {
    /// What was swept, e.g. "mnist".
    pub title: String,
    /// One sentence with the result in words.
    pub summary_sentence: String,
    /// What was done with what: (key, value) such as protocol, backend, device, time, git revision.
    pub setup: Vec<(String, String)>,
    /// Names of the anomalous classes in the order of the x axis.
    pub classes: Vec<String>,
    /// One row of the table and one colour of the figure each.
    pub methods: Vec<SweepMethod>,
    /// Comparisons of two methods each.
    pub pairs: Vec<PairComparison>,
    /// How `pairs` were tested, e.g. "Wilcoxon signed-rank, two-sided, Holm-adjusted".
    pub test_name: String,
    /// Cells without a result: (cell, reason).
    pub failures: Vec<(String, String)>,
    /// The command that repeats the sweep.
    pub command: String,
    /// Deviations, warnings and caveats, one paragraph each.
    pub notes: Vec<String>,
}

/// One method on every class.
#[derive(Clone, Debug, Default)]
pub struct SweepMethod {
    /// Its name, e.g. "encoder-flow".
    pub name: String,
    /// `[class][seed]`: the cells there are, classes as in [`SweepReport::classes`]. Classes missing
    /// at the end count as empty; a cell whose AUROC is not finite counts as missing.
    pub cells: Vec<Vec<SweepCell>>,
    /// Mean over classes of the means over seeds.
    pub mean: Option<f64>,
    /// Sample standard deviation over the seeds that have all classes of each one's mean over them; None with one of these.
    pub deviation: Option<f64>,
    /// AUROC of other data sets against the normal images, each the mean over all cells.
    pub others: Vec<(String, f64)>,
    /// AUROC of the pixels of heat maps, the mean over all cells, where there are masks.
    pub pixel_auroc: Option<f64>,
    /// Their AUPRO at 30 % false positives.
    pub aupro: Option<f64>,
    /// Wall-clock seconds of all cells together.
    pub seconds: f64,
    /// Of one of them, on average.
    pub run_seconds: Option<f64>,
    /// Largest resident memory of a run's process in MiB, where it is known of any.
    pub peak_memory_mib: Option<f64>,
}

/// One run: a method on a class under a seed.
#[derive(Clone, Debug, Default)]
pub struct SweepCell {
    /// Seed of the run.
    pub seed: u64,
    /// Its AUROC.
    pub auroc: f64,
    /// Its area under the precision-recall curve, anomalies positive, where it is known.
    pub auprc: Option<f64>,
    /// Where its report lies, relative to the page's folder, with "/" between parts. An absolute
    /// path is not linked.
    pub link: Option<String>,
}

/// Two methods compared over all pairs of cells they share.
#[derive(Clone, Debug, Default)]
pub struct PairComparison {
    /// The one method.
    pub left: String,
    /// The other method.
    pub right: String,
    /// Mean AUROC of `left` minus that of `right`, over the pairs.
    pub difference: f64,
    /// Number of pairs the test rests on.
    pub pairs: usize,
    /// p-value of this comparison alone.
    pub p_value: f64,
    /// p-value adjusted for all comparisons.
    pub adjusted: f64,
    /// Number of these.
    pub family: usize,
}
