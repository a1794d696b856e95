//! What a study file may say, and what comes of it.

use super::*;
use crate::method::schema;
use crate::study::names::tests::{with, with_all};

const FLOW: &str = "encoder-flow";

const VARIANT: &str = "[flow]\nhidden = 64\n[variants.small]\nmethod = \"encoder-flow\"\nflow.hidden = 8\nencoder = { kind = \"pca\" }";

/// The settings of a study of this text, with overrides.
fn resolved(text: &str, overrides: &[&str]) -> Result<Settings, String> {
    let overrides: Vec<String> = overrides.iter().map(|&item| item.to_owned()).collect();
    let studies = with(text);
    let study = studies.study("own").unwrap();
    study.shared(&overrides).map_err(|error| error.to_string())
}

fn number(settings: &Settings, section: &str, key: &str) -> i64 {
    settings.table()[section][key].as_integer().unwrap()
}

#[test]
fn later_settings_win_and_the_rest_stays() {
    let text = "[encoder]\nlatent = 16\n[encoder.training]\nepochs = 3";
    let changes = [
        "encoder.training.epochs=2",
        "flow.mixing=alternate",
        "flow.clamp=1",
    ];
    let settings = resolved(text, &changes).unwrap();
    assert_eq!(number(&settings, "encoder", "latent"), 16);
    let training = settings.table()["encoder"]["training"].clone();
    assert_eq!(training["epochs"].as_integer(), Some(2));
    assert_eq!(settings.table()["flow"]["clamp"].as_float(), Some(1.0));
    let default = resolved("", &[]).unwrap();
    let width = |settings| number(settings, "encoder", "width");
    assert_eq!(width(&settings), width(&default));
    assert_eq!(resolved(&settings.to_toml(), &[]).unwrap(), settings);
}

#[test]
fn every_wrong_setting_is_named() {
    for (text, overrides, expected) in [
        (
            "[encoder]\nlatnt = 3",
            &[][..],
            "did you mean `encoder.latent`",
        ),
        ("[encodr]\nlatent = 3", &[], "did you mean `encoder`"),
        ("[encoder]\nlatent = \"3\"", &[], "must be of type integer"),
        ("[encoder\n", &[], "own.toml"),
        ("[data]\ndataset = \"mnits\"", &[], "did you mean `mnist`"),
        ("", &["data.dataset=mnits"], "--set data.dataset=mnits"),
        ("", &["flow.mixing=permutate"], "did you mean `permutation`"),
        ("", &["knn.encoder=pcs"], "did you mean `pca`"),
        ("", &["data.ood=[\"svhn\", \"svhn\"]"], "once"),
        (
            "",
            &["encoder.latent=1"],
            "--set encoder.latent=1: `encoder.latent` is 1, and must be",
        ),
        (
            "",
            &["encoder.training.epoch=2"],
            "did you mean `encoder.training.epochs`",
        ),
        ("", &["encoder"], "key=value"),
        ("", &["encoder=3"], "must be of type table"),
        (
            "",
            &["encoder.training.epochs=0"],
            "encoder.training.epochs",
        ),
        ("", &["encoder.training.epochs=-1"], "epochs"),
        ("", &["flow.training.learning_rate=nan"], "learning_rate"),
        ("", &["data.size=8"], "data.size"),
        ("", &["evaluation.confidence=1"], "evaluation.confidence"),
        ("", &["data.ood=[\"digits\"]"], "data.ood"),
        ("", &["data.stand_in=10"], "number of classes"),
        ("", &["data.stand_in=-1"], "stand_in"),
        (
            "",
            &["gmm.positions=true", "gmm.gaussians=200", "gmm.starts=60"],
            "--set gmm.starts=60: `gmm.starts` is 60, and must be less: there are 200 Gaussians for each of 60 starts",
        ),
        (
            "",
            &["flow.base=fitted", "flow.gaussians=200", "flow.starts=60"],
            "`flow.starts` is 60",
        ),
        (
            "[views]\nlist = [{ of = \"pixels\", normalise = \"none\", components = 8, gaussians = 200 }]",
            &["flow.starts=60"],
            "must have at most 166 gaussians in every view with a fitted base and flow.starts = 60",
        ),
    ] {
        let error = resolved(text, overrides).unwrap_err();
        assert!(error.contains(expected), "{text} {overrides:?}: {error}");
    }
}

#[test]
fn a_variant_is_a_method_with_settings_over_those_of_the_study() {
    let studies = with(VARIANT);
    let hidden = |method: &str, overrides: &[String]| {
        let experiment = studies.find("own-3", method, overrides).unwrap();
        assert_eq!(
            (experiment.variant.as_str(), experiment.method.as_str()),
            (method, FLOW)
        );
        number(&experiment.settings, "flow", "hidden")
    };
    assert_eq!(hidden(FLOW, &[]), 64);
    assert_eq!(hidden("small", &[]), 8);
    assert_eq!(hidden("small", &["flow.hidden=16".to_owned()]), 16);
    let study = studies.study("own").unwrap();
    let settings = study.choice("small").unwrap().settings();
    assert_eq!(settings, ["encoder.kind=\"pca\"", "flow.hidden=8"]);
    let names: Vec<String> = study
        .choices()
        .unwrap()
        .into_iter()
        .map(|c| c.name)
        .collect();
    assert_eq!(names.last().map(String::as_str), Some("small"));
    assert_eq!(names.len(), schema().methods.len() + 1);
}

#[test]
fn a_study_that_extends_another_has_its_settings_and_variants() {
    let base = format!("[sweep]\nmethods = [\"knn\"]\n[data]\nsize = 40\n{VARIANT}");
    let middle = "extends = \"base\"\n[data]\nsize = 48\n[variants.large]\nextends = \"small\"\nflow.clamp = 1";
    let own = "extends = \"middle\"\n[variants.small]\nextends = \"small\"\nflow.hidden = 9\n[variants.knn-large]\n\
        extends = \"large\"\nmethod = \"knn\"";
    let studies = with_all([("base", base.as_str()), ("middle", middle), ("own", own)]);
    let study = studies.study("own").unwrap();
    let settings = study.shared(&[]).unwrap();
    assert_eq!(
        (settings.data.size, number(&settings, "flow", "hidden")),
        (48, 64)
    );
    assert_eq!(study.compared().unwrap(), ["knn"]);
    let chosen = |name: &str| {
        let choice = study.choice(name).unwrap();
        (choice.method.clone(), choice.settings())
    };
    let pca = "encoder.kind=\"pca\"";
    assert_eq!(
        chosen("small"),
        (FLOW.into(), vec![pca.into(), "flow.hidden=9".into()])
    );
    // A variant is what the file that names it had before its eyes.
    let large = vec![
        pca.to_owned(),
        "flow.clamp=1".into(),
        "flow.hidden=8".into(),
    ];
    assert_eq!(chosen("large"), (FLOW.into(), large.clone()));
    assert_eq!(chosen("knn-large"), ("knn".into(), large));
    let files = study.files().unwrap();
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["base", "middle", "own"]);
}

#[test]
fn what_cannot_be_extended_is_named_with_its_place() {
    for (text, expected) in [
        (
            "extends = \"mnits\"",
            "own.toml: `extends` is \"mnits\", which is no study; did you mean `mnist`?",
        ),
        ("extends = 3", "must be the name of a study"),
        ("extends = \"own\"", "goes round in a circle"),
        ("extends = \"OWN\"", "goes round in a circle"),
        (
            "extends = \"other\"",
            "other.toml: `extends` is \"own\", which goes round in a circle",
        ),
        (
            "[variants.small]\nextends = \"smal\"\n[variants.smally]\nmethod = \"knn\"",
            "own.toml, [variants.small]: `extends` is \"smal\", which is no other variant; did you mean `smally`?",
        ),
        (
            "[variants.small]\nextends = \"small\"",
            "which is no other variant. Known: none",
        ),
        (
            "[variants.small]\nextends = 3",
            "must be the name of a variant",
        ),
        (
            "[variants.small]\nextends = \"large\"\n[variants.large]\nextends = \"small\"",
            "goes round in a circle",
        ),
        (
            "[variants.small]\nmethod = 3",
            "`method` is 3, and must be a name",
        ),
    ] {
        let studies = with_all([("own", text), ("other", "extends = \"own\"")]);
        let error = studies.study("own").unwrap().choice("small").unwrap_err();
        assert!(error.to_string().contains(expected), "{text}: {error}");
    }
}

#[test]
fn a_study_says_what_its_sweep_compares() {
    let compared = |text: &str| {
        let compared = with(text).study("own").unwrap().compared();
        compared.map_err(|error| error.to_string())
    };
    assert_eq!(compared("").unwrap(), schema().methods);
    let text = format!("[sweep]\nmethods = [\"knn\", \"small\"]\n{VARIANT}");
    assert_eq!(compared(&text).unwrap(), ["knn", "small"]);
    assert_eq!(number(&resolved(&text, &[]).unwrap(), "flow", "hidden"), 64);
    for (text, expected) in [
        ("[sweep]\nmethods = [\"kn\"]", "did you mean `knn`"),
        ("[sweep]\nmethods = []", "one method or variant at least"),
        ("[sweep]\nmethod = [\"knn\"]", "own.toml, [sweep]"),
        ("sweep = 3", "own.toml, [sweep]"),
    ] {
        let error = compared(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn wrong_variants_are_named_with_their_place() {
    for (text, name, expected) in [
        (
            "[variants.small]\nflow.hidden = 8",
            "small",
            "needs `method`",
        ),
        (
            "[variants.small]\nmethod = \"kn\"",
            "small",
            "did you mean `knn`",
        ),
        ("[variants.knn]\nmethod = \"knn\"", "knn", "is a method"),
        ("[variants.\"A b\"]\nmethod = \"knn\"", "A b", "use `a-b`"),
        ("[variants]\nsmall = 3", "small", "must be a table"),
        ("variants = 3", "small", "table of tables"),
        (
            "[variants.small]\nmethod = \"knn\"\ndata.dataset = \"folder\"",
            "small",
            "own.toml, [variants.small]: `data.dataset` is folder, and the study's is",
        ),
        (VARIANT, "smal", "did you mean `small`"),
        (
            "[variants.small]\nmethod = \"knn\"\nknn.neighbors = 3",
            "small",
            "own.toml, [variants.small]: unknown key `knn.neighbors`, did you mean `knn.neighbours`",
        ),
        (
            "[variants.small]\nmethod = \"knn\"\nknn.neighbours = 0",
            "small",
            "own.toml, [variants.small]: `knn.neighbours` is 0",
        ),
        (
            "[variants.base]\nmethod = \"knn\"\nknn.neighbours = 0\n[variants.small]\nextends = \"base\"",
            "small",
            "own.toml, [variants.small] or what it extends: `knn.neighbours` is 0",
        ),
    ] {
        let error = with(text).find("own-3", name, &[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}
