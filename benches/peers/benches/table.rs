//! `cargo bench -p peers`: the heaps side by side, as a table and as charts.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use peers::peers::PeerId;
use peers::workloads::Workload;
use peers::{report, rounds};

/// Measures this crate's heaps beside others on the same work, each measurement in a process of its own.
#[derive(Parser)]
#[command(name = "cargo bench -p peers --")]
struct Options {
    /// Workloads to measure; all where none is named, but for long ones in a quick run.
    #[arg(short, long, value_enum, value_delimiter = ',')]
    workloads: Vec<Workload>,
    /// Peers to measure; all where none is named.
    #[arg(short, long, value_enum, value_delimiter = ',')]
    peers: Vec<PeerId>,
    /// How often each measurement is taken.
    #[arg(short, long, default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Short measurements, one round: to see that it runs.
    #[arg(short, long)]
    quick: bool,
    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    child: Option<Child>,
}

#[derive(Subcommand)]
enum Child {
    /// Takes one measurement and prints it.
    #[command(hide = true)]
    Measure { workload: Workload, peer: PeerId, milliseconds: u64 },
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    if let Some(Child::Measure { workload, peer, milliseconds }) = options.child {
        println!("{}", peer.measure(workload.work, Duration::from_millis(milliseconds)));
        return Ok(());
    }
    let mut workloads = options.workloads;
    if workloads.is_empty() {
        workloads = Workload::value_variants().to_vec();
        workloads.retain(|workload| !(options.quick && workload.work.is_long()));
    }
    let mut peers = options.peers;
    if peers.is_empty() {
        peers = PeerId::value_variants().iter().copied().filter(|peer| !peer.is_engine()).collect();
    }
    let milliseconds = if options.quick { 10 } else { 100 }.to_string();
    let count = if options.quick { 1 } else { usize::from(options.rounds) };
    let samples = rounds::run(&workloads, &peers, count, |workload, peer| {
        vec!["measure".into(), rounds::name_of(workload), rounds::name_of(peer), milliseconds.clone()]
    })?;
    println!("Minimum (median) of {count} rounds, a process each; ratios are of the minima.");
    println!("{}", report::table(&samples, &workloads, &peers));
    println!("{NOTES}");
    let folder = report::folder(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    report::write_results(&samples, &folder.join("results.csv"))?;
    report::write_charts(&samples, &peers, &folder)?;
    println!("Values and charts are in {}", folder.display());
    Ok(())
}

/// How to read the table.
const NOTES: &str = "\
An operation of a pair is one allocation and one free; of a churn, one free and one allocation. Time of threads is a
processor's. \"—\" is where a heap lacks what the row needs: threads, an arena's calls, so many heaps, or to use again
what was freed. The system's malloc and the global allocators are yardsticks, no rivals: they cannot be dropped whole,
and free block by block. A bump arena is a rival only where nothing is used again.";
