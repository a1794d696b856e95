//! Operations that Burn's CPU backend (flex) does slowly: one parallel pass each way, with their own
//! gradients; and the optimizer's passes over gradients and parameters.
//!
//! Every function here computes what Burn's operation of the same name computes, or what its `plain`
//! companion makes of several. On flex, with or without automatic differentiation, it runs the kernels
//! of this module; everywhere else, and for shapes that the kernels do not take, it is Burn's
//! operation, but for convolutions, batch normalisation and Adam on a GPU (`gpu`). The tests hold the two
//! together.
//!
//! Results do not depend on the number of threads: work is cut by the shapes alone, and partial sums
//! are added in a fixed order.

mod activation;
mod adam;
mod batch_norm;
mod buffer;
mod conv3x3_s2;
mod conv4x4;
mod conv_same;
mod coupling;
mod covariance;
mod elementary;
#[cfg(feature = "wgpu")]
mod gpu;
mod graph;
mod k_means;
mod log_sum_exp;
mod matrix;
mod max_pool;
mod mean_pool;
mod mixture;
mod nearest;
mod norm;
mod parts;
mod pointwise;
mod vectors;

pub(crate) use activation::{Activation, activate};
pub(crate) use adam::{AdamRule, adam_step};
pub(crate) use batch_norm::batch_norm;
pub(crate) use conv_same::conv2d_same;
pub(crate) use conv3x3_s2::conv2d_3x3_s2;
pub(crate) use conv4x4::{conv_transpose2d_4x4_s2, conv2d_4x4_s2};
pub(crate) use coupling::{Affine, Direction, Network, affine_coupling};
pub(crate) use covariance::covariance;
pub(crate) use k_means::{cell_means, k_means, moved_centres};
pub(crate) use log_sum_exp::{log_sum_exp, shifted_log_sum_exp};
pub(crate) use max_pool::max_pool2d_3x3_s2;
pub(crate) use mean_pool::mean_pool2d;
pub(crate) use mixture::{
    WhitenedGaussians, log_densities, mixture_log_densities, nearest_centres,
};
pub(crate) use nearest::Bank;
pub(crate) use norm::{scale, sum_of_squares};
pub(crate) use parts::{by_parts, training_parts};
pub(crate) use pointwise::{exp, tanh};

use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{DType, Device, GradientCheckpointingStrategy, Tensor, TensorData};

/// Flex under automatic differentiation, as `Device::flex().autodiff()` chooses it.
type Training = Autodiff<Flex>;

/// Where a tensor lives, as far as the kernels care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    /// On flex.
    Flex,
    /// On flex with automatic differentiation.
    Training,
    /// Anywhere else, or not in `f32`: for Burn.
    Elsewhere,
}

impl Home {
    fn of<const D: usize>(tensor: &Tensor<D>) -> Self {
        let device = tensor.device();
        // Devices compare as hardware, whatever their automatic differentiation.
        if device != Device::flex() || tensor.dtype() != DType::F32 {
            return Self::Elsewhere;
        }
        match device.gradient_checkpointing_strategy() {
            None => Self::Flex,
            Some(GradientCheckpointingStrategy::Disabled) => Self::Training,
            // Another backend type, `Autodiff<Flex, BalancedCheckpointing>`, that nothing here uses.
            Some(_) => Self::Elsewhere,
        }
    }
}

/// The tensor inside, for a tensor at [`Home::Flex`].
fn flex<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    tensor
        .try_into_primitive::<Flex>()
        .expect("the tensor is at home on flex")
}

/// The node inside, for a tensor at [`Home::Training`].
fn training<const D: usize>(tensor: Tensor<D>) -> FloatTensor<Training> {
    tensor
        .try_into_primitive::<Training>()
        .expect("the tensor is at home on flex with automatic differentiation")
}

/// Values of a contiguous tensor of `f32`.
fn values(tensor: &FlexTensor) -> &[f32] {
    tensor
        .as_slice::<f32>()
        .expect("a contiguous tensor of f32")
}

/// The tensor with its values in order and from the start of its buffer, for [`FlexTensor::storage_mut`]
/// to give exactly those; in place where they lie so already.
fn contiguous(tensor: FlexTensor) -> FlexTensor {
    // The argument is dropped here, so a tensor that nobody else holds stays that way.
    tensor.to_contiguous()
}

/// A new tensor.
fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};
    use rand_distr::{Distribution, StandardNormal};

    /// Normal numbers that depend on the seed alone.
    pub(super) fn normal<const D: usize>(
        shape: [usize; D],
        seed: u64,
        device: &Device,
    ) -> Tensor<D> {
        let values: Vec<f32> = StandardNormal
            .sample_iter(StdRng::seed_from_u64(seed))
            .take(shape.iter().product())
            .collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    /// What of an operation's result, weighed at random, hangs on each number of its input, which has this shape.
    pub(super) fn gradient(shape: [usize; 4], of: &dyn Fn(Tensor<4>) -> Tensor<4>) -> Vec<f32> {
        let input = normal(shape, 1, &Device::flex().autodiff()).require_grad();
        let output = of(input.clone());
        let weights = normal(output.dims(), 2, &input.device());
        let gradients = (output * weights).sum().backward();
        read(input.grad(&gradients).expect("a gradient"))
    }

    /// Flex, and a GPU where there is one: CI installs a software adapter and asks for it.
    pub(super) fn devices() -> Vec<Device> {
        std::iter::once(Device::flex()).chain(gpu()).collect()
    }

    #[cfg(feature = "wgpu")]
    fn gpu() -> Option<Device> {
        match crate::backend::Backend::Wgpu.open() {
            Ok(open) => {
                // Else Burn would be compared with itself.
                let something = Tensor::<1>::zeros([1], &open.device);
                assert!(super::gpu::has_room(&something), "no room for kernels");
                Some(open.device)
            }
            Err(error) => {
                let required = std::env::var_os("ENCODER_FLOW_REQUIRE_GPU").is_some();
                assert!(!required, "{error}");
                println!("skipped on a GPU: {error}");
                None
            }
        }
    }

    #[cfg(not(feature = "wgpu"))]
    fn gpu() -> Option<Device> {
        None
    }

    /// A tensor's values.
    pub(super) fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().try_to_vec::<f32>().expect("f32")
    }

    /// Every value within 1e-5 of the largest expected one.
    pub(super) fn assert_close(found: &[f32], expected: &[f32], what: &str) {
        assert_eq!(found.len(), expected.len(), "{what}");
        let scale = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!(
                (found - expected).abs() <= 1e-5 * scale,
                "{what} at {index}: {found} is not {expected}"
            );
        }
    }

    /// What `work` gives in a pool of that many threads.
    pub(super) fn in_pool<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a thread pool")
            .install(work)
    }

    #[test]
    fn only_plain_and_autodiff_flex_are_at_home() {
        let on = |device: &Device| Home::of(&Tensor::<1>::zeros([1], device));
        assert_eq!(on(&Device::flex()), Home::Flex);
        let training = Device::flex().autodiff();
        assert_eq!(on(&training), Home::Training);
        assert_eq!(on(&training.gradient_checkpointing()), Home::Elsewhere);
        let double = Tensor::<1>::zeros([1], (&Device::flex(), DType::F64));
        assert_eq!(Home::of(&double), Home::Elsewhere);
    }
}
