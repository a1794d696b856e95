//! The paper's Figure 2 from AUROCs that are known already, wherever their runs were made: a chart beside the table, and
//! which methods differ by more than chance.
//!
//! ```sh
//! cargo run --release --example figure_2 -- docs/figure-2/mnist.csv docs/figure-2/cifar10.csv
//! ```
//!
//! A table has a column `method` and one for each class left out. `just sweep` makes both of runs in its own folder.

use std::path::Path;

use encoder_flow::report::{
    CHART_FILE, SweepCell, SweepMethod, SweepReport, sweep_chart, sweep_markdown,
};
use encoder_flow::sweep::Comparison;

/// A method of the table, with one run for each class.
fn method(row: &csv::StringRecord) -> Result<SweepMethod, String> {
    let name = row.get(0).unwrap_or_default();
    let aurocs = row.iter().skip(1).map(|text| match text.parse::<f64>() {
        Ok(auroc) if (0.0..=1.0).contains(&auroc) => Ok(auroc),
        _ => Err(format!("{name}: {text:?} is no AUROC")),
    });
    let aurocs: Vec<f64> = aurocs.collect::<Result<_, _>>()?;
    let cell = |&auroc: &f64| SweepCell {
        auroc,
        ..SweepCell::default()
    };
    Ok(SweepMethod {
        name: name.to_owned(),
        cells: aurocs.iter().map(|auroc| vec![cell(auroc)]).collect(),
        mean: Some(aurocs.iter().sum::<f64>() / aurocs.len().max(1) as f64),
        ..SweepMethod::default()
    })
}

fn report(table: &Path) -> anyhow::Result<SweepReport> {
    let mut rows = csv::Reader::from_path(table)?;
    let classes: Vec<String> = rows.headers()?.iter().skip(1).map(str::to_owned).collect();
    let mut methods = Vec::new();
    for row in rows.records() {
        methods.push(method(&row?).map_err(anyhow::Error::msg)?);
    }
    let compared = Comparison::of(&methods, classes.len())?;
    Ok(SweepReport {
        title: table.display().to_string(),
        classes,
        methods,
        pairs: compared.pairs,
        test_name: compared.test_name,
        ..SweepReport::default()
    })
}

fn main() -> anyhow::Result<()> {
    let tables: Vec<String> = std::env::args().skip(1).collect();
    anyhow::ensure!(!tables.is_empty(), "name the tables, as csv files");
    for table in &tables {
        let report = report(Path::new(table))?;
        let path = Path::new(table).with_extension("svg");
        let chart = path.display().to_string();
        println!("{}", sweep_markdown(&report).replace(CHART_FILE, &chart));
        if let Some(svg) = sweep_chart(&report)? {
            std::fs::write(&path, svg)?;
        }
    }
    Ok(())
}
