//! Rounds, figures and rows.
//!
//! Contestants take turns (A B C A B C): a machine that gets slower meanwhile slows all of them.
//! A ratio is the median of the ratios of each turn, not the ratio of the medians.

use std::time::{Duration, Instant};

/// How large and how long.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    pub rounds: usize,
    pub round: Duration,
    /// Instances: 1 thousand, 100 thousand and 1 million in a full run.
    pub few: usize,
    pub many: usize,
    pub million: usize,
    /// Smoke: nothing is judged.
    pub quick: bool,
}

impl Scale {
    pub const FULL: Scale = Scale {
        rounds: 7,
        round: Duration::from_millis(400),
        few: 1_000,
        many: 100_000,
        million: 1_000_000,
        quick: false,
    };
    pub const QUICK: Scale = Scale {
        rounds: 2,
        round: Duration::from_millis(5),
        few: 100,
        many: 500,
        million: 2_000,
        quick: true,
    };
}

/// Several measurements of one thing.
#[derive(Debug, Clone, Default)]
pub struct Samples(pub Vec<f64>);

impl Samples {
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[n / 2],
            n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
        }
    }

    pub fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// Round by round, this one against the other.
    pub fn ratios(&self, other: &Samples) -> Samples {
        Samples(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect())
    }
}

impl From<f64> for Samples {
    fn from(value: f64) -> Samples {
        Samples(vec![value])
    }
}

/// Lets the contestants take turns, a warm-up turn first.
pub fn take_turns<const N: usize>(
    scale: &Scale,
    mut contestants: [&mut dyn FnMut(Duration) -> f64; N],
) -> [Samples; N] {
    let mut samples = [const { Samples(Vec::new()) }; N];
    for contestant in &mut contestants {
        contestant(scale.round / 2);
    }
    for round in 0..scale.rounds {
        for i in 0..N {
            // Each comes first as often as last.
            let i = if round % 2 == 0 { i } else { N - 1 - i };
            samples[i].0.push(contestants[i](scale.round));
        }
    }
    samples
}

/// Repeats `work` for about `time` and returns how often per second it ran.
pub fn per_second(time: Duration, between_looks: u64, mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut done = 0u64;
    loop {
        for _ in 0..between_looks {
            work();
        }
        done += between_looks;
        let elapsed = start.elapsed();
        if elapsed >= time {
            return done as f64 / elapsed.as_secs_f64();
        }
    }
}

/// What several threads did together.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    pub per_second: f64,
    /// As if each thread had a processor of its own: the sum of what each did in the time it ran.
    pub per_processor_second: f64,
}

/// As [`per_second`] on several threads at once; each makes its work before the clock starts.
pub fn speed_on<W: FnMut() -> u64>(
    threads: usize,
    time: Duration,
    make: impl Fn(usize) -> W + Sync,
) -> Speed {
    let barrier = std::sync::Barrier::new(threads);
    let speed_of = |thread| {
        let mut work = make(thread);
        barrier.wait();
        let (start, processor) = (Instant::now(), processor_seconds());
        let mut done = 0;
        while start.elapsed() < time {
            done += work();
        }
        let done = done as f64;
        Speed {
            per_second: done / start.elapsed().as_secs_f64(),
            per_processor_second: done / (processor_seconds() - processor),
        }
    };
    std::thread::scope(|scope| {
        let speed_of = &speed_of;
        let handles: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || speed_of(thread))).collect();
        let speeds: Vec<Speed> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
        Speed {
            per_second: speeds.iter().map(|speed| speed.per_second).sum(),
            per_processor_second: speeds.iter().map(|speed| speed.per_processor_second).sum(),
        }
    })
}

pub fn per_second_on<W: FnMut() -> u64>(
    threads: usize,
    time: Duration,
    make: impl Fn(usize) -> W + Sync,
) -> f64 {
    speed_on(threads, time, make).per_second
}

/// How long this thread ran on a processor so far; the first number of `schedstat`.
pub fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// What the system counts as resident of a process, by its file `status`.
pub fn resident_bytes(status: &str) -> f64 {
    let status = std::fs::read_to_string(status).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap() * 1024.0
}

/// Runs `work` and returns how many seconds it took, with what it returned.
pub fn seconds<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed().as_secs_f64(), result)
}

/// What figures count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    PerSecond,
    Seconds,
    Millis,
    Micros,
    Nanos,
    Bytes,
    /// Times the duration of one sync of the disk.
    Syncs,
    Events,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Unit::PerSecond => format!("{}/s", thousands(value)),
            Unit::Seconds => format!("{value:.2} s"),
            Unit::Millis => format!("{value:.1} ms"),
            Unit::Micros => format!("{value:.1} us"),
            Unit::Nanos => format!("{value:.0} ns"),
            Unit::Bytes => format!("{} B", thousands(value)),
            Unit::Syncs => format!("{value:.1} syncs"),
            Unit::Events => thousands(value),
        }
    }
}

/// A rounded number with separators: three digits are more than these figures are good for.
fn thousands(value: f64) -> String {
    let step = 10f64.powf((value.abs().max(1.0).log10().floor() - 2.0).max(0.0));
    let digits = format!("{:.0}", (value / step).round() * step);
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What a row is held to.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// None: the row is there to compare with.
    Reported,
    RatioAtLeast(f64),
    RatioAtMost(f64),
    AtLeast(f64),
    AtMost(f64),
}

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Row {
    pub case: String,
    pub unit: Unit,
    pub ours: Samples,
    pub peer: Option<(String, Samples)>,
    /// Ours against the peer, turn by turn.
    pub ratio: Option<Samples>,
    pub goal: Goal,
}

impl Row {
    pub fn new(case: impl Into<String>, unit: Unit, ours: impl Into<Samples>) -> Row {
        Row {
            case: case.into(),
            unit,
            ours: ours.into(),
            peer: None,
            ratio: None,
            goal: Goal::Reported,
        }
    }

    #[must_use]
    pub fn against(mut self, peer: impl Into<String>, samples: &Samples) -> Row {
        self.ratio = Some(self.ours.ratios(samples));
        self.peer = Some((peer.into(), samples.clone()));
        self
    }

    /// As [`Row::against`] where a ratio means nothing.
    #[must_use]
    pub fn beside(mut self, peer: impl Into<String>, samples: &Samples) -> Row {
        self.peer = Some((peer.into(), samples.clone()));
        self
    }

    #[must_use]
    pub fn goal(mut self, goal: Goal) -> Row {
        self.goal = goal;
        self
    }

    /// Whether the goal is met; `None` without one.
    pub fn met(&self) -> Option<bool> {
        let ratio = self.ratio.as_ref().map_or(f64::NAN, Samples::median);
        match self.goal {
            Goal::Reported => None,
            Goal::RatioAtLeast(goal) => Some(ratio >= goal),
            Goal::RatioAtMost(goal) => Some(ratio <= goal),
            Goal::AtLeast(goal) => Some(self.ours.median() >= goal),
            Goal::AtMost(goal) => Some(self.ours.median() <= goal),
        }
    }

    fn figure(&self, samples: &Samples) -> String {
        let median = self.unit.show(samples.median());
        if samples.0.len() < 2 {
            return median;
        }
        let bare = |value: f64| {
            let text = self.unit.show(value);
            text.trim_end_matches(|c: char| !c.is_ascii_digit()).to_owned()
        };
        format!("**{median}** ({} to {})", bare(samples.min()), bare(samples.max()))
    }

    fn goal_text(&self) -> String {
        match self.goal {
            Goal::Reported => "-".to_owned(),
            Goal::RatioAtLeast(goal) => format!("at least {goal}x"),
            Goal::RatioAtMost(goal) => format!("at most {goal}x"),
            Goal::AtLeast(goal) => format!("at least {}", self.unit.show(goal)),
            Goal::AtMost(goal) => format!("at most {}", self.unit.show(goal)),
        }
    }

    /// The row as Markdown.
    pub fn markdown(&self, quick: bool) -> String {
        let peer = self
            .peer
            .as_ref()
            .map_or("-".to_owned(), |(name, samples)| format!("{name}: {}", self.figure(samples)));
        let ratio =
            self.ratio.as_ref().map_or("-".to_owned(), |ratio| format!("{:.2}x", ratio.median()));
        let verdict = match self.met() {
            _ if quick => "-",
            None => "-",
            Some(true) => "met",
            Some(false) => "**missed**",
        };
        format!(
            "| {} | {} | {peer} | {ratio} | {} | {verdict} |",
            self.case,
            self.figure(&self.ours),
            self.goal_text()
        )
    }
}

/// Rows that belong together.
#[derive(Debug)]
pub struct Section {
    pub title: &'static str,
    pub rows: Vec<Row>,
}

impl Section {
    /// The section as Markdown.
    pub fn markdown(&self, quick: bool) -> String {
        let mut text = format!(
            "### {}\n\n| Case | rstmdb | Peer | Ratio | Goal | |\n|---|---|---|---|---|---|\n",
            self.title
        );
        for row in &self.rows {
            text.push_str(&row.markdown(quick));
            text.push('\n');
        }
        text
    }
}
