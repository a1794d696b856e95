//! What the positions of training images show: the rows that densities are fitted to.

use burn::tensor::Tensor;
use rand::Rng;
use rand::seq::index::sample;

use super::detector::images_per_pass;
use crate::data::{Images, Samples, Vectors, batches};
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

/// Which positions of images are looked at, and what of them.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// How the images are seen.
    pub(super) poses: Poses,
    /// Positions, at most.
    pub(super) most: usize,
    /// Every position of an image or none: images are drawn, in place of positions.
    pub(super) whole: bool,
    /// Indices of the features that are kept; `None` for all.
    pub(super) features: Option<&'a [usize]>,
}

impl Wanted<'_> {
    /// Indices of the images, among so many of so many positions each, that are looked at: all, or as many as are
    /// wanted, drawn at random.
    fn images(&self, count: usize, places: usize, rng: &mut impl Rng) -> Vec<usize> {
        let of_image = match self.whole {
            true => places,
            false => 1,
        };
        let most = (self.most / (of_image * self.poses.count()).max(1)).max(1);
        if most >= count {
            return (0..count).collect();
        }
        let mut drawn = sample(rng, count, most).into_vec();
        drawn.sort_unstable();
        drawn
    }
}

/// Positions that were looked at.
pub(super) struct Rows {
    /// `[len, features]`.
    pub(super) features: Vectors,
    /// Where in the grid each of them lies.
    pub(super) places: Vec<usize>,
}

impl Scale<'_> {
    /// The features of the positions of `images`, in every one of the poses: of all, or, where there are more than are
    /// wanted, of equally many in every image, drawn at random. Where there are more images than that, and where every
    /// position of an image is wanted, the images are drawn.
    ///
    /// # Errors
    /// [`MethodError::NotFinite`] when the encoder gives no numbers for one of them.
    pub(super) fn rows(
        &self,
        context: &Context,
        (part, images): (&'static str, &Images),
        wanted: Wanted,
    ) -> Result<Rows, MethodError> {
        let places = self.config.grid(self.shrink).len();
        let width = self.config.features();
        let poses = wanted.poses.all();
        let rng = &mut context.rng(&format!("positions of scale {}", self.number));
        let all = wanted.images(images.len(), places, rng);
        let per_image = match wanted.whole {
            true => places,
            false => (wanted.most / (all.len() * poses.len()).max(1)).clamp(1, places),
        };
        let mut rows = Rows {
            features: Vectors::with_capacity(
                wanted.features.map_or(width, <[usize]>::len),
                all.len() * poses.len() * per_image,
            ),
            places: Vec::new(),
        };
        let step = format!("describing {part} images at scale {}", self.number);
        let bar = context.display.bar(&step, all.len());
        for indices in all.chunks(images_per_pass(self.config)) {
            let batch = images.batch(indices, context.device);
            let batch: Tensor<4> = self.config.prepared(batch);
            for &pose in &poses {
                let batch = seen(batch.clone(), pose);
                let features = self.config.describe(self.encoder, batch, self.shrink);
                let features: Vec<f32> = features.into_data().iter().collect();
                if let Some(entry) = features.iter().position(|value| !value.is_finite()) {
                    let image = indices[entry / (places * width)];
                    let part = part.to_owned();
                    return Err(MethodError::NotFinite { part, image });
                }
                for image in features.chunks_exact(places * width) {
                    let mut chosen = match per_image == places {
                        true => (0..places).collect(),
                        false => sample(rng, places, per_image).into_vec(),
                    };
                    chosen.sort_unstable();
                    for place in chosen {
                        let row = &image[place * width..][..width];
                        match wanted.features {
                            Some(kept) => rows.features.extend(kept.iter().map(|&at| row[at])),
                            None => rows.features.extend(row.iter().copied()),
                        }
                        rows.places.push(place);
                    }
                }
            }
            bar.inc(indices.len() as u64);
        }
        bar.finish_and_clear();
        Ok(rows)
    }
}

/// How training images are seen beside as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Poses {
    /// Mirrored both ways.
    pub flips: bool,
    /// Turned by quarters.
    pub turns: bool,
}

impl Poses {
    /// Number of poses.
    pub(super) fn count(self) -> usize {
        self.all().len()
    }

    /// Quarter turns, and whether the image is mirrored left to right before, of each pose; the image as it is first.
    /// (Upside down is mirrored and then turned by two quarters.)
    fn all(self) -> Vec<(usize, bool)> {
        let turns: &[usize] = match (self.turns, self.flips) {
            (true, _) => &[0, 1, 2, 3],
            (false, true) => &[0, 2],
            (false, false) => &[0],
        };
        let mirrored: &[bool] = if self.flips { &[false, true] } else { &[false] };
        let poses = turns
            .iter()
            .flat_map(|&turns| mirrored.iter().map(move |&mirrored| (turns, mirrored)));
        poses.collect()
    }

    /// Checks that images of `[height, width]` can be turned so.
    ///
    /// # Errors
    /// In words, that they cannot.
    pub fn check(self, [height, width]: [usize; 2]) -> Result<(), String> {
        match self.turns && height != width {
            false => Ok(()),
            true => Err(format!(
                "{height}x{width} pixels, and positions.turns turns squares alone, which data.fit=\"resize\" and \
                 \"crop\" make of them"
            )),
        }
    }
}

/// Images mirrored left to right, where that is asked for, and then turned by so many quarters.
fn seen(images: Tensor<4>, (turns, mirrored): (usize, bool)) -> Tensor<4> {
    let images = if mirrored { images.flip([3]) } else { images };
    match turns {
        1 => images.swap_dims(2, 3).flip([3]),
        2 => images.flip([2, 3]),
        3 => images.swap_dims(2, 3).flip([2]),
        _ => images,
    }
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
    let mut latents = Vectors::with_capacity(width, rows.features.len());
    for indices in batches(rows.features.len(), BATCH) {
        let batch = projection.forward(rows.features.batch(&indices, context.device));
        let batch: Vec<f32> = batch.narrow(1, 0, head).into_data().iter::<f32>().collect();
        for (row, index) in batch.chunks_exact(head).zip(indices) {
            latents.extend(row.iter().copied());
            if let Some(places) = &places {
                let place = rows.places[index] * POSITION_CONTEXT;
                latents.extend(places[place..][..POSITION_CONTEXT].iter().copied());
            }
        }
    }
    latents
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use burn::tensor::TensorData;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    /// What the poses make of a 2x2 image of four values.
    fn poses(flips: bool, turns: bool) -> Vec<Vec<i32>> {
        let image = TensorData::new(vec![0.0f32, 1.0, 2.0, 3.0], [1, 1, 2, 2]);
        let image = Tensor::<4>::from_data(image, &test_device());
        let poses = Poses { flips, turns }.all().into_iter();
        let found = poses.map(|pose| {
            seen(image.clone(), pose)
                .into_data()
                .iter::<i32>()
                .collect()
        });
        found.collect()
    }

    #[test]
    fn images_are_seen_as_they_are_mirrored_and_turned() {
        assert_eq!(poses(false, false), [[0, 1, 2, 3]]);
        let mirrored = [[0, 1, 2, 3], [1, 0, 3, 2], [3, 2, 1, 0], [2, 3, 0, 1]];
        assert_eq!(poses(true, false), mirrored);
        let turned = [[0, 1, 2, 3], [2, 0, 3, 1], [3, 2, 1, 0], [1, 3, 0, 2]];
        assert_eq!(poses(false, true), turned);
        // The eight symmetries of a square.
        let mut all = poses(true, true);
        assert_eq!(all[0], [0, 1, 2, 3]);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 8);
    }

    #[test]
    fn images_are_drawn_where_there_is_no_room_for_all() {
        let wanted = |most: usize, whole: bool| Wanted {
            poses: Poses {
                flips: true,
                turns: false,
            },
            most,
            whole,
            features: None,
        };
        let images = |wanted: Wanted| wanted.images(10, 16, &mut StdRng::seed_from_u64(1));
        let all: Vec<usize> = (0..10).collect();
        // Four poses; 16 positions in each image.
        assert_eq!(images(wanted(40, false)), all);
        assert_eq!(images(wanted(640, true)), all);
        for some in [wanted(12, false), wanted(200, true)] {
            let drawn = images(some);
            assert!(
                drawn.len() == 3 && drawn.is_sorted() && drawn[2] < 10,
                "{drawn:?}"
            );
        }
        assert_eq!(images(wanted(0, true)).len(), 1);
    }

    #[test]
    fn only_squares_are_turned() {
        let turned = Poses {
            flips: false,
            turns: true,
        };
        assert!(turned.check([64, 64]).is_ok());
        assert!(
            turned
                .check([64, 96])
                .unwrap_err()
                .contains("positions.turns")
        );
        let mirrored = Poses {
            flips: true,
            turns: false,
        };
        assert!(mirrored.check([64, 96]).is_ok());
    }
}
