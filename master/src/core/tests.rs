//! The core without any shell: events in, actions out, and nothing else was sent.

use super::{
    Core, Settings,
    action::Action,
    event::{Event, Guard, Joined, LinkId, Now},
};
use crate::store::{
    Record,
    load::{AliveRow, Recovered},
    query::LookUp,
};
use common::{
    AttemptKey, ClientId, Duration, Outcome, ProgramId, ProgramSpec, SlaveId, Timestamp, Work,
    limits::{COPIES_PER_REQUEST_MAX, DELTA_ROWS_MAX, PROGRAMS_ALIVE_MAX},
    message::{Change, Finished, Order, Registration, Reply, Report, Request, RequestId, Status},
    program::State,
    session::Role,
    units::BootTime,
    view::{ClientKind, Isolation, Usage},
};
use std::collections::BTreeMap;
use uuid::Uuid;

const CLIENT: ClientId = ClientId(Uuid::from_u128(7));
const SLAVE: SlaveId = SlaveId(Uuid::from_u128(9));
const LINK: LinkId = LinkId(1);

fn finished(key: AttemptKey, outcome: Outcome) -> Finished {
    Finished {
        key,
        outcome,
        started_at: Some(Timestamp(6)),
        ended_at: Timestamp(7),
        usage: Usage::default(),
        output_truncated: false,
        last_line: String::new(),
        tails: Default::default(),
    }
}

fn attempt(program: ProgramId, attempt: u32) -> AttemptKey {
    AttemptKey { program, attempt }
}

fn lost() -> Outcome {
    Outcome::Lost { detail: "cannot fork".into() }
}

/// What a slave tells that holds nothing.
fn registration(slots: u32) -> Registration {
    Registration {
        instance: 1,
        epoch: 0,
        slots,
        languages: vec![],
        isolation: Isolation::default(),
        machine: String::new(),
        release: String::new(),
        waiting: vec![],
        running: vec![],
        finished: vec![],
        suspended: vec![],
        ceiling: Default::default(),
    }
}

fn settings() -> Settings {
    Settings {
        lease: Duration::from_secs(50),
        max_processes: None,
        epoch: 1,
        programs_per_user: PROGRAMS_ALIVE_MAX,
        fair_share: true,
    }
}

struct Bench {
    core: Core,
    now: Now,
    actions: Vec<Action>,
    requests: u32,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self::recovered(Recovered { next_sequence: 1, next_spec: 1, ..Recovered::default() });
        bench.assert_no_more_actions();
        bench
    }

    fn recovered(recovered: Recovered) -> Self {
        Self::with(recovered, settings())
    }

    fn with(recovered: Recovered, settings: Settings) -> Self {
        let now = Now { wall: Timestamp(1_000_000_000), boot: BootTime(5_000_000) };
        let core = Core::recover(recovered, &BTreeMap::new(), settings, now);
        let mut bench = Self { core, now, actions: Vec::new(), requests: 0 };
        bench.join(CLIENT, Role::Operator);
        bench
    }

    fn join(&mut self, id: ClientId, role: Role) {
        self.join_as(id, "ann", role);
    }

    fn join_as(&mut self, id: ClientId, user: &str, role: Role) {
        let joined = Joined { id, user: user.into(), role, address: "a".into(), kind: ClientKind::Cli };
        self.handle(Event::ClientJoined(joined));
    }

    fn handle(&mut self, event: Event) {
        self.core.handle(event, self.now);
        self.core.check_invariants();
        self.actions.extend(self.core.settle(self.now));
        self.core.check_invariants();
    }

    /// Time passes; the loop calls when it should.
    fn advance(&mut self, time: Duration) {
        let end = self.now.boot.plus(time);
        while self.now.boot < end {
            let soon = self.now.boot.plus(Duration(1));
            let next = self.core.next_deadline().map_or(end, |(at, _)| at.max(soon).min(end));
            self.leap(next.since(self.now.boot));
        }
    }

    /// Time passes while the master is stopped.
    fn leap(&mut self, time: Duration) {
        self.now.boot = self.now.boot.plus(time);
        self.now.wall.0 += time.0;
        self.handle(Event::Tick);
    }

    fn request(&mut self, request: Request) {
        self.requests += 1;
        let id = RequestId(self.requests);
        let request = Box::new(request);
        self.handle(Event::Request {
            client: CLIENT,
            id,
            request,
            known: vec![],
            received: self.now.boot,
            guard: Guard(None),
        });
    }

    fn submit(&mut self, number: u128) -> ProgramId {
        let id = ProgramId(Uuid::from_u128(number));
        let spec = Box::new(ProgramSpec::new("p", Work::Command { command: "true".into() }));
        self.request(Request::Submit { ids: vec![id], first_index: 0, copies: 1, spec });
        id
    }

    fn slave(&mut self, slots: u32) {
        self.handle(Event::SlaveEnrolled { id: SLAVE, name: "s1".into(), retired: None });
        self.register(LINK, SLAVE, registration(slots));
    }

    fn register(&mut self, link: LinkId, slave: SlaveId, registration: Registration) {
        let registration = Box::new(registration);
        self.handle(Event::SlaveRegistered { link, slave, address: "b".into(), registration });
    }

    /// Takes the actions that are told to peers; records and events are dropped.
    fn told(&mut self) -> Vec<Action> {
        self.actions.drain(..).filter(|action| !matches!(action, Action::Record(_))).collect()
    }

    fn records(&mut self) -> Vec<Record> {
        let (records, others) =
            std::mem::take(&mut self.actions).into_iter().partition(|action| matches!(action, Action::Record(_)));
        self.actions = others;
        let records: Vec<Action> = records;
        records
            .into_iter()
            .filter_map(|action| if let Action::Record(record) = action { Some(record) } else { None })
            .collect()
    }

    #[track_caller]
    fn assert_no_more_actions(&mut self) {
        assert!(self.actions.is_empty(), "{:?}", self.actions);
    }

    /// How programs ended, in this order, since the records were taken the last time.
    fn outcomes(&mut self) -> Vec<Outcome> {
        let ended = |record| if let Record::Ended(ended) = record { Some(ended.outcome) } else { None };
        self.records().into_iter().filter_map(ended).collect()
    }

    /// The attempts that slaves are told to run; other actions are dropped.
    fn assigned(&mut self) -> Vec<(LinkId, AttemptKey)> {
        let mut found = Vec::new();
        for action in self.told() {
            if let Action::ToSlave(link, Order::Assign(assignments)) = action {
                found.extend(assignments.iter().map(|assignment| (link, assignment.key)));
            }
        }
        found
    }

    fn submit_with(&mut self, number: u128, change: impl FnOnce(&mut ProgramSpec)) -> ProgramId {
        let id = ProgramId(Uuid::from_u128(number));
        let mut spec = ProgramSpec::new("p", Work::Command { command: format!("run {number}").into() });
        change(&mut spec);
        self.request(Request::Submit { ids: vec![id], first_index: 0, copies: 1, spec: Box::new(spec) });
        id
    }

    fn report(&mut self, link: LinkId, report: Report) {
        self.handle(Event::SlaveReported { link, report });
    }

    /// A slave reports how an attempt ended.
    fn finish(&mut self, link: LinkId, key: AttemptKey, outcome: Outcome) {
        self.report(link, Report::Finished(vec![finished(key, outcome)]));
    }

    /// The answer to a request; other actions are dropped.
    fn reply(&mut self, request: Request) -> Result<Reply, common::UserError> {
        self.told();
        self.request(request);
        let told = self.told();
        let reply =
            |action| if let Action::ToClient(_, Status::Reply { result, .. }) = action { Some(result) } else { None };
        told.into_iter().find_map(reply).expect("an answer")
    }

    fn view(&mut self, id: ProgramId) -> common::view::ProgramView {
        let Reply::Program(view) = self.reply(Request::Show { id }).unwrap() else { panic!() };
        *view
    }

    fn why(&mut self, id: ProgramId) -> String {
        let Reply::Why(why) = self.reply(Request::Why { id }).unwrap() else { panic!() };
        why.sentence
    }

    fn order(&mut self) -> Order {
        let told = self.told();
        let orders: Vec<_> = told
            .iter()
            .filter_map(|action| if let Action::ToSlave(_, order) = action { Some(order) } else { None })
            .collect();
        assert_eq!(orders.len(), 1, "{told:?}");
        orders[0].clone()
    }
}

mod aside;
mod ceilings;
mod control;
mod fences;
mod inputs;
mod many;
mod retry;

#[test]
fn e1_a_submit_is_recorded_before_it_is_acknowledged_and_assigned() {
    let mut bench = Bench::new();
    bench.slave(1);
    bench.told();
    let id = bench.submit(1);
    let places = |test: fn(&Action) -> bool| bench.actions.iter().position(test).unwrap();
    let recorded = places(|action| matches!(action, Action::Record(Record::New(_))));
    let moved = places(|action| matches!(action, Action::Record(Record::Moved(_))));
    let replied = places(|action| {
        matches!(action, Action::ToClient(_, Status::Reply { result: Ok(Reply::Submitted { .. }), .. }))
    });
    let assigned = places(|action| matches!(action, Action::ToSlave(_, Order::Assign(_))));
    assert!(recorded < replied && moved < assigned);
    let Order::Assign(assignments) = bench.order() else { panic!() };
    assert_eq!(assignments[0].key, AttemptKey { program: id, attempt: 1 });
    bench.assert_no_more_actions();
}

#[test]
fn e13_times_of_a_program_never_go_back_though_the_clock_does() {
    let mut bench = Bench::new();
    bench.slave(1);
    let id = bench.submit(1);
    bench.told();
    let submitted = bench.now.wall;
    bench.now.wall = Timestamp(1_000);
    let key = AttemptKey { program: id, attempt: 1 };
    bench.handle(Event::SlaveReported { link: LINK, report: Report::Started(vec![(key, Timestamp(5))]) });
    let Record::Moved(moved) = bench.records().remove(0) else { panic!() };
    assert!(moved.started_at.unwrap() >= submitted);
    // A leap of the wall clock alone ends no lease.
    bench.handle(Event::SlaveLeft(LINK));
    bench.told();
    bench.now.wall = Timestamp(u64::MAX / 4);
    bench.handle(Event::Tick);
    bench.assert_no_more_actions();
    assert!(bench.core.next_deadline().is_some());
    bench.advance(Duration::from_secs(51));
    let ended = bench
        .records()
        .into_iter()
        .find_map(|record| if let Record::Ended(ended) = record { Some(ended) } else { None });
    assert!(matches!(ended.unwrap().outcome, Outcome::Lost { .. }));
}

#[test]
fn e13_reports_for_anything_but_the_current_attempt_change_nothing() {
    let mut bench = Bench::new();
    bench.slave(1);
    let id = bench.submit(1);
    bench.told();
    for key in [AttemptKey { program: id, attempt: 2 }, AttemptKey { program: ProgramId(Uuid::nil()), attempt: 1 }] {
        bench.handle(Event::SlaveReported { link: LINK, report: Report::Started(vec![(key, Timestamp(5))]) });
        bench.handle(Event::SlaveReported { link: LINK, report: Report::Withdrawn(vec![key]) });
    }
    let current = AttemptKey { program: id, attempt: 1 };
    // Another link than the slave's own says nothing either.
    bench.handle(Event::SlaveReported { link: LinkId(99), report: Report::Started(vec![(current, Timestamp(5))]) });
    bench.assert_no_more_actions();
}

#[test]
fn e8_many_changes_are_told_as_many_and_not_one_by_one() {
    let mut bench = Bench::new();
    bench.request(Request::Watch { programs: true, slaves: false, clients: false });
    bench.advance(Duration::from_secs(1));
    bench.told();
    for number in 0..=(DELTA_ROWS_MAX as u128 + 1) {
        bench.submit(100 + number);
    }
    bench.told();
    bench.advance(Duration::from_secs(1));
    let told = bench.told();
    let [Action::ToClient(CLIENT, Status::Changes(changes))] = told.as_slice() else { panic!("{told:?}") };
    assert!(matches!(changes.as_slice(), [Change::ManyPrograms, Change::Summary(_)]), "{} changes", changes.len());
    assert_eq!(bench.core.next_deadline(), None);
}

#[test]
fn e9_overload_is_refused_by_name_and_nothing_is_kept_of_it() {
    let mut bench = Bench::new();
    bench.handle(Event::Storage(Some(common::UserError::new(common::ErrorCode::StorageFull, "full"))));
    bench.submit(1);
    assert!(bench.records().is_empty());
    let told = bench.told();
    let [Action::ToClient(_, Status::Reply { result: Err(error), .. })] = told.as_slice() else { panic!("{told:?}") };
    assert!(error.is(common::ErrorCode::StorageFull));
    const { assert!(PROGRAMS_ALIVE_MAX > 1_000_000) };
    bench.handle(Event::Storage(None));
    bench.handle(Event::Stopping);
    bench.told();
    bench.submit(2);
    let told = bench.told();
    let [Action::ToClient(_, Status::Reply { result: Err(error), .. })] = told.as_slice() else { panic!("{told:?}") };
    assert!(error.is(common::ErrorCode::Stopping));
    bench.assert_no_more_actions();
}

#[test]
fn e9_programs_that_end_at_once_leave_no_bytes_behind() {
    let mut bench = Bench::new();
    bench.slave(1);
    let work = Work::Source { language: "Nothing".into(), file_name: "a.x".into(), text: b"xxxxxxxx"[..].into() };
    let spec = Box::new(ProgramSpec::new("p", work));
    let ids = vec![ProgramId(Uuid::from_u128(1)), ProgramId(Uuid::from_u128(2))];
    // The invariants count the bytes.
    bench.request(Request::Submit { ids, first_index: 0, copies: 2, spec });
    let ended = bench.records().iter().filter(|record| matches!(record, Record::Ended(_))).count();
    assert_eq!(ended, 2);
}

#[test]
fn e9_only_ids_of_a_request_that_may_be_accepted_are_looked_up() {
    let mut bench = Bench::recovered(Recovered {
        next_sequence: 1,
        next_spec: 1,
        last_id: Some(ProgramId(Uuid::max())),
        ..Recovered::default()
    });
    let viewer = ClientId(Uuid::from_u128(8));
    bench.join(viewer, Role::Viewer);
    let submit = |count: usize| {
        let spec = Box::new(ProgramSpec::new("p", Work::Command { command: "true".into() }));
        let ids = (0..count as u128).map(|number| ProgramId(Uuid::from_u128(number))).collect();
        Request::Submit { ids, first_index: 0, copies: 1, spec }
    };
    let look = |client, request: &Request| bench.core.ids_to_look_up(client, request, bench.now.boot, bench.now);
    let first = |count: u128| LookUp::These((0..count).map(|number| ProgramId(Uuid::from_u128(number))).collect());
    assert_eq!(look(CLIENT, &submit(3)), first(3));
    // What will be refused as late is not looked up.
    let later = Now { boot: bench.now.boot.plus(Duration::from_secs(1)), ..bench.now };
    assert_eq!(bench.core.ids_to_look_up(CLIENT, &submit(3), bench.now.boot, later), LookUp::Nothing);
    assert_eq!(look(viewer, &submit(3)), LookUp::Nothing);
    assert_eq!(look(CLIENT, &submit(COPIES_PER_REQUEST_MAX + 1)), LookUp::Nothing);
    let id = ProgramId(Uuid::nil());
    assert_eq!(look(CLIENT, &Request::Again { id, new_id: id }), first(1));
    assert_eq!(look(viewer, &Request::Again { id, new_id: id }), LookUp::Nothing);
    let spec = Box::new(ProgramSpec::new("p", Work::Command { command: "true".into() }));
    let copies = |copies| Request::SubmitCopies { first: id, copies, spec: spec.clone() };
    assert_eq!(look(CLIENT, &copies(1_000_000)), LookUp::Between(id, id.nth(999_999).unwrap()));
    assert_eq!(look(CLIENT, &copies(1_000_001)), LookUp::Nothing);
    assert_eq!(look(viewer, &copies(5)), LookUp::Nothing);
    let entries = |count: usize| {
        let (spec, entries) = (spec.clone(), vec!["x".into(); count]);
        Request::SubmitEntries { first: id, first_index: 0, copies: 0, spec, entries }
    };
    assert_eq!(look(CLIENT, &entries(3)), first(3));
    assert_eq!(look(CLIENT, &entries(1_001)), LookUp::Nothing);
}

#[test]
fn e9_an_id_later_than_every_known_one_is_not_looked_up_and_each_other_is() {
    let id = |number: u128| ProgramId(Uuid::from_u128(number));
    let mut bench =
        Bench::recovered(Recovered { next_sequence: 1, next_spec: 1, last_id: Some(id(10)), ..Recovered::default() });
    let spec = Box::new(ProgramSpec::new("p", Work::Command { command: "true".into() }));
    let submit = |ids: &[u128]| Request::Submit {
        ids: ids.iter().map(|number| id(*number)).collect(),
        first_index: 0,
        copies: u32::try_from(ids.len()).unwrap(),
        spec: spec.clone(),
    };
    let copies = |first| Request::SubmitCopies { first: id(first), copies: 3, spec: spec.clone() };
    let look = |bench: &Bench, request: &Request| bench.core.ids_to_look_up(CLIENT, request, bench.now.boot, bench.now);
    assert_eq!(look(&bench, &submit(&[11, 12])), LookUp::These(Vec::new()));
    assert_eq!(look(&bench, &submit(&[10, 11])), LookUp::These(vec![id(10)]));
    assert_eq!(look(&bench, &copies(11)), LookUp::These(Vec::new()));
    assert_eq!(look(&bench, &copies(9)), LookUp::Between(id(9), id(11)));
    bench.request(submit(&[12, 11]));
    assert_eq!(look(&bench, &submit(&[12])), LookUp::These(vec![id(12)]), "it is known now");
    assert_eq!(look(&bench, &submit(&[13])), LookUp::These(Vec::new()));
    bench.request(copies(20));
    assert_eq!(look(&bench, &submit(&[22])), LookUp::These(vec![id(22)]), "the last of the copies");
    assert_eq!(look(&bench, &submit(&[23])), LookUp::These(Vec::new()));
}

#[test]
fn e10_a_submitter_who_watches_sees_no_other_people() {
    let mut bench = Bench::new();
    let (watcher, other) = (ClientId(Uuid::from_u128(20)), ClientId(Uuid::from_u128(21)));
    bench.join_as(watcher, "sue", Role::Submitter);
    let request = Box::new(Request::Watch { programs: false, slaves: false, clients: true });
    bench.handle(Event::Request {
        client: watcher,
        id: RequestId(1),
        request,
        known: vec![],
        received: bench.now.boot,
        guard: Guard(None),
    });
    bench.advance(Duration::from_secs(1));
    bench.told();
    bench.join_as(other, "bob", Role::Submitter);
    bench.request(Request::SetMaxProcesses { slave: None, slots: 3 });
    bench.advance(Duration::from_secs(1));
    bench.handle(Event::ClientLeft(other));
    bench.advance(Duration::from_secs(1));
    let mut changes = Vec::new();
    for action in bench.told() {
        if let Action::ToClient(to, Status::Changes(more)) = action
            && to == watcher
        {
            changes.extend(more);
        }
    }
    assert_eq!(changes, []);
}

#[test]
fn e10_watchers_who_see_the_same_are_told_it_once_and_a_submitter_what_is_his() {
    let mut bench = Bench::new();
    let [ann, bob, sue] = [20, 21, 22].map(|number| ClientId(Uuid::from_u128(number)));
    for (client, user, role) in
        [(ann, "ann", Role::Viewer), (bob, "bob", Role::Operator), (sue, "sue", Role::Submitter)]
    {
        bench.join_as(client, user, role);
        let request = Box::new(Request::Watch { programs: true, slaves: false, clients: false });
        let (id, received, guard) = (RequestId(1), bench.now.boot, Guard(None));
        bench.handle(Event::Request { client, id, request, known: vec![], received, guard });
    }
    bench.advance(Duration::from_secs(1));
    bench.told();
    let program = bench.submit(1);
    bench.advance(Duration::from_secs(1));
    let told = bench.told();
    let shows = |changes: &[Change]| changes.iter().any(|change| matches!(change, Change::Program(_)));
    let together = told.iter().filter_map(|action| {
        let Action::ToClients(clients, Status::Changes(changes)) = action else { return None };
        Some((clients.clone(), shows(changes)))
    });
    assert_eq!(together.collect::<Vec<_>>(), [(vec![ann, bob], true)], "{program:?}");
    let alone = told.iter().filter_map(|action| {
        let Action::ToClient(client, Status::Changes(changes)) = action else { return None };
        Some((*client, shows(changes)))
    });
    assert_eq!(alone.collect::<Vec<_>>(), [(sue, false)]);
}

#[test]
fn e13_a_slave_that_comes_back_while_it_loses_its_name_strands_nothing() {
    let mut bench = Bench::new();
    bench.slave(1);
    bench.submit(1);
    bench.told();
    let id = SlaveId(Uuid::from_u128(10));
    bench.handle(Event::SlaveEnrolled { id, name: "s1".into(), retired: Some(SLAVE) });
    let told = bench.actions.iter().any(|action| matches!(action, Action::CutSlave(LINK, Some(_))));
    assert!(told, "{:?}", bench.actions);
    // It may run on until its lease is over.
    let lost =
        |record: &Record| matches!(record, Record::Ended(ended) if matches!(ended.outcome, Outcome::Lost { .. }));
    bench.advance(Duration::from_secs(49));
    assert!(!bench.records().iter().any(lost));
    bench.advance(Duration::from_secs(2));
    assert!(bench.records().iter().any(lost));
}

#[test]
fn e13_what_a_slave_without_a_name_ran_is_lost_after_a_restart() {
    let alive = |sequence: u64, retry: u32, state| {
        let mut spec = ProgramSpec::new("p", Work::Command { command: "true".into() });
        spec.retry = retry;
        AliveRow {
            sequence,
            id: ProgramId(Uuid::from_u128(sequence.into())),
            spec_key: sequence,
            spec: spec.into(),
            spec_hash: [u8::try_from(sequence).unwrap(); 32],
            user: "ann".into(),
            client: CLIENT,
            index: 0,
            copies: 1,
            state,
            attempt: 1,
            slave: Some(SLAVE),
            submitted_at: Timestamp(5),
            started_at: None,
            cancel_by: None,
            crashes: 0,
            wall_time: None,
            suspend: false,
            entry: None,
        }
    };
    let recovered = Recovered {
        alive: vec![alive(1, 0, State::Running), alive(2, 1, State::Running), alive(3, 0, State::Waiting)],
        totals: BTreeMap::from([(State::Running, 2), (State::Waiting, 1)]),
        next_sequence: 4,
        next_spec: 4,
        ..Recovered::default()
    };
    let mut bench = Bench::recovered(recovered);
    // It may have been cut just before the master ended.
    bench.advance(Duration::from_secs(49));
    assert!(!bench.records().iter().any(|record| matches!(record, Record::Ended(_))));
    bench.advance(Duration::from_secs(2));
    let ended =
        |record: Record| if let Record::Ended(ended) = record { Some((ended.sequence, ended.outcome)) } else { None };
    let ended: Vec<_> = bench.records().into_iter().filter_map(ended).collect();
    assert!(matches!(ended.as_slice(), [(1, Outcome::Lost { .. }), (3, Outcome::Lost { .. })]), "{ended:?}");
    bench.slave(1);
    let told = bench.told();
    let again = |action: &Action| matches!(action, Action::ToSlave(_, Order::Assign(sent)) if sent[0].key.attempt == 2);
    assert!(told.iter().any(again), "{told:?}");
}

fn reconfigured(slots: u32) -> Event {
    Event::Reconfigured { max_processes: Some(slots), programs_per_user: 10, fair_share: true }
}

#[test]
fn s4_a_configuration_that_did_not_change_resets_nothing() {
    let mut bench = Bench::new();
    bench.slave(4);
    bench.handle(reconfigured(3));
    bench.request(Request::SetMaxProcesses { slave: Some("s1".into()), slots: 1 });
    bench.told();
    bench.handle(reconfigured(3));
    assert!(bench.told().is_empty());
    bench.handle(reconfigured(2));
    assert_eq!(bench.order(), Order::SetSlots(2));
}

#[test]
fn e13_offsets_of_a_slave_that_wrap_change_nothing() {
    let mut bench = Bench::new();
    bench.slave(1);
    let key = AttemptKey { program: bench.submit(1), attempt: 1 };
    bench.told();
    let (stream, bytes, guard) = (common::message::Stream::Stdout, vec![1, 2], Guard(None));
    bench.handle(Event::SlaveOutput { link: LINK, key, stream, offset: u64::MAX, bytes, guard });
    bench.assert_no_more_actions();
}
