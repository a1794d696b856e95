//! What holds for every method.

use toml::{Table, Value};

use super::*;
use crate::flow::BaseKind;
use crate::method::detector::scorer::tests::{assert_score_of_image_alone, noise};
use crate::study::differences;

/// A fitted scorer of every kind.
pub(in crate::method) fn scorers() -> Vec<Box<dyn Scorer>> {
    let positions = on_positions::detectors().into_iter();
    let positions = positions.map(|detector| Box::new(detector) as Box<dyn Scorer>);
    let others: Vec<Box<dyn Scorer>> = vec![
        Box::new(encoder_flow::detector::tests::detector()),
        Box::new(encoder_flow::detector::tests::on_base(BaseKind::Trained)),
        Box::new(encoder_flow::detector::tests::on_base(BaseKind::Fitted)),
        Box::new(encoder_flow::detector::tests::on_base(BaseKind::Tied)),
        Box::new(encoder_flow::detector::tests::on_base(BaseKind::Kernel)),
        #[cfg(feature = "onnx")]
        Box::new(encoder_flow::detector::tests::exported()),
        Box::new(autoencoder::tests::detector()),
        Box::new(ganomaly::detector::tests::detector()),
        Box::new(anogan::detector::tests::detector()),
        Box::new(egbad::detector::tests::detector()),
        Box::new(knn::bank::tests::detector()),
        Box::new(gmm::tests::detector()),
        Box::new(mahalanobis::gaussian::tests::detector()),
        Box::new(views::detector::tests::detector()),
        Box::new(views::detector::tests::guarded()),
        #[cfg(feature = "onnx")]
        Box::new(views::detector::tests::exported()),
        Box::new(realnvp::tests::detector()),
        Box::new(glow::tests::detector()),
    ];
    positions.chain(others).collect()
}

#[test]
fn every_kind_that_a_model_file_can_be_of_is_among_them() {
    let fitted: Vec<String> = scorers().iter().map(|one| one.stored().kind).collect();
    for method in Method::ALL {
        for (kind, _) in method.entry().loaders {
            assert!(fitted.iter().any(|one| one == kind), "{kind}");
        }
    }
}

#[test]
fn a_score_depends_on_its_image_alone() {
    for scorer in scorers() {
        assert_score_of_image_alone(scorer.as_ref(), &noise(20, 4));
    }
}

#[test]
fn the_heat_of_a_reconstruction_is_what_it_leaves_of_the_image() {
    let images = noise(3, 5);
    let mut known = 0;
    for scorer in scorers() {
        if !scorer.heat_sources().contains(&HeatSource::Reconstruction) {
            continue;
        }
        known += 1;
        let kind = scorer.stored().kind;
        let back = scorer.reconstruct(&images).unwrap();
        let maps = scorer.heat(&images, HeatSource::Reconstruction).unwrap();
        for (index, map) in maps.iter().enumerate() {
            let pairs = images.get(index).iter().zip(back.get(index));
            assert_eq!(map.values().len(), pairs.len());
            for ((&image, &back), &found) in pairs.zip(map.values()) {
                // Half a grey level of rounding, of the range from -1 to 1.
                let expected = f32::from(image.abs_diff(back)) / 127.5;
                assert!(
                    (found - expected).abs() < 0.0045,
                    "{kind}: {found} {expected}"
                );
            }
        }
    }
    assert!(known >= 7, "{known}");
}

fn defaults() -> Settings {
    Settings::from_table(schema().defaults).unwrap()
}

/// Another value of the same type that is possible as well.
fn another(key: &str, value: &Value) -> Vec<Value> {
    let texts: &[&str] = match key.rsplit('.').next() {
        Some("kind" | "encoder") => &[
            "autoencoder",
            "pca",
            "squeezenet",
            "simclr",
            "onnx",
            "pixels",
        ],
        Some("file") => &["a.onnx", "b.onnx"],
        Some("schedule") => &["constant", "cosine"],
        Some("mixing") => &["permutation", "alternate"],
        Some("base") => &["trained", "fitted", "tied"],
        Some("augmentation") => &["auto", "strokes", "photos"],
        Some("context") => &["off", "on", "auto"],
        Some("normalise") => &["none", "l2", "contrast", "sqrt"],
        Some("masks") => &["multi-scale", "checkerboard", "horizontal", "cycle"],
        _ => &[],
    };
    match value {
        Value::Integer(number) => vec![Value::Integer(number + 1)],
        Value::Float(number) => vec![Value::Float(number + 0.25)],
        Value::Boolean(flag) => vec![Value::Boolean(!flag)],
        Value::String(old) => {
            let others = texts.iter().filter(|text| *text != old);
            others.map(|&text| Value::String(text.to_owned())).collect()
        }
        Value::Array(items) if matches!(items[..], [Value::Integer(_)]) => {
            vec![Value::Array(vec![Value::Integer(8)])]
        }
        Value::Array(items) if items.is_empty() => {
            vec![Value::Array(vec![Value::String("tokens".to_owned())])]
        }
        Value::Array(items) if items.len() > 1 => vec![Value::Array(items[1..].to_vec())],
        other => panic!("{key}: no other value of {other} is known"),
    }
}

/// Every leaf with its path.
fn leaves(table: &Table, prefix: &str, found: &mut Vec<(String, Value)>) {
    for (key, value) in table {
        let path = format!("{prefix}{key}");
        match value {
            Value::Table(inner) => leaves(inner, &format!("{path}."), found),
            leaf => found.push((path, leaf.clone())),
        }
    }
}

fn changed(table: &Table, key: &str, value: Value) -> Table {
    let mut table = table.clone();
    let (path, last) = key.rsplit_once('.').unwrap();
    let innermost = path
        .split('.')
        .fold(&mut table, |table, key| table[key].as_table_mut().unwrap());
    innermost.insert(last.to_owned(), value);
    table
}

/// A fit is given its plan and nothing else of the settings. So a key that leaves the identity as it
/// is must leave the plan as it is, whatever else is set; and every key must matter to some method.
#[test]
fn changing_a_key_changes_the_identity_or_cannot_change_the_fit() {
    let mut starts = vec![schema().defaults];
    // Which keys matter depends on these.
    for (keys, value) in [
        (
            &["encoder.kind", "knn.encoder", "gmm.encoder"][..],
            "squeezenet",
        ),
        (&["encoder.kind", "mahalanobis.encoder"], "pca"),
        (
            &["knn.encoder", "gmm.encoder", "mahalanobis.encoder"],
            "autoencoder",
        ),
        (
            &["knn.encoder", "gmm.encoder", "mahalanobis.encoder"],
            "pixels",
        ),
        (
            &["patchcore.encoder", "padim.encoder", "kernel.encoder"],
            "squeezenet",
        ),
        (&["encoder.kind", "knn.encoder"], "simclr"),
        (&["encoder.kind", "knn.encoder", "padim.encoder"], "onnx"),
    ] {
        let table = keys.iter().fold(schema().defaults, |table, key| {
            changed(&table, key, Value::String(value.to_owned()))
        });
        starts.push(changed(&table, "encoder.positions", true.into()));
        starts.push(table);
    }
    let patches = r#"list = [
        { of = "patches", normalise = "none", components = 4, gaussians = 1 },
        { of = "pixels", normalise = "l2", components = 4, gaussians = 1 },
    ]"#;
    let patches: Table = patches.parse().unwrap();
    starts.push(changed(
        &schema().defaults,
        "views.list",
        patches["list"].clone(),
    ));
    let mut unused: Vec<(String, Value)> = Vec::new();
    leaves(&schema().defaults, "", &mut unused);
    unused.retain(|(key, _)| !key.starts_with("data.") && !key.starts_with("evaluation."));
    let keys = unused.clone();
    for start in &starts {
        let before = Settings::from_table(start.clone()).unwrap();
        for method in Method::ALL {
            let old = method.plan(&before).unwrap();
            let identity = |settings: &Settings, plan: &dyn Plan| {
                Identity::new(method.name(), plan, settings, Some("w".to_owned()))
            };
            let old_identity = identity(&before, old.as_ref());
            for (key, _) in &keys {
                let mut current = Vec::new();
                leaves(start, "", &mut current);
                let value = current
                    .into_iter()
                    .find(|(known, _)| known == key)
                    .unwrap()
                    .1;
                for value in another(key, &value) {
                    let after = Settings::from_table(changed(start, key, value)).unwrap();
                    let new = method.plan(&after).unwrap();
                    let new_identity = identity(&after, new.as_ref());
                    let same_plan = format!("{old:?}") == format!("{new:?}");
                    let same = old_identity.differences(&new_identity).is_empty();
                    assert_eq!(same, same_plan, "{method}: {key}");
                    assert_eq!(
                        old_identity.fingerprint() == new_identity.fingerprint(),
                        same
                    );
                    if !same {
                        unused.retain(|(known, _)| known != key);
                    }
                }
            }
        }
    }
    assert!(unused.is_empty(), "no method reads {unused:?}");
}

#[test]
fn every_key_of_the_data_belongs_to_the_identity() {
    let before = defaults();
    let mut data = Vec::new();
    leaves(
        &before.table()["data"].as_table().unwrap().clone(),
        "data.",
        &mut data,
    );
    for (key, value) in data {
        let value = match key.as_str() {
            "data.dataset" => "mnist".into(),
            "data.fit" => "crop".into(),
            "data.ood" => Value::Array(vec!["svhn".into()]),
            "data.folder" => "parts".into(),
            "data.group_by" => "^(part)".into(),
            _ => another(&key, &value).swap_remove(0),
        };
        let after = Settings::from_table(changed(before.table(), &key, value)).unwrap();
        for method in Method::ALL {
            let identity = |settings: &Settings| {
                let plan = method.plan(settings).unwrap();
                Identity::new(method.name(), plan.as_ref(), settings, None)
            };
            let found = identity(&before).differences(&identity(&after));
            assert_eq!(found.len(), 1, "{method}: {key}: {found:?}");
            assert!(found[0].starts_with(&format!("{key}: ")), "{found:?}");
        }
    }
}

#[test]
fn other_weights_are_another_run_for_those_who_read_them() {
    let table = changed(&schema().defaults, "knn.encoder", "squeezenet".into());
    let table = changed(&table, "kernel.encoder", "onnx".into());
    let table = changed(&table, "mahalanobis.encoder", "onnx".into());
    let settings = Settings::from_table(table).unwrap();
    for (method, reads) in [
        (Method::Knn, true),
        (Method::Gmm, false),
        (Method::Kernel, true),
        (Method::Mahalanobis, true),
    ] {
        let plan = method.plan(&settings).unwrap();
        let [one, other] = ["a", "b"].map(|hash| {
            let weights = Some(hash.to_owned());
            Identity::new(method.name(), plan.as_ref(), &settings, weights)
        });
        assert_eq!(!one.differences(&other).is_empty(), reads, "{method}");
    }
}

/// Of what is remembered one by one, the own scores are no thresholds.
#[test]
fn what_kernels_remember_is_not_what_thresholds_are_taken_from() {
    let kernel = r#"list = [{ of = "gradients", normalise = "l2", components = 8, gaussians = 300, base = "kernel" }]"#;
    let kernel = kernel.parse::<Table>().unwrap()["list"].clone();
    let before = schema().defaults.clone();
    let flow = changed(&before, "flow.gaussians", 300.into());
    let flow = changed(&flow, "flow.base", "kernel".into());
    for (method, table) in [
        (Method::Views, changed(&before, "views.list", kernel)),
        (Method::EncoderFlow, flow),
    ] {
        let [usual, remembers] = [&before, &table].map(|table| {
            let settings = Settings::from_table(table.clone()).unwrap();
            method.plan(&settings).unwrap().skips_training_scores()
        });
        assert!(!usual && remembers, "{method}");
    }
}

#[test]
fn those_who_train_the_same_autoencoder_share_it() {
    let table = changed(&schema().defaults, "knn.encoder", "autoencoder".into());
    let view =
        r#"list = [{ of = "autoencoder", normalise = "l2", components = 8, gaussians = 3 }]"#;
    let list = view.parse::<Table>().unwrap()["list"].clone();
    let table = changed(&table, "views.list", list);
    let settings = Settings::from_table(table.clone()).unwrap();
    let identity = |method: Method, settings: &Settings| {
        let plan = method.plan(settings).unwrap();
        Identity::new(method.name(), plan.as_ref(), settings, None)
    };
    let flow = identity(Method::EncoderFlow, &settings);
    let autoencoder = SharedNetwork::Autoencoder;
    for method in [Method::Autoencoder, Method::Knn, Method::Views] {
        assert!(
            autoencoder.is_shared(&flow, &identity(method, &settings)),
            "{method}"
        );
    }
    assert!(!autoencoder.is_shared(&flow, &identity(Method::Gmm, &settings)));
    let wider = Settings::from_table(changed(&table, "encoder.width", 24.into())).unwrap();
    assert!(!autoencoder.is_shared(&flow, &identity(Method::Autoencoder, &wider)));
}

#[test]
fn those_who_train_the_same_network_without_labels_share_it() {
    let view = r#"list = [{ of = "simclr", normalise = "l2", components = 8, gaussians = 3 }]"#;
    let list = view.parse::<Table>().unwrap()["list"].clone();
    let table = changed(&schema().defaults, "views.list", list);
    let table = changed(&table, "knn.encoder", "simclr".into());
    let settings = Settings::from_table(table.clone()).unwrap();
    let identity = |method: Method, settings: &Settings| {
        let plan = method.plan(settings).unwrap();
        Identity::new(method.name(), plan.as_ref(), settings, None)
    };
    let knn = identity(Method::Knn, &settings);
    let network = SharedNetwork::SimClr;
    assert!(network.is_shared(&knn, &identity(Method::Views, &settings)));
    assert!(!network.is_shared(&knn, &identity(Method::EncoderFlow, &settings)));
    assert!(!SharedNetwork::Autoencoder.is_shared(&knn, &identity(Method::Views, &settings)));
    let other = Settings::from_table(changed(&table, "simclr.temperature", 0.5.into())).unwrap();
    assert!(!network.is_shared(&knn, &identity(Method::Views, &other)));
}

#[test]
fn the_sections_are_complete_and_possible() {
    let settings = defaults();
    for section in sections() {
        assert_eq!((section.fault)(&settings).unwrap(), None);
    }
    assert_eq!(settings.fault(), None);
}

#[test]
fn limits_are_named_with_their_key() {
    let fault = |key: &str, value: Value| {
        let settings = Settings::from_table(changed(&schema().defaults, key, value)).unwrap();
        (schema().fault)(&settings).unwrap()
    };
    let found = fault("encoder.latent", 1.into());
    assert_eq!(
        (found.key.as_str(), found.must.as_str()),
        ("encoder.latent", "must be from 2 to 4096")
    );
    let found = fault("encoder.input", 24.into());
    assert_eq!(
        (found.key.as_str(), found.must.as_str()),
        ("encoder.input", "must be from 25 to 512")
    );
    assert_eq!(
        fault("flow.training.beta_1", 1.0.into()).key,
        "flow.training.beta_1"
    );
    assert_eq!(fault("encoder.kind", "pixels".into()).key, "encoder.kind");
    assert_eq!(fault("simclr.width", 0.into()).key, "simclr.width");
    let found = fault("encoder.std", Value::Array(vec![0.0.into()]));
    assert_eq!(found.key, "encoder.std");
    let found = fault("encoder.kind", "onnx".into());
    match crate::encoder::OnnxNetwork::COMPILED {
        true => assert_eq!(found.key, "encoder.file"),
        false => assert!(found.must.contains("`--features onnx`"), "{found:?}"),
    }
    assert_eq!(
        fault("simclr.temperature", 0.0.into()).key,
        "simclr.temperature"
    );
    assert_eq!(
        fault("simclr.training.epochs", 0.into()).key,
        "simclr.training.epochs"
    );
}

#[test]
fn tables_with_other_sections_differ_by_name() {
    let table = |text: &str| text.parse::<Table>().unwrap();
    let found = differences(&table("[a]\nx = 1"), &table("[b]\ny = 2"));
    assert_eq!(found, ["a: used there only", "b: used now only"]);
}

#[test]
fn every_score_that_decides_is_one_of_the_scores_and_has_words() {
    for scorer in scorers() {
        let names = scorer.score_names();
        assert!(!scorer.deciding().is_empty());
        assert!(scorer.deciding().iter().all(|name| names.contains(name)));
        let kind = scorer.stored().kind;
        let entry = Method::ALL.map(Method::entry).into_iter();
        let mut entry = entry.filter(|entry| entry.loaders.iter().any(|(name, _)| *name == kind));
        let entry = entry
            .next()
            .unwrap_or_else(|| panic!("nobody loads a {kind}"));
        for name in names {
            assert!(
                entry
                    .words
                    .iter()
                    .copied()
                    .flatten()
                    .any(|(known, _)| known == name),
                "{kind}: {name}"
            );
        }
    }
}

/// The terms of a likelihood are those of its score: their sum is the score, or becomes it where scores are
/// standardised.
#[test]
fn terms_add_up_to_their_score() {
    let images = detector::scorer::tests::noise(20, 8);
    let mut with_terms = 0;
    for scorer in scorers() {
        let scores = scorer.score(&images).unwrap();
        for terms in scorer.terms(&images) {
            // The score of a guard is a square of what exceeds a share of its likelihoods.
            let words = scorer.words(terms.score).unwrap_or_default();
            if words.contains("guard") {
                continue;
            }
            let column = scores.names().iter().position(|name| *name == terms.score);
            let column = &scores.columns()[column.unwrap()];
            let sums = terms.base.iter().zip(&terms.log_det);
            let sums: Vec<f32> = sums.map(|(base, log_det)| base + log_det).collect();
            let expected = match scorer.summands().contains(&terms.score) {
                true => {
                    // Two images give the scale, which the others must have as well.
                    let scale = (sums[1] - sums[0]) / (column[1] - column[0]);
                    let scaled = column
                        .iter()
                        .map(|score| (score - column[0]) * scale + sums[0]);
                    scaled.collect()
                }
                false => column.clone(),
            };
            let kind = scorer.stored().kind;
            for (sum, expected) in sums.iter().zip(&expected) {
                let close = (sum - expected).abs() < 1e-2 * (1.0 + expected.abs());
                assert!(close, "{kind} {}: {sum} is not {expected}", terms.score);
            }
            with_terms += 1;
        }
    }
    // `encoder-flow` on five bases, the two flows on pixels, fourteen views but one guard; and through ONNX networks,
    // `encoder-flow` and three views.
    let expected = if cfg!(feature = "onnx") { 24 } else { 20 };
    assert_eq!(with_terms, expected);
}

/// A score that is made of others says so, and knows them.
#[test]
fn summands_are_scores_whose_weighted_sum_decides() {
    let images = detector::scorer::tests::noise(20, 9);
    for scorer in scorers() {
        let summands = scorer.summands();
        if summands.is_empty() {
            continue;
        }
        let scores = scorer.score(&images).unwrap();
        let columns = || scores.names().iter().zip(scores.columns());
        let deciding = columns().find(|(name, _)| [**name] == *scorer.deciding());
        for (row, score) in deciding.unwrap().1.iter().enumerate() {
            let of = columns().filter(|(name, _)| summands.contains(name));
            let parts = of.zip(scorer.summand_weights());
            let sum: f32 = parts
                .map(|((_, column), weight)| column[row] * weight)
                .sum();
            assert!((sum - score).abs() < 1e-4 * (1.0 + score.abs()));
        }
        assert!(scorer.words(summands[0]).is_some());
    }
}
