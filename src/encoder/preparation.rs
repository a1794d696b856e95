//! How images are brought to what a pretrained network takes: its channels, its normalisation and its size.

use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
use burn::tensor::{Tensor, TensorData};

/// Repeats the channel of grey images.
///
/// # Shapes
/// `[batch, 1 or 3, h, w]` to `[batch, 3, h, w]`.
pub(super) fn to_rgb(images: Tensor<4>) -> Tensor<4> {
    match images.dims() {
        [_, 1, _, _] => images.repeat_dim(1, 3),
        _ => images,
    }
}

/// From `[-1, 1]` to deviations from the mean of the pixels that a network was trained on, in units of
/// their standard deviation; both in `[0, 1]`, per channel or one for all.
///
/// # Shapes
/// `[batch, channels, h, w]` to the same.
pub(super) fn normalise(images: Tensor<4>, mean: &[f32], deviation: &[f32]) -> Tensor<4> {
    let device = images.device();
    let per_channel = |values: &[f32]| {
        let shape = [1, values.len(), 1, 1];
        Tensor::<4>::from_data(TensorData::new(values.to_vec(), shape), &device)
    };
    let unit = (images + 1.0) / 2.0;
    (unit - per_channel(mean)) / per_channel(deviation)
}

/// Bilinear interpolation between pixel centres, without antialiasing (PyTorch's default).
///
/// # Shapes
/// `[batch, channels, h, w]` to `[batch, channels, height, width]` of `sides`.
pub(super) fn resize(images: Tensor<4>, sides: [usize; 2]) -> Tensor<4> {
    let [_, _, height, width] = images.dims();
    if [height, width] == sides {
        return images;
    }
    let options = InterpolateOptions::new(InterpolateMode::Bilinear)
        .with_align_corners(false)
        .with_output_size(sides);
    interpolate(images, options)
}
