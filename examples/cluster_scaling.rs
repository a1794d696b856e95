//! How long a sweep would take on a cluster, from the times of the cells of a sweep that was made:
//!
//! ```sh
//! cargo run --example cluster_scaling -- artifacts/sweeps/mnist/results.csv 3
//! ```
//!
//! The last number is how many seeds there are to be for each one that was made. An autoencoder that
//! several methods share is counted for each of them, so the times are upper bounds.

use encoder_flow::sweep::slurm::{Delays, simulate};

/// Measured on Slurm 22.05: a task printed its first line 0.9 s after its submission. The overhead of a
/// task is what docs/cluster.md reports.
const DELAYS: Delays = Delays {
    start: 0.9,
    overhead: 0.1,
    collect: 2.0,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "cluster_scaling RESULTS.csv [TIMES AS MANY SEEDS]";
    let path = arguments.next().ok_or(usage)?;
    let times: usize = arguments.next().map_or(Ok(1), |times| times.parse())?;
    let mut csv = csv::Reader::from_path(&path)?;
    let column = csv.headers()?.iter().position(|name| name == "seconds");
    let column = column.ok_or("there is no column `seconds`")?;
    let mut cells: Vec<f64> = Vec::new();
    for row in csv.records() {
        // A cell that failed has no time.
        cells.extend(
            row?.get(column)
                .and_then(|seconds| seconds.parse::<f64>().ok()),
        );
    }
    let cells = cells.repeat(times);
    let work: f64 = cells.iter().sum();
    println!(
        "{} cells, {:.2} hours of work, the longest {:.0} s",
        cells.len(),
        work / 3600.0,
        cells.iter().copied().fold(0.0, f64::max)
    );
    println!("| nodes | time | speed-up | of N |\n|--:|--:|--:|--:|");
    let alone = simulate(&cells, 1, DELAYS);
    for nodes in [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] {
        let seconds = simulate(&cells, nodes, DELAYS);
        let speedup = alone / seconds;
        println!(
            "| {nodes} | {:.1} min | {speedup:.1} | {:.0} % |",
            seconds / 60.0,
            100.0 * speedup / nodes as f64
        );
    }
    Ok(())
}
