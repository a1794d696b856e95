use super::*;
use crate::backend::test_device;
use crate::encoder::SqueezeNet;
use burn::tensor::Device;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use safetensors::SafeTensors;
use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{ModelProto, StringStringEntryProto};
use tract_onnx::prelude::Framework;

/// Three convolutions with random weights; these files are written by PyTorch 2.15.0 with
/// `tests/fixtures/onnx/export.py`.
pub(crate) const CONVOLUTIONS: &[u8] =
    include_bytes!("../../../tests/fixtures/onnx/convolutions.onnx");
/// A vision transformer of one block.
const TOKENS: &[u8] = include_bytes!("../../../tests/fixtures/onnx/tokens.onnx");
/// Images, and what PyTorch makes of them.
const REFERENCE: &[u8] = include_bytes!("../../../tests/fixtures/onnx/reference.safetensors");

fn look(output: &[&str]) -> OnnxLook {
    OnnxLook {
        output: output.iter().map(|&name| name.to_owned()).collect(),
        input: 32,
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
    }
}

/// The small convolutional network, for images of so many channels.
pub(crate) fn tiny(output: &[&str], channels: usize) -> OnnxNetwork {
    open(CONVOLUTIONS, output, channels).unwrap()
}

fn open(file: &[u8], output: &[&str], channels: usize) -> Result<OnnxNetwork, OnnxError> {
    OnnxNetwork::new(file.to_vec(), "a.onnx", &look(output), channels)
}

#[track_caller]
fn refusal(file: &[u8], output: &[&str]) -> String {
    let error = open(file, output, 3).expect_err("an unusable network was read");
    let error = error.to_string();
    assert!(error.starts_with("a.onnx: "), "{error}");
    error
}

fn reference(name: &str) -> (Vec<usize>, Vec<f32>) {
    let file = SafeTensors::deserialize(REFERENCE).unwrap();
    let tensor = file.tensor(name).unwrap();
    let values = bytemuck::pod_collect_to_vec(tensor.data());
    (tensor.shape().to_vec(), values)
}

fn images(device: &Device) -> Tensor<4> {
    let (shape, values) = reference("images");
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    pairs.fold(0.0, |most, (found, expected)| {
        let difference = (found - expected).abs();
        assert!(difference.is_finite(), "{found} {expected}");
        most.max(difference)
    })
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32]) {
    let difference = largest_difference(found, expected);
    assert!(difference < 1e-5, "{difference}");
}

/// Means of runs of `count` values.
fn means(values: &[f32], count: usize) -> Vec<f32> {
    let runs = values.chunks_exact(count);
    runs.map(|run| run.iter().sum::<f32>() / count as f32)
        .collect()
}

#[test]
fn descriptions_are_those_of_pytorch() {
    let images = images(&test_device());
    let (shape, late) = reference("late");
    let maps = tiny(&["late"], 3).maps(images.clone());
    assert_eq!(maps[0].dims().to_vec(), shape);
    assert_close(&values(maps[0].clone()), &late);
    let pooled = tiny(&["late"], 3).encode(images.clone());
    assert_close(&values(pooled), &means(&late, shape[2] * shape[3]));

    let (_, vector) = reference("vector");
    let found = tiny(&["vector"], 3).encode(images.clone());
    assert_close(&values(found), &vector);
    // Side by side, in the order asked for.
    let both = tiny(&["vector", "late"], 3);
    assert_eq!(both.features(), 7 + 6);
    let first = values(both.encode(images.clone()).narrow(1, 0, 7));
    assert_close(&first, &vector);

    // Of tokens, those of the patches are the positions, behind the class token.
    let network = open(TOKENS, &[], 3).unwrap();
    assert_eq!(network.sizes().sides, Some([3, 3]));
    let (shape, tokens) = reference("tokens");
    assert_eq!(shape, [3, 10, 8]);
    let maps = values(network.maps(images.clone()).remove(0));
    let pooled = values(network.encode(images));
    for image in 0..3 {
        for channel in 0..8 {
            let of = |token: usize| tokens[(image * 10 + token) * 8 + channel];
            let patches: Vec<f32> = (1..10).map(of).collect();
            assert_close(&maps[(image * 8 + channel) * 9..][..9], &patches);
            let mean = (0..10).map(of).sum::<f32>() / 10.0;
            assert_close(&pooled[image * 8 + channel..][..1], &[mean]);
        }
    }
}

#[test]
fn a_description_depends_on_its_image_alone() {
    let images = images(&test_device());
    let network = tiny(&["early", "vector"], 3);
    let all = values(network.encode(images.clone()));
    let alone = values(network.encode(images.narrow(0, 2, 1)));
    assert_eq!(all[2 * network.features()..], alone);
}

#[test]
fn grey_images_are_looked_at_as_colours() {
    let grey = images(&test_device()).narrow(1, 0, 1);
    let network = tiny(&["late"], 1);
    let found = values(network.encode(grey.clone()));
    assert_eq!(found, values(network.encode(grey.repeat_dim(1, 3))));
}

#[test]
fn wrong_names_come_with_those_that_there_are() {
    let error = refusal(CONVOLUTIONS, &["lat"]);
    for part in [
        "no tensor `lat` of encoder.output; did you mean `late`?",
        "Outputs: early, late, vector;",
        "tensors within: ",
        "mean",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let network = tiny(&["early", "vector"], 3);
    let error = network.positions().unwrap_err().to_string();
    assert!(
        error.contains("`vector` of shape [1, 7] has no positions"),
        "{error}"
    );
    assert!(tiny(&["early", "late"], 3).positions().is_ok());
}

#[test]
fn an_unknown_operator_is_named_where_it_is_needed() {
    let mut file = CONVOLUTIONS.to_vec();
    // The name of the node has the operator's in it, too.
    while let Some(at) = file.windows(7).position(|part| part == b"Sigmoid") {
        file[at..at + 7].copy_from_slice(b"Sigmund");
    }
    let error = refusal(&file, &["vector"]);
    assert!(error.contains("needs the operator Sigmund"), "{error}");
    // The maps before it do not need it.
    let network = open(&file, &["late"], 3).unwrap();
    let images = images(&test_device());
    assert_close(
        &values(network.maps(images).remove(0)),
        &reference("late").1,
    );
}

#[test]
fn what_is_no_network_is_refused() {
    let text = b"a text, and nothing else in it, whose first letter is that of a field";
    for file in [&b""[..], text, REFERENCE] {
        let error = refusal(file, &[]);
        assert!(error.contains("damaged"), "{error}");
    }
    let file = |name: &str| OnnxFile {
        file: name.into(),
        look: look(&[]),
    };
    let error = file("").load(3).unwrap_err().to_string();
    assert!(error.contains("`encoder.file` is empty"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.onnx");
    let error = file(missing.to_str().unwrap())
        .load(3)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("none.onnx") && error.contains("missing"),
        "{error}"
    );
}

/// What is said of a network that has been changed.
fn refused_with(change: impl FnOnce(&mut ModelProto), look: &OnnxLook) -> String {
    let onnx = tract_onnx::onnx();
    let mut model = onnx.proto_model_for_read(&mut &*CONVOLUTIONS).unwrap();
    change(&mut model);
    match graph::cut(&mut model, look, 3, |_| true) {
        Ok(_) => panic!("an unusable network was taken"),
        Err(reason) => reason,
    }
}

#[test]
fn networks_of_other_kinds_are_refused_with_what_to_do() {
    let late = look(&["late"]);
    let graph = |model: &mut ModelProto, change: fn(&mut tract_onnx::pb::GraphProto)| {
        change(model.graph.as_mut().unwrap());
    };
    let elsewhere = |model: &mut ModelProto| {
        graph(model, |graph| {
            let weights = graph.initializer.iter_mut();
            for tensor in weights {
                tensor.data_location = Some(DataLocation::External as i32);
                tensor.external_data = vec![StringStringEntryProto {
                    key: "location".to_owned(),
                    value: "a.onnx.data".to_owned(),
                }];
            }
        });
    };
    let error = refused_with(elsewhere, &late);
    assert!(
        error.contains("a.onnx.data") && error.contains("external_data=False"),
        "{error}"
    );
    let weights_from_outside = |model: &mut ModelProto| {
        graph(model, |graph| {
            for weights in std::mem::take(&mut graph.initializer) {
                let mut input = graph.input[0].clone();
                input.name = weights.name;
                graph.input.push(input);
            }
        });
    };
    let error = refused_with(weights_from_outside, &late);
    assert!(error.contains(" inputs (images, "), "{error}");
    let whole = |model: &mut ModelProto| {
        graph(model, |graph| {
            let kind = graph.input[0]
                .r#type
                .as_mut()
                .unwrap()
                .value
                .as_mut()
                .unwrap();
            let tract_onnx::pb::type_proto::Value::TensorType(tensor) = kind;
            tensor.elem_type = 7;
        });
    };
    let error = refused_with(whole, &late);
    assert!(error.contains("float32"), "{error}");
    let two = OnnxLook {
        mean: vec![0.5, 0.5],
        ..late
    };
    let error = refused_with(|_| (), &two);
    assert!(error.contains("encoder.mean has 2 numbers"), "{error}");
}

#[test]
fn what_was_stored_is_what_is_read() {
    let network = tiny(&["early", "late"], 3);
    let sizes = network.sizes().clone();
    let stored = OnnxNetwork::stored(Some(CONVOLUTIONS.to_vec()), &sizes, 3).unwrap();
    let images = images(&test_device());
    assert_eq!(
        values(stored.encode(images.clone())),
        values(network.encode(images))
    );
    let refused = |file: Option<&[u8]>, sizes: &OnnxSizes| {
        let file = file.map(<[u8]>::to_vec);
        OnnxNetwork::stored(file, sizes, 3).unwrap_err()
    };
    assert!(refused(None, &sizes).contains("missing"));
    let mut damaged = CONVOLUTIONS.to_vec();
    damaged[2000] ^= 1;
    assert!(refused(Some(&damaged), &sizes).contains("damaged: fit it again"));
    let wrong = OnnxSizes {
        features: 9,
        ..sizes
    };
    assert!(refused(Some(CONVOLUTIONS), &wrong).contains("not the one that it describes"));
}

/// A byte that is changed or a file that is cut gives a network or a sentence.
#[test]
fn no_bytes_bring_the_reader_down() {
    let rng = &mut StdRng::seed_from_u64(0);
    for file in [CONVOLUTIONS, TOKENS] {
        for length in (0..file.len()).step_by(file.len() / 20) {
            let _ = open(&file[..length], &[], 3);
        }
        for _ in 0..60 {
            let mut damaged = file.to_vec();
            let at = rng.random_range(0..damaged.len());
            damaged[at] = rng.random();
            let _ = open(&damaged, &[], 3);
        }
    }
}

/// The features of SqueezeNet from an ONNX file are those of our own implementation. By hand: the file
/// comes of `tests/fixtures/onnx/squeezenet.py`.
#[test]
#[ignore = "needs ENCODER_FLOW_SQUEEZENET and ENCODER_FLOW_SQUEEZENET_ONNX, files of some megabytes"]
fn an_exported_squeezenet_is_our_own() {
    let path = |name: &str| PathBuf::from(std::env::var_os(name).expect(name));
    let device = test_device();
    let own = SqueezeNet::load(&path("ENCODER_FLOW_SQUEEZENET"), &device).unwrap();
    let file = OnnxFile {
        file: path("ENCODER_FLOW_SQUEEZENET_ONNX"),
        look: OnnxLook {
            input: SqueezeNet::INPUT,
            ..look(&["fire3", "fire5", "fire9"])
        },
    };
    let network = file.load(3).unwrap();
    let rng = &mut StdRng::seed_from_u64(0);
    let pixels: Vec<f32> = (0..8 * 3 * 48 * 40)
        .map(|_| rng.random_range(-1.0..1.0))
        .collect();
    let images = Tensor::<4>::from_data(TensorData::new(pixels, [8, 3, 48, 40]), &device);
    let [found, expected] =
        [network.encode(images.clone()), own.encode(images.clone())].map(values);
    let largest = expected
        .iter()
        .fold(0.0f32, |most, value| most.max(value.abs()));
    let pooled = largest_difference(&found, &expected);
    println!("whole images: {pooled:e} of {largest}");
    assert!(pooled < 1e-4, "{pooled}");
    let maps = network.maps(images.clone()).into_iter();
    for (map, own) in maps.zip(own.maps(images, &[3, 5, 9])) {
        assert_eq!(map.dims(), own.dims());
        let [found, expected] = [map, own].map(values);
        let largest = expected
            .iter()
            .fold(0.0f32, |most, value| most.max(value.abs()));
        let difference = largest_difference(&found, &expected);
        println!("positions: {difference:e} of {largest}");
        assert!(
            difference < 1e-4 * largest.max(1.0),
            "{difference} of {largest}"
        );
    }
}
