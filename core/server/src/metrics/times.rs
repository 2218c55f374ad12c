//! Histograms of times that many threads add to at once, each to a stripe of its own: nothing that two threads write
//! for a request is on one cache line. Whoever collects them adds up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::IntCounter;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Histogram, LabelPair, Metric, MetricFamily, MetricType};

/// The upper bounds of the buckets, in microseconds: the nine that dashboards know, and finer and coarser ones.
const BOUNDS_US: [u32; 17] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];
/// Threads beyond so many share a stripe with others.
const STRIPES: usize = 16;

/// What some threads counted.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe {
    /// By bucket; the last is for what is beyond all bounds.
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    nanos: AtomicU64,
}

fn stripe() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static STRIPE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES;
    }
    STRIPE.try_with(|stripe| *stripe).unwrap_or_default()
}

/// How often something took how long.
#[derive(Debug, Default)]
pub struct Times([OnceLock<Box<Stripe>>; STRIPES]);

impl Times {
    /// Counts a time.
    pub fn record(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| u64::from(*bound) * 1_000 < nanos);
        let Some(stripe) = self.0.get(stripe()) else { return };
        let stripe = stripe.get_or_init(Box::default);
        if let Some(count) = stripe.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        stripe.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Counts a time in seconds.
    pub fn observe(&self, seconds: f64) {
        self.record(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    }

    fn stripes(&self) -> impl Iterator<Item = &Stripe> {
        self.0.iter().filter_map(|stripe| stripe.get().map(|stripe| &**stripe))
    }

    /// How many were counted.
    pub fn get_sample_count(&self) -> u64 {
        let counts = self.stripes().flat_map(|stripe| &stripe.counts);
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// How long they took together, in seconds.
    pub fn get_sample_sum(&self) -> f64 {
        let nanos = self.stripes().map(|stripe| stripe.nanos.load(Ordering::Relaxed));
        nanos.map(|nanos| Duration::from_nanos(nanos).as_secs_f64()).sum()
    }

    fn histogram(&self) -> Histogram {
        let mut counts = [0; BOUNDS_US.len() + 1];
        for stripe in self.stripes() {
            for (all, own) in counts.iter_mut().zip(&stripe.counts) {
                *all += own.load(Ordering::Relaxed);
            }
        }
        let mut below = 0;
        let buckets = BOUNDS_US.iter().zip(counts).map(|(bound, count)| {
            below += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(f64::from(*bound) / 1e6);
            bucket.set_cumulative_count(below);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(counts.iter().sum());
        histogram.set_sample_sum(self.get_sample_sum());
        histogram
    }
}

/// Requests of one operation: those that took some time, and elements of batches, which have none of their own.
#[derive(Debug)]
pub struct Requests {
    timed: Arc<Times>,
    others: IntCounter,
}

impl Requests {
    pub(super) fn new(timed: &Arc<Times>) -> prometheus::Result<Requests> {
        // It is collected with the others, not by itself.
        let others = IntCounter::new("others", "Requests without a time of their own")?;
        Ok(Requests { timed: timed.clone(), others })
    }

    /// Counts one without a time.
    pub fn inc(&self) {
        self.others.inc();
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.others.get() + self.timed.get_sample_count()
    }
}

/// A family of metrics, one for each value of a label, as Prometheus collects it.
pub(super) struct Family<T> {
    desc: Desc,
    label: Option<&'static str>,
    kind: MetricType,
    all: Vec<(String, Arc<T>)>,
    show: fn(&T, &mut Metric),
}

impl<T> Family<T> {
    fn new(
        (name, help): (&str, &str),
        label: Option<&'static str>,
        kind: MetricType,
        all: Vec<(String, Arc<T>)>,
        show: fn(&T, &mut Metric),
    ) -> prometheus::Result<Family<T>> {
        let labels = label.into_iter().map(str::to_owned).collect();
        let desc = Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new())?;
        Ok(Family { desc, label, kind, all, show })
    }
}

/// A family of times; without a label it has one member.
pub(super) fn of_times(
    name_and_help: (&str, &str),
    label: Option<&'static str>,
    all: Vec<(String, Arc<Times>)>,
) -> prometheus::Result<Family<Times>> {
    let show = |times: &Times, metric: &mut Metric| metric.set_histogram(times.histogram());
    Family::new(name_and_help, label, MetricType::HISTOGRAM, all, show)
}

/// A family of counts of requests.
pub(super) fn of_requests(
    name_and_help: (&str, &str),
    label: &'static str,
    all: Vec<(String, Arc<Requests>)>,
) -> prometheus::Result<Family<Requests>> {
    let show = |requests: &Requests, metric: &mut Metric| {
        let mut counter = Counter::default();
        counter.set_value(requests.get() as f64);
        metric.set_counter(counter);
    };
    Family::new(name_and_help, Some(label), MetricType::COUNTER, all, show)
}

impl<T: Send + Sync> Collector for Family<T> {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let metrics = self.all.iter().map(|(value, of)| {
            let pairs = self.label.map(|label| {
                let mut pair = LabelPair::default();
                pair.set_name(label.to_owned());
                pair.set_value(value.clone());
                pair
            });
            let mut metric = Metric::from_label(pairs.into_iter().collect());
            (self.show)(of, &mut metric);
            metric
        });
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(self.kind);
        family.set_metric(metrics.collect());
        vec![family]
    }
}
