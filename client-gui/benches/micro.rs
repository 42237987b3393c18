//! What the window does with what the master tells: a page of the history, and one change. `cargo bench -p client-gui`,
//! or all with `make bench`.

use client::{HistoryWindow, Mirror};
use client_gui::{
    demo::scene,
    view_model::{Clock, history::HistoryRow},
};
use common::{Timestamp, message::Change, view::ProgramView};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::{hint::black_box, time::Duration};

const ROWS: u64 = 1_000;
const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

fn page() -> Vec<ProgramView> {
    (0..ROWS).rev().map(|sequence| scene::old_program(NOW, sequence + 1)).collect()
}

fn view_models(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("view-model");
    let (rows, clock) = (page(), Clock { now: NOW, zone: jiff::tz::TimeZone::UTC });
    group.bench_function(format!("page-{ROWS}-rows"), |bench| {
        bench.iter(|| rows.iter().map(|row| HistoryRow::new(black_box(row), &clock)).collect::<Vec<_>>());
    });
    let mut mirror = Mirror::default();
    mirror.history.show(HistoryWindow::default());
    let generation = mirror.history.generation();
    mirror.history.set_page(0, rows.clone(), ROWS, generation);
    let changed = &rows[rows.len() / 2];
    group.bench_function(format!("delta-in-{ROWS}-rows"), |bench| {
        bench.iter_batched(
            || Change::Program(Box::new(changed.clone())),
            |change| mirror.apply(change),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn short() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_000))
}

criterion_group! { name = benches; config = short(); targets = view_models }
criterion_main!(benches);
