//! Pretrained weights: downloaded, verified, converted, or refused with nothing left behind.

mod common;
#[allow(dead_code)]
#[path = "common/http.rs"]
mod http;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::{fails, program, succeeds};
use encoder_flow::backend::Backend;
use encoder_flow::data::{Checksum, DataStore, FetchOptions, RemoteFile, squeezenet_checkpoint};
use encoder_flow::encoder::SqueezeNet;
use http::{Reply, Server};
use tempfile::TempDir;

/// Written by PyTorch 2.15.0 with `fixtures/squeezenet.py`.
const CHECKPOINT: &[u8] = include_bytes!("fixtures/squeezenet1_1.pth");

/// What coreutils' sha256sum says of it.
const SHA256: &str = "396c02e7d63c1b53d4ea90707fd662f8f10fad9092c3f7db40c245d601242f9b";

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn checkpoint(urls: &[String]) -> RemoteFile {
    RemoteFile {
        name: "squeezenet1_1.pth".to_owned(),
        bytes: CHECKPOINT.len() as u64,
        checksums: vec![Checksum::Sha256(SHA256.to_owned())],
        urls: urls.to_vec(),
    }
}

fn store(roots: &[&Path], mirror: Option<String>) -> DataStore {
    let options = FetchOptions {
        quiet: true,
        retries: 0,
        pause: Duration::ZERO,
        mirror,
        ..FetchOptions::default()
    };
    let roots = roots.iter().map(|root| root.to_path_buf()).collect();
    DataStore::with_roots(roots, options).unwrap()
}

/// Names of the files in a folder, without the lock.
fn files_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".encoder-flow.lock")
        .collect();
    names.sort();
    names
}

/// `data …` in `folder`, with its data in `folder/data` and no way to the outside.
fn data(folder: &Path, arguments: &[&str], mirror: &Server) -> Command {
    let mut command = program(folder);
    command
        .env("ENCODER_FLOW_MIRROR", mirror.url("/base"))
        .env("ALL_PROXY", "http://127.0.0.1:1")
        .env("NO_PROXY", "127.0.0.1")
        .arg("data")
        .args(arguments)
        .arg("--data-dir")
        .arg(folder.join("data"));
    command
}

/// The weights file that comes of the fixture, in `folder/data`.
fn put_weights(folder: &Path) -> PathBuf {
    let checkpoint = folder.join("squeezenet1_1.pth");
    fs::write(&checkpoint, CHECKPOINT).unwrap();
    let path = folder.join("data/backbones").join(SqueezeNet::FILE);
    SqueezeNet::convert(&checkpoint, &path).unwrap();
    path
}

#[test]
fn a_checkpoint_is_downloaded_once_and_converted() {
    let (server, folder) = (Server::start(), folder());
    server.on(
        "/base/backbones/squeezenet1_1.pth",
        [Reply::file(CHECKPOINT)],
    );
    let store = store(&[folder.path()], Some(server.url("/base/")));
    let path = store.fetch_backbone(&checkpoint(&[])).unwrap();
    assert_eq!(path, folder.path().join("backbones/squeezenet1_1.pth"));
    assert!(fs::read(&path).unwrap() == CHECKPOINT);
    let weights = store.backbone(SqueezeNet::FILE);
    SqueezeNet::convert(&path, &weights).unwrap();
    let device = Backend::Flex.open().unwrap().device;
    SqueezeNet::load(&weights, &device).unwrap();
    assert_eq!(store.fetch_backbone(&checkpoint(&[])).unwrap(), path);
    assert_eq!(server.records().len(), 1);
    let verdict = store.verify_backbone(&checkpoint(&[])).unwrap();
    assert!(verdict.outcome.unwrap().contains("SHA-256"));
}

#[test]
fn a_checkpoint_in_another_data_folder_is_used() {
    let (first, second) = (folder(), folder());
    let path = second.path().join("backbones/squeezenet1_1.pth");
    fs::create_dir(second.path().join("backbones")).unwrap();
    fs::write(&path, CHECKPOINT).unwrap();
    let store = store(&[first.path(), second.path()], None);
    assert_eq!(store.fetch_backbone(&checkpoint(&[])).unwrap(), path);
    // The weights go into the first.
    let weights = store.backbone(SqueezeNet::FILE);
    assert!(weights.starts_with(first.path()));
}

#[test]
fn a_wrong_checkpoint_is_refused_with_its_reason() {
    let mut damaged = CHECKPOINT.to_vec();
    damaged[5_000] ^= 1;
    let short = &CHECKPOINT[..5_000];
    for (body, reason) in [
        (&damaged[..], "has the SHA-256"),
        (short, "has 5,000 bytes"),
    ] {
        let (server, folder) = (Server::start(), folder());
        server.on("/a", [Reply::file(body)]);
        let file = checkpoint(&[server.url("/a")]);
        let error = store(&[folder.path()], None).fetch_backbone(&file);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        assert!(error.contains(&server.url("/a")), "{error}");
        assert!(files_in(&folder.path().join("backbones")).is_empty());
    }
}

#[test]
fn the_program_refuses_what_is_not_the_official_checkpoint() {
    let (server, folder) = (Server::start(), folder());
    let official = squeezenet_checkpoint();
    let address = format!("/base/backbones/{}", official.name);
    let zeros = vec![0; official.bytes as usize];
    for (reply, reason) in [
        (Reply::file(&zeros), "has the SHA-256"),
        (Reply::file(CHECKPOINT), "the official file has 4,958,839"),
        (Reply::status(404), "404"),
    ] {
        server.on(&address, [reply]);
        let error = fails(data(folder.path(), &["fetch", "squeezenet"], &server));
        for part in [reason, &server.url(&address), &official.urls[0]] {
            assert!(error.contains(part), "{error}");
        }
        assert!(files_in(&folder.path().join("data/backbones")).is_empty());
    }
}

#[test]
fn the_program_leaves_weights_that_are_there() {
    let (server, folder) = (Server::start(), folder());
    let path = put_weights(folder.path());
    let good = fs::read(&path).unwrap();
    let fetch = || data(folder.path(), &["fetch", "squeezenet"], &server);
    assert!(succeeds(fetch()).contains(SqueezeNet::FILE));
    assert!(fs::read(&path).unwrap() == good);
    let damaged = &good[..good.len() / 2];
    fs::write(&path, damaged).unwrap();
    let error = fails(fetch());
    assert!(
        error.contains("damaged") && error.contains("move it away"),
        "{error}"
    );
    assert!(fs::read(&path).unwrap() == damaged);
    assert!(server.records().is_empty());
}

#[test]
fn the_program_says_what_is_missing_and_what_brings_it() {
    let (server, folder) = (Server::start(), folder());
    let run = |arguments: &[&str]| data(folder.path(), arguments, &server);
    let official = squeezenet_checkpoint();
    let error = fails(run(&["fetch", "squeezenet", "--offline"]));
    for part in [
        "--offline",
        "data/backbones",
        &official.name,
        &official.urls[0],
        SqueezeNet::FILE,
    ] {
        assert!(error.contains(part), "{error}");
    }
    let list = succeeds(run(&["list"]));
    assert!(list.contains("\nsqueezenet     missing"), "{list}");
    assert!(list.contains("data fetch squeezenet"), "{list}");
    fails(run(&["verify", "squeezenet"]));
    assert!(fails(run(&["fetch", "squeezenett"])).contains("did you mean `squeezenet`"));
    assert!(server.records().is_empty());

    put_weights(folder.path());
    assert!(succeeds(run(&["list"])).contains("\nsqueezenet     here"));
    assert!(succeeds(run(&["verify", "squeezenet"])).contains("1 files checked"));
    let checkpoint = folder.path().join("data/backbones").join(&official.name);
    fs::write(&checkpoint, CHECKPOINT).unwrap();
    let mut verify = run(&["verify"]);
    let output = verify.output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success());
    assert!(
        report.contains("the official file has 4,958,839"),
        "{report}"
    );
}

#[test]
fn a_fit_ends_where_the_weights_cannot_be_fetched() {
    let (server, folder) = (Server::start(), folder());
    server.on(
        "/base/backbones/squeezenet1_1.pth",
        [Reply::status(404), Reply::status(404)],
    );
    common::digits_as_files(&folder.path().join("good"), 20);
    let fit = |arguments: &[&str]| {
        let mut command = program(folder.path());
        command
            .env("ENCODER_FLOW_MIRROR", server.url("/base"))
            .env("ALL_PROXY", "http://127.0.0.1:1")
            .env("NO_PROXY", "127.0.0.1")
            .args(["fit", "good", "--out", "m.safetensors", "--plain"])
            .args(["--data-dir", "data"])
            .args(arguments);
        command
    };
    let error = fails(fit(&[]));
    assert!(error.contains("--method scratch"), "{error}");
    assert!(!folder.path().join("m.safetensors").exists());
    // Who wants no network gets no network's weights, and is told what that means.
    let arguments = [
        "--offline",
        "--set",
        "data.size=32",
        "--set",
        "flow.couplings=0",
    ];
    let output = fit(&arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("were described from scratch"), "{told}");
}
