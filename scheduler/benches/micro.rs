//! A round of decisions with few and with very many slaves. `cargo bench -p scheduler`, or all with `make bench`.

use common::{ProgramSpec, SlaveId, Work};
use criterion::{Criterion, criterion_group, criterion_main};
use scheduler::{Decision, Scheduler, SlaveSlots};
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

const SLOTS: u32 = 4;
/// Programs that wait all the time.
const WAITING: u64 = 100_000;

fn id(number: usize) -> SlaveId {
    SlaveId(Uuid::from_u128(number as u128 + 1))
}

/// So many slaves, all slots of them taken, and programs that wait.
fn busy(slaves: usize) -> (Scheduler, Vec<(u64, SlaveId)>) {
    let mut scheduler = Scheduler::new();
    for number in 0..slaves {
        let known = scheduler.connect(id(number), SlaveSlots::new(format!("s{number}").into(), [], SLOTS));
        assert!(number == 0 || known.is_none(), "all have the same ceiling");
    }
    let need = scheduler.need(&ProgramSpec::new("true", Work::Command { command: "true".into() }));
    let user: Arc<str> = "ann".into();
    scheduler.enqueue_all(0..WAITING + 16 * slaves as u64, &need, &user);
    let mut running = Vec::new();
    loop {
        let decisions = scheduler.round();
        if decisions.is_empty() {
            return (scheduler, running);
        }
        for decision in decisions {
            if let Decision::Assign { program, slave } = decision {
                running.push((program, slave));
            }
        }
    }
}

/// One program ends, the next one waiting is assigned: what a decision costs.
fn round(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scheduler-round");
    for slaves in [10, 1_000, 10_000] {
        let (mut scheduler, running) = busy(slaves);
        let need = scheduler.need(&ProgramSpec::new("true", Work::Command { command: "true".into() }));
        let user: Arc<str> = "ann".into();
        let mut running = std::collections::VecDeque::from(running);
        let mut next = WAITING + 16 * slaves as u64;
        group.bench_function(format!("{slaves}-slaves"), |bench| {
            bench.iter(|| {
                let (program, slave) = running.pop_front().expect("something runs");
                scheduler.started(program, slave);
                scheduler.release(program, slave);
                scheduler.enqueue(next, &need, &user);
                next += 1;
                for decision in scheduler.round() {
                    if let Decision::Assign { program, slave } = decision {
                        running.push_back((program, slave));
                    }
                }
            });
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

criterion_group! { name = benches; config = short(); targets = round }
criterion_main!(benches);
