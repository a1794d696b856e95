//! What an ONNX file says, cut to what is used of it.
//!
//! The engine is given the nodes that lead to the tensors asked for, and no others: a classifier at the
//! network's end is not run, and an operator that it does not know matters only where it is needed.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    type_proto,
};

use super::OnnxLook;
use crate::suggest::did_you_mean;

/// Names that an error lists, at most.
const LISTED: usize = 30;
/// Largest side of an image that is fixed by a file.
const LARGEST_SIDE: i64 = 2048;
/// Most images that a file may fix for one run.
const LARGEST_BATCH: i64 = 1024;
/// ONNX's number for 32-bit floating point, the type of images.
const FLOAT: i32 = 1;

/// What has been found in a file.
pub(super) struct Cut {
    /// `[images at once, channels, height, width]`.
    pub input: [usize; 4],
    /// Names of the tensors that are used.
    pub outputs: Vec<String>,
}

/// Cuts the network to what `look` asks for, with a fixed shape for images of so many `channels`.
///
/// # Errors
/// What keeps it from being used so, and what to do about it.
pub(super) fn cut(
    model: &mut ModelProto,
    look: &OnnxLook,
    channels: usize,
    knows: impl Fn(&str) -> bool,
) -> Result<Cut, String> {
    let graph = model.graph.as_mut();
    let graph = graph.ok_or("is damaged or not an ONNX file: it has no network")?;
    let outputs = outputs(graph, look)?;
    keep_needed(graph, &outputs, knows)?;
    let used: HashSet<String> = graph.node.iter().flat_map(inputs).collect();
    let constant = keep_constants(graph, &used)?;
    let free = |info: &ValueInfoProto| used.contains(&info.name) && !constant.contains(&info.name);
    let (free, _): (Vec<_>, Vec<_>) = graph.input.drain(..).partition(free);
    let [image] = <[ValueInfoProto; 1]>::try_from(free).map_err(|found| {
        let names: Vec<&str> = found.iter().map(|info| &*info.name).collect();
        format!(
            "takes {} inputs ({}), and an encoder takes one, the images",
            names.len(),
            names.join(", ")
        )
    })?;
    let input = input(&image, look, channels)?;
    graph.input = vec![fixed(image.name, input)];
    graph.output = outputs.iter().map(|name| named(name)).collect();
    // Shapes are inferred from the input's.
    graph.value_info.clear();
    Ok(Cut { input, outputs })
}

/// Names of the tensors that `look` asks for, or of the network's first output.
fn outputs(graph: &GraphProto, look: &OnnxLook) -> Result<Vec<String>, String> {
    if !look.output.is_empty() {
        return Ok(look.output.clone());
    }
    let first = graph.output.first();
    let first = first.ok_or("is damaged: its network has no outputs")?;
    Ok(vec![first.name.clone()])
}

/// Keeps the nodes that lead to the outputs, all of whose operators the engine has to know.
fn keep_needed(
    graph: &mut GraphProto,
    outputs: &[String],
    knows: impl Fn(&str) -> bool,
) -> Result<(), String> {
    let made_by = makers(graph);
    let mut wrong = outputs.iter().filter(|name| !made_by.contains_key(*name));
    if let Some(wrong) = wrong.next() {
        return Err(no_tensor(graph, wrong));
    }
    let needed = needed(graph, &made_by, outputs);
    let mut number = 0..;
    graph
        .node
        .retain(|_| number.next().is_some_and(|at| needed.contains(&at)));
    let Some(unknown) = graph.node.iter().find(|node| !knows(&node.op_type)) else {
        return Ok(());
    };
    let advice = match outputs {
        [one] => format!(
            " (`{one}` is made by it or from it): export with opset_version=18, or name a tensor before it in encoder.output"
        ),
        _ => {
            ": export with opset_version=18, or name tensors before it in encoder.output".to_owned()
        }
    };
    Err(format!(
        "needs the operator {}, which the engine (tract) does not know{advice}",
        unknown.op_type
    ))
}

/// Keeps the constants that are `used`, which have to be in the file; returns their names.
fn keep_constants(
    graph: &mut GraphProto,
    used: &HashSet<String>,
) -> Result<HashSet<String>, String> {
    graph
        .initializer
        .retain(|tensor| used.contains(&tensor.name));
    let attributes = graph.node.iter().flat_map(|node| &node.attribute);
    let within_nodes = attributes.filter_map(|attribute| attribute.t.as_ref());
    let mut all = graph.initializer.iter().chain(within_nodes);
    all.try_for_each(check_tensor)?;
    let names = graph.initializer.iter().map(|tensor| tensor.name.clone());
    Ok(names.collect())
}

/// Which node makes a tensor.
fn makers(graph: &GraphProto) -> HashMap<String, usize> {
    let nodes = graph.node.iter().enumerate();
    let made = nodes.flat_map(|(index, node)| {
        let named = node.output.iter().filter(|name| !name.is_empty());
        named.map(move |name| (name.clone(), index))
    });
    made.collect()
}

/// The nodes that lead to the outputs.
fn needed(
    graph: &GraphProto,
    made_by: &HashMap<String, usize>,
    outputs: &[String],
) -> HashSet<usize> {
    let mut found = HashSet::new();
    let mut open: Vec<usize> = outputs.iter().map(|name| made_by[name]).collect();
    while let Some(index) = open.pop() {
        if found.insert(index) {
            let before = inputs(&graph.node[index]);
            open.extend(before.iter().filter_map(|name| made_by.get(name)));
        }
    }
    found
}

/// Names of the tensors that a node reads, in the bodies of loops and branches too.
fn inputs(node: &NodeProto) -> Vec<String> {
    let mut names = node.input.clone();
    for attribute in &node.attribute {
        for body in attribute.g.iter().chain(&attribute.graphs) {
            names.extend(body.node.iter().flat_map(inputs));
            names.extend(body.output.iter().map(|info| info.name.clone()));
        }
    }
    names
}

/// Which tensors there are, for one that there is not: the network's outputs, then those within.
fn no_tensor(graph: &GraphProto, wrong: &str) -> String {
    let outputs: Vec<&str> = graph.output.iter().map(|info| &*info.name).collect();
    let all = graph.node.iter().flat_map(|node| &node.output);
    let within: Vec<&str> = all
        .map(String::as_str)
        .filter(|name| !name.is_empty() && !outputs.contains(name))
        .collect();
    let hint = did_you_mean(wrong, outputs.iter().chain(&within).copied());
    let listed = within.iter().take(LISTED).copied().collect::<Vec<_>>();
    let more = match within.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "has no tensor `{wrong}` of encoder.output{hint} Outputs: {}; tensors within: {}{more}",
        outputs.join(", "),
        listed.join(", ")
    )
}

/// What keeps a constant from being read, if anything does.
fn check_tensor(tensor: &TensorProto) -> Result<(), String> {
    match tensor.data_location == Some(DataLocation::External as i32) {
        false => Ok(()),
        true => {
            let location = tensor
                .external_data
                .iter()
                .find(|part| part.key == "location");
            let other = location.map_or("another file", |part| &part.value);
            Err(format!(
                "keeps its weights in {other}, and one file is wanted: export with torch.onnx.export(..., external_data=False), or join them with onnx.save(onnx.load(path), path)"
            ))
        }
    }
}

/// `[images at once, channels, height, width]`: of the file, where it says so.
fn input(image: &ValueInfoProto, look: &OnnxLook, channels: usize) -> Result<[usize; 4], String> {
    let name = &image.name;
    let kind = image.r#type.as_ref().and_then(|kind| kind.value.as_ref());
    let Some(type_proto::Value::TensorType(tensor)) = kind else {
        return Err(format!("is damaged: its input `{name}` has no type"));
    };
    let dims = tensor.shape.as_ref().map_or(&[][..], |shape| &shape.dim);
    let sizes: Vec<Option<i64>> = dims
        .iter()
        .map(|dim| match dim.value {
            Some(dimension::Value::DimValue(size)) if size > 0 => Some(size),
            _ => None,
        })
        .collect();
    let shown = || {
        let sizes = sizes
            .iter()
            .map(|size| size.map_or("?".to_owned(), |size| size.to_string()));
        sizes.collect::<Vec<_>>().join(", ")
    };
    if tensor.elem_type != FLOAT {
        return Err(format!(
            "takes `{name}`, which is not of 32-bit floating point, and images are: export the network in float32"
        ));
    }
    let &[batch, depth, height, width] = sizes.as_slice() else {
        return Err(format!(
            "takes `{name}` of shape [{}], and images are [n, channels, height, width]",
            shown()
        ));
    };
    let within = |size: Option<i64>, most: i64| size.is_none_or(|size| size <= most);
    if !within(batch, LARGEST_BATCH)
        || !within(height, LARGEST_SIDE)
        || !within(width, LARGEST_SIDE)
    {
        return Err(format!(
            "takes `{name}` of shape [{}], which is too large: at most {LARGEST_BATCH} images of {LARGEST_SIDE} pixels a side",
            shown()
        ));
    }
    let depth = depth.unwrap_or(channels as i64);
    match (depth, channels) {
        (3, 1 | 3) | (1, 1) => {}
        (1, _) => return Err("looks at grey images: set data.channels=1".to_owned()),
        _ => {
            return Err(format!(
                "takes `{name}` of shape [{}], and images have 1 or 3 channels",
                shown()
            ));
        }
    }
    for (key, values) in [("mean", &look.mean), ("std", &look.std)] {
        if values.len() != 1 && values.len() != depth as usize {
            return Err(format!(
                "looks at images of {depth} channel{}, and encoder.{key} has {} numbers: give one for all, or one for each",
                if depth == 1 { "" } else { "s" },
                values.len()
            ));
        }
    }
    let side = |size: Option<i64>| size.map_or(look.input, |size| size as usize);
    Ok([
        batch.unwrap_or(1) as usize,
        depth as usize,
        side(height),
        side(width),
    ])
}

/// The images, of a shape that is fixed.
fn fixed(name: String, shape: [usize; 4]) -> ValueInfoProto {
    let dim = shape.map(|size| Dimension {
        value: Some(dimension::Value::DimValue(size as i64)),
        ..Dimension::default()
    });
    let tensor = type_proto::Tensor {
        elem_type: FLOAT,
        shape: Some(TensorShapeProto { dim: dim.to_vec() }),
    };
    ValueInfoProto {
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..named(&name)
    }
}

/// A tensor of which only the name is said.
fn named(name: &str) -> ValueInfoProto {
    ValueInfoProto {
        name: name.to_owned(),
        ..ValueInfoProto::default()
    }
}
