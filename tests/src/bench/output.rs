//! The output of one program that writes as fast as it can, to one client; and what others feel of it.

use super::{
    Figure, Goal, Plan, Unit, raw_tls,
    session::{Bench, Session},
    stats::quantile,
};
use std::{
    fs::File,
    io::Write as _,
    process::Stdio,
    time::{Duration, Instant},
};

const MIB: f64 = 1_048_576.0;
/// What is written between two syncs.
const PIECE: usize = 2 << 20;
/// Between two questions of somebody else.
const PAUSE: Duration = Duration::from_millis(2);

/// Ruche beside TLS of the same stack without anything around it.
///
/// # Panics
/// When a byte is lost.
#[must_use]
pub fn measure(plan: &Plan) -> Vec<Figure> {
    let bench = Bench::new("plain");
    let (mut ratios, mut rates, mut twice) = (Vec::new(), [const { Vec::new() }; 4], Vec::new());
    let mut stored = Vec::new();
    let (mut calm, mut busy, mut disk) = (Vec::new(), Vec::new(), Vec::new());
    ruche(&bench, 1 << 20);
    for _ in 0..plan.rounds {
        let raw_before = raw_tls::rate(plan.output) / MIB;
        calm.push(asking(&bench, || std::thread::park_timeout(Duration::from_secs(1))).1);
        let (whole, late) = asking(&bench, || ruche(&bench, plan.output));
        busy.push(late);
        let two = raw_tls::rate_of_two(plan.output) / MIB;
        let relay = raw_tls::rate_of_stored(plan.output, bench.cluster.path()) / MIB;
        let raw = f64::midpoint(raw_before, raw_tls::rate(plan.output) / MIB);
        disk.push(synced(&bench, plan.output / 4));
        ratios.push(whole / raw);
        twice.push(whole / two);
        stored.push(whole / relay);
        for (rates, rate) in rates.iter_mut().zip([whole, raw, two, relay]) {
            rates.push(rate);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let size = plan.output as f64 / MIB;
    let what = format!("{size:.0} MiB from one program to `ruche run`, against");
    let more = busy.iter().zip(&calm).map(|(busy, calm)| busy - calm).collect();
    let of_disk = rates[0].iter().zip(&disk).map(|(whole, disk)| whole / disk).collect();
    vec![
        Figure::new("output", format!("{what} TLS of the same stack"), Unit::Times, Goal::AtLeast(0.6), ratios)
            .of("ruche_mib_per_s", &rates[0])
            .of("raw_mib_per_s", &rates[1]),
        Figure::plain("output-two-hops", format!("{what} two such connections in a row"), Unit::Times, twice)
            .of("raw_two_mib_per_s", &rates[2]),
        Figure::plain(
            "output-synced-relay",
            format!("{what} a relay between two such connections that stores and syncs before it passes on"),
            Unit::Times,
            stored,
        )
        .of("relay_mib_per_s", &rates[3]),
        Figure::plain(
            "output-disk",
            format!("{what} this disk, {} MiB at a time, synced", PIECE >> 20),
            Unit::Times,
            of_disk,
        )
        .of("disk_mib_per_s", &disk),
        Figure::plain("output-control", "p99 of a question of somebody else meanwhile, over calm", Unit::Ms, more)
            .of("busy_ms", &busy)
            .of("calm_ms", &calm),
    ]
}

/// The disk that the master's store is on, in MiB a second: output is shown only when it is synced.
fn synced(bench: &Bench, bytes: u64) -> f64 {
    let path = bench.cluster.path().join("synced");
    let mut file = File::create(&path).unwrap();
    let piece = vec![7; PIECE];
    let begun = Instant::now();
    for _ in 0..bytes / PIECE as u64 {
        file.write_all(&piece).unwrap();
        file.sync_data().unwrap();
    }
    let time = begun.elapsed();
    std::fs::remove_file(path).unwrap();
    #[expect(clippy::cast_precision_loss, reason = "far below what a float holds")]
    let rate = bytes as f64 / MIB / time.as_secs_f64();
    rate
}

/// A whole `ruche run`, in MiB a second.
fn ruche(bench: &Bench, bytes: u64) -> f64 {
    let blocks = format!("count={}", bytes >> 16);
    let words = ["run", "--output", "2G", "--", "dd", "if=/dev/zero", "bs=64K", &blocks, "status=none"];
    let mut command = bench.cluster.admin().command(words);
    let begun = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{status}");
    #[expect(clippy::cast_precision_loss, reason = "far below what a float holds")]
    let rate = bytes as f64 / MIB / begun.elapsed().as_secs_f64();
    rate
}

/// What `work` gives, and the p99 of questions that another client asks meanwhile, in milliseconds.
fn asking<T: Send>(bench: &Bench, work: impl FnOnce() -> T + Send) -> (T, f64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut session = runtime.block_on(Session::open(&bench.cluster));
    std::thread::scope(|scope| {
        let work = scope.spawn(work);
        let mut times = Vec::new();
        while !work.is_finished() {
            times.push(runtime.block_on(session.ask()).as_secs_f64() * 1e3);
            std::thread::park_timeout(PAUSE);
        }
        (work.join().unwrap(), quantile(&times, 0.99))
    })
}
