//! Expressions made by the grammar of PromQL, as far as both servers know it, and texts that are nearly expressions.

use crate::random::Random;

/// How a query is asked.
#[derive(Clone, Debug)]
pub enum Times {
    /// Milliseconds.
    Instant(i64),
    /// Milliseconds.
    Range { start: i64, end: i64, step: i64 },
}

/// A query, and when it is about.
#[derive(Clone, Debug)]
pub struct Query {
    pub text: String,
    pub times: Times,
}

const METRICS: &[(&str, &[&str])] = &[
    ("requests_total", &["job", "instance", "method", "code"]),
    ("errors_total", &["job", "instance"]),
    ("temperature", &["job", "instance"]),
    ("up", &["job", "instance"]),
    ("level", &["job", "instance"]),
    ("sparse", &["shard"]),
    ("target_info", &["job", "instance", "version", "\"data.center\""]),
    ("{\"süß.metric\"}", &["\"größe\""]),
    ("{\"a.b\"}", &["\"c d\""]),
    ("huge", &["job"]),
    ("tiny", &["job"]),
    ("steady", &["job"]),
    ("mixed", &["job", "instance"]),
    ("latency_bucket", &["job", "instance", "le"]),
    ("latency_sum", &["job", "instance"]),
    ("odd_bucket", &["of", "le"]),
    ("extreme", &["sign", "shift"]),
    ("ranked", &["index", "rank", "tier"]),
    ("native", &["job", "instance"]),
    ("native_gauge", &["job"]),
    ("native_custom", &["job"]),
    ("wide", &["a", "b", "c", "d"]),
    ("missing", &["job"]),
];

const LABELS: &[&str] =
    &["job", "instance", "method", "code", "a", "b", "c", "d", "le", "version", "\"c d\"", "nope", "__name__", "rank"];
const MATCHERS: &[&str] = &[
    "job=\"api\"",
    "job!=\"api\"",
    "job=~\"a.*|web\"",
    "job!~\"we.+\"",
    "instance=\"a:80\"",
    "instance=~\"[ab]:80\"",
    "instance!~\".*c.*\"",
    "job=\"\"",
    "job!=\"\"",
    "a=\"1\"",
    "b=~\"b[0-2]\"",
    "d=\"set\"",
    "d=\"\"",
    "code=~\"5..\"",
    "method=~\"(?i)GET\"",
    "le=\"0.5\"",
    "le=~\"1|5|.Inf\"",
    "\"c d\"=\"🦍\"",
    "nope=~\".*\"",
    "nope=~\".+\"",
];
const RANGES: &[&str] =
    &["15s", "30s", "1m", "2m", "3m30s", "5m", "10m", "17m", "90", "14s999ms", "1m*2", "(30s + 45s)"];
const OFFSETS: &[&str] = &["1m", "-1m", "30s", "5m", "7s", "-20m", "1h", "0s"];
const OVER_TIME: &[&str] = &[
    "rate",
    "increase",
    "delta",
    "irate",
    "idelta",
    "deriv",
    "changes",
    "resets",
    "avg_over_time",
    "sum_over_time",
    "min_over_time",
    "max_over_time",
    "count_over_time",
    "last_over_time",
    "present_over_time",
    "absent_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "mad_over_time",
    "ts_of_max_over_time",
    "ts_of_min_over_time",
    "ts_of_last_over_time",
    "rate",
    "increase",
];
const MATH: &[&str] = &[
    "abs", "ceil", "floor", "exp", "sqrt", "ln", "log2", "log10", "sgn", "sin", "cos", "tan", "asin", "acos", "atan",
    "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "deg", "rad", "round",
];
const OF_TIME: &[&str] =
    &["timestamp", "hour", "minute", "month", "year", "day_of_week", "day_of_month", "day_of_year", "days_in_month"];
const OF_HISTOGRAMS: &[&str] =
    &["histogram_count", "histogram_sum", "histogram_avg", "histogram_stddev", "histogram_stdvar"];
const NUMBERS: &[&str] =
    &["0", "1", "2", "0.5", "-1", "3.25", "1e3", "100", "Inf", "-Inf", "NaN", "0x10", "1_000", "5m", "-0.1", "1e-3"];
const ARITHMETIC: &[&str] = &["+", "-", "*", "/", "%", "^", "atan2"];
const COMPARISONS: &[&str] = &["==", "!=", ">", "<", ">=", "<="];

/// Makes queries. The same for the same seed.
pub struct Grammar {
    random: Random,
    /// Whether what is made is evaluated at more than one step. There Prometheus has computed vectors in random order.
    many_steps: bool,
}

impl Grammar {
    pub fn new(random: Random) -> Self {
        Self { random, many_steps: false }
    }

    pub fn query(&mut self, start_ms: i64, length_ms: i64) -> Query {
        let times = self.times(start_ms, length_ms);
        self.many_steps = matches!(times, Times::Range { .. });
        let depth = 1 + self.random.below(4) as u32;
        let mut text = match self.random.below(40) {
            0 => self.scalar(depth),
            1 => self.matrix(),
            2 => self.string(),
            _ => self.vector(depth),
        };
        if self.random.once_in(8) {
            text = self.broken(&text);
        }
        Query { text, times }
    }

    fn times(&mut self, start_ms: i64, length_ms: i64) -> Times {
        let at = start_ms - 120_000 + self.random.below((length_ms + 600_000) as u64) as i64;
        // Often where samples are.
        let at = if self.random.once_in(2) { at / 15_000 * 15_000 } else { at };
        if self.random.once_in(2) {
            return Times::Instant(at);
        }
        let step = [1_000, 7_000, 15_000, 30_000, 60_000, 61_500, 300_000][self.random.below(7) as usize];
        let steps = self.random.below(60) as i64;
        Times::Range { start: at, end: at + steps * step + self.random.below(2) as i64 * 500, step }
    }

    fn selector(&mut self) -> String {
        let (name, labels) = METRICS[self.random.below(METRICS.len() as u64) as usize];
        let mut matchers: Vec<String> = Vec::new();
        while self.random.once_in(3) {
            matchers.push(self.random.pick(MATCHERS).to_owned());
        }
        if self.random.once_in(6) {
            matchers.push(format!("{}!=\"x\"", self.random.pick(labels)));
        }
        match (name.strip_prefix('{'), self.random.below(12)) {
            (None, 0) => format!("{{__name__=\"{name}\"{}}}", prefixed(&matchers)),
            (None, 1) => format!("{{__name__=~\"{name}|up\"{}}}", prefixed(&matchers)),
            (None, 2) => format!("{{\"{name}\"{}}}", prefixed(&matchers)),
            (None, _) if matchers.is_empty() => name.to_owned(),
            (None, _) => format!("{name}{{{}}}", matchers.join(",")),
            (Some(quoted), _) => format!("{{{}{}}}", quoted.trim_end_matches('}'), prefixed(&matchers)),
        }
    }

    /// A selector of series that info metrics may describe.
    fn described(&mut self) -> String {
        let selector = self.selector();
        if selector.contains("target_info") && !self.random.once_in(20) { "up".into() } else { selector }
    }

    fn modifiers(&mut self) -> String {
        let offset =
            if self.random.once_in(5) { format!(" offset {}", self.random.pick(OFFSETS)) } else { String::new() };
        let at = match self.random.below(14) {
            0 => " @ start()".to_owned(),
            1 => " @ end()".to_owned(),
            2 => format!(" @ {}", 1_699_999_200 + self.random.below(4500)),
            _ => String::new(),
        };
        if self.random.once_in(2) { at + &offset } else { offset + &at }
    }

    fn matrix(&mut self) -> String {
        let range = self.random.pick(RANGES);
        format!("{}[{range}]{}", self.selector(), self.modifiers())
    }

    fn ranged(&mut self, depth: u32) -> String {
        if depth == 0 || !self.random.once_in(5) {
            return self.matrix();
        }
        let step = self.random.pick(&["", "10s", "15s", "37s", "1m", "2m"]);
        let range = self.random.pick(&["1m", "5m", "12m", "30m"]);
        let outside = std::mem::replace(&mut self.many_steps, true);
        let inner = self.vector(depth - 1);
        self.many_steps = outside;
        let inner = if self.random.once_in(2) { format!("({inner})") } else { format!("abs({inner})") };
        format!("{inner}[{range}:{step}]{}", self.modifiers())
    }

    fn string(&mut self) -> String {
        self.random.pick(&["\"text\"", "'it\\'s'", "`raw\\n`", "\"\\u00fc\\x41\\n\""]).to_owned()
    }

    fn number(&mut self) -> String {
        self.random.pick(NUMBERS).to_owned()
    }

    fn scalar(&mut self, depth: u32) -> String {
        if depth == 0 {
            return self.number();
        }
        match self.random.below(9) {
            0 => "time()".into(),
            1 => "pi()".into(),
            2 => format!("scalar({})", self.vector(depth - 1)),
            3 => {
                let op = self.random.pick(ARITHMETIC);
                format!("({} {op} {})", self.scalar(depth - 1), self.scalar(depth - 1))
            }
            4 => {
                let op = self.random.pick(COMPARISONS);
                format!("({} {op} bool {})", self.scalar(depth - 1), self.scalar(depth - 1))
            }
            5 => format!("-{}", self.scalar(depth - 1)),
            _ => self.number(),
        }
    }

    fn labels(&mut self) -> String {
        let mut out = Vec::new();
        while self.random.below(3) > 0 && out.len() < 3 {
            out.push(*LABELS.get(self.random.below(LABELS.len() as u64) as usize).expect("an index below the length"));
        }
        out.join(", ")
    }

    fn grouping(&mut self) -> String {
        match self.random.below(5) {
            0 => String::new(),
            1 => format!(" without ({})", self.labels()),
            _ => format!(" by ({})", self.labels()),
        }
    }

    fn aggregate(&mut self, depth: u32) -> String {
        let grouping = self.grouping();
        let inner = self.vector(depth - 1);
        // Of equal values any may be chosen; for selectors it is known which.
        let chosen = format!("{}{}", self.selector(), self.modifiers());
        let (head, args) = match self.random.below(20) {
            0 => ("topk", format!("{}, {chosen}", 1 + self.random.below(4))),
            1 => ("bottomk", format!("{}, {chosen}", 1 + self.random.below(4))),
            2 => {
                let quantile = self.random.pick(&["0.5", "0.9", "0", "1", "-1", "2", "NaN", "0.33"]);
                ("quantile", format!("{quantile}, {inner}"))
            }
            // Names of values differ by the last digit of what functions compute.
            3 => ("count_values", format!("\"{}\", {}", self.random.pick(&["value", "job", "a b"]), self.selector())),
            4 => ("limitk", format!("{}, {chosen}", self.random.below(4))),
            5 => ("limit_ratio", format!("{}, {inner}", self.random.pick(&["0.5", "-0.5", "1", "-1", "0", "0.2"]))),
            _ => (
                self.random.pick(&["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar", "sum", "avg"]),
                inner,
            ),
        };
        if self.random.once_in(2) { format!("{head}{grouping} ({args})") } else { format!("{head}({args}){grouping}") }
    }

    fn binary(&mut self, depth: u32) -> String {
        let (left, right) = (self.vector(depth - 1), self.vector(depth - 1));
        match self.random.below(12) {
            0 => format!("{left} {} {}", self.random.pick(ARITHMETIC), self.scalar(depth - 1)),
            1 => format!("{} {} {left}", self.scalar(depth - 1), self.random.pick(ARITHMETIC)),
            2 => {
                let bool = self.random.pick(&["", " bool"]);
                format!("{left} {}{bool} {}", self.random.pick(COMPARISONS), self.scalar(depth - 1))
            }
            3 => format!("{} {} {left}", self.scalar(depth - 1), self.random.pick(COMPARISONS)),
            4 | 5 => {
                let op = self.random.pick(&["and", "or", "unless"]);
                let on = match self.random.below(3) {
                    0 => format!(" on ({})", self.labels()),
                    1 => format!(" ignoring ({})", self.labels()),
                    _ => String::new(),
                };
                format!("{left} {op}{on} {right}")
            }
            6 => {
                // One name on both sides: everything matches itself.
                let same = self.selector();
                let bool = self.random.pick(&["", " bool"]);
                let op = if self.random.once_in(2) {
                    self.random.pick(ARITHMETIC).to_owned()
                } else {
                    format!("{}{bool}", self.random.pick(COMPARISONS))
                };
                format!("{same} {op} {same}{}", self.modifiers())
            }
            7 => {
                let side = self.random.pick(&["left", "right"]);
                let include = self.random.pick(&["", "()", "(version)", "(method, code)"]);
                let op = self.random.pick(ARITHMETIC);
                let (one, many) = (
                    self.random.pick(&["target_info", "up", "sum by (job, instance) (level)", "steady"]),
                    self.random.pick(&["requests_total", "temperature", "rate(requests_total[5m])", "native", "mixed"]),
                );
                let on = self.random.pick(&["on (job, instance)", "on (job)", "ignoring (method, code)"]);
                if side == "left" {
                    format!("{many} {op} {on} group_left{include} {one}")
                } else {
                    format!("{one} {op} {on} group_right{include} {many}")
                }
            }
            _ => {
                let op = if self.random.once_in(3) {
                    format!("{}{}", self.random.pick(COMPARISONS), self.random.pick(&["", " bool"]))
                } else {
                    self.random.pick(ARITHMETIC).to_owned()
                };
                let on = match self.random.below(3) {
                    0 => format!(" on ({})", self.labels()),
                    1 => format!(" ignoring ({})", self.labels()),
                    _ => String::new(),
                };
                format!("{left} {op}{on} {right}")
            }
        }
    }

    fn vector(&mut self, depth: u32) -> String {
        if depth == 0 {
            return format!("{}{}", self.selector(), self.modifiers());
        }
        match self.random.below(30) {
            0..=3 => format!("{}({})", self.random.pick(OVER_TIME), self.ranged(depth - 1)),
            4 => match self.random.below(4) {
                0 => {
                    format!("quantile_over_time({}, {})", self.random.pick(&["0.5", "0.9", "-1", "1.5"]), self.matrix())
                }
                1 => format!("predict_linear({}, {})", self.ranged(depth - 1), self.number()),
                2 => format!(
                    "double_exponential_smoothing({}, {}, {})",
                    self.matrix(),
                    self.random.pick(&["0.1", "0.5", "0.9", "1.5"]),
                    self.random.pick(&["0.1", "0.6", "0"])
                ),
                _ => format!("last_over_time({})", self.ranged(depth - 1)),
            },
            5..=9 => self.aggregate(depth),
            10..=15 => self.binary(depth),
            16 => format!("-{}", self.vector(depth - 1)),
            17 => format!("({})", self.vector(depth - 1)),
            18 => match self.random.below(3) {
                0 => format!("{}(extreme)", self.random.pick(MATH)),
                _ => format!("{}({})", self.random.pick(MATH), self.vector(depth - 1)),
            },
            19 => match self.random.below(4) {
                0 => format!("clamp({}, {}, {})", self.vector(depth - 1), self.number(), self.number()),
                1 => format!("clamp_min({}, {})", self.vector(depth - 1), self.scalar(1)),
                2 => format!("clamp_max({}, {})", self.vector(depth - 1), self.scalar(1)),
                _ => format!("round({}, {})", self.vector(depth - 1), self.random.pick(&["0.1", "5", "0.25", "0"])),
            },
            20 => format!("{}({})", self.random.pick(OF_TIME), self.vector(depth - 1)),
            21 => {
                let (target, source) = (
                    self.random.pick(&["job", "new", "instance", "__name__"]),
                    self.random.pick(&["job", "instance", "b", "__name__"]),
                );
                let (replacement, regex) = (
                    self.random.pick(&["$1", "x-$1", "", "${1}y"]),
                    self.random.pick(&["(.*)", "a(.*)", "(.*):.*", "([a-b]+).*"]),
                );
                format!(
                    "label_replace({}, \"{target}\", \"{replacement}\", \"{source}\", \"{regex}\")",
                    self.vector(depth - 1)
                )
            }
            22 => format!(
                "label_join({}, \"{}\", \"-\", \"job\", \"instance\")",
                self.vector(depth - 1),
                self.random.pick(&["new", "job", "__name__"])
            ),
            23 => {
                let buckets = self.random.pick(&[
                    "latency_bucket",
                    "rate(latency_bucket[5m])",
                    "sum by (le) (rate(latency_bucket[5m]))",
                    "sum by (le, job) (latency_bucket)",
                    "odd_bucket",
                    "sum by (le) (odd_bucket)",
                    "rate(odd_bucket[1m])",
                    "(odd_bucket)",
                    "native",
                    "rate(native[5m])",
                    "sum(rate(native[3m]))",
                    "native_gauge",
                    "native_custom",
                    "increase(native_custom[4m])",
                    "mixed",
                ]);
                // What 3.5 cannot do is asked seldom.
                match self.random.below(3) {
                    0 if !buckets.contains("_bucket") || self.random.once_in(10) => format!(
                        "histogram_fraction({}, {}, {buckets})",
                        self.random.pick(&["0", "-1", "0.2", "-Inf"]),
                        self.random.pick(&["1", "0.5", "Inf", "3"])
                    ),
                    _ => format!(
                        "histogram_quantile({}, {buckets})",
                        self.random.pick(&["0.5", "0.9", "0", "1", "0.99", "-1", "2", "NaN"])
                    ),
                }
            }
            24 => format!("{}({})", self.random.pick(OF_HISTOGRAMS), self.vector(depth - 1)),
            25 => format!("absent({})", self.vector(depth - 1)),
            26 if !self.many_steps || self.random.once_in(40) => match self.random.below(4) {
                0 => format!("sort({})", self.vector(depth - 1)),
                1 => format!("sort_desc({})", self.vector(depth - 1)),
                // Where a label is missing the order depends on that of the operand, which is known for these.
                which => {
                    let inner = self.random.pick(&[
                        "ranked",
                        "ranked{index=~\"1.*\"}",
                        "-ranked",
                        "ranked > 4",
                        "sum by (rank, tier) (ranked)",
                        "rate(ranked[1m])",
                        "wide",
                        "abs(wide{a=\"1\"})",
                        "{__name__=~\"level|huge|steady\"}",
                    ]);
                    let labels = self.random.pick(&[
                        "\"rank\"",
                        "\"rank\", \"index\"",
                        "\"tier\", \"rank\"",
                        "\"d\", \"b\"",
                        "\"instance\", \"job\"",
                    ]);
                    format!("sort_by_label{}({inner}, {labels})", if which == 2 { "" } else { "_desc" })
                }
            },
            27 => format!("vector({})", self.scalar(depth - 1)),
            28 if self.random.once_in(2) => format!(
                "info({}{})",
                self.described(),
                self.random.pick(&["", ", {version=~\".+\"}", ", {\"data.center\"=\"eu\"}"])
            ),
            _ => format!("{}{}", self.selector(), self.modifiers()),
        }
    }

    /// A text that is like `text` and most probably no expression.
    fn broken(&mut self, text: &str) -> String {
        let characters: Vec<char> = text.chars().collect();
        let at = self.random.below(characters.len() as u64) as usize;
        let (before, after): (String, String) = (characters[..at].iter().collect(), characters[at..].iter().collect());
        match self.random.below(8) {
            0 => before,
            1 => after,
            2 => before + after.get(after.chars().next().map_or(0, char::len_utf8)..).unwrap_or_default(),
            3 => {
                let stray = self.random.pick(&[
                    "(", ")", "{", "}", "[", "]", ",", "\"", "=", "!", "~", "by", " on (x) ", " bool ", "5", "m", "'",
                    "#", "\n", ":", "é", "\\", "$", "&", "@", " offset ", ";", "..", "0x", "`",
                ]);
                format!("{before}{stray}{after}")
            }
            4 => format!(
                "{}({text})",
                self.random.pick(&[
                    "rate",
                    "scalar",
                    "time",
                    "topk",
                    "label_replace",
                    "nosuch",
                    "sum_over_time",
                    "vector",
                    "sort"
                ])
            ),
            5 => format!(
                "{text}{}",
                self.random.pick(&[
                    "[5m]",
                    " offset 1m",
                    " @ 5",
                    "[5m:]",
                    " and 1",
                    " + \"x\"",
                    " == 1",
                    " by (job)",
                    " on",
                    "{}",
                    "[1m:0s]"
                ])
            ),
            6 => format!(
                "{} {text}",
                self.random.pick(&["1 +", "\"x\" +", "1 and", "sum by", "sum(1,", "-", "not", "avg()", "1 =="])
            ),
            _ => text.replacen(
                self.random.pick(&["(", ")", ",", "by", "[", "]", "\"", "5m", "job", "sum", "{"]),
                self.random.pick(&["", "((", "))", ",,", "{", "}", "0", "x y", "''"]),
                1,
            ),
        }
    }
}

fn prefixed(matchers: &[String]) -> String {
    matchers.iter().map(|matcher| format!(",{matcher}")).collect()
}
