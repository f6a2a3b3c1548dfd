//! `cargo bench -p peers`: the heaps side by side, as a table.

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
    /// Workloads to measure; all where none is named.
    #[arg(short, long, value_enum, value_delimiter = ',')]
    workloads: Vec<Workload>,
    /// Peers to measure; all where none is named.
    #[arg(short, long, value_enum, value_delimiter = ',')]
    peers: Vec<PeerId>,
    /// How often each measurement is taken.
    #[arg(short, long, default_value_t = 11, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Short measurements, two rounds: to see that it runs.
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
    /// Takes one measurement and prints its nanoseconds per unit of work.
    #[command(hide = true)]
    Measure { workload: Workload, peer: PeerId, milliseconds: u64 },
}

fn all_if_empty<T: ValueEnum>(named: Vec<T>) -> Vec<T> {
    if named.is_empty() { T::value_variants().to_vec() } else { named }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    if let Some(Child::Measure { workload, peer, milliseconds }) = options.child {
        println!("{}", peer.measure(workload, Duration::from_millis(milliseconds)));
        return Ok(());
    }
    let (workloads, peers) = (all_if_empty(options.workloads), all_if_empty(options.peers));
    let milliseconds = if options.quick { 20 } else { 100 }.to_string();
    let count = if options.quick { 2 } else { usize::from(options.rounds) };
    let samples = rounds::run(&workloads, &peers, count, |workload, peer| {
        vec!["measure".into(), rounds::name_of(workload), rounds::name_of(peer), milliseconds.clone()]
    })?;
    println!("Minimum (median) of {count} rounds, a process each; ratios are of the minima.");
    println!("{}", report::table(&samples, &workloads, &peers));
    println!("An operation of a pair is one allocation and one free; of a churn, one free and one allocation.");
    println!(
        "An arena that takes back its last block only is shown in pairs but no rival there, and sits out the churn."
    );
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("cargo's target folder has no name")?;
    let results = target.join("peers/results.csv");
    report::write_csv(&samples, &results)?;
    println!("Written to {}", results.display());
    Ok(())
}
