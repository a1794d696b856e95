//! `sweep --slurm` on a real Slurm: a private cluster of two nodes on this machine, which needs root and
//! Debian's package `slurm-wlm`. Without them these tests say so and pass.

#![cfg(unix)]

#[path = "slurm/cluster.rs"]
mod cluster;
mod common;

use std::path::{Path, PathBuf};

use cluster::{Cluster, sweep};
use common::{fails, json, program, succeeds};

fn results(folder: &Path) -> PathBuf {
    folder.join("artifacts/sweeps/digits")
}

/// The lines of `results.csv` but for seconds and memory.
#[track_caller]
fn table(folder: &Path) -> Vec<Vec<String>> {
    let mut csv = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_path(results(folder).join("results.csv"))
        .unwrap();
    let rows = csv
        .records()
        .map(|row| row.unwrap().iter().map(str::to_owned).collect());
    let mut rows: Vec<Vec<String>> = rows.collect();
    for measured in ["seconds", "peak_memory_mib"] {
        let column = rows[0].iter().position(|name| name == measured).unwrap();
        for row in &mut rows {
            row.remove(column);
        }
    }
    rows
}

/// The finished epochs of a run's stage.
fn epochs(folder: &Path, run: &str, stage: &str) -> usize {
    let path = folder
        .join("artifacts")
        .join(run)
        .join(stage)
        .join("history.json");
    match path.is_file() {
        true => json(&path)["epochs"].as_array().map_or(0, Vec::len),
        false => 0,
    }
}

/// How many logs of the sweep's tasks hold the text.
fn logs_with(folder: &Path, text: &str) -> usize {
    let submissions = std::fs::read_dir(results(folder).join("slurm")).unwrap();
    let logs = submissions
        .flatten()
        .filter_map(|entry| std::fs::read_dir(entry.path().join("logs")).ok());
    let logs = logs.flatten().flatten().map(|entry| entry.path());
    let texts = logs.map(|path| std::fs::read_to_string(path).unwrap());
    texts.filter(|log| log.contains(text)).count()
}

const METHODS: [&str; 4] = [
    "--methods",
    "encoder-flow,autoencoder,knn",
    "--classes",
    "3,7",
];

#[test]
fn a_sweep_on_the_cluster_gives_the_table_of_a_local_one() {
    // Six cells and two autoencoders in arrays of two.
    let Some(cluster) = Cluster::start(26100, "MaxArraySize=2") else {
        return;
    };
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [here, there] = [folders[0].path(), folders[1].path()];
    let shown = succeeds(cluster.sweep(there, &[&METHODS[..], &["--slurm", "--dry-run"]].concat()));
    assert!(shown.contains("# 6 cells to run, 0 done"), "{shown}");
    assert!(
        shown.contains("--dependency=aftercorr:<job of shared-0>"),
        "{shown}"
    );
    assert!(
        !there.join("artifacts").exists(),
        "a dry run has written something"
    );
    assert!(
        cluster.tasks("all").is_empty(),
        "a dry run has submitted something"
    );

    let output = succeeds(cluster.sweep(there, &[&METHODS[..], &["--slurm", "--wait"]].concat()));
    assert!(
        output.contains("6 cells submitted, 0 done before"),
        "{output}"
    );
    assert!(
        output.contains("6/6 done, 0 running, 0 waiting, 0 failed"),
        "{output}"
    );
    succeeds(sweep(here, &METHODS));
    assert_eq!(table(there), table(here));
    for file in ["results.md", "report.html", "chart.svg"] {
        assert!(results(there).join(file).is_file(), "no {file}");
    }
    // The chart has no times.
    let chart = |folder| std::fs::read_to_string(results(folder).join("chart.svg")).unwrap();
    assert_eq!(chart(there), chart(here));
    // Each autoencoder was trained once, before the cells.
    assert_eq!(logs_with(there, "encoder  1/2"), 2);
    assert_eq!(logs_with(there, "flow  1/4"), 2);

    let again = succeeds(cluster.sweep(there, &[&METHODS[..], &["--slurm"]].concat()));
    assert!(
        again.contains("0 cells submitted, 6 done before"),
        "{again}"
    );
    assert!(again.contains("encoder-flow"), "no table: {again}");
    let status = succeeds(cluster.sweep(there, &["--status"]));
    assert!(status.contains("6/6 done"), "{status}");
}

#[test]
fn a_self_supervised_network_is_trained_once_for_all_who_look_through_it() {
    let Some(cluster) = Cluster::start(26700, "") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let methods = ["--methods", "knn,gmm", "--classes", "3"];
    let settings = [
        "knn.encoder=simclr",
        "gmm.encoder=simclr",
        "simclr.width=4",
        "simclr.training.epochs=1",
        "data.limit=300",
    ];
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let arguments: Vec<&str> = methods.into_iter().chain(settings).collect();
    let on_cluster =
        |more: &[&str]| succeeds(cluster.sweep(folder, &[&arguments[..], more].concat()));
    let shown = on_cluster(&["--slurm", "--dry-run"]);
    assert!(
        shown.contains("--dependency=aftercorr:<job of shared-0>"),
        "{shown}"
    );
    let output = on_cluster(&["--slurm", "--wait"]);
    assert!(
        output.contains("2/2 done, 0 running, 0 waiting, 0 failed"),
        "{output}"
    );
    assert_eq!(logs_with(folder, "simclr  1/1"), 1);
}

#[test]
fn a_task_that_is_stopped_or_loses_its_node_ends_with_the_same_numbers() {
    let Some(cluster) = Cluster::start(26120, "") else {
        return;
    };
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [here, there] = [folders[0].path(), folders[1].path()];
    let long = [
        "--methods",
        "encoder-flow",
        "--classes",
        "3,7",
        "--set",
        "encoder.training.epochs=12",
    ];
    let submitted = [&long[..], &["--slurm", "--slurm-args=--exclusive"]].concat();
    succeeds(cluster.sweep(there, &submitted));
    let run = |class: usize| format!("digits-{class}/encoder-flow/seed-0");
    cluster.until("both are training", || {
        [3, 7]
            .iter()
            .all(|&class| epochs(there, &run(class), "encoder") > 0)
    });
    let (first, second) = match &cluster.tasks("running")[..] {
        [first, second] => (first.clone(), second.clone()),
        other => panic!("two nodes, and two tasks that have one for themselves: {other:?}"),
    };
    cluster.slurm("scancel", &["--signal=USR1", &first]);
    let node = cluster.slurm("squeue", &["-h", "-j", &second, "-o", "%N"]);
    let node = format!("nodename={}", node.trim());
    // Drained first, for else it comes back by itself, and gets the task again whose processes it has not
    // ended yet: Slurm calls that a duplicate and holds the task.
    for state in ["state=drain", "state=down"] {
        cluster.slurm("scontrol", &["update", &node, state, "reason=test"]);
    }
    succeeds(sweep(here, &long));
    cluster.until("the table is there", || {
        results(there).join("results.csv").is_file()
    });
    assert_eq!(table(there), table(here));
    for class in [3, 7] {
        let path = there
            .join("artifacts")
            .join(run(class))
            .join("environment.json");
        let resumed = json(&path)["resumed"].as_array().unwrap().len();
        assert_eq!(resumed, 1, "class {class} was not interrupted");
    }
}

#[test]
fn a_task_that_is_preempted_goes_on() {
    let Some(cluster) = Cluster::start(26200, "") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let submitted = [
        "--methods",
        "encoder-flow",
        "--classes",
        "3",
        "--set",
        "encoder.training.epochs=12",
        "--slurm",
        "--slurm-args=--exclusive --hold",
    ];
    succeeds(cluster.sweep(folder, &submitted));
    let status = succeeds(cluster.sweep(folder, &["--status"]));
    assert!(status.contains("1 waiting (1 held by Slurm)"), "{status}");
    let (_, release) = status.split_once("scontrol release ").expect(&status);
    let held: Vec<&str> = release.lines().next().unwrap().split(' ').collect();
    cluster.slurm("scontrol", &[&["release"], &held[..]].concat());
    let run = "digits-3/encoder-flow/seed-0";
    cluster.until("it trains", || epochs(folder, run, "encoder") > 0);
    let urgent = [
        "--partition=urgent",
        "--nodes=2",
        "--exclusive",
        "--output=/dev/null",
    ];
    let urgent = [&urgent[..], &["--wrap=sleep 1"]].concat();
    cluster.slurm("sbatch", &urgent);
    cluster.until("it has left", || {
        cluster.tasks("running,completing").is_empty()
    });
    cluster.until("the table is there", || {
        results(folder).join("results.csv").is_file()
    });
    let path = folder.join("artifacts").join(run).join("environment.json");
    assert_eq!(json(&path)["resumed"].as_array().unwrap().len(), 1);
    assert_eq!(epochs(folder, run, "encoder"), 12);
}

#[test]
fn what_fails_is_named_and_what_was_cancelled_is_submitted_again() {
    let Some(cluster) = Cluster::start(26140, "") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Something else is where a cell's folder should be.
    let place = folder.join("artifacts/digits-3/knn");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("seed-0"), "not a folder").unwrap();
    let long = [
        "--methods",
        "knn,encoder-flow",
        "--classes",
        "3",
        "--set",
        "encoder.training.epochs=60",
    ];
    let submitted = succeeds(cluster.sweep(folder, &[&long[..], &["--slurm"]].concat()));
    assert!(submitted.contains("2 cells submitted"), "{submitted}");
    let status = || succeeds(cluster.sweep(folder, &["--status"]));
    cluster.until("one runs and one has failed", || {
        let status = status();
        status.contains("1 running") && status.contains("1 failed")
    });
    let told = status();
    assert!(
        told.contains("digits-3 knn seed 0: cannot create the folder"),
        "{told}"
    );
    assert!(told.contains("log /"), "{told}");
    // What is under way is not submitted a second time.
    let twice = succeeds(cluster.sweep(folder, &[&long[..], &["--slurm"]].concat()));
    assert!(
        twice.contains("1 cells submitted, 0 done before, 1 under way"),
        "{twice}"
    );
    let message = fails(cluster.sweep(folder, &[&long[..], &["--slurm", "--fresh"]].concat()));
    assert!(message.contains("--cancel"), "{message}");
    cluster.until("the first has failed again", || {
        let status = status();
        status.contains("1 running, 0 waiting, 1 failed")
    });
    cluster.until("it trains", || {
        epochs(folder, "digits-3/encoder-flow/seed-0", "encoder") > 0
    });

    let cancelled = succeeds(cluster.sweep(folder, &["--cancel"]));
    assert!(cancelled.contains("cancelled jobs"), "{cancelled}");
    cluster.until("nothing is queued", || {
        cluster.tasks("pending,running,completing").is_empty()
    });
    let told = status();
    assert!(told.contains("1 failed, 1 stopped"), "{told}");

    std::fs::remove_file(place.join("seed-0")).unwrap();
    let output = succeeds(cluster.sweep(folder, &[&long[..], &["--slurm", "--wait"]].concat()));
    assert!(output.contains("2 cells submitted"), "{output}");
    assert!(output.contains("2/2 done"), "{output}");
    let path = folder.join("artifacts/digits-3/encoder-flow/seed-0/environment.json");
    assert_eq!(json(&path)["resumed"].as_array().unwrap().len(), 1);
    let refused = fails(cluster.sweep(folder, &["--cancel", "--classes", "3"]));
    assert!(
        refused.contains("ends all jobs of sweep digits"),
        "{refused}"
    );
}

#[test]
fn begun_anew_on_the_cluster_the_same_command_continues() {
    let Some(cluster) = Cluster::start(26220, "") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let arguments = [
        "--methods",
        "knn,mahalanobis",
        "--classes",
        "3",
        "--slurm",
        "--wait",
    ];
    let fresh = [&arguments[..], &["--fresh"]].concat();
    let sweep = |arguments: &[&str]| succeeds(cluster.sweep(folder, arguments));
    let first = sweep(&arguments);
    assert!(first.contains("2 cells submitted, 0 done"), "{first}");
    let anew = sweep(&fresh);
    assert!(anew.contains("2 cells submitted, 0 done"), "{anew}");
    // As if one of them had been stopped.
    let run = folder.join("artifacts/digits-3/knn/seed-0");
    std::fs::remove_file(run.join("done.json")).unwrap();
    let status = sweep(&["--status"]);
    assert!(status.contains("1/2 done"), "{status}");
    let rest = sweep(&fresh);
    assert!(rest.contains("1 cells submitted, 1 done before"), "{rest}");
    let whole = sweep(&fresh);
    assert!(whole.contains("2 cells submitted, 0 done"), "{whole}");
}

#[test]
fn two_sweeps_at_the_same_time_share_the_work_and_the_table() {
    let Some(cluster) = Cluster::start(26160, "") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let arguments = |methods| {
        [
            "--methods",
            methods,
            "--classes",
            "3,7",
            "--slurm",
            "--wait",
        ]
    };
    let sweeps = ["knn,gmm", "gmm,mahalanobis"].map(|methods| {
        let mut command = cluster.sweep(folder, &arguments(methods));
        command.args(["--set", "gmm.gaussians=5", "--set", "gmm.components=8"]);
        command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    });
    let outputs = sweeps.map(|sweep| sweep.wait_with_output().unwrap());
    let mut tasks = 0;
    for output in &outputs {
        let text = common::both(output);
        assert!(output.status.success(), "{text}");
        let line = text
            .lines()
            .find(|line| line.contains("cells submitted"))
            .unwrap();
        tasks += line.split(' ').next().unwrap().parse::<usize>().unwrap();
    }
    // The cells that both ask for are run once.
    assert_eq!(tasks, 6);
    assert_eq!(table(folder).len(), 1 + 6);
}

#[test]
fn a_selection_on_the_cluster_chooses_as_a_local_one() {
    let Some(cluster) = Cluster::start(26180, "") else {
        return;
    };
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let selections = folders.each_ref().map(|folder| {
        let mut command = program(folder.path());
        command.env("SLURM_CONF", &cluster.config);
        command.args(["select", "digits", "--offline", "--set", "data.limit=1500"]);
        command.args([
            "--candidate",
            "knn,mahalanobis",
            "--stand-ins",
            "2",
            "--classes",
            "3",
        ]);
        command
    });
    let [mut there, here] = selections;
    there.args(["--slurm", "--wait", "--at-most", "2"]);
    let output = succeeds(there);
    assert!(output.contains("4 cells submitted"), "{output}");
    succeeds(here);
    let [there, here] = folders.each_ref().map(|folder| {
        let path = folder.path().join("artifacts/digits-select/selection.csv");
        std::fs::read_to_string(path).unwrap()
    });
    assert_eq!(there, here);
}

/// On whatever machine: no cluster is needed to be told so, or to see what would be submitted.
#[test]
fn without_slurm_there_is_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    for option in ["--slurm", "--status", "--cancel"] {
        let mut command = sweep(folder.path(), &[option]);
        command.env("PATH", folder.path());
        let message = fails(command);
        let expected = match option {
            "--slurm" => "was not found",
            _ => "nothing has been submitted",
        };
        assert!(message.contains(expected), "{option}: {message}");
    }
    let shown = |arguments: &[&str]| {
        let always = [
            "--classes",
            "3,4",
            "--methods",
            "knn",
            "--slurm",
            "--dry-run",
        ];
        let mut command = sweep(folder.path(), &[&always[..], arguments].concat());
        command.env("PATH", folder.path());
        command
    };
    let text = succeeds(shown(&[
        "--slurm-args",
        "--partition=gpu --gres=gpu:1",
        "--at-most",
        "5",
    ]));
    for part in [
        "exec srun --ntasks=1",
        "--array=0-1%5 --requeue --signal=USR1@120 --partition=gpu --gres=gpu:1",
        "--dependency=afterany:<job of cells-0>",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let message = fails(shown(&["--slurm-args", "--array=0-3"]));
    assert!(message.contains("leave it out"), "{message}");
    assert!(!folder.path().join("artifacts").exists());
}
