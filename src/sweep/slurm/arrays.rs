//! How cells become job arrays: what they share before them, and no array larger than the cluster
//! allows.

use std::collections::BTreeMap;

use super::plan_file::{Array, PlannedCell, Work};

/// The arrays of a plan, each of at most `largest` tasks, in the order in which they are submitted:
/// what cells share, the cells that share nothing, and those that wait.
pub(super) fn arrays(cells: &[PlannedCell], largest: usize) -> Vec<Array> {
    let largest = largest.max(1);
    // Cells by that which makes what they share.
    let mut sharing: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut free = Vec::new();
    for (index, cell) in cells.iter().enumerate() {
        match cell.shares {
            Some(maker) => sharing.entry(maker).or_default().push(index),
            None => free.push(index),
        }
    }
    let makers: Vec<(usize, Vec<usize>)> = sharing.into_iter().collect();
    let mut arrays = Vec::new();
    let mut add = |work, tasks: BTreeMap<usize, usize>, after| {
        let kind = match work {
            Work::Shared => "shared",
            Work::Cell => "cells",
        };
        arrays.push(Array {
            name: format!("{kind}-{}", arrays.len()),
            work,
            tasks,
            after,
        });
        arrays.len() - 1
    };
    let mut waiting = Vec::new();
    for chunk in makers.chunks(largest) {
        let numbered = chunk.iter().enumerate();
        let tasks = numbered.map(|(task, (maker, _))| (task, *maker));
        waiting.push((chunk, add(Work::Shared, tasks.collect(), None)));
    }
    for chunk in free.chunks(largest) {
        add(
            Work::Cell,
            chunk.iter().copied().enumerate().collect(),
            None,
        );
    }
    for (chunk, shared) in waiting {
        // The first cell of every group, then the second of every group that has one, …
        let longest = chunk.iter().map(|(_, cells)| cells.len()).max();
        for rank in 0..longest.unwrap_or(0) {
            let numbered = chunk.iter().enumerate();
            let tasks = numbered.filter_map(|(task, (_, cells))| Some((task, *cells.get(rank)?)));
            add(Work::Cell, tasks.collect(), Some(shared));
        }
    }
    arrays
}

/// Numbers as Slurm writes them: `0-3,7`.
pub(super) fn ranges(numbers: impl Iterator<Item = usize>) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let written = runs.into_iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    written.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(shares: &[Option<usize>]) -> Vec<PlannedCell> {
        let cell = |&shares| PlannedCell {
            part: 0,
            class: 0,
            variant: "knn".to_owned(),
            seed: 0,
            shares,
        };
        shares.iter().map(cell).collect()
    }

    #[test]
    fn every_cell_is_run_once_and_after_what_it_shares() {
        // Two groups of three and of two, and four cells that share nothing.
        let shares = [
            Some(0),
            Some(0),
            None,
            Some(0),
            Some(4),
            Some(4),
            None,
            None,
            None,
        ];
        let cells = cells(&shares);
        for largest in [1, 2, 3, 100] {
            let arrays = arrays(&cells, largest);
            let mut run: Vec<usize> = Vec::new();
            for array in &arrays {
                assert!((1..=largest).contains(&array.tasks.len()), "{array:?}");
                assert!(array.tasks.keys().all(|&task| task < largest), "{array:?}");
                if array.work == Work::Cell {
                    run.extend(array.tasks.values());
                }
                for (task, &cell) in &array.tasks {
                    let maker = array.after.map(|before| arrays[before].tasks[task]);
                    match array.work {
                        Work::Shared => assert_eq!(cells[cell].shares, Some(cell)),
                        Work::Cell => assert_eq!(maker, cells[cell].shares, "{array:?}"),
                    }
                }
            }
            run.sort_unstable();
            assert_eq!(run, (0..shares.len()).collect::<Vec<_>>());
        }
        assert_eq!(arrays(&cells, 100).len(), 1 + 1 + 3);
        assert!(arrays(&[], 10).is_empty());
    }

    #[test]
    fn numbers_are_written_as_ranges() {
        let written = |numbers: &[usize]| ranges(numbers.iter().copied());
        assert_eq!(written(&[0, 1, 2, 3]), "0-3");
        assert_eq!(written(&[0, 2, 3, 7]), "0,2-3,7");
        assert_eq!(written(&[]), "");
    }
}
