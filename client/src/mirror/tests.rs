use super::*;
use common::{Outcome, program::State, view::Summary};
use uuid::Uuid;

fn row(sequence: u64, state: State) -> ProgramView {
    ProgramView {
        id: ProgramId(Uuid::from_u128(u128::from(sequence) + 1)),
        sequence,
        name: format!("program {sequence}"),
        language: Some("Python".into()),
        state,
        outcome: state.is_final().then_some(Outcome::Exited { code: i32::from(state != State::Done) }),
        slave_id: None,
        slave_name: Some("s1".into()),
        client: ClientId(Uuid::nil()),
        user: "alice".into(),
        attempt: 1,
        priority: 50,
        index: 0,
        copies: 1,
        progress: None,
        submitted_at: Timestamp(1),
        started_at: None,
        ended_at: None,
        usage: None,
        output_bytes: 0,
        error_bytes: 0,
        compile_bytes: 0,
        output_truncated: false,
        last_line: String::new(),
        unknown_since: None,
        files_bytes: 0,
        live: false,
    }
}

fn change(sequence: u64, state: State) -> Change {
    Change::Program(Box::new(row(sequence, state)))
}

/// The page at `skip` of a history that holds the sequences 1 to `total`.
fn page(skip: u64, limit: u64, total: u64) -> Vec<ProgramView> {
    (skip..(skip + limit).min(total)).map(|position| row(total - position, State::Done)).collect()
}

fn shown(mirror: &Mirror) -> Vec<(u64, State)> {
    mirror.history.known().map(|row| (row.sequence, row.state)).collect()
}

/// A mirror that shows `rows` rows from `first` of a history of `total` programs.
fn mirror(first: u64, rows: u32, total: u64) -> Mirror {
    let mut mirror = Mirror::default();
    mirror.history.show(HistoryWindow { first, rows, ..HistoryWindow::default() });
    let generation = mirror.history.generation();
    mirror.history.set_page(first, page(first, u64::from(rows), total), total, generation);
    assert!(!mirror.history.needs_page());
    mirror
}

#[test]
fn e6_new_and_changed_programs_appear_without_asking_again() {
    let mut mirror = mirror(0, 3, 3);
    mirror.apply(change(4, State::Waiting));
    mirror.apply(change(4, State::Running));
    mirror.apply(change(2, State::Failed));
    assert_eq!(shown(&mirror), [(4, State::Running), (3, State::Done), (2, State::Failed), (1, State::Done)]);
    assert_eq!(mirror.history.total(), Some(4));
    assert_eq!(mirror.history.row(0).map(|row| row.sequence), Some(4));
    assert_eq!(mirror.history.position(row(1, State::Done).id), Some(3));
    assert!(!mirror.history.needs_page());
}

#[test]
fn e6_a_history_that_was_empty_grows() {
    let mut mirror = mirror(0, 3, 0);
    mirror.apply(change(1, State::Waiting));
    mirror.apply(change(2, State::Waiting));
    assert_eq!(shown(&mirror), [(2, State::Waiting), (1, State::Waiting)]);
}

#[test]
fn e6_a_late_change_never_takes_a_program_back_from_its_end() {
    let mut mirror = mirror(0, 1, 1);
    mirror.apply(change(1, State::Running));
    assert_eq!(shown(&mirror), [(1, State::Done)]);
}

#[test]
fn e6_a_million_rows_scroll_with_bounded_memory() {
    let total = 1_000_000;
    let mut mirror = mirror(0, 100, total);
    for first in (0..900_000).step_by(997) {
        mirror.history.show(HistoryWindow { first, rows: 100, ..HistoryWindow::default() });
        let generation = mirror.history.generation();
        mirror.history.set_page(first, page(first, 100, total), total, generation);
        assert!(!mirror.history.needs_page(), "rows at {first}");
        assert_eq!(mirror.history.row(first).map(|row| row.sequence), Some(total - first));
        assert!(mirror.history.known().count() <= HISTORY_ROWS_MAX);
    }
}

#[test]
fn e6_rows_keep_their_place_when_new_programs_come_while_the_middle_is_shown() {
    let mut mirror = mirror(500, 10, 1_000);
    // The top is not here: only the master knows how many came.
    mirror.apply(change(1_001, State::Waiting));
    assert!(mirror.history.needs_page());
    let generation = mirror.history.generation();
    mirror.history.set_page(500, page(500, 10, 1_001), 1_001, generation);
    assert!(!mirror.history.needs_page());
    assert_eq!(mirror.history.row(500).map(|row| row.sequence), Some(501));
    assert_eq!(mirror.history.row(501).map(|row| row.sequence), Some(500));
}

#[test]
fn e6_a_filter_hides_what_does_not_match_and_asks_again_when_a_row_leaves() {
    let mut mirror = Mirror::default();
    let filter = HistoryFilter { states: vec![State::Running], ..HistoryFilter::default() };
    mirror.history.show(HistoryWindow { filter, first: 0, rows: 10 });
    assert_eq!(mirror.history.total(), None);
    let generation = mirror.history.generation();
    mirror.history.set_page(0, vec![row(7, State::Running), row(5, State::Running)], 2, generation);
    mirror.apply(change(9, State::Done));
    assert_eq!(mirror.history.total(), Some(2));
    assert!(!mirror.history.needs_page());
    mirror.apply(change(5, State::Done));
    assert!(mirror.history.needs_page(), "the ended row has left the list of running ones");
    let generation = mirror.history.generation();
    mirror.history.set_page(0, vec![row(7, State::Running)], 1, generation);
    assert_eq!(shown(&mirror), [(7, State::Running)]);
}

#[test]
fn e6_a_page_of_another_filter_comes_too_late() {
    let mut mirror = mirror(0, 3, 3);
    let before = mirror.history.generation();
    let filter = HistoryFilter { states: vec![State::Running], ..HistoryFilter::default() };
    mirror.history.show(HistoryWindow { filter, first: 0, rows: 3 });
    mirror.history.set_page(0, page(0, 3, 3), 3, before);
    assert_eq!((shown(&mirror), mirror.history.total()), (Vec::new(), None));
    assert!(mirror.history.needs_page());
}

#[test]
fn e6_search_finds_in_any_case_in_name_language_slave_user_and_id() {
    for (search, found) in
        [("PROGRAM 3", true), ("python", true), ("S1", true), ("Alice", true), ("00000004", true), ("nothing", false)]
    {
        let mut mirror = Mirror::default();
        let filter = HistoryFilter { search: search.into(), ..HistoryFilter::default() };
        mirror.history.show(HistoryWindow { filter, first: 0, rows: 10 });
        let generation = mirror.history.generation();
        mirror.history.set_page(0, Vec::new(), 0, generation);
        mirror.apply(change(3, State::Done));
        assert_eq!(shown(&mirror).len(), usize::from(found), "{search}");
    }
}

#[test]
fn e7_a_pinned_program_follows_its_changes_outside_the_page() {
    let mut mirror = mirror(0, 1, 5);
    let id = row(2, State::Running).id;
    mirror.set_pinned(row(2, State::Running));
    mirror.apply(change(2, State::Failed));
    assert_eq!(mirror.program(id).map(|row| row.state), Some(State::Failed));
}

#[test]
fn e8_counts_slaves_and_clients_follow_and_repeats_do_no_harm() {
    let mut mirror = Mirror::default();
    let client = ClientView {
        id: ClientId(Uuid::from_u128(1)),
        user: "alice".into(),
        role: common::session::Role::Admin,
        address: "127.0.0.1:1".into(),
        kind: common::view::ClientKind::Cli,
        connected_since: Timestamp(1),
        running: 0,
        waiting: 0,
    };
    for _ in 0..2 {
        mirror.apply(Change::Client(client.clone()));
        mirror.apply(Change::Summary(Summary { running: 3, ..Summary::default() }));
        mirror.apply(Change::Event(Event { at: Timestamp(1), subject: "s1".into(), text: "connected".into() }));
    }
    assert_eq!((mirror.clients.len(), mirror.events.len()), (1, 1));
    assert_eq!(mirror.summary.map(|summary| summary.running), Some(3));
    mirror.apply(Change::ClientGone(client.id));
    mirror.apply(Change::SlaveGone(SlaveId(Uuid::nil())));
    assert!(mirror.clients.is_empty());
    for at in 0..2_000 {
        mirror.apply(Change::Event(Event { at: Timestamp(at), subject: String::new(), text: String::new() }));
    }
    assert_eq!(mirror.events.len(), EVENTS_MAX);
}

#[test]
fn e6_rows_that_changed_unseen_are_not_shown_as_they_were() {
    let mut mirror = Mirror::default();
    mirror.history.show(HistoryWindow { first: 0, rows: 30, ..HistoryWindow::default() });
    let running = (0..300).map(|position| row(300 - position, State::Running)).collect();
    mirror.history.set_page(0, running, 300, mirror.history.generation());
    assert_eq!(mirror.history.row(250).map(|row| row.state), Some(State::Running));
    mirror.apply(Change::ManyPrograms);
    mirror.history.set_page(0, page(0, 200, 300), 300, mirror.history.generation());
    assert_eq!(mirror.history.row(150).map(|row| row.state), Some(State::Done));
    assert_eq!(mirror.history.row(250), None);
    mirror.history.show(HistoryWindow { first: 240, rows: 30, ..HistoryWindow::default() });
    assert!(mirror.history.needs_page(), "scrolling asks for what is not known any more");
}

#[test]
fn e6_a_page_that_counted_too_early_hides_no_new_program() {
    let mut mirror = mirror(0, 100, 100);
    let asked = mirror.history.generation();
    mirror.apply(change(101, State::Waiting));
    mirror.history.set_page(0, page(0, 100, 100), 100, asked);
    mirror.apply(change(102, State::Waiting));
    let newest = |position| mirror.history.row(position).map(|row| row.sequence);
    assert_eq!((mirror.history.total(), newest(0), newest(1), newest(2)), (Some(102), Some(102), Some(101), Some(100)));
}

#[test]
fn e7_a_pinned_program_is_never_taken_back_by_a_late_answer() {
    let mut mirror = mirror(0, 1, 5);
    mirror.set_pinned(row(2, State::Done));
    mirror.set_pinned(row(2, State::Running));
    assert_eq!(mirror.program(row(2, State::Done).id).map(|row| row.state), Some(State::Done));
}

#[test]
fn e10_another_user_does_not_see_what_the_one_before_was_shown() {
    let who = |user: &str, role| Identity {
        client: ClientId(Uuid::from_u128(9)),
        user: user.into(),
        role,
        master: "m".into(),
        release: "0".into(),
    };
    let mut mirror = mirror(0, 3, 3);
    mirror.begin_session(who("alice", common::session::Role::Admin));
    mirror.set_pinned(row(2, State::Running));
    mirror.begin_session(who("alice", common::session::Role::Admin));
    assert_eq!((mirror.history.total(), mirror.pinned.len()), (Some(3), 1), "a reconnection forgets nothing");
    mirror.begin_session(who("bob", common::session::Role::Submitter));
    assert_eq!((mirror.history.total(), mirror.pinned.len(), shown(&mirror).len()), (None, 0, 0));
    assert_eq!(mirror.history.window().rows, 3);
    assert_eq!(mirror.identity.map(|identity| identity.user), Some("bob".into()));
}
