//! Parts of a batch, each on a core of its own.

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::Home;

/// What `work` makes of every `size` images, in their order.
///
/// The layers of a network for evaluation write maps that do not fit a cache when they see a whole
/// batch, and some of Burn's operations use one core; parts stay in the cache of the core that works on
/// them. Where gradients are noted, and on other backends, the batch stays whole.
pub(crate) fn by_parts<R: Send>(
    images: Tensor<4>,
    size: usize,
    work: impl Fn(Tensor<4>) -> R + Send + Sync,
) -> Vec<R> {
    let [count, ..] = images.dims();
    let size = size.max(1); // at least an image
    if Home::of(&images) != Home::Flex || count <= size {
        return vec![work(images)];
    }
    let parts = (0..count).step_by(size);
    let parts: Vec<Tensor<4>> = parts
        .map(|first| images.clone().narrow(0, first, size.min(count - first)))
        .collect();
    parts.into_par_iter().map(work).collect()
}

/// Parts of a batch whose gradients can be noted apart, `size` images each.
///
/// On the CPU, where some of Burn's operations use one core; elsewhere the batch stays whole. It is cut by
/// its size alone, so that the number of threads changes no result.
pub(crate) fn training_parts(images: Tensor<4>, size: usize) -> Vec<Tensor<4>> {
    match Home::of(&images) {
        Home::Training => images.split(size.max(1), 0),
        _ => vec![images],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::{normal, read};
    use burn::tensor::Device;

    #[test]
    fn parts_are_in_order_and_gradients_keep_the_batch_whole() {
        let plain = normal([10, 2, 3, 3], 1, &Device::flex());
        let parts = by_parts(plain.clone(), 4, |part| part * 2.0);
        let sizes: Vec<usize> = parts.iter().map(|part| part.dims()[0]).collect();
        assert_eq!(sizes, [4, 4, 2]);
        assert_eq!(read(Tensor::cat(parts, 0)), read(plain * 2.0));
        let training = normal([10, 2, 3, 3], 1, &Device::flex().autodiff());
        assert_eq!(by_parts(training.clone(), 4, |part| part.dims()[0]), [10]);
        let parts = training_parts(training.clone(), 4);
        let sizes: Vec<usize> = parts.iter().map(|part| part.dims()[0]).collect();
        assert_eq!(sizes, [4, 4, 2]);
        assert_eq!(read(Tensor::cat(parts, 0)), read(training));
    }
}
