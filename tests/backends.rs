//! Every method gives the same scores on every backend compiled in, and every stage trains on it.

mod common;

use std::path::{Path, PathBuf};

use common::SMALL_NETWORKS;
use encoder_flow::Detector;
use encoder_flow::backend::{Backend, OpenDevice};
use encoder_flow::data::{DataStore, FetchOptions, Images};
use encoder_flow::method::{Method, schema};
use encoder_flow::run::{Moment, RunError, RunOptions, Summary, run, run_folder};
use encoder_flow::study::Studies;
use encoder_flow::train::Display;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Settings with which a run takes seconds, on a software GPU as well.
const SMALL: [&str; 17] = [
    "data.limit=300",
    "encoder.width=4",
    "encoder.latent=6",
    "encoder.training.epochs=1",
    "flow.couplings=3",
    "flow.hidden=8",
    "flow.layers=1",
    "flow.actnorm=true",
    "flow.gaussians=3",
    "flow.training.epochs=1",
    "flow.training.batch_size=64",
    "knn.components=6",
    "gmm.components=6",
    "gmm.gaussians=3",
    "mahalanobis.components=6",
    "simclr.width=4",
    "simclr.training.epochs=1",
];

fn images() -> Images {
    let mut pixels = vec![0; 24 * 1024];
    StdRng::seed_from_u64(3).fill_bytes(&mut pixels);
    Images::new([1, 32, 32], pixels).unwrap()
}

/// Runs `digits-3` by the method on the backend.
fn fit(
    method: Method,
    settings: &[&str],
    backend: Backend,
    folder: &Path,
) -> Result<Summary, RunError> {
    let studies = Studies::open(None, &schema()).unwrap();
    let settings: Vec<String> = SMALL
        .iter()
        .chain(&SMALL_NETWORKS)
        .chain(settings)
        .map(|setting| (*setting).to_owned())
        .collect();
    let experiment = studies.find("digits-3", method.name(), &settings).unwrap();
    let offline = FetchOptions {
        offline: true,
        ..FetchOptions::default()
    };
    let store = DataStore::with_roots(vec![folder.to_owned()], offline).unwrap();
    let options = RunOptions {
        seed: 0,
        since: Some(Moment::now()),
        device: Some(backend.name().to_owned()),
        display: Display::Quiet,
        artifacts: folder.to_owned(),
        command: "a test".to_owned(),
        log: Some(folder.join("log")),
        features: None,
        among_others: true,
    };
    run(&experiment, &store, &options)
}

/// The model file of the run.
fn model(method: Method, folder: &Path) -> PathBuf {
    run_folder(folder, "digits-3", method.name(), 0).join("detector/model.safetensors")
}

/// The backends that have a device here.
fn devices() -> Vec<OpenDevice> {
    let open = |backend: Backend| match backend.open() {
        Ok(open) => Some(open),
        Err(error) => {
            // CI installs a software adapter and asks for it.
            let required = std::env::var_os("ENCODER_FLOW_REQUIRE_GPU").is_some();
            assert!(!required, "{error}");
            println!("skipped {}: {error}", backend.name());
            None
        }
    };
    Backend::compiled().into_iter().filter_map(open).collect()
}

#[test]
fn every_method_gives_the_same_scores_on_every_backend() {
    let folder = tempfile::tempdir().unwrap();
    let whole = Method::ALL.map(|method| (method, &[][..]));
    let positions = (
        Method::EncoderFlow,
        &["encoder.kind=pca", "encoder.positions=true"][..],
    );
    let texture = (
        Method::EncoderFlow,
        &["encoder.kind=texture", "encoder.positions=true"][..],
    );
    let simclr = (Method::Knn, &["knn.encoder=simclr"][..]);
    let patches = [
        "views.words=8",
        "views.list=[{ of = \"patches\", normalise = \"none\", components = 6, gaussians = 2 }]",
    ];
    let patches = (Method::Views, &patches[..]);
    let edges = [
        "views.couplings=2",
        "views.list=[{ of = \"gradients\", normalise = \"l2\", components = 6, gaussians = 150, base = \"kernel\" }]",
    ];
    let edges = (Method::Views, &edges[..]);
    let normalised = (
        Method::Knn,
        &["encoder.normalise=l2", "knn.encoder=pca"][..],
    );
    let others = [simclr, patches, edges, normalised, positions, texture];
    for (method, settings) in whole.into_iter().chain(others) {
        fit(method, settings, Backend::Flex, folder.path()).unwrap();
        let model = model(method, folder.path());
        let score = |open: &OpenDevice| {
            let detector = Detector::load_on(&model, &open.device).unwrap();
            detector.scorer().score(&images()).unwrap()
        };
        let expected = score(&Backend::Flex.open().unwrap());
        for open in devices() {
            let name = open.backend.name();
            let found = score(&open);
            let mut worst = 0.0f32;
            for (found, expected) in found.columns().iter().zip(expected.columns()) {
                assert_eq!(found.len(), expected.len());
                for (found, expected) in found.iter().zip(expected) {
                    let off = (found - expected).abs() / (1.0 + expected.abs());
                    // What is not a number is not less.
                    assert!(off < 1e-4, "{method} on {name}: {found} {expected}");
                    worst = worst.max(off);
                }
            }
            println!(
                "{method} {settings:?} on {name}: largest relative difference to flex {worst:.1e}"
            );
        }
    }
}

/// The loss of validation data after the only epoch of the run's stage.
fn loss_after_an_epoch(method: Method, (stage, loss): (&str, &str), folder: &Path) -> f64 {
    let run = run_folder(folder, "digits-3", method.name(), 0);
    let history = std::fs::read_to_string(run.join(stage).join("history.json")).unwrap();
    let history: serde_json::Value = serde_json::from_str(&history).unwrap();
    history["epochs"][0]["valid"][loss].as_f64().unwrap()
}

/// Gradients and steps are right where an epoch of training comes to what it comes to on the CPU.
#[test]
fn an_epoch_comes_to_the_same_on_every_backend() {
    let autoencoder = [("encoder", "L1"), ("flow", "NLL")];
    let simclr = &["encoder.kind=simclr"][..];
    // Fewer images and scales: gradients of convolutions are slow on a software GPU.
    let few = ["data.limit=100", "realnvp.scales=1", "glow.levels=1"];
    // In several large steps.
    let steps = |method: &str| {
        [
            format!("{method}.training.batch_size=16"),
            format!("{method}.training.learning_rate=0.005"),
        ]
    };
    let [realnvp, glow] = ["realnvp", "glow"].map(steps);
    let [realnvp, glow] = [&realnvp, &glow].map(|steps| {
        let steps = steps.iter().map(String::as_str);
        few.into_iter().chain(steps).collect::<Vec<_>>()
    });
    for (method, settings, stages) in [
        (Method::EncoderFlow, &[][..], &autoencoder[..]),
        (Method::EncoderFlow, simclr, &[("simclr", "NT-Xent")]),
        (Method::Ganomaly, &[], &[("ganomaly", "Generator loss")]),
        (Method::Anogan, &[], &[("gan", "Generator loss")]),
        (Method::Egbad, &[], &[("bigan", "Reconstruction error")]),
        (Method::RealNvp, &realnvp, &[("pixel-flow", "Bits per dim")]),
        (Method::Glow, &glow, &[("pixel-flow", "Bits per dim")]),
    ] {
        let trained_on = |backend| {
            let folder = tempfile::tempdir().unwrap();
            fit(method, settings, backend, folder.path()).unwrap();
            let loss = |&stage| loss_after_an_epoch(method, stage, folder.path());
            stages.iter().map(loss).collect::<Vec<f64>>()
        };
        let expected = trained_on(Backend::Flex);
        let others = devices().into_iter().map(|open| open.backend);
        for backend in others.filter(|&backend| backend != Backend::Flex) {
            let losses = trained_on(backend);
            for ((found, expected), stage) in losses.iter().zip(&expected).zip(stages) {
                let off = (found - expected).abs() / (1.0 + expected.abs());
                let what = format!("{method} {stage:?} on {}", backend.name());
                println!("{what}: {found:.5}, on flex {expected:.5}, {off:.0e} apart");
                assert!(off < 2e-3, "{what}: {found}, on flex {expected}");
            }
        }
    }
}

#[test]
fn every_stage_trains_on_every_backend() {
    let (autoencoder, simclr) = (&[][..], &["encoder.kind=simclr"][..]);
    for open in devices() {
        for (settings, stages) in [
            (autoencoder, ["encoder", "flow"]),
            (simclr, ["simclr", "flow"]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let trained = fit(Method::EncoderFlow, settings, open.backend, folder.path());
            let run = run_folder(folder.path(), "digits-3", "encoder-flow", 0);
            for stage in stages {
                let history = run.join(stage).join("history.json");
                let history = std::fs::read_to_string(history).unwrap();
                println!("{} on {}: {history}", stage, open.backend.name());
                assert!(history.contains("epochs"), "{history}");
            }
            trained.unwrap();
            let path = model(Method::EncoderFlow, folder.path());
            let detector = Detector::load_on(path, &open.device).unwrap();
            let scores = detector.scorer().score(&images()).unwrap();
            assert!(scores.columns()[0].iter().all(|score| score.is_finite()));
        }
    }
}
