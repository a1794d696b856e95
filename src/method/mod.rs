//! How a method fits and scores: one folder per method, and beside them what all of them share.
//!
//! A method is one folder (its settings and their check, networks, training step, fit, scorer, the
//! words for its scores), whose [`Entry`] is one arm of [`Method::entry`]. Help texts, reports,
//! curves, model files and sweeps know it from there.

pub mod anogan;
pub mod autoencoder;
mod detector;
pub mod egbad;
pub mod encoder_flow;
mod error;
mod fitting;
pub mod ganomaly;
pub mod glow;
pub mod gmm;
mod idle;
pub mod kernel;
pub mod knn;
pub mod mahalanobis;
pub mod on_latents;
pub mod on_positions;
pub mod padim;
pub mod patchcore;
pub mod pixel_flow;
mod pixel_pictures;
pub mod realnvp;
pub mod views;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use burn::tensor::Device;
use serde_json::Value;
use toml::Table;

pub use detector::{
    Calibration, Description, Detector, Findings, HeatSource, Heatmap, HeldOut, Inspection,
    MaskLevels, NormalMaps, PictureMaps, Scorer, Scores, Spread, Stored, Terms, Verdict,
};
pub use error::{DetectorError, MethodError};
pub use fitting::{
    AutoEncoderSettings, Clock, Context, EncoderKind, EncoderSettings, Encoding, Fitted,
    FlowSettings, Identity, Part, Parts, Representation, SimClrSettings, StageCount,
};
pub(crate) use fitting::{SharedNetwork, backbone_features, derive, features_fingerprint};

pub use idle::idle_overrides;

use crate::data::Conversion;
use crate::encoder::BackboneLook;
use crate::study::{Fault, SETTINGS, Schema, Settings, StudyError};
use crate::suggest::did_you_mean;
use crate::train::Kind;

/// A method of anomaly detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// The paper's: a flow's likelihood of an encoder's latents.
    EncoderFlow,
    /// The autoencoder's reconstruction error.
    Autoencoder,
    /// GANomaly.
    Ganomaly,
    /// AnoGAN.
    Anogan,
    /// EGBAD.
    Egbad,
    /// Distance to the nearest training images.
    Knn,
    /// Likelihood under a mixture of Gaussians.
    Gmm,
    /// Distance from the mean in units of the covariance.
    Mahalanobis,
    /// Likelihoods of several descriptions of an image without its size.
    Views,
    /// Distance of positions to the nearest of those seen.
    Patchcore,
    /// A Gaussian for every place in the image.
    Padim,
    /// Likelihood of positions under kernels.
    Kernel,
    /// Likelihood of the pixels under RealNVP.
    RealNvp,
    /// Likelihood of the pixels under Glow.
    Glow,
}

impl Method {
    /// All methods, the paper's first.
    pub const ALL: [Self; 14] = [
        Self::EncoderFlow,
        Self::Autoencoder,
        Self::Ganomaly,
        Self::Anogan,
        Self::Egbad,
        Self::Knn,
        Self::Gmm,
        Self::Mahalanobis,
        Self::Views,
        Self::Patchcore,
        Self::Padim,
        Self::Kernel,
        Self::RealNvp,
        Self::Glow,
    ];

    /// What the program knows of it.
    pub fn entry(self) -> &'static Entry {
        match self {
            Self::EncoderFlow => &encoder_flow::ENTRY,
            Self::Autoencoder => &autoencoder::ENTRY,
            Self::Ganomaly => &ganomaly::ENTRY,
            Self::Anogan => &anogan::ENTRY,
            Self::Egbad => &egbad::ENTRY,
            Self::Knn => &knn::ENTRY,
            Self::Gmm => &gmm::ENTRY,
            Self::Mahalanobis => &mahalanobis::ENTRY,
            Self::Views => &views::ENTRY,
            Self::Patchcore => &patchcore::ENTRY,
            Self::Padim => &padim::ENTRY,
            Self::Kernel => &kernel::ENTRY,
            Self::RealNvp => &realnvp::ENTRY,
            Self::Glow => &glow::ENTRY,
        }
    }

    /// Name on the command line and of its folder.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// What it reads of these settings.
    ///
    /// # Errors
    /// [`MethodError::Settings`] when a section of it cannot be read.
    pub fn plan(self, settings: &Settings) -> Result<Box<dyn Plan>, MethodError> {
        let plan = (self.entry().plan)(settings);
        plan.map_err(|error| MethodError::Settings(error.to_string()))
    }
}

/// All there is to know of a method before it is run.
pub struct Entry {
    /// Name on the command line and of its folder.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// Sections of the settings that it brings.
    pub sections: &'static [Section],
    /// What it reads of the settings: its own sections, and of others' what it looks at.
    pub plan: fn(&Settings) -> Result<Box<dyn Plan>, toml::de::Error>,
    /// Its scores, in words, by name: its own, and those of what it shares with other methods.
    pub words: &'static [&'static [(&'static str, &'static str)]],
    /// Its training stages, in their order; which of them a run has is in its summary.
    pub stages: &'static [&'static Kind],
    /// What a reader of its numbers should know.
    pub notes: &'static [&'static str],
    /// Its scorers from a model file, by the kind that [`Scorer::stored`] names.
    pub loaders: &'static [(&'static str, Loader)],
}

impl Entry {
    /// A score in words. A [`Scorer`] may say more of one: see [`Scorer::words`].
    pub fn describe<'a>(&self, score: &'a str) -> &'a str {
        let mut all = self.words.iter().copied().flatten();
        let words = all.find(|(name, _)| *name == score);
        words.map_or(score, |(_, words)| words)
    }
}

/// Builds a scorer from what [`Scorer::stored`] said and the bytes of a model file, or says what
/// keeps it from being built.
pub type Loader = fn(Value, Conversion, Vec<u8>, &Device) -> Result<Box<dyn Scorer>, String>;

/// A section of the settings.
pub struct Section {
    /// Its keys with their defaults, every one with a comment.
    pub defaults: &'static str,
    /// The first key with which no run is possible; an error when the section cannot be read.
    pub fault: fn(&Settings) -> Result<Option<Fault>, toml::de::Error>,
}

/// What a fit reads of the settings, and nothing else of them: so it is also their part of the run's
/// identity.
pub trait Plan: fmt::Debug + Send + Sync {
    /// All of it, under the keys of the settings.
    fn settings(&self) -> Table;

    /// Makes sure, before images are read, that ones of this `[channels, height, width]` can be looked at, as far as that can
    /// be told.
    ///
    /// # Errors
    /// [`MethodError`] with what to do.
    fn check(&self, shape: [usize; 3]) -> Result<(), MethodError>;

    /// The encoder of whole images that the method looks through, if it is of that kind: the
    /// answers below follow from it.
    fn encoding(&self) -> Option<&Encoding> {
        None
    }

    /// How a pretrained network looks at images, where the method sees one description of the whole image
    /// through it: those features can be computed once for all runs.
    fn pretrained(&self) -> Option<BackboneLook> {
        self.encoding()?.pretrained()
    }

    /// The file of pretrained weights that a fit reads, if it does; those of SqueezeNet are in
    /// `squeezenet`.
    fn weights_file(&self, squeezenet: &Path) -> Option<PathBuf> {
        Some(self.pretrained()?.file(squeezenet))
    }

    /// True when a fit trains the autoencoder of the section `encoder`, which methods share.
    fn trains_autoencoder(&self) -> bool {
        matches!(self.encoding(), Some(Encoding::Autoencoder(_)))
    }

    /// True when a fit trains the network of the section `simclr`, which methods share.
    fn trains_simclr(&self) -> bool {
        matches!(self.encoding(), Some(Encoding::SimClr { .. }))
    }

    /// Of what it fits with the same settings: raised where a later program comes to other numbers, so that runs of both are not
    /// taken for one.
    fn version(&self) -> u32 {
        1
    }

    /// True where validation images have a say in the fit beside choosing the epoch of a stage: p-values from them are
    /// approximate then.
    fn is_chosen_by_validation(&self) -> bool {
        false
    }

    /// True where a training image's score says nothing, or costs too much: a threshold then comes from
    /// held-out ones.
    fn skips_training_scores(&self) -> bool {
        false
    }

    /// Fits the method and scores every part.
    ///
    /// # Errors
    /// [`MethodError`]; what was trained until then is kept, and the same call continues.
    fn fit(&self, context: &mut Context, parts: &Parts) -> Result<Fitted, MethodError>;
}

/// Serialises what a plan reads: values that always are a table.
pub(crate) fn as_table(settings: &impl serde::Serialize) -> Table {
    match Table::try_from(settings) {
        Ok(table) => table,
        // Not reached by settings, which were read from a table; distinct all the same.
        Err(error) => Table::from_iter([("unreadable".to_owned(), error.to_string().into())]),
    }
}

/// The settings of all methods, for studies to be resolved with.
///
/// # Panics
/// Never: a test reads the sections that are compiled in.
pub fn schema() -> Schema {
    let parse = |text: &str| text.parse::<Table>().expect("built-in sections are TOML");
    let mut defaults = parse(SETTINGS);
    for section in sections() {
        defaults.extend(parse(section.defaults));
    }
    Schema {
        defaults,
        methods: Method::ALL.map(Method::name).to_vec(),
        readable: |settings| {
            sections().try_for_each(|section| (section.fault)(settings).map(|_| ()))
        },
        fault: |settings| sections().find_map(|section| (section.fault)(settings).ok().flatten()),
    }
}

fn sections() -> impl Iterator<Item = &'static Section> {
    let entries = Method::ALL.into_iter().map(Method::entry);
    entries.flat_map(|entry| entry.sections)
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Method {
    type Err = StudyError;

    fn from_str(name: &str) -> Result<Self, StudyError> {
        let found = Self::ALL.into_iter().find(|method| method.name() == name);
        found.ok_or_else(|| {
            let known = Self::ALL.map(Self::name);
            StudyError::Name(format!(
                "unknown method `{name}`{} Known: {}",
                did_you_mean(name, known.into_iter()),
                known.join(", ")
            ))
        })
    }
}

#[cfg(test)]
mod tests;
