//! What else starts very many programs on one machine, where it is installed: to read our own figure by.

use super::{Figure, Plan, Unit, local::Pool, rate};
use std::{
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

/// A tool: its figure, what it is called, its command line, and how many programs of a thousand it gets.
struct Peer {
    figure: &'static str,
    what: &'static str,
    words: &'static [&'static str],
    per_mille: usize,
    /// What it needs to work at all.
    probe: &'static [&'static str],
}

/// Each starts `/bin/true` for each line of its input, two at once, as far as it goes.
const PEERS: [Peer; 3] = [
    Peer {
        figure: "peer-xargs",
        what: "`xargs -P2 -n1 /bin/true` (no network, no results)",
        words: &["xargs", "-P2", "-n1", "/bin/true"],
        per_mille: 200,
        probe: &["xargs", "--version"],
    },
    Peer {
        figure: "peer-parallel",
        what: "GNU `parallel -j2 /bin/true` (no network)",
        words: &["parallel", "-j2", "/bin/true"],
        per_mille: 40,
        probe: &["parallel", "--version"],
    },
    Peer {
        figure: "peer-ssh",
        what: "`ssh` to this machine over an open ControlMaster connection, two at once",
        words: &[
            "xargs",
            "-P2",
            "-n1",
            "ssh",
            "-o",
            "ControlPath=~/.ssh/ruche-bench-%C",
            "-o",
            "BatchMode=yes",
            "localhost",
            "true",
        ],
        per_mille: 20,
        probe: &[
            "ssh",
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=2",
            "-o",
            "ControlMaster=auto",
            "-o",
            "ControlPath=~/.ssh/ruche-bench-%C",
            "-o",
            "ControlPersist=300",
            "localhost",
            "true",
        ],
    },
];

/// Each against the machine itself in the same round.
///
/// # Panics
/// When a tool that answers its probe fails.
#[must_use]
pub fn measure(plan: &Plan) -> Vec<Figure> {
    let mut pool = Pool::start(Path::new("/bin/true"));
    pool.rate(plan.programs / 10);
    let mut figures = Vec::new();
    for peer in PEERS.iter().filter(|peer| works(peer)) {
        let count = plan.programs * peer.per_mille / 1_000;
        let (mut ratios, mut rates, mut locals) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..plan.rounds {
            let before = pool.rate(plan.programs / 10);
            let tool = run(peer, count);
            let local = f64::midpoint(before, pool.rate(plan.programs / 10));
            ratios.push(tool / local);
            rates.push(tool);
            locals.push(local);
        }
        let what = format!("{count} × {}, against local", peer.what);
        let figure = Figure::plain(peer.figure, what, Unit::Times, ratios);
        figures.push(figure.of("peer_per_s", &rates).of("local_per_s", &locals));
    }
    figures
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn works(peer: &Peer) -> bool {
    command(peer.probe).status().is_ok_and(|status| status.success())
}

fn run(peer: &Peer, count: usize) -> f64 {
    let lines: String = (0..count).map(|number| format!("{number}\n")).collect();
    let input = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(input.path(), lines).unwrap();
    let begun = Instant::now();
    let status = command(peer.words).stdin(std::fs::File::open(input.path()).unwrap()).status().unwrap();
    assert!(status.success(), "{:?}: {status}", peer.words);
    rate(count, begun.elapsed())
}
