//! The figures of a run, and the table that shows them.

use std::time::Duration;

use comfy_table::{CellAlignment, Table};

/// One answered request: milliseconds in the handler, and the peak of its heap in bytes where it had one.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) handler: f64,
    pub(crate) peak: Option<f64>,
}

/// Every document posted once.
pub(crate) struct Round {
    pub(crate) elapsed: Duration,
    pub(crate) samples: Vec<Sample>,
}

/// All rounds of one way to allocate.
#[derive(Default)]
pub(crate) struct Figures {
    rounds: Vec<Round>,
}

impl Figures {
    pub(crate) fn add(&mut self, round: Round) {
        self.rounds.push(round);
    }

    pub(crate) fn requests(&self) -> usize {
        self.rounds.iter().map(|round| round.samples.len()).sum()
    }

    fn per_second(&self) -> f64 {
        let rates = self.rounds.iter().map(|round| round.samples.len() as f64 / round.elapsed.as_secs_f64());
        quantile(rates.collect(), 0.5)
    }

    fn handler(&self, at: f64) -> f64 {
        quantile(self.samples().map(|sample| sample.handler).collect(), at)
    }

    fn handler_per_round(&self) -> f64 {
        let sum = |round: &Round| round.samples.iter().map(|sample| sample.handler).sum();
        quantile(self.rounds.iter().map(sum).collect(), 0.5)
    }

    fn peak(&self, at: f64) -> Option<f64> {
        let peaks: Vec<f64> = self.samples().filter_map(|sample| sample.peak).collect();
        (!peaks.is_empty()).then(|| quantile(peaks, at))
    }

    fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.rounds.iter().flat_map(|round| &round.samples)
    }
}

/// The value below which the part `at` of all values lies; 0 if there are none.
fn quantile(mut values: Vec<f64>, at: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let index = (values.len().saturating_sub(1) as f64 * at).round() as usize;
    values.get(index).copied().unwrap_or(0.0)
}

/// The two ways beside each other.
pub(crate) fn table(heap: &Figures, global: &Figures) -> Table {
    let both = [heap, global];
    let mut table = Table::new();
    table.set_header(["", "heap per request", "global allocator"]);
    let mut row = |name: &str, show: &dyn Fn(&Figures) -> String| {
        table.add_row([name.to_owned(), show(both[0]), show(both[1])]);
    };
    row("requests, all answers right", &|figures| figures.requests().to_string());
    row("requests per second, median round", &|figures| format!("{:.0}", figures.per_second()));
    row("in the handler, median", &|figures| format!("{:.1} µs", figures.handler(0.5) * 1000.0));
    row("in the handler, 9 of 10 below", &|figures| format!("{:.1} µs", figures.handler(0.9) * 1000.0));
    row("in the handler, sum of a round, median", &|figures| format!("{:.2} ms", figures.handler_per_round()));
    row("peak committed of a request, median", &|figures| kib(figures.peak(0.5)));
    row("peak committed of a request, highest", &|figures| kib(figures.peak(1.0)));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn kib(bytes: Option<f64>) -> String {
    bytes.map_or("–".into(), |bytes| format!("{:.1} KiB", bytes / 1024.0))
}
