//! The linear encoder: principal components of the training normals.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;

use super::Normalisation;
use super::directions::varied_directions;
use super::view::unit;
use crate::data::{Images, Samples, batches};

/// Projection on the first principal components, in pixel space.
///
/// The cheapest function that maps an image to a latent. (`linfa`'s PCA wants all images as one f64 matrix: 1.2 GB
/// for CIFAR-10.)
#[derive(Module, Debug)]
pub struct Pca {
    mean: Param<Tensor<1>>,
    components: Param<Tensor<2>>,
    shape: [usize; 3],
    #[module(skip)]
    normalise: Normalisation,
}

/// Images whose mean is added up at a time.
const BATCH: usize = 1024;

impl Pca {
    /// Fits `components` directions to `images`, at most as many as an image has values, once what `normalise` says has been
    /// taken out of them.
    pub fn fit(
        images: &Images,
        (components, normalise): (usize, Normalisation),
        rng: &mut impl Rng,
        device: &Device,
    ) -> Self {
        let shape = images.shape();
        let dim: usize = shape.iter().product();
        let components = components.min(dim);
        let rows = |indices: &[usize]| seen(images.batch(indices, device), normalise);
        let mean = match normalise {
            Normalisation::None => mean(images, dim),
            _ => mean_of_rows(images.len(), dim, rows),
        };
        let (directions, _) = varied_directions(&mean, images.len(), components, device, rows, rng);
        let data = TensorData::new(directions, [dim, components]);
        Self {
            mean: Param::from_tensor(Tensor::from_data(TensorData::new(mean, [dim]), device)),
            components: Param::from_tensor(Tensor::from_data(data, device)),
            shape,
            normalise,
        }
    }

    /// A projection of these sizes, to be filled with stored weights.
    pub fn empty(
        shape: [usize; 3],
        (components, normalise): (usize, Normalisation),
        device: &Device,
    ) -> Self {
        let dim: usize = shape.iter().product();
        Self {
            mean: Param::from_tensor(Tensor::zeros([dim], device)),
            components: Param::from_tensor(Tensor::zeros([dim, components.min(dim)], device)),
            shape,
            normalise,
        }
    }

    /// Projects a batch of images.
    ///
    /// # Shapes
    /// `[batch, channels, size, size]` to `[batch, components]`.
    pub fn encode(&self, images: Tensor<4>) -> Tensor<2> {
        let centred = seen(images, self.normalise) - self.mean.val().unsqueeze::<2>();
        centred.matmul(self.components.val())
    }

    /// Whether an image can be brought back: what has been taken out of it is lost.
    pub fn decodes(&self) -> bool {
        self.normalise.is_none()
    }

    /// The point of the principal subspace with these coordinates.
    ///
    /// # Shapes
    /// `[batch, components]` to `[batch, channels, size, size]`.
    pub fn decode(&self, latents: Tensor<2>) -> Tensor<4> {
        let [batch, _] = latents.dims();
        let [channels, height, width] = self.shape;
        let pixels = latents.matmul(self.components.val().transpose());
        let pixels = pixels + self.mean.val().unsqueeze::<2>();
        pixels.reshape([batch, channels, height, width])
    }
}

/// What of images components are of: their pixels in `[-1, 1]`, or with a normalisation what it leaves of them in `[0, 1]`.
fn seen(images: Tensor<4>, normalise: Normalisation) -> Tensor<2> {
    match normalise {
        Normalisation::None => images.flatten(1, 3),
        _ => {
            let pixels: Tensor<2> = unit(images).flatten(1, 3);
            let [_, dim] = pixels.dims();
            normalise.apply(pixels, vec![dim])
        }
    }
}

/// Mean of every entry of so many rows.
fn mean_of_rows(count: usize, dim: usize, rows: impl Fn(&[usize]) -> Tensor<2>) -> Vec<f32> {
    let mut sums = vec![0.0f64; dim];
    for indices in batches(count, BATCH) {
        let values = rows(&indices).into_data();
        for (place, value) in values.iter::<f32>().enumerate() {
            sums[place % dim] += f64::from(value);
        }
    }
    let count = count.max(1) as f64;
    sums.into_iter().map(|sum| (sum / count) as f32).collect()
}

/// Mean of every pixel in `[-1, 1]`, added up exactly in integers.
fn mean(images: &Images, dim: usize) -> Vec<f32> {
    let mut sums = vec![0u64; dim];
    for image in images.iter() {
        for (sum, &byte) in sums.iter_mut().zip(image) {
            *sum += u64::from(byte);
        }
    }
    let count = images.len().max(1) as f64;
    sums.into_iter()
        .map(|sum| (sum as f64 / count / 127.5 - 1.0) as f32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use rand_distr::{Distribution, StandardNormal};

    /// 4x4 images that vary along three known orthogonal directions, with deviations 40, 20 and 10.
    fn images() -> Images {
        let rng = &mut StdRng::seed_from_u64(1);
        let mut pixels = Vec::new();
        for _ in 0..4000 {
            let mut noise = || -> f64 { StandardNormal.sample(rng) };
            let (a, b, c) = (40.0 * noise(), 20.0 * noise(), 10.0 * noise());
            for index in 0..16 {
                let sign = |bit: usize| if index & bit == 0 { 1.0 } else { -1.0 };
                let value = 128.0 + (a * sign(1) + b * sign(2) + c * sign(4)) / 4.0;
                pixels.push(value.round() as u8);
            }
        }
        Images::new([1, 4, 4], pixels).unwrap()
    }

    #[test]
    fn known_directions_are_found_in_order() {
        let device = test_device();
        let all = (3, Normalisation::None);
        let pca = Pca::fit(&images(), all, &mut StdRng::seed_from_u64(2), &device);
        let components: Vec<f32> = pca.components.val().into_data().iter::<f32>().collect();
        for (column, bit) in [1, 2, 4].into_iter().enumerate() {
            let dot: f32 = (0..16)
                .map(|row| {
                    let sign = if row & bit == 0 { 0.25 } else { -0.25 };
                    components[row * 3 + column] * sign
                })
                .sum();
            assert!(dot.abs() > 0.999, "component {column}: {dot}");
        }
    }

    /// Half the light is the same image to components of what has no norm, and their mean on training images is 0.
    #[test]
    fn what_is_taken_out_has_no_component() {
        let device = test_device();
        let images = images();
        let of = (3, Normalisation::L2);
        let pca = Pca::fit(&images, of, &mut StdRng::seed_from_u64(2), &device);
        let all: Vec<usize> = (0..images.len()).collect();
        let batch = images.batch(&all, &device);
        let latents = pca.encode(batch.clone());
        let means = latents.clone().mean_dim(0).abs().max();
        assert!(means.into_scalar::<f32>() < 1e-5);
        let half = (batch + 1.0) * 0.5 - 1.0;
        let difference = (pca.encode(half) - latents.clone()).abs().max();
        assert!(difference.into_scalar::<f32>() < 1e-5);
        assert!(latents.abs().max().into_scalar::<f32>() > 0.1);
        assert!(!pca.decodes());
    }

    #[test]
    fn images_of_the_subspace_come_back() {
        let device = test_device();
        let images = images();
        let all = (3, Normalisation::None);
        let pca = Pca::fit(&images, all, &mut StdRng::seed_from_u64(2), &device);
        let batch = images.batch(&[0, 1, 2], &device);
        let latents = pca.encode(batch.clone());
        assert_eq!(latents.dims(), [3, 3]);
        let error = (pca.decode(latents) - batch)
            .abs()
            .max()
            .into_scalar::<f32>();
        // Bytes are rounded: half a grey level on [-1, 1].
        assert!(error < 1.5 / 127.5, "{error}");
    }
}
