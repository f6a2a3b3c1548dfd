//! Rounds of measurements, each of them in a process of its own.

use std::error::Error;
use std::process::Command;
use std::{env, io};

use clap::ValueEnum;

use crate::peers::PeerId;
use crate::workloads::Workload;

/// What one peer took for one workload over all rounds.
#[derive(Clone, Debug)]
pub struct Samples {
    /// The work.
    pub workload: Workload,
    /// The heap it was done on.
    pub peer: PeerId,
    sorted: Vec<f64>,
}

impl Samples {
    /// Samples of one peer on one workload.
    ///
    /// # Panics
    ///
    /// Where there are none.
    pub fn new(workload: Workload, peer: PeerId, mut samples: Vec<f64>) -> Self {
        assert!(!samples.is_empty(), "every measurement is taken at least once");
        samples.sort_by(f64::total_cmp);
        Self { workload, peer, sorted: samples }
    }

    /// The number of rounds.
    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    /// The least that it took.
    pub fn minimum(&self) -> f64 {
        self.sorted[0]
    }

    /// The middle one, or the mean of the two in the middle.
    pub fn median(&self) -> f64 {
        let upper = self.sorted.len() / 2;
        let lower = (self.sorted.len() - 1) / 2;
        self.sorted[lower].midpoint(self.sorted[upper])
    }
}

/// Measures every workload on every peer that can do it, `rounds` times, the peers in turn.
///
/// `command` makes the arguments by which this same program measures one workload on one peer and prints what it took.
///
/// # Errors
///
/// Where a process cannot be started, fails, or prints no number.
pub fn run(
    workloads: &[Workload],
    peers: &[PeerId],
    rounds: usize,
    command: impl Fn(Workload, PeerId) -> Vec<String>,
) -> Result<Vec<Samples>, Box<dyn Error>> {
    let pairs: Vec<_> = workloads
        .iter()
        .flat_map(|&workload| peers.iter().map(move |&peer| (workload, peer)))
        .filter(|&(workload, peer)| workload.work.admits(peer))
        .collect();
    let mut samples = vec![Vec::with_capacity(rounds); pairs.len()];
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for (&(workload, peer), samples) in pairs.iter().zip(&mut samples) {
            samples.push(measure_apart(command(workload, peer))?);
        }
    }
    Ok(pairs
        .into_iter()
        .zip(samples)
        .map(|((workload, peer), samples)| Samples::new(workload, peer, samples))
        .collect())
}

/// Runs this same program with the arguments, for the number that it prints.
///
/// # Errors
///
/// Where the process cannot be started, fails, or prints no number.
pub fn measure_apart(arguments: Vec<String>) -> Result<f64, Box<dyn Error>> {
    let output = Command::new(env::current_exe()?).args(&arguments).output()?;
    if !output.status.success() {
        io::Write::write_all(&mut io::stderr(), &output.stderr)?;
        return Err(format!("`{}` ended with {}", arguments.join(" "), output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// The name of a workload or a peer on the command line.
pub fn name_of(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minimum_and_median() {
        let workload = Workload::value_variants()[0];
        let samples = |values: &[f64]| Samples::new(workload, PeerId::Local, values.to_vec());
        assert_eq!((samples(&[3.0, 1.0, 2.0]).minimum(), samples(&[3.0, 1.0, 2.0]).median()), (1.0, 2.0));
        assert_eq!(samples(&[4.0, 1.0, 2.0, 3.0]).median(), 2.5);
    }
}
