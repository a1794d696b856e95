//! Why a method cannot be fitted, or a detector not be stored, loaded or asked.

use std::path::PathBuf;

use super::HeatSource;
use crate::data::DataError;
use crate::encoder::BackboneError;
use crate::evaluate::EvaluateError;
use crate::files::FileError;
use crate::train::TrainError;

/// An error of a fit.
#[derive(Debug, thiserror::Error)]
pub enum MethodError {
    /// A section of the settings that the method cannot read.
    #[error("{0}")]
    Settings(String),
    /// From a training stage.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// From the detector.
    #[error(transparent)]
    Detector(#[from] DetectorError),
    /// From the pretrained weights.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    /// A description of images that nothing can be fitted to.
    #[error(
        "the encoder describes image {} of the {part} images by numbers that are not finite: take another encoder, or leave that image out", image + 1
    )]
    NotFinite {
        /// Name of the part that the image belongs to.
        part: String,
        /// Its place there, from 0.
        image: usize,
    },
}

impl MethodError {
    /// True when the user stopped the fit, which can be continued.
    pub fn is_interruption(&self) -> bool {
        self.interrupted_at().is_some()
    }

    /// Where the user stopped the fit: the stage, and its finished epochs.
    pub fn interrupted_at(&self) -> Option<(&str, usize)> {
        match self {
            Self::Train(TrainError::Interrupted { stage, finished }) => Some((stage, *finished)),
            _ => None,
        }
    }
}

/// An error of a stored detector or a stored representation.
#[derive(Debug, thiserror::Error)]
pub enum DetectorError {
    /// Stored latents that cannot be read or written.
    #[error("latents {}: {reason}", path.display())]
    Latents {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A model file that cannot be read or written.
    #[error("model {}: {reason}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Images that a method cannot look at: why, and what to set.
    #[error("the method cannot look at these images: {0}")]
    Shape(String),
    /// Scores that cannot be turned into p-values.
    #[error("the detector cannot be calibrated: {0}")]
    Calibration(String),
    /// A heat map that the method cannot make.
    #[error("{}", no_heat(*wanted, known))]
    NoHeat {
        /// The source asked for, if one was.
        wanted: Option<HeatSource>,
        /// Sources that there are, on the detector's device.
        known: &'static [HeatSource],
    },
    /// A mask that the model does not know the level of.
    #[error(
        "this model has no levels for masks, which come from held-out normal images: fit it again, with a method that has heat maps"
    )]
    NoMasks,
    /// A level at which masks cannot be given.
    #[error(transparent)]
    Level(#[from] EvaluateError),
    /// An image that was passed over.
    #[error("the detector gave no {what} for the image: its model file is damaged, fit it again")]
    NoAnswer {
        /// What is missing.
        what: &'static str,
    },
    /// A heat map that does not lie over its picture.
    #[error(
        "a heat map of {}x{} pixels cannot be drawn over a picture of {}x{}: bring it to the picture's size first",
        map[0], map[1], picture[0], picture[1]
    )]
    Overlay {
        /// `[height, width]` of the map.
        map: [usize; 2],
        /// `[height, width]` of the picture.
        picture: [usize; 2],
    },
    /// A device that cannot be had.
    #[error(transparent)]
    Backend(#[from] crate::backend::BackendError),
    /// A device that computes otherwise than the CPU.
    #[error(
        "{backend} ({device}) computes the score `{score}` of a test picture as {here}, and the CPU as {cpu}: a fault of its driver, or of this program on it. Use `--device flex`"
    )]
    Device {
        /// Name of the backend.
        backend: &'static str,
        /// What the device calls itself.
        device: String,
        /// Name of the score that differs most.
        score: &'static str,
        /// Its value on the device.
        here: f32,
        /// Its value on the CPU.
        cpu: f32,
    },
    /// A detector written by a newer program.
    #[error("{} has format {found}, and this program reads formats up to {known}: update it", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Format of the file.
        found: u32,
        /// Newest format known.
        known: u32,
    },
    /// Images that cannot be brought to the size and colours of the training images.
    #[error(transparent)]
    Images(#[from] DataError),
    /// A file that cannot be read or written.
    #[error(transparent)]
    Files(#[from] FileError),
}

fn no_heat(wanted: Option<HeatSource>, known: &[HeatSource]) -> String {
    let wanted = wanted.map_or_else(String::new, |source| format!(" from {source}"));
    let known: Vec<&str> = known.iter().map(|source| source.name()).collect();
    match known.is_empty() {
        true => format!(
            "this detector has no heat map{wanted}: do without. (Through a pretrained network, heat maps need --device flex; distances and densities of its features have none)"
        ),
        false => format!(
            "this detector has no heat map{wanted}: ask for {}, or leave the choice to it",
            known.join(" or ")
        ),
    }
}

impl DetectorError {
    pub(crate) fn model(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::Model {
            path: path.into(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn latents(path: impl Into<PathBuf>, reason: impl ToString) -> Self {
        Self::Latents {
            path: path.into(),
            reason: reason.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_maps_that_there_are_not_come_with_those_there_are() {
        let text = |wanted, known| DetectorError::NoHeat { wanted, known }.to_string();
        let none = text(Some(HeatSource::Gradient), &[HeatSource::Positions]);
        assert_eq!(
            none,
            "this detector has no heat map from gradient: ask for positions, or leave the choice to it"
        );
        assert!(text(None, &[]).contains("no heat map: do without"));
    }

    #[test]
    fn what_is_no_calibration_is_not_called_so() {
        let overlay = DetectorError::Overlay {
            map: [8, 9],
            picture: [4, 5],
        };
        for (error, part) in [
            (DetectorError::NoAnswer { what: "score" }, "gave no score"),
            (overlay, "8x9 pixels cannot be drawn over a picture of 4x5"),
        ] {
            let text = error.to_string();
            assert!(
                text.contains(part) && !text.contains("calibrat"),
                "{part}: {text}"
            );
        }
    }
}
