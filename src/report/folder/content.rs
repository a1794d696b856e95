//! What the page of a user's own images says: plain values, filled by their owner. Every list may be
//! empty; its part of the page is left out then.

use image::{GrayImage, RgbImage};

use crate::report::{Histogram, RocCurve, Timing};

/// Everything on the page. All text is escaped when rendered.
#[derive(Clone, Debug, Default)]
pub struct FolderReport {
    /// What was scored or learned from, e.g. the folder.
    pub title: String,
    /// With what, e.g. the model file.
    pub method: String,
    /// One sentence with the result in words.
    pub summary_sentence: String,
    /// The few numbers to see first: (label, value).
    pub headline: Vec<(String, String)>,
    /// The most anomalous images, the worst first.
    pub worst: Vec<OddImage>,
    /// What these are, in a sentence.
    pub worst_caption: String,
    /// Distributions of scores and p-values.
    pub histograms: Vec<Histogram>,
    /// ROC curves, drawn into one figure.
    pub roc: Vec<RocCurve>,
    /// Kinds of defects: name, images, AUROC against the good ones.
    pub defects: Vec<[String; 3]>,
    /// Files that could not be read, and why.
    pub left_out: Vec<(String, String)>,
    /// What was done with what: (key, value).
    pub setup: Vec<(String, String)>,
    /// Where the time went.
    pub timings: Vec<Timing>,
    /// Peak resident memory, MiB.
    pub peak_memory_mib: Option<f64>,
    /// The command that repeats it.
    pub command: String,
    /// Warnings and caveats, one paragraph each.
    pub notes: Vec<String>,
}

/// An image with what the detector says of it.
#[derive(Clone, Debug)]
pub struct OddImage {
    /// The image itself, of any size.
    pub picture: RgbImage,
    /// With its heat map in colour, where there is one.
    pub overlay: Option<RgbImage>,
    /// What is marked as defective, where there is a mask.
    pub mask: Option<GrayImage>,
    /// Its file.
    pub name: String,
    /// Score and p-value in words.
    pub verdict: String,
    /// What drove the verdict, where more than one thing can.
    pub driver: Option<String>,
    /// Whether it is called anomalous.
    pub anomalous: bool,
    /// What it truly is, where that is known.
    pub label: Option<String>,
}
