//! An HTTP server that gives each request a heap of its own, and a client that puts it to the test.
//!
//! ```text
//! cargo run --release --example request_server              drives itself: posts this repository's files
//! cargo run --release --example request_server -- FILE...   posts these files
//! cargo run --release --example request_server -- --serve   stays up for curl
//! ```
//!
//! `POST /words?top=N` counts the words of a text, `GET /heaps` says what the last requests' heaps held. The same handler on
//! the global allocator is at `POST /words/global?top=N`. The program ends with 0 only if every answer was right.

mod checks;
mod client;
mod documents;
mod drive;
mod failure;
mod figures;
mod heaps;
mod plain;
mod service;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use mallocstate::{MallocState, SystemPages};

use crate::client::Error;
use crate::drive::Drive;
use crate::service::Service;

/// Gives each request a heap of its own, and compares that with the global allocator.
#[derive(Parser)]
struct Arguments {
    /// Text files to post; all of this repository's where none are given.
    files: Vec<PathBuf>,
    /// Stay up for requests by hand.
    #[arg(long)]
    serve: bool,
    /// The most that a request's heap may commit, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    limit: usize,
    /// About how long to measure, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 12)]
    seconds: u64,
    /// How many connections post at once.
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..))]
    connections: u8,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = if arguments.serve { serve(arguments.limit).await } else { drive(&arguments).await };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("request_server: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(limit: usize) -> Result<(), Error> {
    MallocState::builder().limit(limit).build()?;
    let (address, _service) = service::start(limit).await?;
    println!("curl --data-binary @README.md 'http://{address}/words?top=5'");
    println!("curl 'http://{address}/heaps'");
    std::future::pending().await
}

async fn drive(arguments: &Arguments) -> Result<(), Error> {
    MallocState::builder().limit(arguments.limit).build()?;
    let documents = documents::read(&arguments.files)?;
    let bytes: usize = documents.iter().map(|document| document.body.len()).sum();
    println!("{} documents of {} KiB in all, over {} connections", documents.len(), bytes >> 10, arguments.connections);

    let (server, service) = service::start(arguments.limit).await?;
    let drive = Drive::new(server, arguments.connections.into(), documents)?;
    let [heap, global] = drive.run(Duration::from_secs(arguments.seconds)).await?;
    println!("{}", figures::table(&heap, &global));
    print_account(&service)?;
    println!("bad input and heaps at their limit: all {} checks passed", checks::run().await?);
    Ok(())
}

/// What is left of all the heaps.
fn print_account(service: &Service) -> Result<(), Error> {
    let summary = service.heaps.summary();
    let refused: usize = summary.recent.iter().map(|heap| heap.refused).sum();
    println!("heaps: {} made, {} still there, {refused} B not taken back", summary.made, summary.alive);
    let (kept, trimmed) = (summary.cached, SystemPages::trim());
    println!("kept for the next heaps: {} KiB; given back on demand: {} KiB", kept >> 10, trimmed >> 10);
    match (summary.alive, SystemPages::cached_bytes()) {
        (0, 0) => Ok(()),
        (alive, cached) => Err(format!("{alive} heaps and {cached} B of segments are still mapped").into()),
    }
}
