//! `cargo bench -p peers --bench scaling`: how the time of one operation changes as something grows, as charts.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use peers::peers::PeerId;
use peers::report::{self, Line, Lines};
use peers::rounds::{measure_apart, name_of};
use peers::scaling::Scale;

/// Measures how the time of one operation changes as something grows, each measurement in a process of its own.
#[derive(Parser)]
#[command(name = "cargo bench -p peers --bench scaling --")]
struct Options {
    /// What grows; everything in turn where nothing is named.
    #[arg(short, long, value_enum, value_delimiter = ',')]
    scales: Vec<Scale>,
    /// Peers to measure; all where none is named.
    #[arg(short, long, value_enum, value_delimiter = ',')]
    peers: Vec<PeerId>,
    /// How often each measurement is taken; the least counts.
    #[arg(short, long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Small amounts, short measurements, one round: to see that it runs.
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
    Measure { scale: Scale, amount: u32, peer: PeerId, milliseconds: u64 },
}

fn all_if_empty<T: ValueEnum>(named: &[T]) -> &[T] {
    if named.is_empty() { T::value_variants() } else { named }
}

/// One chart: every amount on every peer that comes so far, the peers in turn.
fn measure(scale: Scale, options: &Options) -> Result<Lines, Box<dyn Error>> {
    let (rounds, milliseconds) = if options.quick { (1, "10") } else { (options.rounds, "100") };
    let peers = all_if_empty(&options.peers).iter();
    let mut lines: Vec<_> = peers.map(|&peer| Line { peer, points: Vec::new() }).collect();
    for &amount in scale.amounts(options.quick) {
        eprintln!("{}: {amount}", scale.amount());
        let mut least = vec![f64::INFINITY; lines.len()];
        for _ in 0..rounds {
            for (line, least) in lines.iter().zip(&mut least) {
                if scale.admits(line.peer, amount) {
                    let (peer, amount) = (name_of(line.peer), amount.to_string());
                    let arguments = vec!["measure".into(), name_of(scale), amount, peer, milliseconds.into()];
                    *least = least.min(measure_apart(arguments)?);
                }
            }
        }
        for (line, least) in lines.iter_mut().zip(least).filter(|(_, least)| least.is_finite()) {
            line.points.push((u64::from(amount), least));
        }
    }
    lines.retain(|line| !line.points.is_empty());
    Ok(Lines { name: scale.name(), title: scale.title().into(), amount: scale.amount(), lines })
}

fn print(chart: &Lines, amounts: &[u32]) {
    println!("\n{}: ns an operation by {}", chart.title, chart.amount);
    println!("{:26}{}", "", amounts.iter().map(|amount| format!("{amount:>11}")).collect::<String>());
    for line in &chart.lines {
        let at = |amount: &u32| line.points.iter().find(|point| point.0 == u64::from(*amount));
        let cell = |amount| at(amount).map_or(format!("{:>11}", "—"), |point| format!("{:>11.2}", point.1));
        println!("{:26}{}", line.peer.to_string(), amounts.iter().map(cell).collect::<String>());
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    if let Some(Child::Measure { scale, amount, peer, milliseconds }) = options.child {
        println!("{}", peer.measure(scale.work(amount), Duration::from_millis(milliseconds)));
        return Ok(());
    }
    let folder = report::folder(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    let mut charts = Vec::new();
    for &scale in all_if_empty(&options.scales) {
        let chart = measure(scale, &options)?;
        print(&chart, scale.amounts(options.quick));
        report::write_lines(&chart, &folder)?;
        charts.push(chart);
    }
    report::write_scaling(&charts, &folder.join("scaling.csv"))?;
    println!("\nValues and charts are in {}", folder.display());
    Ok(())
}
