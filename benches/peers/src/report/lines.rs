//! Lines for the eye: how cost grows as the work grows, both axes in powers of ten. Flat is good.

use std::error::Error;
use std::path::Path;

use plotters::backend::SVGBackend;
use plotters::chart::{ChartBuilder, SeriesLabelPosition};
use plotters::coord::combinators::IntoLogRange;
use plotters::drawing::IntoDrawingArea;
use plotters::element::{Circle, PathElement};
use plotters::series::LineSeries;
use plotters::style::{BLACK, Color, WHITE};

use super::colors;
use crate::peers::PeerId;

/// One peer's points: amount of work, and nanoseconds per operation.
#[derive(Clone, Debug)]
pub struct Line {
    /// Whose points they are.
    pub peer: PeerId,
    /// In the order of the amounts.
    pub points: Vec<(u64, f64)>,
}

/// One chart.
#[derive(Clone, Debug)]
pub struct Lines {
    /// A word that a file can have for a name.
    pub name: &'static str,
    /// What an operation is.
    pub title: String,
    /// What grows.
    pub amount: &'static str,
    /// A line for each peer.
    pub lines: Vec<Line>,
}

/// The ends of what some values span, apart from each other.
fn span(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (least, most) =
        values.fold((f64::INFINITY, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
    (least > 0.0 && least <= most).then(|| (least, most.max(least * 1.01)))
}

/// Writes one chart, named after it. Nothing is written where there are no points.
///
/// # Errors
///
/// Where the file cannot be written.
pub fn write_lines(chart: &Lines, folder: &Path) -> Result<(), Box<dyn Error>> {
    let points = || chart.lines.iter().flat_map(|line| &line.points);
    let (Some(amounts), Some(times)) =
        (span(points().map(|point| point.0 as f64)), span(points().map(|point| point.1)))
    else {
        return Ok(());
    };
    let path = folder.join(format!("scaling-{}.svg", chart.name));
    let area = SVGBackend::new(&path, (960, 560)).into_drawing_area();
    area.fill(&WHITE)?;
    let (amounts, times) = ((amounts.0..amounts.1).log_scale(), (times.0 / 1.5..times.1 * 1.5).log_scale());
    let mut drawn = ChartBuilder::on(&area)
        .caption(&chart.title, ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(46)
        .y_label_area_size(64)
        .build_cartesian_2d(amounts, times)?;
    drawn.configure_mesh().x_desc(chart.amount).y_desc("ns per operation").draw()?;
    for line in &chart.lines {
        let width = if line.peer.is_ours() { 3 } else { 1 };
        let color = colors::of_peer(line.peer);
        let style = color.stroke_width(width);
        let points: Vec<_> = line.points.iter().map(|&(amount, time)| (amount as f64, time)).collect();
        drawn
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(line.peer.to_string())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        drawn.draw_series(points.into_iter().map(|point| Circle::new(point, 2 + width, color.filled())))?;
    }
    drawn
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(area.present()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_never_empty() {
        assert_eq!(span([3.0, 1.0, 2.0].into_iter()), Some((1.0, 3.0)));
        assert!(span([5.0].into_iter()).is_some_and(|(least, most)| least < most));
        assert_eq!(span([].into_iter()), None);
    }
}
