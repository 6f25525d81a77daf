//! Draws a report: latency by percentile, and the timeline of the measurement.

use std::error::Error;
use std::fs::OpenOptions;
use std::ops::Range;
use std::path::Path;

use plotters::chart::SeriesLabelPosition::{self, LowerLeft, UpperLeft};
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::latency::Latency;
use crate::quantity::{Count, Nanos};
use crate::report::{Report, Section};
use crate::tally::Moment;

const SIZE: (u32, u32) = (1000, 900);
const COLOURS: [RGBColor; 6] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(148, 103, 189),
    RGBColor(255, 127, 14),
    RGBColor(23, 190, 207),
];

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A line of a chart.
struct Line {
    title: String,
    points: Vec<(f64, f64)>,
}

/// Creates the file before the run: a path that cannot be written fails at once.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn create(path: &Path) -> Result {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map(drop).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Draws the reports into an SVG file: the distributions of all, the timeline of the first.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn draw(reports: &[&Report], path: &Path) -> Result {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let areas = root.split_evenly((3, 1));
    let sections: Vec<(String, &Section)> =
        reports.iter().flat_map(|report| titled(report)).collect();
    let distributions = sections.iter().filter_map(|(title, section)| {
        let latency = section.latency.as_ref()?;
        Some(Line { title: title.clone(), points: distribution(latency) })
    });
    let rates = sections.iter().map(|(title, section)| Line {
        title: format!("{title}, {}/s", section.units),
        points: points(&section.timeline, |moment| moment.rate),
    });
    let tails = sections.iter().flat_map(|(title, section)| {
        let line = |name: &str, value: fn(&Moment) -> f64| Line {
            title: format!("{title} {name}"),
            points: points(&section.timeline, value),
        };
        [
            line("p50", |moment| moment.p50_nanos as f64),
            line("p99", |moment| moment.p99_nanos as f64),
        ]
    });
    let percentile = |x: &f64| {
        let digits = (x.ceil() as usize).saturating_sub(2);
        format!("{:.digits$} %", 100.0 * (1.0 - 0.1_f64.powf(*x)))
    };
    let seconds = |x: &f64| format!("{x:.1} s");
    let nanos = |y: &f64| Nanos(*y).to_string();
    let count = |y: &f64| Count(*y as u64).to_string();
    chart(
        &areas[0],
        "latency by percentile",
        distributions.collect(),
        &percentile,
        &nanos,
        UpperLeft,
    )?;
    chart(&areas[1], "rate", rates.collect(), &seconds, &count, LowerLeft)?;
    chart(&areas[2], "latency over time", tails.collect(), &seconds, &nanos, UpperLeft)?;
    root.present()?;
    Ok(())
}

/// The sections to draw, with their titles.
fn titled(report: &Report) -> Vec<(String, &Section)> {
    if report.parts.is_empty() {
        return vec![(report.url.clone(), &report.total)];
    }
    report.parts.iter().map(|part| (part.name.clone(), part)).collect()
}

/// Latency by the number of nines of the percentile.
fn distribution(latency: &Latency) -> Vec<(f64, f64)> {
    let nines = |quantile: f64| -(1.0 - quantile).log10();
    latency.distribution.iter().map(|(at, nanos)| (nines(*at), *nanos as f64)).collect()
}

fn points(timeline: &[Moment], value: fn(&Moment) -> f64) -> Vec<(f64, f64)> {
    timeline.iter().map(|moment| (moment.seconds, value(moment))).collect()
}

/// From 0 to slightly above the largest value.
fn range(values: impl Iterator<Item = f64>) -> Range<f64> {
    let largest = values.fold(0.0, f64::max);
    0.0..if largest > 0.0 { 1.05 * largest } else { 1.0 }
}

fn chart(
    area: &Area<'_>,
    title: &str,
    lines: Vec<Line>,
    show_x: &dyn Fn(&f64) -> String,
    show_y: &dyn Fn(&f64) -> String,
    legend: SeriesLabelPosition,
) -> Result {
    let all = || lines.iter().flat_map(|line| &line.points);
    let (xs, ys) = (range(all().map(|point| point.0)), range(all().map(|point| point.1)));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(80)
        .build_cartesian_2d(xs, ys)?;
    chart
        .configure_mesh()
        .x_labels(7)
        .x_label_formatter(show_x)
        .y_label_formatter(show_y)
        .light_line_style(WHITE)
        .draw()?;
    for (line, colour) in lines.into_iter().zip(COLOURS.iter().cycle()) {
        chart
            .draw_series(LineSeries::new(line.points, colour))?
            .label(line.title)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
    }
    chart.configure_series_labels().position(legend).background_style(WHITE.mix(0.8)).draw()?;
    Ok(())
}
