//! Chooses the text format of a response by the `Accept` fields of its request (RFC 9110, 12.5.1).

/// A text format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus text 0.0.4, which every scraper can read.
    Prometheus,
    /// OpenMetrics text 1.0.0, for clients that request it.
    OpenMetrics,
}

impl Format {
    /// OpenMetrics if the client names it and does not prefer plain text.
    pub(super) fn of<'a>(accept: impl Iterator<Item = &'a str>) -> Format {
        let (mut open_metrics, mut prometheus) = (0, 0);
        for range in accept.flat_map(|field| field.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let quality = quality(parts);
            if media.eq_ignore_ascii_case("application/openmetrics-text") {
                open_metrics = open_metrics.max(quality);
            } else if ["text/plain", "text/*"].iter().any(|text| media.eq_ignore_ascii_case(text)) {
                prometheus = prometheus.max(quality);
            }
        }
        if open_metrics > 0 && open_metrics >= prometheus {
            Format::OpenMetrics
        } else {
            Format::Prometheus
        }
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The weight of a media range in thousandths: 1000 by default, 0 if malformed.
fn quality<'a>(mut parameters: impl Iterator<Item = &'a str>) -> u32 {
    let weight = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.eq_ignore_ascii_case("q").then_some(value)
    });
    let Some(weight) = weight else {
        return 1000;
    };
    match weight.parse::<f32>() {
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0) as u32,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_sent_only_on_request() {
        let format = |fields: &[&str]| Format::of(fields.iter().copied());
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
                          application/openmetrics-text;version=0.0.1;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for fields in [
            &["application/openmetrics-text"][..],
            &["Application/OpenMetrics-Text; version=1.0.0"],
            &["text/plain;q=0.5", "application/openmetrics-text;q=0.5"],
            &[prometheus],
        ] {
            assert_eq!(format(fields), Format::OpenMetrics, "{fields:?}");
        }
        for fields in [
            &[][..],
            &["*/*"],
            &["text/html, */*;q=0.8"],
            &["text/plain; version=0.0.4"],
            &["application/openmetrics-text;q=0"],
            &["application/openmetrics-text;q=0.4, text/plain;q=0.5"],
            &["application/openmetrics-text;q=NaN"],
            &["application/*"],
            &["application/openmetrics-texts, application/json"],
        ] {
            assert_eq!(format(fields), Format::Prometheus, "{fields:?}");
        }
    }
}
