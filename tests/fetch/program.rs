//! `data fetch`, `data list` and `data verify` as a user types them.

use super::*;

/// The program itself, with nothing of this machine's data and no way to the outside.
fn program(arguments: &[&str], dir: &Path) -> assert_cmd::Command {
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("encoder-flow");
    command
        .env_remove("ENCODER_FLOW_DATA")
        .env_remove("ENCODER_FLOW_MIRROR")
        .env("HOME", dir)
        .env("XDG_CACHE_HOME", dir.join("cache"))
        .env("ALL_PROXY", "http://127.0.0.1:1")
        .env("NO_PROXY", "127.0.0.1")
        .args(arguments)
        .arg("--data-dir")
        .arg(dir.join("data"))
        .timeout(PATIENCE);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_program_says_why_a_fetch_failed() {
    let (server, dir) = (Server::start(), folder());
    let name = "/base/mnist/train-images-idx3-ubyte.gz";
    server.on(name, [Reply::file(&vec![0; 9_912_422])]);
    let output = program(&["data", "fetch", "mnist"], dir.path())
        .env("ENCODER_FLOW_MIRROR", server.url("/base"))
        .output()
        .unwrap();
    let error = text(&output.stderr);
    assert!(!output.status.success(), "{error}");
    assert!(error.contains(&server.url(name)), "{error}");
    assert!(error.contains("has the MD5"), "{error}");
    assert!(
        error.contains("http://yann.lecun.com/exdb/mnist/"),
        "{error}"
    );
    assert!(files_in(&dir.path().join("data/mnist")).is_empty());
}

/// Files of a set that are all there, of which no byte is right.
#[test]
fn a_fetch_does_not_take_damaged_files_for_the_set() {
    let dir = folder();
    let mnist = dir.path().join("data/mnist");
    fs::create_dir_all(&mnist).unwrap();
    for name in [
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    ] {
        fs::write(mnist.join(name), "here").unwrap();
    }
    let output = program(&["data", "fetch", "mnist", "--offline"], dir.path())
        .output()
        .unwrap();
    let error = text(&output.stderr);
    assert!(!output.status.success() && output.stdout.is_empty());
    for part in ["train-images-idx3-ubyte.gz: ", "move it away"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn the_program_asks_only_for_what_is_missing() {
    let (server, dir) = (Server::start(), folder());
    let mnist = dir.path().join("data/mnist");
    fs::create_dir_all(&mnist).unwrap();
    for name in [
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte.gz",
    ] {
        fs::write(mnist.join(name), "here").unwrap();
    }
    let fetch = |offline: &[&str]| {
        let arguments = [&["data", "fetch", "mnist"], offline].concat();
        let output = program(&arguments, dir.path())
            .env("ENCODER_FLOW_MIRROR", server.url("/base/"))
            .output()
            .unwrap();
        assert!(!output.status.success());
        text(&output.stderr)
    };
    let error = fetch(&["--offline"]);
    assert!(error.contains("1 of 4 files are missing"), "{error}");
    assert!(server.records().is_empty());
    fetch(&[]);
    let paths: Vec<_> = server
        .records()
        .into_iter()
        .map(|record| record.path)
        .collect();
    assert_eq!(paths, ["/base/mnist/t10k-labels-idx1-ubyte.gz"]);
}

#[test]
fn the_program_lists_data_without_network() {
    let dir = folder();
    let output = program(&["data", "list", "--offline"], dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let list = text(&output.stdout);
    for name in ["digits", "mnist", "fashion-mnist", "cifar10", "svhn"] {
        assert!(list.lines().any(|line| line.starts_with(name)), "{list}");
    }
    assert!(
        list.contains("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"),
        "{list}"
    );
}

#[test]
fn the_program_fails_when_a_file_is_wrong() {
    let dir = folder();
    let svhn = dir.path().join("data/svhn");
    fs::create_dir_all(&svhn).unwrap();
    let verify = || {
        program(&["data", "verify", "--offline"], dir.path())
            .output()
            .unwrap()
    };
    assert!(verify().status.success());
    fs::write(svhn.join("test_32x32.mat"), "not a MAT-file").unwrap();
    let output = verify();
    assert!(!output.status.success());
    let report = text(&output.stdout);
    assert!(
        report.contains("has 14 bytes, the official file has 64,275,384"),
        "{report}"
    );
}
