//! Kernels of our own on a GPU, and the operations made of them.
//!
//! Burn's, without its tuner, give every result one thread, whatever that has to sum, and every operation a launch of
//! its own (docs/performance.md, "On a GPU"). Here convolutions are products of tiles in shared memory, and what a
//! network does between them is three launches each way. The modules beside this one decide what runs here; everything
//! agrees with Burn's operation.

pub(super) mod adam;
mod batch_norm;
mod convolution;

pub(super) use batch_norm::{normalise_by_batch, normalise_by_running};
pub(super) use convolution::{Direction, Window, convolve};

use burn::backend::autodiff::ops::NodeGuard;
use burn::backend::wgpu::CubeTensor;
use burn::backend::{Autodiff, Wgpu};
use burn::tensor::{DType, Shape, Tensor};

use crate::backend::is_gpu;

/// Bytes of shared memory that the largest tiles take, at most.
const SHARED_MEMORY: usize = 24 * 1024;
/// Threads of the largest workgroups.
const UNITS: u32 = 256;
/// Buffers of a kernel, at most: tensors, their sizes, and numbers.
const BUFFERS: u32 = 12;

/// Whether kernels take the tensor: on a GPU, of `f32`, not empty.
pub(super) fn is_on_gpu<const D: usize>(tensor: &Tensor<D>) -> bool {
    let whole = tensor.dims().iter().all(|&size| size > 0);
    whole && is_gpu(&tensor.device()) && tensor.dtype() == DType::F32
}

/// Whether kernels with tiles take the tensor: the GPU has room for these, too.
pub(super) fn has_room<const D: usize>(tensor: &Tensor<D>) -> bool {
    if !is_on_gpu(tensor) {
        return false;
    }
    let plain = primitive(tensor.clone().without_autodiff());
    let hardware = &plain.client.properties().hardware;
    hardware.max_shared_memory_size >= SHARED_MEMORY
        && hardware.max_units_per_cube >= UNITS
        && hardware.max_bindings >= BUFFERS
}

/// Whether a tensor is one that trains.
fn trains<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.device().is_autodiff()
}

/// The tensor inside.
///
/// # Panics
/// When the tensor is not on a GPU, or trains.
fn primitive<const D: usize>(tensor: Tensor<D>) -> CubeTensor {
    let found = tensor.try_into_primitive::<Wgpu>();
    found.expect("the tensor is on the GPU, without automatic differentiation")
}

/// The tensor inside, and its place in the graph of gradients: one that does not train is a constant there.
///
/// # Panics
/// When the tensor is not on a GPU.
fn tracked<const D: usize>(tensor: Tensor<D>) -> (CubeTensor, NodeGuard) {
    let found = tensor.autodiff().try_into_primitive::<Autodiff<Wgpu>>();
    found.expect("the tensor is on the GPU").into_parts()
}

/// A tensor on the same GPU whose values are not written yet.
fn empty_beside<const D: usize>(tensor: &CubeTensor, shape: [usize; D]) -> CubeTensor {
    let (client, device) = (tensor.client.clone(), tensor.device.clone());
    let bytes = shape.iter().product::<usize>() * tensor.dtype.size();
    let room = client.empty(bytes);
    CubeTensor::new_contiguous(client, device, Shape::from(shape), room, tensor.dtype)
}
