//! One program: the verdict as a sentence, the facts, why it waits.

use super::{Clock, Standing, history};
use crate::widgets::shown;
use common::{
    ProgramSpec, Timestamp,
    limits::CRASHES_MAX,
    program::State,
    view::{Explanation, ProgramView},
};

/// The head of the detail pane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// How it stands, for sign and colour.
    pub standing: Standing,
    /// Its word.
    pub word: &'static str,
    /// The program's name.
    pub program: String,
    /// `attempt 1`; empty before the first.
    pub attempt: String,
    /// The verdict's first sentence.
    pub verdict: String,
    /// The rest of it: the evidence.
    pub evidence: String,
    /// Words and values.
    pub facts: Vec<Fact>,
    /// Slave by slave, why a waiting program does not start there.
    pub reasons: Vec<Reason>,
}

/// A word and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The word.
    pub word: &'static str,
    /// The value.
    pub value: String,
    /// What follows it in fixed width: an ID.
    pub id: String,
}

/// Why one slave does not run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The slave.
    pub slave: String,
    /// Whether it could when a slot is free.
    pub able: bool,
    /// The reason.
    pub reason: String,
}

impl Detail {
    /// What is told about `program`. `spec` and `why` are there once the master has answered.
    #[must_use]
    pub fn new(program: &ProgramView, spec: Option<&ProgramSpec>, why: Option<&Explanation>, clock: &Clock) -> Self {
        let (verdict, evidence) = match history::unknown_since(program) {
            Some(since) => not_known(program, (spec, why), since, clock),
            None => verdict(program, why, clock),
        };
        Self {
            standing: Standing::of(program),
            word: Standing::of(program).word(),
            program: history::name(program),
            attempt: if program.attempt == 0 { String::new() } else { format!("attempt {}", program.attempt) },
            verdict,
            evidence,
            facts: facts(program, spec, clock),
            reasons: match (program.state, why) {
                (State::Waiting, Some(why)) => why
                    .slaves
                    .iter()
                    .map(|slave| Reason { slave: shown(&slave.slave), able: slave.able, reason: shown(&slave.reason) })
                    .collect(),
                _ => Vec::new(),
            },
        }
    }
}

/// What follows a loss while there are retries left.
const AGAIN: &str = "it is tried again";

/// What is not known, since when, and what will happen.
fn not_known(
    program: &ProgramView,
    (spec, why): (Option<&ProgramSpec>, Option<&Explanation>),
    since: Timestamp,
    clock: &Clock,
) -> (String, String) {
    let slave = history::slave_or_its(program);
    let verdict =
        format!("No word of it from {slave} for {}: whether it still runs is not known.", clock.lasting(since));
    let otherwise = match spec.map(|spec| spec.retry) {
        Some(retry) if program.attempt <= retry && program.attempt < CRASHES_MAX => AGAIN,
        Some(retry) if program.attempt > retry => "it is lost",
        Some(_) | None => "it is lost or tried again",
    };
    // Only the master knows how long the lease still is: its second sentence says so.
    let evidence = match why.and_then(|why| why.sentence.split_once(". ")) {
        Some((_, left)) if otherwise == AGAIN => format!("{} Once lost, {otherwise}.", shown(left)),
        Some((_, left)) => shown(left),
        None => format!("If the slave is back with it before its lease ends, it goes on; else {otherwise}."),
    };
    (verdict, evidence)
}

fn verdict(program: &ProgramView, why: Option<&Explanation>, clock: &Clock) -> (String, String) {
    let sentence = match (&program.outcome, program.state) {
        (Some(outcome), _) => outcome.sentence(),
        (None, State::Waiting) => {
            let waits = match why {
                Some(why) => why.sentence.clone(),
                None if program.last_line.is_empty() => "It waits for a slot.".to_owned(),
                None => format!("It waits: {}.", program.last_line.trim_end_matches('.')),
            };
            // The master's sentence may have said it already.
            let ahead = match why.and_then(|why| why.ahead).filter(|_| !waits.contains("before it")) {
                Some(0) => " It is the next.".to_owned(),
                Some(1) => " One program comes before it.".to_owned(),
                Some(ahead) => format!(" {} programs come before it.", super::grouped(ahead)),
                None => String::new(),
            };
            format!("{waits}{ahead}")
        }
        (None, State::Suspended) => match &program.slave_name {
            Some(slave) => {
                format!("Suspended on {slave}. It stands still, and its wall time with it, until it is resumed.")
            }
            None => "Suspended. It stands still, and its wall time with it, until it is resumed.".to_owned(),
        },
        (None, _) => match (&program.slave_name, program.started_at) {
            (Some(slave), Some(started)) => format!("Running on {slave} for {}.", clock.lasting(started)),
            (Some(slave), None) => format!("Starting on {slave}."),
            (None, _) => "Running.".to_owned(),
        },
    };
    let sentence = shown(sentence.trim());
    match sentence.find(". ").map(|end| sentence.split_at(end + 1)) {
        Some((first, rest)) => (first.to_owned(), rest.trim().to_owned()),
        None => (sentence, String::new()),
    }
}

fn facts(program: &ProgramView, spec: Option<&ProgramSpec>, clock: &Clock) -> Vec<Fact> {
    let fact = |word, value: String| Fact { word, value, id: String::new() };
    let mut facts = Vec::new();
    if let Some(slave) = &program.slave_name {
        let id = program.slave_id.map(|id| id.to_string()).unwrap_or_default();
        facts.push(Fact { word: "Slave", value: shown(slave), id });
    }
    let by = shown(&program.user);
    facts.push(match program.started_at {
        Some(started) => fact("Started", format!("{}, by {by}", clock.exact(started))),
        None => fact("Submitted", format!("{}, by {by}", clock.exact(program.submitted_at))),
    });
    if let Some(since) = history::unknown_since(program) {
        facts.push(fact("Not known", format!("since {}", clock.exact(since))));
        return facts;
    }
    match (program.usage, program.started_at) {
        (Some(usage), Some(_)) => {
            facts.push(fact("Time", format!("{} wall, {} CPU", usage.wall, usage.cpu)));
            let limit = spec.map(|spec| format!(" of {}", spec.limits.memory)).unwrap_or_default();
            facts.push(fact("Memory", format!("{}{limit}", usage.memory_peak)));
        }
        (None, Some(_)) if program.state == State::Suspended => {
            let limit = spec.map(|spec| format!("; {} in all", spec.limits.wall_time)).unwrap_or_default();
            facts.push(fact("Time", format!("stands still{limit}")));
        }
        (None, Some(started)) if !program.state.is_final() => {
            let limit = spec.map(|spec| format!(" of {}", spec.limits.wall_time)).unwrap_or_default();
            facts.push(fact("Time", format!("{}{limit}", clock.running(started))));
        }
        _ => {}
    }
    facts
}

/// What the tab "Use" lists: what was asked for, and what was used.
#[must_use]
pub fn use_rows(program: &ProgramView, spec: Option<&ProgramSpec>, clock: &Clock) -> Vec<(&'static str, String)> {
    let mut rows = vec![("Program ID", program.id.to_string())];
    if let Some(id) = program.slave_id {
        rows.push(("Slave ID", id.to_string()));
    }
    rows.push(("Submitted", clock.exact(program.submitted_at)));
    if let Some(started) = program.started_at {
        rows.push(("Started", clock.exact(started)));
        rows.push(("Waited", started.since(program.submitted_at).to_string()));
    }
    if let Some(ended) = program.ended_at {
        rows.push(("Ended", clock.exact(ended)));
    }
    let limit = |used: Option<String>, limit: Option<String>| match (used, limit) {
        (Some(used), Some(limit)) => Some(format!("{used} of {limit}")),
        (Some(used), None) => Some(used),
        (None, Some(limit)) => Some(format!("at most {limit}")),
        (None, None) => None,
    };
    let limits = spec.map(|spec| spec.limits);
    let usage = program.usage;
    let mut push = |word, value: Option<String>| rows.extend(value.map(|value| (word, value)));
    push("Wall time", limit(usage.map(|u| u.wall.to_string()), limits.map(|l| l.wall_time.to_string())));
    push("CPU time", limit(usage.map(|u| u.cpu.to_string()), limits.and_then(|l| l.cpu_time).map(|l| l.to_string())));
    push("Memory", limit(usage.map(|u| u.memory_peak.to_string()), limits.map(|l| l.memory.to_string())));
    push("Processes", limits.map(|l| format!("at most {}", l.processes)));
    let written = common::ByteSize(program.output_bytes + program.error_bytes).to_string();
    let cut = if program.output_truncated { ", cut by the limit" } else { "" };
    push("Output", limit(Some(format!("{written}{cut}")), limits.map(|l| l.output.to_string())));
    push("Disk", limits.map(|l| format!("at most {}", l.disk)));
    push("File size", limits.map(|l| format!("at most {}", l.file_size)));
    push("Open files", limits.map(|l| format!("at most {}", super::grouped(u64::from(l.open_files)))));
    if let Some(spec) = spec {
        if !spec.arguments.is_empty() {
            let words: Vec<_> = spec.arguments.iter().take(64).map(ToString::to_string).collect();
            rows.push(("Arguments", crate::arguments::join(words.iter().map(String::as_str))));
        }
        if !spec.inputs.is_empty() {
            let names: Vec<_> = spec.inputs.iter().take(64).map(|input| input.name.to_string()).collect();
            rows.push(("Input files", names.join(", ")));
        }
        if !spec.collect.is_empty() {
            let patterns: Vec<_> = spec.collect.iter().map(|pattern| shown(pattern)).collect();
            rows.push(("Brings back", patterns.join(", ")));
        }
        let network = if spec.network { "it asked for it" } else { "none" };
        rows.push(("Network", network.to_owned()));
        if spec.live.is_some() {
            rows.push(("Input", "while it runs".to_owned()));
        }
        if let Some(slave) = &spec.slave {
            rows.push(("Only on", shown(slave)));
        }
        rows.push(("Retries", spec.retry.to_string()));
    }
    rows.push(("Priority", program.priority.to_string()));
    rows
}

#[cfg(test)]
mod tests {
    use super::{super::clock::tests::clock, *};
    use crate::demo::scene;
    use common::view::SlaveReason;
    use std::fmt::Write;

    fn text(detail: &Detail) -> String {
        let mut text = format!(
            "{} {} {} ({})\n**{}** {}\n",
            detail.standing.sign(),
            detail.word,
            detail.program,
            detail.attempt,
            detail.verdict,
            detail.evidence
        );
        for fact in &detail.facts {
            writeln!(text, "{}: {} {}", fact.word, fact.value, fact.id).unwrap();
        }
        for reason in &detail.reasons {
            writeln!(text, "- {} {} {}", reason.slave, reason.able, reason.reason).unwrap();
        }
        text
    }

    #[test]
    fn e7_the_verdict_is_a_sentence_with_its_evidence() {
        let clock = clock();
        let programs = scene::programs(clock.now);
        let spec = scene::spec(&programs[2]);
        let failed = Detail::new(&programs[2], Some(&spec), None, &clock);
        assert_eq!(failed.verdict, "Stopped by the memory limit.");
        assert_eq!(failed.evidence, "It used 256 MiB of 256 MiB after 3.2 s.");
        let all: String =
            programs.iter().take(10).map(|program| text(&Detail::new(program, None, None, &clock)) + "\n").collect();
        insta::assert_snapshot!(all);
    }

    #[test]
    fn e6_what_is_not_known_says_what_will_happen() {
        let clock = clock();
        let mut program = scene::programs(clock.now)[0].clone();
        program.unknown_since = Some(super::super::clock::tests::before(24));
        let mut spec = scene::spec(&program);
        let detail = Detail::new(&program, None, None, &clock);
        assert_eq!((detail.standing, detail.word), (Standing::Unknown, "Not known"));
        assert_eq!(detail.verdict, "No word of it from pc-07 for 24 s: whether it still runs is not known.");
        let mut end = |retry, attempt, spec: &mut ProgramSpec| {
            (spec.retry, program.attempt) = (retry, attempt);
            Detail::new(&program, Some(spec), None, &clock).evidence
        };
        let goes_on = "If the slave is back with it before its lease ends, it goes on; else";
        assert_eq!(detail.evidence, format!("{goes_on} it is lost or tried again."));
        assert_eq!(end(0, 1, &mut spec), format!("{goes_on} it is lost."));
        assert_eq!(end(2, 2, &mut spec), format!("{goes_on} it is tried again."));
        assert_eq!(end(9, 5, &mut spec), format!("{goes_on} it is lost or tried again."), "the limit of crashes");
        let told = "It ran on `pc-07` when the connection was lost; whether it still runs is not known. It counts as \
                    lost in 26 s unless the slave comes back with it.";
        let why = Explanation { sentence: told.into(), ahead: None, slaves: Vec::new() };
        (spec.retry, program.attempt) = (0, 1);
        let detail = Detail::new(&program, Some(&spec), Some(&why), &clock);
        let left = "It counts as lost in 26 s unless the slave comes back with it.";
        assert_eq!((detail.evidence.as_str(), detail.reasons.as_slice()), (left, &[][..]));
        spec.retry = 1;
        let detail = Detail::new(&program, Some(&spec), Some(&why), &clock);
        assert_eq!(detail.evidence, format!("{left} Once lost, it is tried again."));
    }

    #[test]
    fn e9_a_waiting_program_says_why_slave_by_slave() {
        let clock = clock();
        let program = &scene::programs(clock.now)[3];
        let why = Explanation {
            sentence: "Every slave with Python is full.".into(),
            ahead: Some(37),
            slaves: vec![
                SlaveReason { slave: "pc-02".into(), able: true, reason: "4 of 4 slots are in use".into() },
                SlaveReason { slave: "pc-05".into(), able: false, reason: "unreachable".into() },
            ],
        };
        insta::assert_snapshot!(text(&Detail::new(program, None, Some(&why), &clock)));
    }

    #[test]
    fn e5_use_tells_what_was_used_of_what_was_allowed() {
        let clock = clock();
        let program = &scene::programs(clock.now)[2];
        let rows: Vec<String> = use_rows(program, Some(&scene::spec(program)), &clock)
            .into_iter()
            .map(|(word, value)| format!("{word}: {value}"))
            .collect();
        insta::assert_snapshot!(rows.join("\n"));
    }
}
