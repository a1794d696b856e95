//! RealNVP's affine coupling: the network, the clamp and the affine map in one pass each way.

mod geometry;
mod gradient;
mod kernel;
mod layer;
mod operation;
#[cfg(test)]
mod tests;

use burn::nn::Linear;
use burn::tensor::{Tensor, activation};

use self::geometry::Geometry;
use self::operation::{evaluate, record};
use super::Home;

/// Most hidden layers that the kernels take.
const HIDDEN: usize = 4;

/// Linear layers with ReLU between them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network<'a> {
    /// All layers but the last, in order.
    pub hidden: &'a [Linear],
    /// The layer that no ReLU follows.
    pub last: &'a Linear,
}

impl Network<'_> {
    /// Burn's operations.
    ///
    /// # Shapes
    /// `[batch, from]` to `[batch, to]`.
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let hidden = self.hidden.iter();
        let x = hidden.fold(x, |x, layer| activation::relu(layer.forward(x)));
        self.last.forward(x)
    }

    fn layers(&self) -> impl Iterator<Item = &Linear> {
        self.hidden.iter().chain(std::iter::once(self.last))
    }
}

/// What a coupling does with a vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Affine {
    /// Entries that pass.
    pub passing: usize,
    /// Whether these are the first ones, or the last.
    pub first_passes: bool,
    /// Bound of the log-scales.
    pub clamp: f64,
}

impl Affine {
    /// The passing entries and those that are changed.
    fn split(&self, x: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let [_, dim] = x.dims();
        let changed = dim - self.passing;
        if self.first_passes {
            (
                x.clone().narrow(1, 0, self.passing),
                x.narrow(1, self.passing, changed),
            )
        } else {
            (
                x.clone().narrow(1, changed, self.passing),
                x.narrow(1, 0, changed),
            )
        }
    }

    fn join(&self, passed: Tensor<2>, changed: Tensor<2>) -> Tensor<2> {
        if self.first_passes {
            Tensor::cat(vec![passed, changed], 1)
        } else {
            Tensor::cat(vec![changed, passed], 1)
        }
    }
}

/// Which way through the coupling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// `y = x * exp(s) + t`.
    Forward,
    /// `x = (y - t) * exp(-s)`.
    Inverse,
}

/// Scales and shifts some entries of every vector, by what the network makes of the other entries
/// and the context, and gives `ln |det J|` of that.
///
/// With `[raw, t] = network([passing entries, context])`, the log-scale is
/// `s = clamp * tanh(raw / clamp)` and the log-determinant the sum of `s`, or its negative in the
/// inverse direction.
///
/// # Shapes
/// `x`: `[batch, dim]`, `context`: `[batch, context]`, the network from `[batch, passing + context]`
/// to `[batch, 2 (dim - passing)]`; to `[batch, dim]` and `[batch]`.
pub(crate) fn affine_coupling(
    x: Tensor<2>,
    context: Option<&Tensor<2>>,
    network: Network<'_>,
    affine: Affine,
    direction: Direction,
) -> (Tensor<2>, Tensor<1>) {
    let home = Home::of(&x);
    match (home, served(&x, context, network, affine), direction) {
        (Home::Flex, Some(served), _) => evaluate(served, x, context, direction),
        (Home::Training, Some(served), Direction::Forward) => record(served, x, context),
        // No training goes through the inverse.
        _ => plain(x, context, network, affine, direction),
    }
}

/// Burn's operations.
fn plain(
    x: Tensor<2>,
    context: Option<&Tensor<2>>,
    network: Network<'_>,
    affine: Affine,
    direction: Direction,
) -> (Tensor<2>, Tensor<1>) {
    let (passed, changed) = affine.split(x);
    let known = match context {
        Some(context) => Tensor::cat(vec![passed.clone(), context.clone()], 1),
        None => passed.clone(),
    };
    let both = network.forward(known);
    let width = both.dims()[1] / 2;
    let raw = both.clone().narrow(1, 0, width);
    let log_scale = (raw / affine.clamp).tanh() * affine.clamp;
    let shift = both.narrow(1, width, width);
    let log_det = log_scale.clone().sum_dim(1).squeeze_dim::<1>(1);
    let (changed, log_det) = match direction {
        Direction::Forward => (changed * log_scale.exp() + shift, log_det),
        Direction::Inverse => ((changed - shift) * log_scale.neg().exp(), log_det.neg()),
    };
    (affine.join(passed, changed), log_det)
}

/// What the kernels are given: the sizes, and weight and bias of every layer.
type Served = (Geometry, Vec<(Tensor<2>, Tensor<1>)>);

/// The sizes and parameters, where the kernels take them and all tensors have the same home.
fn served(
    x: &Tensor<2>,
    context: Option<&Tensor<2>>,
    network: Network<'_>,
    affine: Affine,
) -> Option<Served> {
    let home = Home::of(x);
    let [batch, dim] = x.dims();
    let whole = batch > 0 && (1..dim).contains(&affine.passing);
    let context_fits = context.is_none_or(|context| {
        let [rows, width] = context.dims();
        rows == batch && width > 0 && Home::of(context) == home
    });
    let clamp = affine.clamp as f32;
    let clamp_fits = clamp.is_normal() && clamp > 0.0;
    let known = home != Home::Elsewhere && whole && context_fits && clamp_fits;
    if !known || network.hidden.len() > HIDDEN {
        return None;
    }
    let geometry = Geometry {
        dim,
        passing: affine.passing,
        first_passes: affine.first_passes,
        context: context.map_or(0, |context| context.dims()[1]),
        clamp,
    };
    let mut width = geometry.passing + geometry.context;
    let mut parameters = Vec::with_capacity(network.hidden.len() + 1);
    for layer in network.layers() {
        let (weight, bias) = (layer.weight.val(), layer.bias.as_ref()?.val());
        let [inputs, outputs] = weight.dims();
        let fits = inputs == width && outputs > 0 && bias.dims() == [outputs];
        if !fits || Home::of(&weight) != home || Home::of(&bias) != home {
            return None;
        }
        width = outputs;
        parameters.push((weight, bias));
    }
    (width == 2 * (dim - affine.passing)).then_some((geometry, parameters))
}
