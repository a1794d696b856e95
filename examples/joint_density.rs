//! What other ways of joining the scores of several views would give, from the scores of finished runs
//! of `views`:
//!
//! ```sh
//! cargo run --release --example joint_density -- artifacts/mnist-*/best/seed-0
//! ```
//!
//! All are fitted to the normal validation images. `mean` is what the program does where no view is a guard. The others: the
//! largest score; the squared distance from the mean (two-sided, as typicality tests are); a Gaussian
//! with full covariance; and density of states estimation (Morningstar et al., arXiv:2006.09273),
//! the sum of the log-densities of a kernel estimate for each score.

use std::path::Path;

use encoder_flow::evaluate::auroc;
use nalgebra::{DMatrix, DVector};

/// Scores of an image, one for every view.
type Row = Vec<f64>;

const NORMAL: &str = "test-normal";
const VALIDATION: &str = "validation";

/// The rows of every part that is neither trained on nor validated on, and those of the validation.
struct Run {
    validation: Vec<Row>,
    tests: Vec<(String, Vec<Row>)>,
}

fn read(run: &Path) -> Result<Run, Box<dyn std::error::Error>> {
    let path = run.join("scores.csv");
    let mut csv =
        csv::Reader::from_path(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let headers = csv.headers()?.clone();
    let is_view = |name: &str| name.starts_with("view_");
    let views: Vec<usize> = (0..headers.len())
        .filter(|&column| is_view(&headers[column]))
        .collect();
    if views.len() < 2 {
        return Err(format!(
            "{} is no run of `views` with two views or more",
            run.display()
        )
        .into());
    }
    let mut parts: Vec<(String, Vec<Row>)> = Vec::new();
    for record in csv.records() {
        let record = record?;
        let row: Row = views
            .iter()
            .map(|&view| record[view].parse())
            .collect::<Result<_, _>>()?;
        match parts.iter_mut().find(|(name, _)| *name == record[0]) {
            Some((_, rows)) => rows.push(row),
            None => parts.push((record[0].to_owned(), vec![row])),
        }
    }
    let at = parts.iter().position(|(name, _)| name == VALIDATION);
    let (_, validation) = parts.remove(at.ok_or("there are no validation images")?);
    parts.retain(|(name, _)| name != "train");
    Ok(Run {
        validation,
        tests: parts,
    })
}

/// A way to join scores: higher is odder.
type Joint = Box<dyn Fn(&Row) -> f64>;

fn joints(validation: &[Row]) -> Vec<(&'static str, Joint)> {
    let (views, count) = (validation[0].len(), validation.len() as f64);
    let matrix = DMatrix::from_fn(validation.len(), views, |row, view| validation[row][view]);
    let mean = matrix.row_mean();
    let centred = DMatrix::from_fn(validation.len(), views, |row, view| {
        matrix[(row, view)] - mean[view]
    });
    let covariance = centred.transpose() * &centred / count;
    let deviations: Vec<f64> = (0..views)
        .map(|view| covariance[(view, view)].sqrt())
        .collect();
    let inverse = covariance.try_inverse();
    let columns: Vec<Vec<f64>> = (0..views)
        .map(|view| matrix.column(view).iter().copied().collect())
        .collect();
    // Scott's rule, as the authors' kernel estimate has it.
    let widths: Vec<f64> = deviations
        .iter()
        .map(|deviation| deviation * count.powf(-0.2))
        .collect();

    let centre: Row = mean.iter().copied().collect();
    let means = centre.clone();
    let distance = move |row: &Row| {
        let of = row.iter().zip(&means).zip(&deviations);
        of.map(|((x, mean), deviation)| ((x - mean) / deviation).powi(2))
            .sum::<f64>()
    };
    let kernels = move |row: &Row| {
        let of = row.iter().zip(&columns).zip(&widths);
        of.map(|((x, column), width)| {
            let exponents = column
                .iter()
                .map(|seen| -0.5 * ((x - seen) / width).powi(2));
            -log_sum_exp(exponents)
        })
        .sum::<f64>()
    };
    let mut joints: Vec<(&'static str, Joint)> = vec![
        (
            "mean",
            Box::new(|row| row.iter().sum::<f64>() / row.len() as f64),
        ),
        (
            "largest",
            Box::new(|row| row.iter().copied().fold(f64::MIN, f64::max)),
        ),
        ("distance", Box::new(distance)),
        ("kernels", Box::new(kernels)),
    ];
    if let Some(inverse) = inverse {
        let gaussian = move |row: &Row| {
            let apart = DVector::from_fn(row.len(), |view, _| row[view] - centre[view]);
            (apart.transpose() * &inverse * &apart)[0]
        };
        joints.push(("Gaussian", Box::new(gaussian)));
    }
    joints
}

fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = values.clone().fold(f64::MIN, f64::max);
    largest
        + values
            .map(|value| (value - largest).exp())
            .sum::<f64>()
            .ln()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runs: Vec<String> = std::env::args().skip(1).collect();
    if runs.is_empty() {
        return Err("joint_density RUN...: folders of finished runs of `views`".into());
    }
    let mut sums: Vec<(String, &'static str, f64, usize)> = Vec::new();
    for run in &runs {
        let Run { validation, tests } = read(Path::new(run))?;
        let normal = tests.iter().find(|(name, _)| name == NORMAL);
        let (_, normal) = normal.ok_or("there are no normal test images")?;
        for (name, joint) in joints(&validation) {
            let scores =
                |rows: &[Row]| -> Vec<f32> { rows.iter().map(|row| joint(row) as f32).collect() };
            let of_normal = scores(normal);
            for (part, rows) in tests.iter().filter(|(part, _)| part != NORMAL) {
                let found = auroc(&of_normal, &scores(rows))?;
                println!("{run}  {part}  {name:9} {found:.3}");
                match sums
                    .iter_mut()
                    .find(|(of, by, ..)| of == part && *by == name)
                {
                    Some((.., sum, count)) => (*sum, *count) = (*sum + found, *count + 1),
                    None => sums.push((part.clone(), name, found, 1)),
                }
            }
        }
    }
    for (part, name, sum, count) in sums {
        println!(
            "mean of {count} runs  {part}  {name:9} {:.3}",
            sum / count as f64
        );
    }
    Ok(())
}
