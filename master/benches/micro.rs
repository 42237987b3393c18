//! A batch of the store: records of new programs in one synced transaction. `cargo bench -p master`, or all with
//! `make bench`.

use common::{
    ClientId, ProgramId, ProgramSpec, Timestamp, Work,
    limits::LEASE_MASTER,
    message::{Request, RequestId},
    session::Role,
    units::BootTime,
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use master::simulation::{Effect, Input, Kept, Master, Moment};
use std::{cell::RefCell, time::Duration};
use uuid::Uuid;

const NOW: Moment = Moment { wall: Timestamp(1_700_000_000_000_000), boot: BootTime(1_000_000_000) };
const CLIENT: ClientId = ClientId(Uuid::from_u128(1));

/// The records of so many new programs, which no other batch has.
fn batch(master: &mut Master, first: u128, count: usize) -> Vec<Kept> {
    let ids: Vec<_> =
        (0..count as u128).map(|number| ProgramId(Uuid::from_u128(1 << 100 | (first + number)))).collect();
    let spec = Box::new(ProgramSpec::new("true", Work::Command { command: "true".into() }));
    let copies = u32::try_from(count).unwrap_or(u32::MAX);
    let request = Box::new(Request::Submit { ids, first_index: 0, copies, spec });
    master.handle(Input::Request { client: CLIENT, id: RequestId(1), request }, NOW);
    let effects = master.settle(NOW).into_iter();
    effects.filter_map(|effect| if let Effect::Keep(kept) = effect { Some(*kept) } else { None }).collect()
}

fn store(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let data = folder.path().join("master");
    std::fs::create_dir_all(data.join("outputs")).expect("there is room for a folder");
    let mut master = Master::start(&data, LEASE_MASTER, NOW).expect("an empty folder is a store");
    master.handle(Input::ClientJoined { client: CLIENT, user: "admin".to_owned(), role: Role::Admin }, NOW);
    drop(master.settle(NOW));
    let (master, mut first) = (RefCell::new(master), 0);
    let mut group = criterion.benchmark_group("store-batch");
    for count in [1, 10, 100, 1_000] {
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("{count}-programs"), |bench| {
            bench.iter_batched(
                || {
                    first += count as u128;
                    batch(&mut master.borrow_mut(), first, count)
                },
                |batch| master.borrow_mut().commit(&batch).expect("the store takes it"),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn short() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_000))
}

criterion_group! { name = benches; config = short(); targets = store }
criterion_main!(benches);
