//! How long a sweep would take on a cluster, from the times of the cells of a sweep that was made:
//!
//! ```sh
//! cargo run --example cluster_scaling -- artifacts/sweeps/mnist/results.csv 3
//! ```
//!
//! The last number is how many seeds there are to be for each one that was made. An autoencoder that
//! several methods share is counted for each of them, so the times are upper bounds.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

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

/// What a cluster adds to the cells' own times, in seconds.
#[derive(Clone, Copy)]
struct Delays {
    /// From a node that is free, or from the submission, to a task that runs.
    start: f64,
    /// What a task does beside its cell: it loads the program, the plan and the data.
    overhead: f64,
    /// From the last task to the table.
    collect: f64,
}

/// Seconds from submission to table of cells that take `seconds`, in this order, on `nodes` nodes that run
/// one cell at a time.
///
/// Whichever node is free first takes the next cell, as Slurm does with the tasks of an array that
/// nothing else competes with.
fn simulate(seconds: &[f64], nodes: usize, delays: Delays) -> f64 {
    // The order of times that are not negative is that of their bits.
    let bits = |time: f64| Reverse(time.max(0.0).to_bits());
    let mut free: BinaryHeap<Reverse<u64>> = (0..nodes.max(1)).map(|_| bits(0.0)).collect();
    let mut last: f64 = 0.0;
    for own in seconds {
        let Some(Reverse(since)) = free.pop() else {
            break;
        };
        let done = f64::from_bits(since) + delays.start + delays.overhead + own;
        last = last.max(done);
        free.push(bits(done));
    }
    last + delays.collect
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Delays = Delays {
        start: 0.0,
        overhead: 0.0,
        collect: 0.0,
    };

    #[test]
    fn equal_cells_take_as_many_rounds_as_they_need() {
        let delays = Delays {
            start: 1.0,
            overhead: 0.5,
            collect: 2.0,
        };
        for (cells, nodes, rounds) in [(40, 1, 40.0), (40, 4, 10.0), (40, 30, 2.0), (40, 1000, 1.0)]
        {
            let time = simulate(&vec![10.0; cells], nodes, delays);
            assert_eq!(time, rounds * 11.5 + 2.0, "{cells} cells on {nodes} nodes");
        }
        assert_eq!(simulate(&[], 3, NONE), 0.0);
    }

    /// By hand: 5 and 3 begin; 4 follows the 3 and ends at 7; 2 follows the 5 and ends at 7; 6 ends at 13.
    #[test]
    fn the_next_cell_goes_to_the_node_that_is_free_first() {
        assert_eq!(simulate(&[5.0, 3.0, 4.0, 2.0, 6.0], 2, NONE), 13.0);
    }

    #[test]
    fn no_number_of_nodes_beats_the_longest_cell_or_the_mean_load() {
        let cells: Vec<f64> = (0..97)
            .map(|index| f64::from(index * 37 % 101) + 1.0)
            .collect();
        let (sum, longest) = (cells.iter().sum::<f64>(), 101.0);
        for nodes in 1..120 {
            let time = simulate(&cells, nodes, NONE);
            let bound = f64::max(longest, sum / nodes as f64);
            // Graham's bound for any order.
            assert!(
                time >= bound - 1e-9 && time <= sum / nodes as f64 + longest,
                "{nodes}: {time}"
            );
        }
    }
}
