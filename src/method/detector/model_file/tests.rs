//! What holds for model files of every kind of scorer.

use super::*;
use crate::backend::test_device;
use crate::method::detector::scorer::tests::noise;
use crate::method::{Scores, mahalanobis};
use proptest::prelude::*;

use crate::method::tests::scorers;

fn encoder_flow() -> Box<dyn Scorer> {
    Box::new(crate::method::encoder_flow::detector::tests::detector())
}

fn store(scorer: &dyn Scorer, path: &Path) -> Description {
    let description = Description::new(scorer, None, "a test");
    save(scorer, &description, path).unwrap();
    description
}

fn refused(path: &Path) -> String {
    let error = load(path, &test_device()).err();
    error.expect("a wrong file was loaded").to_string()
}

#[test]
fn a_stored_detector_scores_identically() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let images = noise(20, 4);
    for scorer in scorers() {
        let description = store(scorer.as_ref(), &path);
        let (loaded, read) = load(&path, &test_device()).unwrap();
        assert_eq!(read, description);
        assert_eq!(Description::read(&path).unwrap(), description);
        let scores = scorer.score(&images).unwrap();
        assert_eq!(scores, loaded.score(&images).unwrap());
    }
}

#[test]
fn orders_and_signs_of_channels_have_to_be_some() {
    let initial = Integers(vec![vec![2, 0, 1], vec![-1, 1, 1]]);
    let check = |order: [i64; 3], signs: [i64; 3]| {
        let loaded = Integers(vec![order.to_vec(), signs.to_vec()]);
        initial.check(&loaded).is_ok()
    };
    assert!(check([0, 1, 2], [1, 1, -1]));
    for (order, signs) in [
        ([0, 0, 0], [1, 1, 1]),
        ([0, 1, 3], [1, 1, 1]),
        ([0, 1, -2], [1, 1, 1]),
        ([0, 1, 2], [1, 0, 1]),
        ([0, 1, 2], [1, 2, 1]),
    ] {
        assert!(!check(order, signs), "{order:?} {signs:?}");
    }
    // They are found where there are any.
    let scorer = encoder_flow();
    let bytes = to_bytes(
        scorer.as_ref(),
        &Description::new(scorer.as_ref(), None, "a test"),
    );
    let bytes = bytes.unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let integers = |name: &str| file.tensor(name).unwrap().dtype() == Dtype::I32;
    assert!(file.names().into_iter().any(integers));
}

#[test]
fn a_flipped_bit_of_the_weights_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    store(encoder_flow().as_ref(), &path);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() - 64;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(refused(&path).contains("not those that were written"));
}

#[test]
fn equal_detectors_make_equal_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let scorer = crate::method::on_positions::detectors().remove(0);
    let bytes = || {
        store(&scorer, &path);
        std::fs::read(&path).unwrap()
    };
    let first = bytes();
    assert!((0..20).all(|_| bytes() == first));
}

#[test]
fn damaged_foreign_and_newer_files_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    store(encoder_flow().as_ref(), &path);
    let whole = std::fs::read(&path).unwrap();
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        refused(&path)
    };
    for length in [0, 5, 100, whole.len() / 2, whole.len() - 1] {
        let error = refused(&whole[..length]);
        assert!(error.contains("model.safetensors"), "{error}");
        assert!(error.contains("damaged"), "{length}: {error}");
    }
    let format = format!("\\\"format\\\":{FORMAT}");
    let at = whole
        .windows(format.len())
        .position(|window| window == format.as_bytes())
        .map(|start| start + format.len() - 1);
    for (digit, expected) in [(b'9', "format 9"), (b'2', "no longer reads: fit it again")] {
        let mut changed = whole.clone();
        changed[at.expect("the description is where it is expected")] = digit;
        let error = refused(&changed);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_file_that_lacks_a_tensor_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for scorer in scorers() {
        store(scorer.as_ref(), &path);
        let bytes = std::fs::read(&path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let all = SafeTensors::deserialize(&bytes).unwrap().tensors();
        // Some of them: a flow on pixels has hundreds.
        for at in (0..all.len()).step_by(all.len().div_ceil(4)) {
            let mut fewer = all.clone();
            let (name, _) = fewer.remove(at);
            let fewer = safetensors::serialize(fewer, header.metadata().clone()).unwrap();
            std::fs::write(&path, fewer).unwrap();
            let error = refused(&path);
            assert!(error.contains("model.safetensors"), "{name}: {error}");
        }
    }
}

/// A file whose description has been changed.
fn with_change(scorer: &dyn Scorer, change: impl FnOnce(&mut Description)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let names = scorer.score_names();
    let some = || Scores::new(names, vec![vec![1.0, 2.0, 3.0]; names.len()]);
    let calibration = Calibration::fit(scorer.deciding(), &some(), &some()).unwrap();
    let mut description = Description::new(scorer, Some(calibration), "a test");
    change(&mut description);
    save(scorer, &description, &path).unwrap();
    refused(&path)
}

#[test]
fn a_description_that_does_not_fit_itself_is_refused() {
    for scorer in scorers() {
        let scorer = scorer.as_ref();
        let error = with_change(scorer, |description| description.conversion.width = 64);
        assert!(error.contains("images of shape"), "{error}");
        let error = with_change(scorer, |description| description.conversion.channels = 3);
        assert!(error.contains("images of shape"), "{error}");
        let error = with_change(scorer, |description| {
            let other = &["another"];
            let scores = || Scores::new(other, vec![vec![1.0, 2.0, 3.0]]);
            let calibration = Calibration::fit(other, &scores(), &scores());
            description.calibration = Some(calibration.unwrap());
        });
        assert!(
            error.contains("calibrated for the scores another"),
            "{error}"
        );
        let error = with_change(scorer, |description| {
            description.scorer.kind = "crystal-ball".to_owned();
        });
        assert!(error.contains("crystal-ball"), "{error}");
    }
}

#[test]
fn a_scale_of_another_dimension_is_refused() {
    let mixture: Box<dyn Scorer> = Box::new(crate::method::gmm::tests::detector());
    let scale = serde_json::json!({"mean": [0.0, 1.0], "deviation": [1.0, 1.0]});
    for scorer in [mixture, encoder_flow()] {
        let error = with_change(scorer.as_ref(), |description| {
            description.scorer.sizes["standardizer"] = scale.clone();
        });
        assert!(error.contains("its scale"), "{error}");
    }
    let plain = mahalanobis::gaussian::tests::detector();
    let error = with_change(&plain, |description| description.scorer.sizes = Value::Null);
    assert!(error.contains("invalid type"), "{error}");
}

#[test]
fn what_is_no_model_is_refused_with_what_is() {
    let folder = tempfile::tempdir().unwrap();
    let text = refused(&folder.path().join("none.safetensors"));
    assert!(text.contains("no such file") && text.contains("fit FOLDER"));
    let text = refused(folder.path());
    assert!(text.contains("is a folder: give the file"), "{text}");
    std::fs::write(folder.path().join("model.safetensors"), "").unwrap();
    let text = refused(folder.path());
    assert!(text.contains("the model in it is"), "{text}");
    let image = folder.path().join("image.png");
    image::GrayImage::new(40, 30).save(&image).unwrap();
    let text = refused(&image);
    assert!(
        text.contains("is an image: the model comes first"),
        "{text}"
    );
}

/// Places of whole numbers in a description, each with the value that it is a part of.
fn numbers<'a>(value: &'a mut Value, found: &mut Vec<&'a mut Value>) {
    match value {
        Value::Number(number) if number.is_u64() => found.push(value),
        Value::Array(values) => values.iter_mut().for_each(|value| numbers(value, found)),
        Value::Object(map) => map.values_mut().for_each(|value| numbers(value, found)),
        _ => {}
    }
}

#[test]
fn no_size_of_a_description_asks_for_more_memory_than_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for scorer in scorers() {
        let mut description = store(scorer.as_ref(), &path);
        let whole = description.scorer.sizes.clone();
        let count = |mut sizes: Value| {
            let mut found = Vec::new();
            numbers(&mut sizes, &mut found);
            found.len()
        };
        let mut refused = 0;
        for index in 0..count(whole.clone()) {
            for size in [3000_u64, 1 << 40] {
                let mut sizes = whole.clone();
                let mut found = Vec::new();
                numbers(&mut sizes, &mut found);
                *found[index] = size.into();
                description.scorer.sizes = sizes;
                save(scorer.as_ref(), &description, &path).unwrap();
                // Some are no sizes, and may be as large. What asked for this much would end the process.
                refused += usize::from(load(&path, &test_device()).is_err());
            }
        }
        let numbers = count(whole);
        assert!(
            numbers == 0 || refused > numbers / 2,
            "{}: {refused} of {numbers}",
            description.scorer.kind
        );
    }
}

proptest! {
    #![proptest_config(crate::property_tests(48))]
    #[test]
    fn no_bytes_bring_the_reader_down(position in 0.0f64..1.0, value: u8, cut in 0.0f64..1.0, both: bool) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        store(&crate::method::on_positions::detectors().remove(0), &path);
        let mut bytes = std::fs::read(&path).unwrap();
        // Most of the damage goes to the header, where it matters.
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[(position * header as f64) as usize] = value;
        if both {
            let length = (cut * bytes.len() as f64) as usize;
            bytes.truncate(length);
        }
        std::fs::write(&path, &bytes).unwrap();
        // What can be loaded can be asked.
        if let Ok((scorer, _)) = load(&path, &test_device()) {
            let _ = scorer.score(&noise(2, 1));
        }
    }
}
