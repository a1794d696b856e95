//! One feature vector for every position of an image.

mod context;
mod grid;
mod source;

use burn::tensor::Tensor;
use burn::tensor::module::avg_pool2d;
use burn::tensor::ops::AvgPoolOptions;
use serde::{Deserialize, Serialize};

pub use context::{POSITION_CONTEXT, position_context, position_contexts};
pub use grid::Grid;
pub use source::{MapEncoder, MapSource};

use self::grid::on_grid;
use super::Normalisation;
use crate::data::Conversion;
use crate::ops::mean_pool2d;

/// Smallest standard deviation of an image's pixels in `[-1, 1]`: one that shows nothing stays flat.
const LEAST_CONTRAST: f64 = 0.04;
/// Standard deviation, in `[-1, 1]`, that images are brought to where their intensity is normalised:
/// near that of ImageNet's.
const CONTRAST: f64 = 0.4;
/// Grey of ImageNet's mean, in `[-1, 1]`.
const BRIGHTNESS: f64 = -0.1;

/// How positions are described, and the sizes that this takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PositionConfig {
    /// `[channels, height, width]` of an image.
    pub shape: [usize; 3],
    /// Where the features come from.
    pub source: MapSource,
    /// Every image is brought to the same mean and standard deviation of its pixels first.
    pub intensity: bool,
    /// Side of the square of neighbouring positions that a feature is the mean of, odd; 1 for none.
    pub pooling: usize,
    /// What is taken out of the features of every position, with a norm so that the mean square of what is left is one.
    #[serde(default, skip_serializing_if = "Normalisation::is_none")]
    pub normalise: Normalisation,
}

impl PositionConfig {
    /// Sides that images may have, in pixels.
    pub const SIDES: std::ops::RangeInclusive<usize> = Conversion::SIDES;

    /// What keeps images from being described so, if anything does.
    pub(crate) fn check(&self) -> Result<(), String> {
        let [channels, height, width] = self.shape;
        let sides = Self::SIDES.contains(&height) && Self::SIDES.contains(&width);
        let area = height.saturating_mul(width) <= Conversion::MOST_PIXELS;
        if !matches!(channels, 1 | 3) || !sides || !area {
            return Err(format!(
                "images of shape {:?} are not supported",
                self.shape
            ));
        }
        if self.pooling.is_multiple_of(2) || self.pooling > 15 {
            return Err(format!("a pooling of {} is not supported", self.pooling));
        }
        self.source.check(self.shape)
    }

    /// `[height, width]` of an image that was shrunk so many times.
    pub fn sides(&self, shrink: usize) -> [usize; 2] {
        let [_, height, width] = self.shape;
        [height / shrink, width / shrink]
    }

    /// What keeps images from being described at this scale, if anything does.
    pub(crate) fn check_scale(&self, shrink: usize) -> Result<(), String> {
        let [channels, height, width] = self.shape;
        let whole = matches!(shrink, 1 | 2 | 4 | 8)
            && height.is_multiple_of(shrink)
            && width.is_multiple_of(shrink);
        if !whole || (shrink > 1 && !matches!(self.source, MapSource::SqueezeNet { .. })) {
            return Err(format!(
                "images of {height}x{width} cannot be shrunk {shrink} times"
            ));
        }
        let sides = self.sides(shrink);
        let checked = self.source.check([channels, sides[0], sides[1]]);
        checked.map_err(|reason| match shrink {
            1 => reason,
            times => format!("{reason}: {width}x{height} pixels shrunk {times} times"),
        })
    }

    /// The configuration for the texture residual of the same images, which are not normalised before.
    pub fn texture_residual(&self) -> Self {
        Self {
            shape: self.shape,
            source: MapSource::Texture,
            intensity: false,
            pooling: 1,
            normalise: Normalisation::None,
        }
    }

    /// The positions of an image that was shrunk so many times, placed in the image itself.
    pub fn grid(&self, shrink: usize) -> Grid {
        let grid = self.source.grid(self.sides(shrink));
        Grid {
            sides: grid.sides,
            stride: grid.stride.map(|stride| stride * shrink as f64),
            first: grid.first.map(|first| first * shrink as f64),
        }
    }

    /// Features of a position.
    pub fn features(&self) -> usize {
        self.source.features(self.shape[0])
    }

    /// Images as every scale sees them.
    ///
    /// # Shapes
    /// `[batch, channels, height, width]` in `[-1, 1]` to the same.
    pub fn prepared(&self, images: Tensor<4>) -> Tensor<4> {
        if !self.intensity {
            return images;
        }
        let [batch, channels, height, width] = images.dims();
        let rows = images.reshape([batch, channels * height * width]);
        let rows = rows.clone() - rows.mean_dim(1);
        let deviation = rows.clone().square().mean_dim(1).sqrt();
        let rows = rows / deviation.clamp_min(LEAST_CONTRAST) * CONTRAST + BRIGHTNESS;
        rows.reshape([batch, channels, height, width])
    }

    /// Features of every position, row by row of the image, of [prepared](Self::prepared) images.
    ///
    /// # Shapes
    /// `[batch, channels, height, width]` to `[batch * rows * columns, features]`.
    pub fn describe(&self, encoder: &MapEncoder, images: Tensor<4>, shrink: usize) -> Tensor<2> {
        let sides = self.grid(shrink).sides;
        let images = match shrink {
            1 => images,
            times => avg_pool2d(images, AvgPoolOptions::new([times; 2])),
        };
        let maps = encoder.maps(&self.source, images);
        let blocks = maps.iter().map(|map| map.dims()[1]).collect();
        let maps = maps.into_iter().map(|map| on_grid(self.pooled(map), sides));
        let maps = Tensor::cat(maps.collect(), 1);
        let [batch, features, height, width] = maps.dims();
        let rows = maps.permute([0, 2, 3, 1]);
        let rows = rows.reshape([batch * height * width, features]);
        let rows = self.normalise.apply(rows, blocks);
        match self.normalise {
            Normalisation::None | Normalisation::Sqrt => rows,
            // So that an entry is of size one however many there are: densities have a least variance.
            Normalisation::L2 | Normalisation::Contrast => rows * (features as f64).sqrt(),
        }
    }

    /// Means of neighbouring positions; at the edges of those that there are.
    fn pooled(&self, map: Tensor<4>) -> Tensor<4> {
        if self.pooling == 1 {
            return map;
        }
        mean_pool2d(map, self.pooling)
    }
}

#[cfg(test)]
mod tests;
