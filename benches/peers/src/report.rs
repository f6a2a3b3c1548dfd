//! The table for a reader, and the same figures for programs.

use std::error::Error;
use std::fs;
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};

use crate::peers::PeerId;
use crate::rounds::{Samples, name_of};
use crate::workloads::Workload;

fn find(samples: &[Samples], workload: Workload, peer: PeerId) -> Option<&Samples> {
    samples.iter().find(|samples| samples.workload == workload && samples.peer == peer)
}

/// The rival that a workload's "must" speaks of: the one it names, else the fastest.
fn rival(samples: &[Samples], workload: Workload) -> Option<&Samples> {
    match workload.must().peer {
        Some(peer) => find(samples, workload, peer),
        None => samples
            .iter()
            .filter(|samples| samples.workload == workload && workload.is_rival(samples.peer))
            .min_by(|a, b| a.minimum().total_cmp(&b.minimum())),
    }
}

/// The times of one peer: minimum, and median in brackets.
fn times(samples: Option<&Samples>, workload: Workload) -> String {
    let (_, nanoseconds) = workload.unit();
    samples.map_or("—".into(), |samples| {
        format!("{:.2} ({:.2})", samples.minimum() / nanoseconds, samples.median() / nanoseconds)
    })
}

/// The ratio of one of our heaps to a rival, by minima, and whether that is enough.
fn verdict(ours: Option<&Samples>, rival: Option<&Samples>, workload: Workload) -> String {
    let (Some(ours), Some(rival)) = (ours, rival) else { return "—".into() };
    let ratio = ours.minimum() / rival.minimum();
    format!("{ratio:.2} {}", if ratio <= workload.must().ratio { "ok" } else { "MISSED" })
}

/// A table with a row for each workload and a column for each peer.
pub fn table(samples: &[Samples], workloads: &[Workload], peers: &[PeerId]) -> String {
    let ours = || peers.iter().copied().filter(|peer| peer.is_ours());
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let mut header = vec!["workload".to_owned(), "unit".into()];
    header.extend(peers.iter().map(PeerId::to_string));
    header.extend(["must".into(), "beside".into()]);
    header.extend(ours().map(|peer| format!("{} ÷ that", name_of(peer))));
    table.set_header(header);
    for &workload in workloads {
        let (must, rival) = (workload.must(), rival(samples, workload));
        let mut row = vec![workload.to_string(), workload.unit().0.to_owned()];
        row.extend(peers.iter().map(|&peer| times(find(samples, workload, peer), workload)));
        row.push(format!("≤ {:.1} of {}", must.ratio, must.peer.map_or("the best".into(), |peer| peer.to_string())));
        row.push(rival.map_or("—".into(), |rival| rival.peer.to_string()));
        row.extend(ours().map(|peer| verdict(find(samples, workload, peer), rival, workload)));
        table.add_row(row);
    }
    for column in 2..2 + peers.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// Writes every measurement, in nanoseconds per unit of work, as comma-separated values.
///
/// # Errors
///
/// Where the file or its folder cannot be written.
pub fn write_csv(samples: &[Samples], path: &Path) -> Result<(), Box<dyn Error>> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut csv = csv::Writer::from_path(path)?;
    csv.write_record(["workload", "peer", "rounds", "minimum_ns", "median_ns"])?;
    for samples in samples {
        csv.write_record([
            name_of(samples.workload),
            name_of(samples.peer),
            samples.count().to_string(),
            samples.minimum().to_string(),
            samples.median().to_string(),
        ])?;
    }
    Ok(csv.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_compares_with_the_best_rival() {
        let workload = Workload::PairOpaque;
        let samples = [(PeerId::Local, 1.0), (PeerId::Mimalloc, 2.0), (PeerId::Bumpalo, 0.5)]
            .map(|(peer, time)| Samples::new(workload, peer, vec![time]));
        let table = table(&samples, &[workload], &[PeerId::Local, PeerId::Mimalloc, PeerId::Bumpalo]);
        assert!(table.contains("0.50 ok"), "{table}");
        assert_eq!(rival(&samples, Workload::Request50).map(|rival| rival.peer), None);
    }
}
