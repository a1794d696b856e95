//! How well scores separate anomalous from normal images, and where the line between them is drawn.
//!
//! Anomaly scores everywhere: higher = more anomalous.

mod averages;
mod bootstrap;
mod conformal;
mod correlation;
mod error;
mod false_alarms;
mod localization;
mod metrics;
mod ranked;
mod regions;
mod roc;
mod threshold;
mod wilcoxon;

pub(crate) use averages::{deviation, mean, whole_mean};
pub use bootstrap::auroc_interval;
pub use conformal::Conformal;
pub use correlation::Correlation;
pub use error::EvaluateError;
pub use false_alarms::FalseAlarms;
pub use localization::{AUPRO_LIMIT, PixelRanking};
pub use metrics::{BOOTSTRAP_RESAMPLES, INTERVAL_LEVEL, ScoreMetrics, TPR_LEVEL, evaluate};
pub use roc::{Roc, aupr, aupr_anomalous, aupr_normal, auroc, fpr_at_tpr, roc_curve};
pub use threshold::{Sides, Threshold, ThresholdRule, Verdicts, quantile};
pub use wilcoxon::{SIGNIFICANCE, SignedRank, can_differ, holm, wilcoxon_signed_rank};
