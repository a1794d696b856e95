//! What the positions of training images show: the rows that densities are fitted to.

use burn::tensor::Tensor;
use rand::seq::index::sample;

use super::detector::images_per_pass;
use crate::data::{Images, Samples, Vectors};
use crate::encoder::{MapEncoder, POSITION_CONTEXT, PositionConfig, Projection, position_context};
use crate::method::{Context, MethodError};

/// What a density is fitted through.
#[derive(Clone, Copy)]
pub(super) struct Scale<'a> {
    pub(super) config: &'a PositionConfig,
    pub(super) encoder: &'a MapEncoder,
    /// How often images are shrunk.
    pub(super) shrink: usize,
    /// Of the scales, from 1.
    pub(super) number: usize,
}

/// Positions that were looked at.
pub(super) struct Rows {
    /// `[len, features]`.
    pub(super) features: Vectors,
    /// Where in the grid each of them lies.
    pub(super) places: Vec<usize>,
}

impl Scale<'_> {
    /// The features of the positions of `images`, mirrored as well where that is asked for: of all, or
    /// of equally many in every image, drawn at random, where there are more than `most`.
    ///
    /// # Errors
    /// [`MethodError::NotFinite`] when the encoder gives no numbers for one of them.
    pub(super) fn rows(
        &self,
        context: &Context,
        (part, images): (&'static str, &Images),
        flips: bool,
        most: usize,
    ) -> Result<Rows, MethodError> {
        let places = self.config.grid(self.shrink).len();
        let flips: &[[bool; 2]] = match flips {
            true => &[[false, false], [true, false], [false, true], [true, true]],
            false => &[[false, false]],
        };
        let per_image = (most / (images.len() * flips.len()).max(1)).clamp(1, places);
        let rng = &mut context.rng(&format!("positions of scale {}", self.number));
        let mut rows = Rows {
            features: Vectors::new(self.config.features()),
            places: Vec::new(),
        };
        let all: Vec<usize> = (0..images.len()).collect();
        for indices in all.chunks(images_per_pass(self.config.shape)) {
            let batch = images.batch(indices, context.device);
            let batch: Tensor<4> = self.config.prepared(batch);
            for flip in flips {
                let batch = mirrored(batch.clone(), *flip);
                let features = self.config.describe(self.encoder, batch, self.shrink);
                let features: Vec<f32> = features.into_data().iter().collect();
                if let Some(entry) = features.iter().position(|value| !value.is_finite()) {
                    let image = indices[entry / (places * rows.features.dim())];
                    return Err(MethodError::NotFinite { part, image });
                }
                for image in features.chunks_exact(places * rows.features.dim()) {
                    let mut chosen = match per_image == places {
                        true => (0..places).collect(),
                        false => sample(rng, places, per_image).into_vec(),
                    };
                    chosen.sort_unstable();
                    for place in chosen {
                        let width = rows.features.dim();
                        let row = &image[place * width..][..width];
                        rows.features.extend(row.iter().copied());
                        rows.places.push(place);
                    }
                }
            }
        }
        Ok(rows)
    }
}

/// Images upside down, or left to right, or both.
fn mirrored(images: Tensor<4>, [rows, columns]: [bool; 2]) -> Tensor<4> {
    let images = if rows { images.flip([2]) } else { images };
    if columns { images.flip([3]) } else { images }
}

/// The first `head` components of every row, followed by its place in a grid of these sides where the
/// flow is to know it.
pub(super) fn latents(
    projection: &Projection,
    rows: &Rows,
    head: usize,
    sides: Option<[usize; 2]>,
    context: &Context,
) -> Vectors {
    const BATCH: usize = 4096;
    let places = sides.map(position_context);
    let width = head + places.as_ref().map_or(0, |_| POSITION_CONTEXT);
    let mut latents = Vectors::new(width);
    let all: Vec<usize> = (0..rows.features.len()).collect();
    for indices in all.chunks(BATCH) {
        let batch = projection.forward(rows.features.batch(indices, context.device));
        let batch: Vec<f32> = batch.narrow(1, 0, head).into_data().iter::<f32>().collect();
        for (row, &index) in batch.chunks_exact(head).zip(indices) {
            latents.extend(row.iter().copied());
            if let Some(places) = &places {
                let place = rows.places[index] * POSITION_CONTEXT;
                latents.extend(places[place..][..POSITION_CONTEXT].iter().copied());
            }
        }
    }
    latents
}
