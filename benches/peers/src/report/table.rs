//! The table for a reader.

use comfy_table::{CellAlignment, Table, presets};

use super::{best, find, rival};
use crate::peers::PeerId;
use crate::rounds::{Samples, name_of};
use crate::workloads::{Must, Workload};

/// What one peer took: minimum, and median in brackets.
fn measured(samples: Option<&Samples>, workload: Workload) -> String {
    let show = |measured| workload.unit.show(measured);
    samples.map_or("—".into(), |samples| format!("{:.2} ({:.2})", show(samples.minimum()), show(samples.median())))
}

fn must(workload: Workload) -> String {
    match workload.must {
        Some(Must::OfBest(ratio)) => format!("≤ {ratio:.1} of the best"),
        Some(Must::Of(ratio, peer)) => format!("≤ {ratio:.1} of {peer}"),
        Some(Must::AtMost(bound)) => format!("≤ {bound}"),
        None => "—".into(),
    }
}

/// The ratio of one of our heaps to a rival, by minima, and whether the workload's "must" is reached.
fn verdict(ours: Option<&Samples>, rival: Option<&Samples>, workload: Workload) -> String {
    let Some(ours) = ours else { return "—".into() };
    let ratio = rival.map(|rival| ours.minimum() / rival.minimum());
    let reached = match workload.must {
        Some(Must::OfBest(bound) | Must::Of(bound, _)) => ratio.map(|ratio| ratio <= bound),
        Some(Must::AtMost(bound)) => Some(workload.unit.show(ours.minimum()) <= bound),
        None => None,
    };
    let ratio = ratio.map_or("—".into(), |ratio| format!("{ratio:.2}"));
    match reached {
        Some(true) => format!("{ratio} ok"),
        Some(false) => format!("{ratio} MISSED"),
        None => ratio,
    }
}

/// A table with a row for each workload and a column for each peer.
pub fn table(samples: &[Samples], workloads: &[Workload], peers: &[PeerId]) -> String {
    let ours: Vec<_> = peers.iter().copied().filter(|peer| peer.is_ours()).collect();
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let mut header = vec!["workload".to_owned(), "unit".into()];
    header.extend(peers.iter().map(PeerId::to_string));
    header.extend(["must".into(), "beside".into()]);
    header.extend(ours.iter().map(|&peer| format!("{} ÷ that", name_of(peer))));
    header.extend(ours.first().map(|&peer| format!("{} ÷ best global", name_of(peer))));
    table.set_header(header);
    for &workload in workloads {
        let rival = rival(samples, workload);
        let mut row = vec![workload.to_string(), workload.unit.name().to_owned()];
        row.extend(peers.iter().map(|&peer| measured(find(samples, workload, peer), workload)));
        row.push(must(workload));
        row.push(rival.map_or("—".into(), |rival| rival.peer.to_string()));
        row.extend(ours.iter().map(|&peer| verdict(find(samples, workload, peer), rival, workload)));
        row.extend(ours.first().map(|&peer| {
            let global = best(samples, workload, PeerId::is_global);
            let ours = find(samples, workload, peer).zip(global);
            ours.map_or("—".into(), |(ours, global)| format!("{:.2}", ours.minimum() / global.minimum()))
        }));
        table.add_row(row);
    }
    for column in 2..2 + peers.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    fn workload(name: &str) -> Workload {
        Workload::from_str(name, false).unwrap()
    }

    fn row(name: &str, minima: &[(PeerId, f64)]) -> String {
        let workload = workload(name);
        let samples: Vec<_> =
            minima.iter().map(|&(peer, minimum)| Samples::new(workload, peer, vec![minimum])).collect();
        let peers: Vec<_> = minima.iter().map(|&(peer, _)| peer).collect();
        table(&samples, &[workload], &peers).lines().last().unwrap().to_owned()
    }

    #[test]
    fn a_row_compares_with_the_best_rival_and_the_best_yardstick() {
        let row = row(
            "pair-32",
            &[
                (PeerId::Local, 1.0),
                (PeerId::Mimalloc, 2.0),
                (PeerId::Dlmalloc, 3.0),
                (PeerId::Bumpalo, 0.5),
                (PeerId::System, 0.25),
            ],
        );
        assert!(row.contains("| mimalloc 3 heap | 0.50 ok"), "{row}");
        assert!(row.contains("| 4.00 "), "{row}");
    }

    #[test]
    fn a_row_compares_with_the_rival_that_it_names() {
        let named = row("request-50", &[(PeerId::Local, 3.0), (PeerId::Bumpalo, 2.0), (PeerId::Mimalloc, 1.0)]);
        assert!(named.contains("| bumpalo") && named.contains("| 1.50 MISSED"), "{named}");
        let absent = row("request-50", &[(PeerId::Local, 3.0), (PeerId::Mimalloc, 1.0)]);
        assert!(!absent.contains("ok") && !absent.contains("MISSED"), "{absent}");
    }

    #[test]
    fn a_bound_needs_no_rival() {
        let row = row("resident-10", &[(PeerId::Threaded, 8000.0), (PeerId::Local, 8001.0)]);
        assert!(row.contains("— ok") && row.contains("— MISSED"), "{row}");
    }
}
