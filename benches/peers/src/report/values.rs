//! Every measurement, as comma-separated values.

use std::error::Error;
use std::path::Path;

use super::Lines;
use crate::rounds::{Samples, name_of};

/// Writes every measurement of a table, in the workload's unit as it is shown.
///
/// # Errors
///
/// Where the file cannot be written.
pub fn write_results(samples: &[Samples], path: &Path) -> Result<(), Box<dyn Error>> {
    let mut csv = csv::Writer::from_path(path)?;
    csv.write_record(["group", "workload", "peer", "unit", "rounds", "minimum", "median"])?;
    for samples in samples {
        let unit = samples.workload.unit;
        csv.write_record([
            samples.workload.group.name().to_owned(),
            name_of(samples.workload),
            name_of(samples.peer),
            unit.name().to_owned(),
            samples.count().to_string(),
            unit.show(samples.minimum()).to_string(),
            unit.show(samples.median()).to_string(),
        ])?;
    }
    Ok(csv.flush()?)
}

/// Writes every point of some charts of lines, in nanoseconds.
///
/// # Errors
///
/// Where the file cannot be written.
pub fn write_scaling(charts: &[Lines], path: &Path) -> Result<(), Box<dyn Error>> {
    let mut csv = csv::Writer::from_path(path)?;
    csv.write_record(["scale", "peer", "amount", "nanoseconds"])?;
    for chart in charts {
        for line in &chart.lines {
            for (amount, nanoseconds) in &line.points {
                csv.write_record([chart.name, &name_of(line.peer), &amount.to_string(), &nanoseconds.to_string()])?;
            }
        }
    }
    Ok(csv.flush()?)
}
