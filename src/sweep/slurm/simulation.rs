//! How long a sweep takes on so many nodes: cells of known times, started one after the other as nodes
//! become free.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What a cluster adds to the cells' own times, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delays {
    /// From a node that is free, or from the submission, to a task that runs.
    pub start: f64,
    /// What a task does beside its cell: it loads the program, the plan and the data.
    pub overhead: f64,
    /// From the last task to the table.
    pub collect: f64,
}

/// Seconds from submission to table of cells that take `seconds`, in this order, on `nodes` nodes that run
/// one cell at a time.
///
/// Whichever node is free first takes the next cell, as Slurm does with the tasks of an array that
/// nothing else competes with.
pub fn simulate(seconds: &[f64], nodes: usize, delays: Delays) -> f64 {
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
