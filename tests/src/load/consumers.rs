//! L6 and L7: readers of output that are slow, greedy, or stopped.

use super::{
    Figure, Scale, User, World, figures,
    user::{read, with_output_limit},
};
use crate::{cluster::PASSWORD, wait_until};
use client::Target;
use common::{
    ErrorCode, ProgramId, UserError, limits,
    message::{Command, Message, Reply, Request, RequestId, Status, command::Secret},
    session::{Hello, PeerKind},
    view::ClientKind,
};
use slave::hollow::HollowConfig;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;

/// What readers that do not read should cost the master at most.
const GROWTH_MAX: u64 = 8 << 20;
/// What they may: answers under way, the same encoded in a buffer that doubles, and what the allocator keeps.
const GROWTH_BOUND: u64 = 3 * GROWTH_MAX;
const PIECE: u64 = limits::OUTPUT_CHUNK_BYTES_MAX as u64;

/// Bytes that differ from place to place.
fn bytes(count: usize) -> Arc<[u8]> {
    (0..count as u64).map(|place| (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// A connection that says what no client of ours would, and reads when it likes. It has a runtime of its own:
/// while that is not driven, the whole connection stands still, as in a process that is stopped.
struct Raw {
    runtime: Runtime,
    connection: transport::Connection,
    next: u32,
}

impl Raw {
    fn login(target: &Target, user: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let connection = runtime.block_on(async {
            let mut connection = transport::connect(&target.address, target.pin, None).await.unwrap();
            let login = Command::Login { user: user.to_owned(), password: Secret(PASSWORD.to_owned()) };
            connection
                .sender
                .send_all([Command::Hello(Hello::ours(PeerKind::ClientGui)).into(), login.into()])
                .unwrap();
            loop {
                if matches!(connection.receiver.next().await.unwrap(), Message::Status(Status::LoggedIn { .. })) {
                    break;
                }
            }
            connection.receiver.accept_large_frames();
            connection
        });
        Self { runtime, connection, next: 0 }
    }

    /// Queues requests, and drives the connection until they have left.
    fn send(&mut self, requests: impl IntoIterator<Item = Request>) {
        let messages: Vec<Message> = requests
            .into_iter()
            .map(|request| {
                self.next += 1;
                Command::Request { id: RequestId(self.next), request }.into()
            })
            .collect();
        let sender = self.connection.sender.clone();
        self.runtime.block_on(async {
            sender.send_all(messages).unwrap();
            while sender.queued_bytes() > 0 {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Reads one answer, while the connection lasts.
    fn reply(&mut self) -> Option<Result<Reply, UserError>> {
        self.runtime.block_on(async {
            loop {
                match self.connection.receiver.next().await {
                    Ok(Message::Status(Status::Reply { result, .. })) => return Some(result),
                    Ok(_) => {}
                    Err(_) => return None,
                }
            }
        })
    }
}

/// A program with a large output runs while one reader takes a piece now and then, and another asks for
/// everything and reads nothing.
///
/// # Panics
/// When the readers cost the master memory, or the output is not complete.
pub fn l06_slow_reader(scale: &Scale) -> Vec<Figure> {
    let mut world = World::new("");
    let size = scale.pick(1 << 30, 16 << 20);
    let mut config = HollowConfig::new(1, Duration::ZERO);
    config.output = bytes(size);
    world.slaves(1, &config);
    let (user, other) = (world.user("alice", "submitter"), world.user("bob", "submitter"));
    let spec = with_output_limit(size as u64);
    let run = |world: &World| {
        let begun = Instant::now();
        let (id, most) = world.watching_memory(async {
            let ids = user.submit_many(1, &spec).await;
            user.wait_well(&ids).await;
            ids[0]
        });
        (id, most, begun.elapsed())
    };
    let probes = scale.pick(500, 50);
    // Without readers: caches are full then, and this is what the program takes by itself.
    run(&world);
    let (_, first, _) = run(&world);
    let (id, second, alone) = run(&world);
    let before = first.max(second);
    let mut quiet = world.runtime.block_on(other.submit_times(probes));
    let (_, quiet99) = figures::p50_p99(&mut quiet);

    let mut slow = Raw::login(&world.target, "alice");
    slow.send([read(id, 0, true)]);
    let mut greedy = Raw::login(&world.target, "alice");
    let asked = limits::REQUESTS_OPEN_MAX as u64;
    greedy.send((0..asked).map(|place| read(id, place * PIECE % size as u64, true)));
    let (newest, during, with) = run(&world);
    let (mut busy, most) = world.watching_memory(other.submit_times(probes));
    let (_, busy99) = figures::p50_p99(&mut busy);
    assert!(matches!(slow.reply(), Some(Ok(Reply::Output { .. }))), "a slow reader is served");
    let (mut pieces, mut refused) = (0, 0);
    while pieces + refused < asked {
        match greedy.reply() {
            Some(Ok(_)) => pieces += 1,
            Some(Err(error)) => {
                assert!(error.is(ErrorCode::Busy) && error.retry_after.is_some(), "{error:?}");
                refused += 1;
            }
            None => break,
        }
    }
    let grown = during.max(most).saturating_sub(before);
    assert!(grown < GROWTH_BOUND, "the readers cost {grown} bytes: {before} before, {during} and {most} with them");
    drop((slow, greedy));
    let (_, _, after) = run(&world);
    let stored = world.runtime.block_on(user.output(newest));
    assert!(stored[..] == config.output[..], "{} of {size} bytes are stored as they were written", stored.len());
    vec![
        Figure::new(
            "L6",
            format!(
                "the master's memory while a reader is slow and another asks for {asked} pieces of {} and reads none",
                figures::mib(size as u64)
            ),
            format!("{} more; the second got {pieces} pieces and {refused} times `E-BUSY`", figures::mib(grown)),
            "under 8 MiB",
            grown < GROWTH_MAX,
        ),
        Figure::plain(
            "L6",
            format!("a program that writes {}, before, with the readers, and after them", figures::mib(size as u64)),
            format!("{}, {}, {}", figures::seconds(alone), figures::seconds(with), figures::seconds(after)),
        ),
        Figure::plain(
            "L6",
            "submit of another user, p99, without them and with them",
            format!("{} and {}", figures::ms(quiet99), figures::ms(busy99)),
        ),
    ]
}

/// A reader follows fifty outputs and is stopped, as by SIGSTOP.
///
/// # Panics
/// When it is not cut, costs the master memory, or an output is not complete in the store.
pub fn l07_stopped_reader(scale: &Scale) -> Vec<Figure> {
    const FOLLOWED: usize = 50;
    let mut world = World::new("");
    let size = scale.pick(1 << 20, 256 << 10);
    let mut config = HollowConfig::new(10, Duration::from_millis(300));
    config.output = bytes(size);
    world.slaves(5, &config);
    let user = world.user("alice", "submitter");
    let spec = with_output_limit(size as u64);
    // Caches are full after these.
    world.runtime.block_on(async { user.wait_well(&user.submit_many(FOLLOWED, &spec).await).await });
    let before = figures::memory_bytes(world.master());

    let mut stopped = Raw::login(&world.target, "alice");
    let ids = world.runtime.block_on(user.submit_many(FOLLOWED, &spec));
    let pieces = size as u64 / PIECE;
    let follow = |id: &ProgramId| (0..pieces).map(|piece| read(*id, piece * PIECE, true)).collect::<Vec<_>>();
    let watch = Request::Watch { programs: true, slaves: true, clients: true };
    stopped.send(std::iter::once(watch).chain(ids.iter().flat_map(follow)));
    let begun = Instant::now();
    let (gone, most) = world.watching_memory(async {
        user.wait_well(&ids).await;
        let admin = User::login(&world.target, "admin").await.unwrap();
        loop {
            // Something to tell it.
            user.wait_well(&user.submit_many(10, &spec).await).await;
            let clients = admin.ask(Request::Clients, client::reply::clients).await;
            if clients.iter().all(|client| client.kind != ClientKind::Gui) {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < crate::wait::PATIENCE, "a stopped reader is cut");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let grown = most.saturating_sub(before);
    let bound = GROWTH_MAX + limits::OUTBOUND_BYTES_MAX as u64;
    assert!(grown < bound, "the reader cost {grown} bytes");
    for id in &ids {
        let stored = world.runtime.block_on(user.output(*id));
        assert!(stored[..] == config.output[..], "{id}: {} of {size} bytes are stored", stored.len());
    }
    wait_until("the master is at rest", || {
        let summary = world.runtime.block_on(user.summary());
        (summary.waiting + summary.running == 0).then_some(())
    });
    vec![
        Figure::new(
            "L7",
            format!(
                "a reader that follows {FOLLOWED} outputs of {} is stopped, until it is cut",
                figures::mib(size as u64)
            ),
            figures::seconds(gone),
            "under 20 s",
            gone < Duration::from_secs(20),
        ),
        Figure::plain("L7", "the master's memory meanwhile", format!("{} more", figures::mib(grown))),
        Figure::plain("L7", "outputs that are complete in the store afterwards", format!("{FOLLOWED} of {FOLLOWED}")),
    ]
}
