//! What a model file says of a position-wise detector beside the weights, and what of it can be built.

use serde::{Deserialize, Serialize};

use super::DensitySizes;
use super::detector::NAMES;
use crate::encoder::{Grid, MapSource, PositionConfig};
use crate::method::Spread;

/// What a model file says beside the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PositionSizes {
    /// How positions are described.
    pub config: PositionConfig,
    /// Share of the positions that the image's score is the mean of; 0 for the least likely one.
    pub top: f64,
    /// Side in pixels of the tiles, the least likely of which gives the image's score; 0 for none.
    #[serde(default)]
    pub tiles: usize,
    /// The scales.
    pub scales: Vec<ScaleSizes>,
}

/// One scale.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleSizes {
    /// How often the image is shrunk.
    pub shrink: usize,
    /// Its positions are described by [the texture residual](crate::encoder::TextureEnergies), whatever
    /// describes those of the others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub texture: bool,
    /// Sizes of its density.
    pub density: DensitySizes,
    /// Of the images' scores.
    pub images: Spread,
    /// Of the positions' scores.
    pub positions: Spread,
}

impl PositionSizes {
    /// How the positions of a scale are described.
    pub fn config_of(&self, scale: &ScaleSizes) -> PositionConfig {
        match scale.texture {
            true => self.config.texture_residual(),
            false => self.config.clone(),
        }
    }

    /// The positions of a scale, placed in the image.
    pub fn grid_of(&self, scale: &ScaleSizes) -> Grid {
        self.config_of(scale).grid(scale.shrink)
    }

    /// What keeps these sizes from being built out of a file of so many `bytes`, if anything does.
    pub(super) fn check(&self, bytes: usize) -> Result<(), String> {
        self.config.check()?;
        if let MapSource::Autoencoder(network) = &self.config.source {
            network.fits(bytes)?;
        }
        if !(1..NAMES.len()).contains(&self.scales.len()) || !(0.0..=1.0).contains(&self.top) {
            return Err("its scales are not supported".to_owned());
        }
        if self.tiles != 0 && !PositionConfig::SIDES.contains(&self.tiles) {
            return Err(format!("tiles of {} pixels are not supported", self.tiles));
        }
        for scale in &self.scales {
            let config = self.config_of(scale);
            config.check_scale(scale.shrink)?;
            let places = config.grid(scale.shrink).len();
            scale.density.check(config.features(), places, bytes)?;
            if !scale.images.is_sound() || !scale.positions.is_sound() {
                return Err("the spread of a scale's score is damaged".to_owned());
            }
        }
        Ok(())
    }
}
