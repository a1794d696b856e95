//! What other ways of reading the scores of a run would give, from finished runs of any method:
//!
//! ```sh
//! cargo run --release --example joint_density -- artifacts/mnist-*/best/seed-0
//! cargo run --release --example joint_density -- --columns nll,reconstruction artifacts/cifar10-plane/encoder-flow/seed-0
//! ```
//!
//! All are fitted to the normal validation images, by which every score is standardised first. Of `views` they are the views'
//! scores, of other methods all scores, or those of `--columns`. `mean` is what `views` does where no view is a guard. The
//! others: the largest score; the squared distance from the mean (two-sided, as typicality tests are); a Gaussian with full
//! covariance (what the likelihood path of arXiv:2401.04933 does with statistics of a variational autoencoder); and density of
//! states estimation (Morningstar et al., arXiv:2006.09273), the sum of the log-densities of a kernel estimate for each score.
//! Of each score alone: itself, and how far it is from its mean (Nalisnick et al., arXiv:1906.02994, for one image).

use std::path::Path;

use encoder_flow::evaluate::auroc;
use nalgebra::{DMatrix, DVector};

/// Scores of an image.
type Row = Vec<f64>;

const NORMAL: &str = "test-normal";
const VALIDATION: &str = "validation";
/// Columns of the table that are no score of their own.
const NO_SCORE: [&str; 6] = ["split", "index", "label", "truth", "file", "deciding"];

/// The standardised scores of a run.
struct Run {
    names: Vec<String>,
    validation: Vec<Row>,
    /// By part, but for what was trained on or validated on.
    tests: Vec<(String, Vec<Row>)>,
}

/// Where the scores that are asked for stand in a table with these headers.
fn chosen(headers: &csv::StringRecord, columns: Option<&str>) -> Result<Vec<usize>, String> {
    let scores = (0..headers.len()).filter(|&at| !NO_SCORE.contains(&&headers[at]));
    let scores: Vec<usize> = scores.collect();
    let views = scores.iter().copied();
    let views: Vec<usize> = views
        .filter(|&at| headers[at].starts_with("view_"))
        .collect();
    match columns {
        None if views.is_empty() => Ok(scores),
        None => Ok(views),
        Some(names) => names
            .split(',')
            .map(|name| {
                let mut found = scores.iter().copied();
                let found = found.find(|&at| &headers[at] == name);
                found.ok_or_else(|| format!("there is no score `{name}`; there are {headers:?}"))
            })
            .collect(),
    }
}

fn read(run: &Path, columns: Option<&str>) -> Result<Run, Box<dyn std::error::Error>> {
    let path = run.join("scores.csv");
    let mut csv =
        csv::Reader::from_path(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let headers = csv.headers()?.clone();
    let columns =
        chosen(&headers, columns).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut parts: Vec<(String, Vec<Row>)> = Vec::new();
    for record in csv.records() {
        let record = record?;
        let row: Row = columns
            .iter()
            .map(|&column| record[column].parse())
            .collect::<Result<_, _>>()?;
        match parts.iter_mut().find(|(name, _)| *name == record[0]) {
            Some((_, rows)) => rows.push(row),
            None => parts.push((record[0].to_owned(), vec![row])),
        }
    }
    let validation = parts.iter().find(|(name, _)| name == VALIDATION);
    let (_, validation) = validation.ok_or("there are no validation images")?;
    let moments: Vec<(f64, f64)> = (0..columns.len())
        .map(|at| mean_and_deviation(validation.iter().map(|row| row[at])))
        .collect();
    for row in parts.iter_mut().flat_map(|(_, rows)| rows) {
        for (value, (mean, deviation)) in row.iter_mut().zip(&moments) {
            *value = (*value - mean) / deviation;
        }
    }
    let at = parts.iter().position(|(name, _)| name == VALIDATION);
    let (_, validation) = parts.remove(at.ok_or("there are no validation images")?);
    parts.retain(|(name, _)| name != "train");
    Ok(Run {
        names: columns.iter().map(|&at| headers[at].to_owned()).collect(),
        validation,
        tests: parts,
    })
}

/// Of a constant score the deviation is one.
fn mean_and_deviation(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / count;
    let variance = values.map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    (mean, if variance > 0.0 { variance.sqrt() } else { 1.0 })
}

/// A way to join scores: higher is odder.
type Joint = Box<dyn Fn(&Row) -> f64>;

fn joints(names: &[String], validation: &[Row]) -> Vec<(String, Joint)> {
    let (scores, count) = (names.len(), validation.len() as f64);
    let mut joints: Vec<(String, Joint)> = Vec::new();
    for (at, name) in names.iter().enumerate() {
        joints.push((name.clone(), Box::new(move |row| row[at])));
        joints.push((
            format!("{name}, distance"),
            Box::new(move |row| row[at].abs()),
        ));
    }
    let mean = move |row: &Row| row.iter().sum::<f64>() / scores as f64;
    let largest = |row: &Row| row.iter().copied().fold(f64::MIN, f64::max);
    let distance = |row: &Row| row.iter().map(|value| value * value).sum::<f64>();
    joints.push(("mean".to_owned(), Box::new(mean)));
    joints.push(("largest".to_owned(), Box::new(largest)));
    joints.push(("distance".to_owned(), Box::new(distance)));

    let columns: Vec<Vec<f64>> = (0..scores)
        .map(|at| validation.iter().map(|row| row[at]).collect())
        .collect();
    // Scott's rule, as the authors' kernel estimate has it, for scores whose deviation is one.
    let width = count.powf(-0.2);
    let kernels = move |row: &Row| {
        let of = row.iter().zip(&columns).map(|(x, column)| {
            let exponents = column
                .iter()
                .map(|seen| -0.5 * ((x - seen) / width).powi(2));
            -log_sum_exp(exponents)
        });
        of.sum::<f64>()
    };
    joints.push(("kernels".to_owned(), Box::new(kernels)));

    let matrix = DMatrix::from_fn(validation.len(), scores, |row, at| validation[row][at]);
    let covariance = matrix.transpose() * &matrix / count;
    if let Some(inverse) = covariance.try_inverse() {
        let gaussian = move |row: &Row| {
            let apart = DVector::from_column_slice(row);
            (apart.transpose() * &inverse * &apart)[0]
        };
        joints.push(("Gaussian".to_owned(), Box::new(gaussian)));
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
    let mut runs: Vec<String> = std::env::args().skip(1).collect();
    let columns = match runs.first().map(String::as_str) {
        Some("--columns") if runs.len() > 1 => runs.drain(..2).nth(1),
        _ => None,
    };
    if runs.is_empty() {
        return Err("joint_density [--columns LIST] RUN...: folders of finished runs".into());
    }
    let mut sums: Vec<(String, String, f64, usize)> = Vec::new();
    for run in &runs {
        let read = read(Path::new(run), columns.as_deref())?;
        let Run {
            names,
            validation,
            tests,
        } = read;
        let normal = tests.iter().find(|(name, _)| name == NORMAL);
        let (_, normal) = normal.ok_or("there are no normal test images")?;
        for (name, joint) in joints(&names, &validation) {
            let scores =
                |rows: &[Row]| -> Vec<f32> { rows.iter().map(|row| joint(row) as f32).collect() };
            let of_normal = scores(normal);
            for (part, rows) in tests.iter().filter(|(part, _)| part != NORMAL) {
                let found = auroc(&of_normal, &scores(rows))?;
                println!("{run}  {part}  {name:24} {found:.3}");
                let mut all = sums.iter_mut();
                match all.find(|(of, by, ..)| of == part && *by == name) {
                    Some((.., sum, count)) => (*sum, *count) = (*sum + found, *count + 1),
                    None => sums.push((part.clone(), name.clone(), found, 1)),
                }
            }
        }
    }
    for (part, name, sum, count) in sums {
        println!(
            "mean of {count} runs  {part}  {name:24} {:.3}",
            sum / count as f64
        );
    }
    Ok(())
}
