//! The codec: what a program costs on the wire. `cargo bench -p common`, or all of them with `make bench`.

use common::{
    AttemptKey, Outcome, ProgramId, ProgramSpec, Timestamp, Work,
    frame::FrameHeader,
    limits::FRAME_DATA_BYTES_MAX,
    message::{Assignment, Command, Finished, Message, Order, Report, Request, RequestId, Status},
    view::Usage,
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::{hint::black_box, sync::Arc, time::Duration};
use uuid::Uuid;

/// What one frame of a busy connection carries.
const PROGRAMS: usize = 64;

fn id(number: usize) -> ProgramId {
    ProgramId(Uuid::from_u128(1 << 100 | number as u128))
}

fn key(number: usize) -> AttemptKey {
    AttemptKey { program: id(number), attempt: 1 }
}

fn finished(number: usize) -> Finished {
    Finished {
        key: key(number),
        outcome: Outcome::Exited { code: 0 },
        started_at: Some(Timestamp(1)),
        ended_at: Timestamp(2),
        usage: Usage::default(),
        tails: Default::default(),
        output_truncated: false,
        last_line: String::new(),
    }
}

fn messages() -> [(&'static str, Message); 3] {
    let spec = ProgramSpec::new("true", Work::Command { command: "/bin/true".into() });
    let shared = Arc::new(spec.clone());
    let assignment = |number| Assignment { key: key(number), spec: Arc::clone(&shared), index: 0, fence: 1 };
    let copies = u32::try_from(PROGRAMS).unwrap_or(u32::MAX);
    let submit = Request::Submit { ids: (0..PROGRAMS).map(id).collect(), first_index: 0, copies, spec: Box::new(spec) };
    [
        ("submit", Command::Request { id: RequestId(1), request: submit }.into()),
        ("assign", Command::Order(Order::Assign((0..PROGRAMS).map(assignment).collect())).into()),
        ("finished", Status::Report(Report::Finished((0..PROGRAMS).map(finished).collect())).into()),
    ]
}

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(PROGRAMS as u64));
    for (name, message) in messages() {
        let mut bytes = Vec::new();
        message.encode(Timestamp(0), &mut bytes);
        group.bench_function(format!("encode-{name}-{PROGRAMS}"), |bench| {
            let mut out = Vec::with_capacity(bytes.len());
            bench.iter(|| {
                out.clear();
                black_box(&message).encode(Timestamp(0), &mut out);
            });
        });
        group.bench_function(format!("decode-{name}-{PROGRAMS}"), |bench| {
            let decode = |bytes: &[u8]| {
                let (header, data) = bytes.split_first_chunk().expect("a frame has a header");
                let header = FrameHeader::decode(*header, FRAME_DATA_BYTES_MAX).expect("the header is ours");
                Message::decode(header, data).expect("the message is ours")
            };
            bench.iter_batched(|| &bytes[..], |bytes| decode(black_box(bytes)), BatchSize::SmallInput);
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

criterion_group! { name = benches; config = short(); targets = codec }
criterion_main!(benches);
