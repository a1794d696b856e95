//! What a report says: plain values, filled by the owner of a run. Every list may be empty; its part
//! of the page is left out then.

use serde::{Deserialize, Serialize};

use crate::data::Images;
use crate::evaluate::{Correlation, Roc, ScoreMetrics};

/// Everything on the page. All text is escaped when rendered.
#[derive(Clone, Debug, Default)]
pub struct RunReport {
    /// What was run, e.g. "mnist-3".
    pub title: String,
    /// Name of the method, e.g. "encoder-flow".
    pub method: String,
    /// One sentence with the result in words.
    pub summary_sentence: String,
    /// The few numbers to see first: (label, value), at most six look good.
    pub headline: Vec<(String, String)>,
    /// What was done with what: (key, value) such as data set, protocol, split sizes, seed, backend,
    /// device, versions, git revision, date.
    pub setup: Vec<(String, String)>,
    /// One row per test set and score.
    pub metrics: Vec<MetricRow>,
    /// Whose scores the thresholds come from: "training images".
    pub thresholds_from: String,
    /// Score distributions: together the page's Figure 1, as in the paper.
    pub histograms: Vec<Histogram>,
    /// ROC curves, drawn into one figure.
    pub roc: Vec<RocCurve>,
    /// What the deciding score follows.
    pub explained: Option<Explained>,
    /// Learning curves, one panel each.
    pub curves: Vec<LearningCurve>,
    /// Originals above their reconstructions, e.g. one entry for normals, one for anomalies.
    pub reconstructions: Vec<Reconstructions>,
    /// Images decoded from latents drawn from the flow.
    pub samples: Option<Images>,
    /// Pictures that only this method has.
    pub pictures: Vec<ImageRows>,
    /// Images at both ends of the ranking, one entry per test subset.
    pub extremes: Vec<Extremes>,
    /// Where the time went.
    pub timings: Vec<Timing>,
    /// Peak resident memory, MiB.
    pub peak_memory_mib: Option<f64>,
    /// The resolved experiment file.
    pub config_toml: String,
    /// The command that repeats the run.
    pub command: String,
    /// Deviations, warnings and caveats, one paragraph each.
    pub notes: Vec<String>,
}

/// Rows of images, those of a column belonging together.
#[derive(Clone, Debug)]
pub struct ImageRows {
    /// What is shown, e.g. "What the couplings predict: normal test images".
    pub title: String,
    /// How to read it.
    pub caption: String,
    /// From top to bottom, all of one length and of images of one shape.
    pub rows: Vec<Images>,
}

/// One row of the metric table.
#[derive(Clone, Debug)]
pub struct MetricRow {
    /// Against what, e.g. "digit 3" or "SVHN".
    pub test_set: String,
    /// Which anomaly score, e.g. "NLL".
    pub score: String,
    /// The numbers.
    pub metrics: ScoreMetrics,
}

/// Distributions of one quantity over several sets of images (one panel of the paper's Figure 1).
#[derive(Clone, Debug)]
pub struct Histogram {
    /// Short title of the panel, e.g. "Normal vs digit 3".
    pub title: String,
    /// Sentences for the caption; what is drawn and what lies outside is added.
    pub caption: String,
    /// Quantity and unit on the x axis, e.g. "log-likelihood (nats)".
    pub score_label: String,
    /// The sets; by habit the normal one first.
    pub series: Vec<Series>,
    /// Vertical lines: (label, position), in the unit of the x axis (mind the sign: the threshold
    /// of an NLL is at minus its value on a log-likelihood axis).
    pub thresholds: Vec<(String, f32)>,
}

/// One set of values in a [`Histogram`].
#[derive(Clone, Debug)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// One value per image; values that are not finite are counted in the caption, not drawn.
    pub values: Vec<f32>,
}

/// What scores follow: how well images can be compressed, how large they are, and the terms of a flow's likelihood.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The deciding score against the length of the compressed image.
    pub scatter: Scatter,
    /// How images were compressed, e.g. "PNG".
    pub compressor: String,
    /// The sets compared.
    pub sets: Vec<ComparedSet>,
    /// Score, and how it goes with the length: in every set, and in all of them together. None where one of
    /// the two is constant.
    pub correlations: Vec<(String, Vec<Option<Correlation>>)>,
    /// The same of the deciding score with the sizes of an image, each in words.
    pub sizes: Vec<(String, Vec<Option<Correlation>>)>,
    /// The terms of flows' likelihoods; empty where there is no flow.
    pub terms: Vec<TermsRow>,
}

/// A set of images that have been compressed.
#[derive(Clone, Debug)]
pub struct ComparedSet {
    /// Its name.
    pub name: String,
    /// How many.
    pub images: usize,
    /// Mean length of the compressed image, in bits per pixel.
    pub bits_per_pixel: f64,
    /// Means of the sizes of an image, each in words, in grey levels.
    pub sizes: Vec<(String, f64)>,
    /// AUROC against the normal images of the length alone, a short file being odd.
    pub by_length: Option<f64>,
    /// The same of a likelihood in bits/dim less the length, where there is one.
    pub by_complexity: Option<f64>,
}

/// Two quantities of the same images against each other.
#[derive(Clone, Debug)]
pub struct Scatter {
    /// Short title.
    pub title: String,
    /// Sentences for the caption; what lies outside is added.
    pub caption: String,
    /// Quantity and unit on the x axis.
    pub x_label: String,
    /// Quantity and unit on the y axis.
    pub y_label: String,
    /// Name in the legend, and a point for each image; by habit the normal ones first.
    pub series: Vec<(String, Vec<[f32; 2]>)>,
}

/// Means of the two terms of a flow's negative log-likelihood over one set of images.
#[derive(Clone, Debug)]
pub struct TermsRow {
    /// Which images.
    pub test_set: String,
    /// Which score.
    pub score: String,
    /// Unit of the terms.
    pub unit: String,
    /// Mean of `-ln p(z)`.
    pub base: f64,
    /// Mean of `-ln |det dz/dx|`.
    pub log_det: f64,
    /// AUROC of each term against normal images, where these are others.
    pub auroc: Option<[f64; 2]>,
}

/// One line of the ROC figure.
#[derive(Clone, Debug)]
pub struct RocCurve {
    /// Name in the legend.
    pub name: String,
    /// The points.
    pub roc: Roc,
    /// Exact area, for the legend.
    pub auroc: f64,
}

/// One quantity over the epochs of one stage. The three lists run in parallel; a value that is
/// not finite is skipped.
#[derive(Clone, Debug)]
pub struct LearningCurve {
    /// What is shown, e.g. "Flow: NLL".
    pub title: String,
    /// Unit on the y axis, e.g. "nats".
    pub unit: String,
    /// Epoch numbers, from 1.
    pub epochs: Vec<usize>,
    /// Mean over the training batches of each epoch.
    pub train: Vec<f64>,
    /// Value on the validation split after each epoch; may be empty.
    pub valid: Vec<f64>,
    /// The epoch whose weights were kept.
    pub best_epoch: Option<usize>,
}

/// Images and what the decoder makes of their latents.
#[derive(Clone, Debug)]
pub struct Reconstructions {
    /// Which images, e.g. "normal test images".
    pub title: String,
    /// The images; about 24 look good, all are drawn.
    pub originals: Images,
    /// Their reconstructions, in the same order and shape.
    pub reconstructions: Images,
}

/// Both ends of one test subset's ranking.
#[derive(Clone, Debug)]
pub struct Extremes {
    /// Which subset and score, e.g. "Test normals and digit 3, by NLL".
    pub title: String,
    /// Highest scores, highest first.
    pub most: Gallery,
    /// Lowest scores, lowest first.
    pub least: Gallery,
}

/// Images with a line of text each.
#[derive(Clone, Debug)]
pub struct Gallery {
    /// The images; about 16 look good, all are drawn.
    pub images: Images,
    /// What to say about each, in the same order.
    pub items: Vec<ScoredImage>,
}

/// What is known about one image of a [`Gallery`].
#[derive(Clone, Debug)]
pub struct ScoredImage {
    /// Its anomaly score.
    pub score: f32,
    /// Its true class, e.g. "7" or "airplane".
    pub label: String,
    /// Whether it is truly anomalous.
    pub anomalous: bool,
}

/// Time of one stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// Name of the stage.
    pub stage: String,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Throughput, where it means something.
    pub images_per_second: Option<f64>,
}
