//! What is made of the measurements: a table for a reader, values for programs, charts for the eye.

mod chart;
mod colors;
mod lines;
mod table;
mod values;

use std::fs;
use std::path::{Path, PathBuf};

pub use chart::write_charts;
pub use lines::{Line, Lines, write_lines};
pub use table::table;
pub use values::{write_results, write_scaling};

use crate::peers::PeerId;
use crate::rounds::Samples;
use crate::workloads::{Must, Workload};

/// Where reports go, made where it is missing: `peers` in the target folder that `temporary`, cargo's folder for what
/// benchmarks write, lies in.
///
/// # Errors
///
/// Where the folder cannot be made.
pub fn folder(temporary: &Path) -> std::io::Result<PathBuf> {
    let folder = temporary.parent().unwrap_or(temporary).join("peers");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn find(samples: &[Samples], workload: Workload, peer: PeerId) -> Option<&Samples> {
    samples.iter().find(|samples| samples.workload == workload && samples.peer == peer)
}

/// The least of those peers that the filter lets pass.
fn best(samples: &[Samples], workload: Workload, filter: impl Fn(PeerId) -> bool) -> Option<&Samples> {
    samples
        .iter()
        .filter(|samples| samples.workload == workload && filter(samples.peer))
        .min_by(|a, b| a.minimum().total_cmp(&b.minimum()))
}

/// The rival that our heaps stand beside: the one that the workload's "must" names, else the best.
fn rival(samples: &[Samples], workload: Workload) -> Option<&Samples> {
    match workload.must {
        Some(Must::Of(_, peer)) => find(samples, workload, peer),
        _ => best(samples, workload, |peer| workload.is_rival(peer)),
    }
}
