//! The engine: tract, which optimises a network for the shapes that it is given and runs it on the CPU.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::DimLike;

use super::OnnxLook;
use super::graph::{Cut, cut};
use crate::train::panic_message;

/// Numbers in any tensor of a network, at most: a damaged file must not ask for more memory than there
/// is.
const MOST_NUMBERS: usize = 1 << 28;

/// A network that is ready to be run.
pub(super) struct Engine {
    plan: Arc<TypedRunnableModel>,
    /// `[images at once, channels, height, width]`.
    input: [usize; 4],
    /// Names and shapes of the tensors that are used.
    outputs: Vec<(String, Vec<usize>)>,
}

impl Engine {
    /// Reads an ONNX file for images of so many `channels`, and runs it once.
    ///
    /// # Errors
    /// What keeps it from being run, with the operator's name where one is to blame.
    pub fn new(file: &[u8], look: &OnnxLook, channels: usize) -> Result<Self, String> {
        // Of a file that is damaged in ways that the engine does not expect, too, a sentence is said.
        let built = catch_unwind(AssertUnwindSafe(|| Self::build(file, look, channels)));
        built.unwrap_or_else(|panic| {
            let reason = panic_message(panic.as_ref());
            let what = "is damaged or not supported by the engine (tract)";
            Err(format!("{what}: {reason}"))
        })
    }

    fn build(file: &[u8], look: &OnnxLook, channels: usize) -> Result<Self, String> {
        let onnx = tract_onnx::onnx();
        let mut proto = onnx
            .proto_model_for_read(&mut &*file)
            .map_err(|error| format!("is damaged or not an ONNX file ({error:#})"))?;
        let Cut { input, outputs } = cut(&mut proto, look, channels, |operator| {
            onnx.op_register.0.contains_key(operator)
        })?;
        let (plan, shapes) = plan(&onnx, &proto, &outputs).map_err(|error| {
            format!("cannot be run by the engine (tract), or is damaged: {error:#}")
        })?;
        let engine = Self {
            plan,
            input,
            outputs: outputs.into_iter().zip(shapes).collect(),
        };
        engine.check()?;
        Ok(engine)
    }

    /// Runs it on black images: what it gives must be of the shapes that were inferred, and numbers.
    fn check(&self) -> Result<(), String> {
        for (name, shape) in &self.outputs {
            if shape.first() != Some(&self.input[0]) {
                return Err(format!(
                    "gives `{name}` of shape {shape:?}, whose first dimension is not that of the images, {}",
                    self.input[0]
                ));
            }
        }
        let found = self.run(&vec![0.0; self.input.iter().product()])?;
        for ((name, _), values) in self.outputs.iter().zip(found) {
            if !values.iter().all(|value| value.is_finite()) {
                return Err(format!("gives numbers in `{name}` that are not finite"));
            }
        }
        Ok(())
    }

    /// `[images at once, channels, height, width]`.
    pub fn input(&self) -> [usize; 4] {
        self.input
    }

    /// Names and shapes of the tensors that are used.
    pub fn outputs(&self) -> &[(String, Vec<usize>)] {
        &self.outputs
    }

    /// The tensors for images as the network wants them, as many as it takes at once or fewer; those
    /// that are missing are black.
    ///
    /// # Errors
    /// What the engine says, or panics with.
    pub fn run(&self, images: &[f32]) -> Result<Vec<Vec<f32>>, String> {
        let found = catch_unwind(AssertUnwindSafe(|| self.run_plan(images)));
        found.unwrap_or_else(|panic| {
            let reason = panic_message(panic.as_ref());
            Err(format!("the engine (tract) gave up: {reason}"))
        })
    }

    fn run_plan(&self, images: &[f32]) -> Result<Vec<Vec<f32>>, String> {
        let whole = self.input.iter().product();
        let mut padded = images.to_vec();
        padded.resize(whole, 0.0);
        let said = |error: TractError| format!("the engine (tract) stopped: {error:#}");
        let input = Tensor::from_shape(&self.input, &padded).map_err(said)?;
        let found = self.plan.run(tvec!(input.into())).map_err(said)?;
        let mut outputs = Vec::new();
        for (value, (name, shape)) in found.iter().zip(&self.outputs) {
            if value.shape() != shape.as_slice() {
                return Err(format!(
                    "`{name}` has the shape {:?} instead of {shape:?}",
                    value.shape()
                ));
            }
            let value = value.cast_to::<f32>().map_err(said)?;
            let view = value.try_as_plain_ram().map_err(said)?;
            outputs.push(view.as_slice::<f32>().map_err(said)?.to_vec());
        }
        Ok(outputs)
    }
}

/// The network, optimised, and the shapes of its outputs.
fn plan(
    onnx: &tract_onnx::Onnx,
    proto: &tract_onnx::pb::ModelProto,
    outputs: &[String],
) -> TractResult<(Arc<TypedRunnableModel>, Vec<Vec<usize>>)> {
    let mut model = onnx.model_for_proto_model(proto)?;
    model.analyse(false)?;
    for node in model.nodes() {
        for output in &node.outputs {
            let dims = output.fact.shape.concretize().unwrap_or_default();
            check_size(&node.name, dims.iter())?;
        }
    }
    let typed = model.into_typed()?;
    for node in typed.nodes() {
        for output in &node.outputs {
            check_size(&node.name, output.fact.shape.iter())?;
        }
    }
    let mut shapes = Vec::new();
    for (index, name) in outputs.iter().enumerate() {
        let fact = typed.output_fact(index)?;
        let Some(shape) = fact.shape.as_concrete() else {
            return Err(TractError::msg(format!(
                "the shape of `{name}` is not known before the network is run"
            )));
        };
        shapes.push(shape.to_vec());
    }
    Ok((typed.into_optimized()?.into_runnable()?, shapes))
}

fn check_size<'a>(name: &str, dims: impl Iterator<Item = &'a TDim>) -> TractResult<()> {
    let mut numbers = 1usize;
    for dim in dims {
        // What is not known yet is found out from what is.
        let Ok(size) = dim.to_usize() else {
            return Ok(());
        };
        numbers = numbers.saturating_mul(size);
    }
    match numbers <= MOST_NUMBERS {
        true => Ok(()),
        false => Err(TractError::msg(format!(
            "the node {name} has an output of {numbers} numbers, which is too large"
        ))),
    }
}
