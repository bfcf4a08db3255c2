//! The metrics as `OpenMetrics` text, for Prometheus to scrape.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::telemetry::cell::HistogramTotals;

/// The media type of [`Exposition::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of a server. What is exposed is read at each scrape, by the function that the composition root gives.
pub struct Exposition {
    registry: Registry,
    /// The length of the longest text so far, in bytes.
    text_bytes: AtomicUsize,
}

impl Exposition {
    /// Exposes what `families` answers at each scrape.
    pub fn new(families: impl Fn() -> Vec<Family> + Send + Sync + 'static) -> Self {
        let mut registry = Registry::with_prefix("tessera");
        registry.register_collector(Box::new(Scrape(Box::new(families))));
        Self { registry, text_bytes: AtomicUsize::new(0) }
    }

    /// The text of a scrape.
    ///
    /// # Errors
    ///
    /// None in practice: writing to a `String` does not fail.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(self.text_bytes.load(Ordering::Relaxed));
        text::encode(&mut text, &self.registry)?;
        self.text_bytes.fetch_max(text.len(), Ordering::Relaxed);
        Ok(text)
    }
}

/// One metric with all of its label values.
pub struct Family {
    /// Its name, without the prefix `tessera_` and without the unit.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// In which unit, if it has one.
    pub unit: Option<Unit>,
    /// Its values by label.
    pub points: Points,
}

/// Labels, as names and values.
pub type Labels = Vec<(&'static str, String)>;

/// The values of a metric.
pub enum Points {
    /// Sums that only grow.
    Counters(Vec<(Labels, u64)>),
    /// Numbers that go up and down.
    Gauges(Vec<(Labels, f64)>),
    /// Distributions. The factor turns the unit of the observations into that of the metric.
    Histograms(Scale, Vec<(Labels, HistogramTotals)>),
}

/// What the observations of a histogram are.
#[derive(Clone, Copy, Debug)]
pub enum Scale {
    /// Nanoseconds, exposed as seconds from 1 µs to 69 s.
    Nanoseconds,
    /// Bytes or things, exposed as they are up to 2^20.
    Plain,
}

impl Scale {
    const fn factor(self) -> f64 {
        match self {
            Self::Nanoseconds => 1e-9,
            Self::Plain => 1.0,
        }
    }

    /// The bit lengths that get a bucket of their own.
    const fn bits(self) -> RangeInclusive<usize> {
        match self {
            Self::Nanoseconds => 10..=36,
            Self::Plain => 0..=20,
        }
    }
}

struct Scrape(Box<dyn Fn() -> Vec<Family> + Send + Sync>);

impl fmt::Debug for Scrape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Scrape(..)")
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for Family { name, help, unit, points } in (self.0)() {
            let kind = match points {
                Points::Counters(_) => MetricType::Counter,
                Points::Gauges(_) => MetricType::Gauge,
                Points::Histograms(..) => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(name, help, unit.as_ref(), kind)?;
            encode_points(&mut metric, points)?;
        }
        Ok(())
    }
}

fn encode_points(metric: &mut MetricEncoder<'_>, points: Points) -> Result<(), fmt::Error> {
    match points {
        Points::Counters(counters) => counters
            .into_iter()
            .try_for_each(|(labels, value)| ConstCounter::new(value).encode(metric.encode_family(&labels)?)),
        Points::Gauges(gauges) => gauges
            .into_iter()
            .try_for_each(|(labels, value)| ConstGauge::new(value).encode(metric.encode_family(&labels)?)),
        Points::Histograms(scale, histograms) => histograms.into_iter().try_for_each(|(labels, totals)| {
            let sum = as_f64(totals.sum) * scale.factor();
            let buckets = buckets(scale, &totals);
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, totals.count(), &buckets, None)
        }),
    }
}

/// The buckets as pairs of upper bound and count. What is below the first bound counts there.
fn buckets(scale: Scale, totals: &HistogramTotals) -> Vec<(f64, u64)> {
    let mut buckets = Vec::new();
    let mut count = 0;
    let mut bound = scale.factor();
    for (bits, observed) in totals.buckets.iter().enumerate() {
        count += observed;
        if scale.bits().contains(&bits) {
            buckets.push((bound, std::mem::take(&mut count)));
        }
        bound *= 2.0;
    }
    buckets.push((f64::MAX, count));
    buckets
}

#[expect(clippy::cast_precision_loss, reason = "a sum of nanoseconds is shown, not calculated with")]
const fn as_f64(value: u64) -> f64 {
    value as f64
}
