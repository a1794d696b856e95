//! What a newcomer types wrong, and what the program says.

mod common;

use common::{experiment, fails, program, succeeds};

#[track_caller]
fn refused(arguments: &[&str], expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(folder.path());
    command.args(arguments);
    let message = fails(command);
    assert!(message.contains(expected), "{arguments:?}: {message}");
    assert!(
        !folder.path().join("artifacts").exists(),
        "{arguments:?} left artifacts"
    );
}

#[test]
fn misspelt_names_and_settings_get_a_suggestion() {
    refused(&["experiment", "digts-3"], "did you mean `digits-3`");
    refused(&["experiment", "mnist"], "as in `mnist-3`");
    refused(
        &["experiment", "cifar10-plain"],
        "did you mean `cifar10-plane`",
    );
    refused(&["experiment", "digits-10"], "did you mean `digits-");
    refused(
        &[
            "experiment",
            "digits-3",
            "--set",
            "encoder.trainig.epochs=2",
        ],
        "did you mean `encoder.training`",
    );
    refused(
        &["experiment", "digits-3", "--set", "encoder.latent=many"],
        "type integer",
    );
    refused(
        &["experiment", "digits-3", "--set", "encoder.latent=1"],
        "from 2 to 4096",
    );
    refused(
        &["experiment", "digits-3", "--device", "flx"],
        "did you mean `flex`",
    );
    let folder = tempfile::tempdir().unwrap();
    let mut by_environment = common::experiment(folder.path(), "digits-3", &[]);
    by_environment.env("ENCODER_FLOW_DEVICE", "fex");
    let error = fails(by_environment);
    assert!(
        error.contains("ENCODER_FLOW_DEVICE") && error.contains("did you mean `flex`"),
        "{error}"
    );
    refused(
        &["experiment", "digits-3", "--experiments", "nowhere"],
        "no such folder",
    );
    refused(&["experiment", "digits-3", "--seed=-1"], "--seed");
    refused(&["evaluate", "digits-3"], "experiment` first");
    refused(&["train"], "unrecognized subcommand");
}

#[test]
fn missing_data_says_where_it_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(folder.path());
    command.args([
        "experiment",
        "mnist-3",
        "--offline",
        "--data-dir",
        "nothing-here",
    ]);
    let message = fails(command);
    assert!(message.contains("nothing-here"), "{message}");
    assert!(message.contains("train-images-idx3-ubyte"), "{message}");
}

#[test]
fn a_study_file_with_a_mistake_is_named_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let studies = folder.path().join("experiments");
    std::fs::create_dir(&studies).unwrap();
    let run = |text: &str| {
        std::fs::write(studies.join("mine.toml"), text).unwrap();
        let mut command = program(folder.path());
        command.args(["experiment", "mine-3"]);
        fails(command)
    };
    let message = run("[encoder]\nwidht = 8\n");
    assert!(message.contains("mine.toml"), "{message}");
    assert!(
        message.contains("did you mean `encoder.width`"),
        "{message}"
    );
    let message = run("[encoder\n");
    assert!(
        message.contains("mine.toml") && message.contains("line 1"),
        "{message}"
    );
}

#[test]
fn an_artifacts_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let message = fails(experiment(
        folder.path(),
        "digits-3",
        &["--artifacts", "file/below"],
    ));
    assert!(message.contains("file/below"), "{message}");
    // Read-only for everyone, root as well.
    #[cfg(target_os = "linux")]
    {
        let message = fails(experiment(
            folder.path(),
            "digits-3",
            &["--artifacts", "/proc/runs"],
        ));
        assert!(message.contains("/proc/runs"), "{message}");
    }
}

/// Every write fails as on a full disk: the file size limit of the process is a few kilobytes.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full_is_an_error_and_not_a_result() {
    let folder = tempfile::tempdir().unwrap();
    let inner = experiment(folder.path(), "digits-3", &[]);
    let mut command = std::process::Command::new("sh");
    // SIGXFSZ is ignored so that the write returns an error, as on a full disk.
    command
        .current_dir(folder.path())
        .env("XDG_CACHE_HOME", folder.path().join("cache"))
        .args(["-c", "trap '' XFSZ; ulimit -f 40; exec \"$0\" \"$@\""])
        .arg(inner.get_program())
        .args(inner.get_args());
    let message = fails(command);
    assert!(message.contains("encoder"), "{message}");
    let run = common::run_folder(folder.path(), "digits-3", 0);
    assert!(!run.join("encoder/done.json").exists());
    assert!(!run.join("done.json").exists());
}

#[test]
fn list_and_help_show_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut list = program(folder.path());
    list.arg("list");
    let list = succeeds(list);
    for name in [
        "digits-3",
        "mnist-0",
        "cifar10-plane",
        "fashion-mnist-ankle-boot",
    ] {
        assert!(list.contains(name), "{list}");
    }
    let mut help = program(folder.path());
    help.args(["experiment", "--help"]);
    let help = succeeds(help);
    for option in [
        "--set",
        "--fresh",
        "--plain",
        "--offline",
        "--seed",
        "--device",
    ] {
        assert!(help.contains(option), "{help}");
    }
}

#[test]
fn pictures_of_a_size_that_a_method_cannot_look_at_are_refused_before_they_are_read() {
    for (method, size, advice) in [
        ("encoder-flow", "28", "32, 64 or 128: set data.size"),
        ("autoencoder", "16", "32, 64 or 128: set data.size"),
        ("ganomaly", "48", "32, 64 or 128: set data.size"),
        ("anogan", "28", "32, 64 or 128: set data.size"),
        ("egbad", "128", "32 or 64: set data.size"),
        ("glow", "28", "set data.size, or glow.levels"),
        ("realnvp", "33", "set data.size, or realnvp.scales"),
        ("gmm", "100", "set data.size, or gmm.encoder"),
        (
            "mahalanobis",
            "100",
            "set data.size, or mahalanobis.encoder",
        ),
    ] {
        let size = format!("data.size={size}");
        // There are no such images: they are not even looked for.
        let mut arguments = vec![
            "experiment",
            "mnist-3",
            "--offline",
            "--data-dir",
            "nothing-here",
        ];
        arguments.extend(["--method", method, "--set", &size]);
        let through = format!("{method}.encoder=pixels");
        if matches!(method, "gmm" | "mahalanobis") {
            arguments.extend(["--set", &through]);
        }
        refused(&arguments, advice);
    }
}
