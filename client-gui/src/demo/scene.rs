//! Made-up data like that of the drawings: what `--demo` shows and what tests read.

use super::slaves::slave;
use client::{Identity, Link, Mirror};
use common::{
    ByteSize, ClientId, Duration, Outcome, ProgramId, ProgramSpec, SlaveId, Timestamp, Work,
    message::status::Event,
    program::{LiveInput, State},
    session::Role,
    view::{ClientKind, ClientView, Policy, ProgramView, Progress, Summary, Usage},
};
use uuid::Uuid;

/// Seconds since the connection to one of the slaves was lost.
pub(super) const CUT: u64 = 24;

/// Programs that the history is said to hold.
pub const TOTAL: u64 = 1_204_331;

/// One row as the table below writes it: state, name, language, slave, user, seconds ago, milliseconds that
/// it ran, last line.
type Row = (State, &'static str, &'static str, &'static str, &'static str, u64, u64, &'static str);

const ROWS: &[Row] = {
    use State::{Done, Failed, Lost, Running, Suspended, Waiting};
    &[
        (Running, "render_frames.py", "Python", "pc-07", "alice", 12, 0, ""),
        (Running, "matmul_bench.c", "C", "pc-02", "bob", 19, 0, ""),
        (Failed, "sort_students.py", "Python", "pc-07", "alice", 72, 3_200, "MemoryError"),
        (Waiting, "simulate.tcl", "Tcl", "", "dave", 78, 0, ""),
        (Running, "collect_stats.py", "Python", "pc-06", "dave", 84, 0, "12 of 40 files read"),
        (Done, "hello.rs", "Rust", "pc-03", "carol", 95, 400, "Hello from pc-03"),
        (Done, "calcul_prime 1000000", "", "pc-04", "alice", 125, 1_900, "78498 primes, largest 999983"),
        (Running, "resize.sh", "Bash", "pc-06", "carol", 140, 0, "IMG_0219.jpg"),
        (Suspended, "long_simulation.sh", "Bash", "pc-02", "erin", 190, 0, ""),
        (Failed, "TriRapide.java", "Java", "pc-03", "bob", 200, 900, "TriRapide.java:14: error: ';' expected"),
        (Done, "wordcount.go", "Go", "pc-04", "erin", 260, 200, "18,220 words"),
        (Running, "guess.py", "Python", "pc-03", "alice", 310, 0, "A number from 1 to 100?"),
        (Lost, "gather_logs.sh", "Bash", "pc-05", "dave", 425, 0, ""),
        (Done, "plot.py", "Python", "pc-07", "carol", 490, 2_200, "wrote plot.png"),
        (Done, "quick.lua", "Lua", "pc-03", "bob", 550, 80, "ok"),
        (Done, "fib.rb", "Ruby", "pc-04", "erin", 605, 300, "832040"),
        (Done, "index.php", "PHP", "pc-04", "erin", 670, 200, "OK"),
        (Done, "matrix.cpp", "C++", "pc-02", "alice", 730, 6_000, "checksum 9f31"),
        (Done, "merge.py", "Python", "pc-07", "carol", 845, 800, "merged 12 files"),
        (Done, "hello.c", "C", "pc-03", "bob", 910, 200, "Hello"),
        (Done, "scan_disk.sh", "Bash", "pc-02", "dave", 970, 8_100, "0 errors"),
        (Done, "graph.js", "JavaScript", "pc-04", "alice", 1_090, 300, "42 nodes"),
        (Done, "hello.pl", "Perl", "pc-02", "erin", 1_110, 90, "Hello"),
        (Done, "anagrams.py", "Python", "pc-07", "bob", 1_150, 500, "listen silent enlist"),
        (Done, "sieve.rs", "Rust", "pc-03", "alice", 1_270, 700, "78498"),
        (Done, "dates.tcl", "Tcl", "pc-02", "erin", 1_330, 100, "ok"),
    ]
};

/// Name, language, and the slaves that offer it.
const LONG_AGO: &[(&str, &str, &[&str])] = &[
    ("sieve.rs", "Rust", &["pc-03"]),
    ("merge.py", "Python", &["pc-02", "pc-03", "pc-04", "pc-07"]),
    ("hello.c", "C", &["pc-02", "pc-03", "pc-07"]),
    ("wordcount.go", "Go", &["pc-02", "pc-04"]),
    ("graph.js", "JavaScript", &["pc-04"]),
    ("matrix.cpp", "C++", &["pc-02"]),
    ("report.sh", "Bash", &["pc-02"]),
];

/// The slave of this number, 0 to 6.
pub(super) fn slave_id(number: u32) -> SlaveId {
    SlaveId(Uuid::from_u128((0x019a_71c0 + u128::from(number)) << 96 | 0x8f3e_7b1c_9a44_0d5e_21c7_76f0))
}

fn slave_by_name(name: &str) -> Option<SlaveId> {
    ["pc-02", "pc-03", "pc-04", "pc-07", "pc-05", "pc-06", "pc-08"]
        .iter()
        .zip(0..)
        .find(|(known, _)| **known == name)
        .map(|(_, n)| slave_id(n))
}

/// The program at `sequence` of the history.
pub(super) fn program_id(sequence: u64) -> ProgramId {
    ProgramId(Uuid::from_u128(0x019a_a2f4_11d0_7c3e_8b21_0000_0000_0000 | u128::from(sequence)))
}

pub(super) fn ago(now: Timestamp, seconds: u64) -> Timestamp {
    Timestamp(now.0.saturating_sub(seconds * 1_000_000))
}

fn outcome(row: &Row) -> Option<Outcome> {
    match row.0 {
        State::Waiting | State::Running | State::Suspended => None,
        State::Done => Some(Outcome::Exited { code: 0 }),
        State::Failed if row.1 == "sort_students.py" => {
            Some(Outcome::memory_limit(ByteSize(256 << 20), ByteSize(256 << 20), Duration::from_millis(3_200)))
        }
        State::Failed => Some(Outcome::CompileError {
            detail: "TriRapide.java:14: error: ';' expected\n        int pivot = values[high]\n                                ^\n1 error\n"
                .to_owned(),
        }),
        State::Cancelled => Some(Outcome::Cancelled { by: "alice".to_owned() }),
        State::Lost => Some(Outcome::Lost {
            detail: "Lost: the slave `pc-05` has been away for longer than its lease. Whether it ended is not known.".to_owned(),
        }),
    }
}

/// The newest programs, as in the drawing, newest first.
#[must_use]
pub fn programs(now: Timestamp) -> Vec<ProgramView> {
    (0..).zip(ROWS).map(|(index, row)| program(now, TOTAL - index, row)).collect()
}

fn program(now: Timestamp, sequence: u64, row: &Row) -> ProgramView {
    let (state, name, language, slave, user, seconds, ran, last_line) = *row;
    let started = (state != State::Waiting).then(|| ago(now, seconds));
    let output = super::outputs::output(name, last_line);
    ProgramView {
        id: program_id(sequence),
        sequence,
        name: name.to_owned(),
        language: (!language.is_empty()).then(|| language.to_owned()),
        state,
        outcome: outcome(row),
        slave_id: slave_by_name(slave),
        slave_name: (!slave.is_empty()).then(|| slave.to_owned()),
        client: ClientId(Uuid::from_u128(0x019a_a100 << 96)),
        user: user.to_owned(),
        attempt: u32::from(started.is_some()),
        priority: 50,
        index: 0,
        copies: 1,
        progress: match name {
            "render_frames.py" => Some(Progress { percent: 41.0, text: "frame 41 of 100 written".to_owned() }),
            "long_simulation.sh" => Some(Progress { percent: 73.0, text: "step 7310 of 10000".to_owned() }),
            _ => None,
        },
        submitted_at: ago(now, seconds + 1),
        started_at: started,
        ended_at: state.is_final().then(|| Timestamp(ago(now, seconds).0 + ran * 1_000)),
        usage: (state.is_final() && state != State::Lost).then(|| Usage {
            wall: Duration::from_millis(ran),
            cpu: Duration::from_millis(ran * 29 / 32),
            memory_peak: ByteSize(if name == "sort_students.py" { 256 << 20 } else { 12 << 20 }),
        }),
        output_bytes: output.stdout.len() as u64,
        error_bytes: output.stderr.len() as u64,
        compile_bytes: output.compile.len() as u64,
        output_truncated: false,
        last_line: last_line.to_owned(),
        unknown_since: (state == State::Running && slave == "pc-06").then(|| ago(now, CUT)),
        files_bytes: output.files.len() as u64,
        live: name == super::live::GUESS,
    }
}

/// A program of long ago: the same one each time it is asked for.
#[must_use]
pub fn old_program(now: Timestamp, sequence: u64) -> ProgramView {
    let kind = sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let (name, language, slaves) = LONG_AGO[(kind % LONG_AGO.len() as u64) as usize];
    let slave = slaves[(kind / 7 % slaves.len() as u64) as usize];
    let user = ["alice", "bob", "carol", "dave", "erin"][(kind / 28 % 5) as usize];
    let state = if kind.is_multiple_of(41) { State::Failed } else { State::Done };
    let seconds = 1_400 + (TOTAL.saturating_sub(sequence)) * 53;
    let row = (state, name, language, slave, user, seconds, 80 + kind % 4_000, "ok");
    let mut program = program(now, sequence, &row);
    if state == State::Failed {
        program.outcome = Some(Outcome::Exited { code: 1 });
        program.last_line = "assertion failed".to_owned();
    }
    program
}

/// What was submitted for `program`.
#[must_use]
pub fn spec(program: &ProgramView) -> ProgramSpec {
    let work = match &program.language {
        Some(language) => {
            let text = crate::templates::sample(language).map_or("print('ruche')\n", |sample| sample.text);
            Work::Source { language: language.clone(), file_name: program.name.clone(), text: text.as_bytes().into() }
        }
        None => {
            let mut words = program.name.split(' ');
            let mut spec = ProgramSpec::new(
                program.name.clone(),
                Work::Command { command: words.next().unwrap_or_default().into() },
            );
            spec.arguments = words.map(Into::into).collect();
            return spec;
        }
    };
    let mut spec = ProgramSpec::new(program.name.clone(), work);
    spec.limits.memory = ByteSize(256 << 20);
    let long = matches!(program.name.as_str(), "guess.py" | "long_simulation.sh");
    spec.limits.wall_time = Duration::from_secs(if long { 3_600 } else { 60 });
    if program.files_bytes > 0 {
        spec.collect = vec!["*.png".to_owned(), "*.txt".to_owned(), "data/**".to_owned()];
    }
    spec.live = program.live.then_some(LiveInput { terminal: None });
    spec
}

fn client(now: Timestamp, number: u128, user: &str, role: Role, kind: ClientKind, counts: (u32, u32)) -> ClientView {
    ClientView {
        id: ClientId(Uuid::from_u128((0x019a_a100 + number) << 96)),
        user: user.to_owned(),
        role,
        address: format!("10.0.7.{}:4{}118", 21 + number, number),
        kind,
        connected_since: ago(now, 9_400 - number as u64 * 1_700),
        running: counts.0,
        waiting: counts.1,
    }
}

/// The whole mirror, as in the drawings.
#[must_use]
pub fn mirror(now: Timestamp) -> Mirror {
    let mut mirror = Mirror {
        link: Link::Connected,
        link_since: ago(now, 11_520),
        address: "lab-master:7420".to_owned(),
        heard_at: Some(now),
        identity: Some(Identity {
            client: ClientId(Uuid::from_u128(0x019a_a100 << 96)),
            user: "alice".to_owned(),
            role: Role::Operator,
            master: "lab-master".to_owned(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
        }),
        summary: Some(Summary {
            programs: TOTAL,
            waiting: 38,
            running: 13,
            done: 1_190_022,
            failed: 14_100,
            failed_today: 2,
            cancelled: 157,
            lost: 3,
            slots: 16,
            slaves: 5,
            clients: 3,
            policy: Policy::Fifo,
        }),
        ..Mirror::default()
    };
    mirror.set_slaves(vec![
        slave(now, 0, "pc-02", (4, 4), &["Bash", "C", "C++", "Go", "Perl", "Python", "Tcl"]),
        slave(now, 1, "pc-03", (1, 3), &["C", "Java", "Lua", "Python", "Rust"]),
        slave(now, 2, "pc-04", (3, 4), &["Go", "JavaScript", "PHP", "Python", "Ruby"]),
        slave(now, 3, "pc-07", (3, 4), &["C", "Python"]),
        slave(now, 4, "pc-05", (0, 4), &["Bash", "Python"]),
        slave(now, 5, "pc-06", (2, 2), &["Bash", "Python"]),
        slave(now, 6, "pc-08", (0, 1), &["Python"]),
    ]);
    mirror.set_clients(vec![
        client(now, 0, "alice", Role::Operator, ClientKind::Gui, (4, 11)),
        client(now, 1, "bob", Role::Submitter, ClientKind::Cli, (5, 27)),
        client(now, 2, "erin", Role::Submitter, ClientKind::Gui, (2, 0)),
    ]);
    mirror.set_events(
        [
            (CUT, "pc-06", "Connection lost; it held 2 programs."),
            (340, "pc-08", "Set aside as 5 attempts in a row failed there, the last: no space left on device."),
            (420, "pc-05", "Connection lost; it held 2 programs."),
            (624, "pc-04", "Connected from 10.0.4.14:51220."),
            (628, "pc-04", "Connection lost; it held 3 programs."),
            (1_744, "alice", "Set `pc-04` to at most 4 programs at once."),
            (11_480, "pc-05", "Enrolled as slave 019a71c4-8f3e-7b1c-9a44-0d5e21c776f0."),
        ]
        .map(|(seconds, subject, text)| Event {
            at: ago(now, seconds),
            subject: subject.to_owned(),
            text: text.to_owned(),
        })
        .into(),
    );
    mirror.history.set_page(0, programs(now), TOTAL, 0);
    mirror
}
