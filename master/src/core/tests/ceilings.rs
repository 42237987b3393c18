//! What slaves never exceed: where programs are placed, what is told of it, and what ends at once (I18).

use super::*;
use common::{program::ResourceLimits, view::Ceiling};

const OTHER: SlaveId = SlaveId(Uuid::from_u128(10));
const OTHER_LINK: LinkId = LinkId(2);

fn at_most(seconds: u64, network: bool) -> Registration {
    let limits = ResourceLimits { wall_time: Duration::from_secs(seconds), ..ResourceLimits::MOST };
    Registration { ceiling: Ceiling { limits, network }, ..registration(1) }
}

fn enrol(bench: &mut Bench, id: SlaveId, name: &str) {
    bench.handle(Event::SlaveEnrolled { id, name: name.into(), retired: None });
}

fn lasting(seconds: u64) -> impl FnOnce(&mut ProgramSpec) {
    move |spec| spec.limits.wall_time = Duration::from_secs(seconds)
}

fn refused(bench: &mut Bench) -> String {
    match bench.outcomes().as_slice() {
        [Outcome::NotSupported { detail }] => detail.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn i18_a_program_goes_to_a_slave_that_allows_it_and_waits_for_one() {
    let mut bench = Bench::new();
    enrol(&mut bench, SLAVE, "low");
    enrol(&mut bench, OTHER, "high");
    bench.register(LINK, SLAVE, at_most(60, false));
    bench.register(OTHER_LINK, OTHER, at_most(3_600, false));
    bench.told();
    let first = bench.submit_with(1, lasting(600));
    assert_eq!(bench.assigned(), [(OTHER_LINK, attempt(first, 1))]);
    // The other slave is full, and the free one allows less.
    let mut waiting = Vec::new();
    for number in 2..20 {
        waiting.push(bench.submit_with(number, lasting(599 + number as u64)));
    }
    bench.assigned();
    let last = *waiting.last().unwrap();
    let Reply::Why(why) = bench.reply(Request::Why { id: last }).unwrap() else { panic!() };
    let low = why.slaves.iter().find(|slave| slave.slave == "low").unwrap();
    assert!(!low.able && low.reason.contains("ceiling") && low.reason.contains("at most 1 min"), "{low:?}");
    assert_eq!(bench.core.scheduler.queue().lines(), 1, "different wall times are no different needs");
    let short = bench.submit_with(50, lasting(60));
    assert_eq!(bench.assigned(), [(LINK, attempt(short, 1))]);
}

#[test]
fn i18_what_no_slave_allows_ends_at_once_with_the_reason() {
    let mut bench = Bench::new();
    enrol(&mut bench, SLAVE, "low");
    // Nobody is there who could say no.
    bench.submit_with(1, lasting(601));
    bench.submit_with(2, |spec| spec.network = true);
    assert_eq!(bench.outcomes(), []);
    bench.register(LINK, SLAVE, at_most(60, false));
    let details: Vec<String> = bench
        .outcomes()
        .into_iter()
        .map(|outcome| if let Outcome::NotSupported { detail } = outcome { detail } else { panic!("{outcome:?}") })
        .collect();
    assert_eq!(details.len(), 2, "{details:?}");
    assert!(details.iter().any(|detail| detail.starts_with("E-NETWORK-NONE: ")), "{details:?}");
    assert!(details.iter().any(|detail| detail.contains("`low` refuses a wall time of 10 min 1 s; at most 1 min")));
    bench.submit_with(3, lasting(61));
    assert!(refused(&mut bench).starts_with("E-BEYOND-CEILING: "));
    bench.submit_with(4, |spec| {
        spec.network = true;
        spec.limits.wall_time = Duration::from_secs(1);
    });
    assert!(refused(&mut bench).starts_with("E-NETWORK-NONE: "));
    // A processor time is held against the ceiling only when it is given.
    enrol(&mut bench, OTHER, "online");
    bench.register(OTHER_LINK, OTHER, at_most(600, true));
    bench.told();
    let online = bench.submit_with(5, |spec| spec.network = true);
    assert_eq!(bench.assigned(), [(OTHER_LINK, attempt(online, 1))]);
    bench.submit_with(6, |spec| {
        spec.slave = Some("low".into());
        spec.limits.wall_time = Duration::from_secs(61);
    });
    assert!(refused(&mut bench).contains("more than its slave allows"));
}

#[test]
fn i18_a_slave_that_is_away_may_come_back_with_another_ceiling() {
    let row = crate::store::load::SlaveRow {
        id: OTHER,
        name: "away".into(),
        instance: 3,
        slots: 1,
        languages: vec![],
        seen_at: Timestamp(999_000_000),
        aside: None,
        revoked: false,
    };
    let mut bench =
        Bench::recovered(Recovered { next_sequence: 1, next_spec: 1, slaves: vec![row], ..Recovered::default() });
    enrol(&mut bench, SLAVE, "low");
    bench.register(LINK, SLAVE, at_most(60, false));
    bench.outcomes();
    let id = bench.submit_with(1, |spec| {
        spec.network = true;
        spec.limits.wall_time = Duration::from_secs(50);
    });
    let long = bench.submit_with(2, lasting(700));
    assert_eq!(bench.outcomes(), [], "what `away` allows is not known yet");
    let Reply::Why(why) = bench.reply(Request::Why { id }).unwrap() else { panic!() };
    let reason = |name: &str| why.slaves.iter().find(|slave| slave.slave == name).unwrap().reason.clone();
    assert_eq!((&*reason("away"), &*reason("low")), ("is not connected", "lets no program use the network"));
    bench.register(OTHER_LINK, OTHER, at_most(100, true));
    assert!(refused(&mut bench).contains("more than every slave allows"), "the long one");
    assert!(bench.assigned().contains(&(OTHER_LINK, attempt(id, 1))));
    assert_eq!(bench.view(long).state, State::Failed);
}

#[test]
fn i18_what_waits_and_what_is_held_follow_a_ceiling_that_is_new() {
    let mut bench = Bench::new();
    bench.slave(1);
    bench.told();
    let ids: Vec<ProgramId> =
        (1..30).map(|number| bench.submit_with(number, lasting(40 + 2 * number as u64))).collect();
    enrol(&mut bench, OTHER, "low");
    bench.told();
    bench.register(OTHER_LINK, OTHER, at_most(60, false));
    // Those that are not beyond it go there, also what the full slave held ahead and gives back.
    let mut sent = bench.assigned();
    let first = attempt(ids[0], 1);
    bench.report(LINK, Report::Started(vec![(first, Timestamp(5))]));
    for _ in 0..60 {
        let Some((link, key)) = sent.iter().find(|(link, _)| *link == OTHER_LINK).copied() else { break };
        sent.retain(|other| *other != (link, key));
        bench.report(link, Report::Started(vec![(key, Timestamp(5))]));
        bench.finish(link, key, Outcome::Exited { code: 0 });
        let wall_time = 40 + 2 * (ids.iter().position(|id| *id == key.program).unwrap() as u64 + 1);
        assert!(wall_time <= 60, "{wall_time} s is beyond it");
        sent.extend(bench.assigned());
    }
    // The invariants were checked at every step. What is beyond it still waits for the first slave.
    let waiting = ids.iter().filter(|id| bench.core.by_id.contains_key(id)).count();
    assert!(waiting >= 19, "{waiting}");
}
