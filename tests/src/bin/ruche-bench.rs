//! `make bench`: how near Ruche comes to what this machine can do by itself.
//!
//! One run measures the local limit (spawn of the same program with captured output, as many at once
//! as the slave has slots) and Ruche through its real binaries in alternation, because the machine's
//! speed drifts: only the ratio of neighbours means something.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that cannot run has failed; it prints")]

use common::{
    ProgramId, ProgramSpec, Work, limits,
    message::{Command, Message, Reply, Request, RequestId, Status, Stream, command::Secret},
    session::{Hello, PeerKind},
};
use std::{
    process::Command as Process,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};
use tests::{Cluster, cluster::PASSWORD};
use uuid::Uuid;

const SLOTS: usize = 2;

fn main() {
    let argument = |name: &str, default: usize| {
        std::env::args().skip_while(|argument| argument != name).nth(1).map_or(default, |value| value.parse().unwrap())
    };
    let (programs, rounds, singles) =
        (argument("--programs", 10_000), argument("--rounds", 5), argument("--singles", 300));
    let mut cluster = Cluster::new();
    cluster.slave("bench", u32::try_from(SLOTS).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut session = runtime.block_on(Session::open(&cluster));

    println!(
        "{programs} x /bin/true, one slave, {SLOTS} slots, history synced; {rounds} rounds, local and Ruche in turn"
    );
    println!("{:>7} {:>12} {:>12} {:>7}", "round", "local /s", "ruche /s", "ratio");
    let mut ratios = Vec::new();
    let _warm = (local_rate(500), runtime.block_on(session.run_many(500)));
    for round in 1..=rounds {
        let before = local_rate(programs / 4);
        let ruche = rate(programs, runtime.block_on(session.run_many(programs)));
        let after = local_rate(programs / 4);
        let local = f64::midpoint(before, after);
        println!("{round:>7} {local:>12.0} {ruche:>12.0} {:>7.2}", ruche / local);
        ratios.push(ruche / local);
    }
    report("throughput, ratio to local", &mut ratios, "aim: at least 0.60");

    println!("\none program at a time over an open connection, submit to result with output; {singles} a round");
    println!(
        "{:>7} {:>14} {:>14} {:>10} {:>14} {:>14}",
        "round", "local p50 ms", "ruche p50 ms", "more ms", "local p99 ms", "ruche p99 ms"
    );
    let mut more = Vec::new();
    for round in 1..=rounds {
        let mut local: Vec<f64> = (0..singles).map(|_| millis(local_once())).collect();
        let mut ruche: Vec<f64> = (0..singles).map(|_| millis(runtime.block_on(session.run_one()))).collect();
        let (local50, local99) = (quantile(&mut local, 0.50), quantile(&mut local, 0.99));
        let (ruche50, ruche99) = (quantile(&mut ruche, 0.50), quantile(&mut ruche, 0.99));
        println!(
            "{round:>7} {local50:>14.2} {ruche50:>14.2} {:>10.2} {local99:>14.2} {ruche99:>14.2}",
            ruche50 - local50
        );
        more.push(ruche50 - local50);
    }
    report("latency p50 over local, ms", &mut more, "aim: at most 1.00");
}

fn report(what: &str, values: &mut [f64], aim: &str) {
    let (low, high) = (quantile(values, 0.0), quantile(values, 1.0));
    println!("{what}: median {:.2} ({low:.2} to {high:.2}); {aim}", quantile(values, 0.5));
}

fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a short list"
    )]
    let place = (part * (values.len() - 1) as f64).round() as usize;
    values[place]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "a count of thousands")]
fn rate(programs: usize, time: Duration) -> f64 {
    programs as f64 / time.as_secs_f64()
}

fn local_once() -> Duration {
    let begun = Instant::now();
    assert!(Process::new("/bin/true").output().unwrap().status.success());
    begun.elapsed()
}

/// Programs a second with as many at once as the slave has slots.
fn local_rate(programs: usize) -> f64 {
    let left = AtomicUsize::new(programs);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..SLOTS {
            scope.spawn(|| {
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    local_once();
                }
            });
        }
    });
    rate(programs, begun.elapsed())
}

/// An open connection of a user.
struct Session {
    sender: transport::Sender,
    receiver: transport::Receiver,
    next: u32,
}

impl Session {
    async fn open(cluster: &Cluster) -> Self {
        let pin = cluster.pin().parse().unwrap();
        let mut connection = transport::connect(cluster.address(), pin, None).await.unwrap();
        connection.sender.send(Command::Hello(Hello::ours(PeerKind::ClientCli))).unwrap();
        assert!(matches!(connection.receiver.next().await, Ok(Message::Status(Status::Welcome { .. }))));
        connection.receiver.accept_large_frames();
        connection.sender.send(Command::Login { user: "admin".into(), password: Secret(PASSWORD.into()) }).unwrap();
        assert!(matches!(connection.receiver.next().await, Ok(Message::Status(Status::LoggedIn { .. }))));
        Self { sender: connection.sender, receiver: connection.receiver, next: 0 }
    }

    fn request(&mut self, request: Request) -> Message {
        self.next += 1;
        Command::Request { id: RequestId(self.next), request }.into()
    }

    fn submit(&mut self, ids: &[ProgramId], first_index: usize, copies: usize) -> Message {
        let spec = ProgramSpec::new("true", Work::Command { command: "/bin/true".into() });
        self.request(Request::Submit {
            ids: ids.to_vec(),
            first_index: u32::try_from(first_index).unwrap(),
            copies: u32::try_from(copies).unwrap(),
            spec: Box::new(spec),
        })
    }

    /// Waits for the replies to `count` requests and gives how many programs have ended well.
    async fn replies(&mut self, count: usize) -> usize {
        let mut well = 0;
        let mut left = count;
        while left > 0 {
            let Message::Status(Status::Reply { result, .. }) = self.receiver.next().await.unwrap() else { continue };
            left -= 1;
            if let Reply::Ended { programs, .. } = result.unwrap() {
                well += programs.iter().filter(|(_, outcome)| outcome.exit_code() == 0).count();
            }
        }
        well
    }

    async fn run_many(&mut self, programs: usize) -> Duration {
        let ids: Vec<_> = (0..programs).map(|_| ProgramId(Uuid::now_v7())).collect();
        let begun = Instant::now();
        let mut messages = Vec::new();
        for (turn, batch) in ids.chunks(limits::COPIES_PER_REQUEST_MAX).enumerate() {
            messages.push(self.submit(batch, turn * limits::COPIES_PER_REQUEST_MAX, programs));
            messages.push(self.request(Request::Wait { ids: batch.to_vec() }));
        }
        let count = messages.len();
        self.sender.send_all(messages).unwrap();
        assert_eq!(self.replies(count).await, programs);
        begun.elapsed()
    }

    async fn run_one(&mut self) -> Duration {
        let id = ProgramId(Uuid::now_v7());
        let begun = Instant::now();
        let messages = [
            self.submit(&[id], 0, 1),
            self.request(Request::ReadOutput {
                id,
                stream: Stream::Stdout,
                offset: 0,
                bytes_max: 65_536,
                follow: true,
            }),
            self.request(Request::Wait { ids: vec![id] }),
        ];
        self.sender.send_all(messages).unwrap();
        assert_eq!(self.replies(3).await, 1);
        begun.elapsed()
    }
}
