//! Bars for the eye, a chart for each group: who is on top is ahead.
//!
//! ```text
//! pair 32 B, layout opaque
//!   mallocstate local     ■■■■ 0.5 × (1.00 ns)
//!   mallocstate threaded  ■■■■■■ 0.7 × (1.45 ns)
//!   mimalloc 3 heap       ■■■■■■■■|  1.0 × (2.10 ns)
//!   dlmalloc              ■■■■■■■■|■■■■■■■■ 2.0 × (4.20 ns)
//! ```

use std::error::Error;
use std::path::Path;

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{PathElement, Rectangle};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{BLACK, Color, FontStyle, IntoFont, RGBColor, TextStyle, WHITE};

use super::{best, colors};
use crate::peers::PeerId;
use crate::rounds::Samples;
use crate::workloads::{Group, Workload};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Pixels.
const WIDTH: u32 = 960;
const MARGIN: i32 = 20;
const HEAD: i32 = 76;
const TITLE: i32 = 26;
const BAR: i32 = 17;
const GAP: i32 = 10;
const BARS_FROM: i32 = 210;
const BARS_TO: i32 = 800;

/// Bars end here, in times of the best rival: what is longer is cut, and its number tells.
const LONGEST: f64 = 4.0;

const GREY: RGBColor = RGBColor(0x60, 0x60, 0x60);

/// One row's bars, the shortest on top, relative to the best rival.
struct Bars<'a> {
    workload: Workload,
    /// Each with its length.
    bars: Vec<(&'a Samples, f64)>,
}

impl<'a> Bars<'a> {
    fn new(samples: &'a [Samples], workload: Workload, peers: &[PeerId]) -> Option<Self> {
        let unit = best(samples, workload, |peer| workload.is_rival(peer)).or(best(samples, workload, |_| true))?;
        let of_row = |samples: &&Samples| samples.workload == workload && peers.contains(&samples.peer);
        let mut bars: Vec<_> =
            samples.iter().filter(of_row).map(|samples| (samples, samples.minimum() / unit.minimum())).collect();
        bars.sort_by(|a, b| a.1.total_cmp(&b.1));
        Some(Self { workload, bars })
    }

    fn height(&self) -> i32 {
        TITLE + BAR * self.bars.len() as i32 + GAP
    }

    fn draw(&self, area: &Area<'_>, top: i32) -> Result<(), Box<dyn Error>> {
        area.draw_text(&self.workload.to_string(), &text(15, BLACK).bold(), (MARGIN, top + TITLE / 2))?;
        for (index, &(samples, length)) in self.bars.iter().enumerate() {
            let (from, middle) = (top + TITLE + BAR * index as i32, top + TITLE + BAR * index as i32 + BAR / 2);
            let name = if samples.peer.is_ours() { text(13, BLACK).bold() } else { text(13, GREY) };
            area.draw_text(&samples.peer.to_string(), &name.right(), (BARS_FROM - 8, middle))?;
            let end = place(length);
            let bar =
                Rectangle::new([(BARS_FROM, from + 2), (end, from + BAR - 2)], colors::of_kind(samples.peer).filled());
            area.draw(&bar)?;
            let unit = self.workload.unit;
            let shown = format!("{length:.2} × ({:.2} {})", unit.show(samples.minimum()), unit.name());
            area.draw_text(&shown, &text(12, GREY), (end + 6, middle))?;
        }
        let (one, from, to) = (place(1.0), top + TITLE, top + self.height() - GAP);
        area.draw(&PathElement::new([(one, from), (one, to)], BLACK.stroke_width(1)))?;
        Ok(())
    }
}

/// Where a bar of this length ends.
fn place(length: f64) -> i32 {
    BARS_FROM + (f64::from(BARS_TO - BARS_FROM) * length.min(LONGEST) / LONGEST) as i32
}

/// Text that begins where it is drawn.
fn text(size: i32, color: RGBColor) -> TextStyle<'static> {
    TextStyle {
        font: ("sans-serif", size).into_font(),
        color: color.to_backend_color(),
        pos: Pos::new(HPos::Left, VPos::Center),
    }
}

trait Styled {
    fn bold(self) -> Self;

    /// Text that ends where it is drawn.
    fn right(self) -> Self;
}

impl Styled for TextStyle<'static> {
    fn bold(mut self) -> Self {
        self.font = self.font.style(FontStyle::Bold);
        self
    }

    fn right(self) -> Self {
        self.pos(Pos::new(HPos::Right, VPos::Center))
    }
}

fn draw(path: &Path, group: Group, rows: &[Bars<'_>]) -> Result<(), Box<dyn Error>> {
    let height = HEAD + rows.iter().map(Bars::height).sum::<i32>() + MARGIN;
    let area = SVGBackend::new(path, (WIDTH, height as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    area.draw_text(group.title(), &text(20, BLACK).bold(), (MARGIN, 28))?;
    let legend =
        "Shorter is better; 1 is the best rival. Red and orange: mallocstate. Blue: rivals. Grey: global allocators.";
    area.draw_text(legend, &text(13, GREY), (MARGIN, 54))?;
    let mut top = HEAD;
    for row in rows {
        row.draw(&area, top)?;
        top += row.height();
    }
    Ok(area.present()?)
}

/// Writes a chart for each group of which something was measured, named after it.
///
/// # Errors
///
/// Where a file cannot be written.
pub fn write_charts(samples: &[Samples], peers: &[PeerId], folder: &Path) -> Result<(), Box<dyn Error>> {
    for group in Group::ALL {
        let mut workloads: Vec<_> = samples.iter().map(|samples| samples.workload).collect();
        workloads.retain(|workload| workload.group == group);
        workloads.dedup();
        let rows: Vec<_> = workloads.iter().filter_map(|&workload| Bars::new(samples, workload, peers)).collect();
        if !rows.is_empty() {
            draw(&folder.join(format!("{}.svg", group.name())), group, &rows)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use clap::ValueEnum;

    use super::*;

    #[test]
    fn who_is_ahead_is_on_top_and_the_best_rival_is_one() {
        let workload = Workload::value_variants()[0];
        let peers = [PeerId::System, PeerId::Mimalloc, PeerId::Threaded, PeerId::Dlmalloc];
        let samples: Vec<_> = peers
            .into_iter()
            .zip([1.0, 4.0, 2.0, 8.0])
            .map(|(peer, minimum)| Samples::new(workload, peer, vec![minimum]))
            .collect();
        let bars = Bars::new(&samples, workload, &peers).unwrap();
        let order: Vec<_> = bars.bars.iter().map(|(samples, length)| (samples.peer, *length)).collect();
        let expected =
            [(PeerId::System, 0.25), (PeerId::Threaded, 0.5), (PeerId::Mimalloc, 1.0), (PeerId::Dlmalloc, 2.0)];
        assert_eq!(order, expected);

        let folder = env::temp_dir();
        write_charts(&samples, &peers, &folder).unwrap();
        let path = folder.join("pairs.svg");
        let drawn = fs::read_to_string(&path).unwrap();
        fs::remove_file(path).unwrap();
        assert!(drawn.contains("mallocstate threaded") && drawn.contains("0.50 ×"), "{drawn}");
    }
}
