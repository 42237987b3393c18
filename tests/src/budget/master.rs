//! The master's part: a client submits and waits, a slave runs, everything is committed before it is told.

use super::{PER_SUBMIT, PER_TURN, WALL, id, over_the_wire};
use common::{
    AttemptKey, ClientId, Outcome, ProgramSpec, SlaveId, Work,
    limits::LEASE_MASTER,
    message::{Command, Finished, Message, Order, Reply, Report, Request, RequestId, Status},
    session::Role,
    units::BootTime,
    view::Usage,
};
use master::simulation::{Effect, Input, Master, Moment, enrol};
use slave::event_loop::registration;
use std::collections::VecDeque;
use uuid::Uuid;

const NOW: Moment = Moment { wall: WALL, boot: BootTime(1_000_000_000) };
const LINK: u64 = 1;
const CLIENT: ClientId = ClientId(Uuid::from_u128(2));
const SLAVE: SlaveId = SlaveId(Uuid::from_u128(3));

struct Run {
    master: Master,
    buffer: Vec<u8>,
    /// What the slave has and did not run.
    assigned: VecDeque<AttemptKey>,
    /// Programs whose end the client was told.
    ended: usize,
}

/// From submit to acknowledged end of so many programs.
///
/// # Panics
/// When one of them does not get there.
pub fn run(programs: usize) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("master");
    std::fs::create_dir_all(data.join("outputs")).unwrap();
    enrol(&data, SLAVE, "budget", WALL).unwrap();
    let master = Master::start(&data, LEASE_MASTER, NOW).unwrap();
    let mut run = Run { master, buffer: Vec::new(), assigned: VecDeque::new(), ended: 0 };
    let registration = Box::new(registration(2));
    run.give(Input::SlaveRegistered { link: LINK, slave: SLAVE, registration });
    run.give(Input::ClientJoined { client: CLIENT, user: "admin".to_owned(), role: Role::Admin });
    run.settle();
    for (turn, first) in (0..programs).step_by(PER_SUBMIT).enumerate() {
        run.submit(turn, first, programs.min(first + PER_SUBMIT));
        while run.report() {}
    }
    assert_eq!(run.ended, programs, "every end is told");
}

impl Run {
    fn give(&mut self, input: Input) {
        self.master.handle(input, NOW);
    }

    fn request(&mut self, number: usize, request: Request) {
        let command = Command::Request { id: RequestId(u32::try_from(number).unwrap()), request };
        let Message::Command(Command::Request { id, request }) = over_the_wire(command, &mut self.buffer) else {
            panic!("a request stays one")
        };
        self.give(Input::Request { client: CLIENT, id, request: Box::new(request) });
    }

    fn submit(&mut self, turn: usize, first: usize, end: usize) {
        let ids: Vec<_> = (first..end).map(id).collect();
        let spec = Box::new(ProgramSpec::new("true", Work::Command { command: "true".into() }));
        let copies = u32::try_from(ids.len()).unwrap();
        self.request(2 * turn, Request::Submit { ids: ids.clone(), first_index: 0, copies, spec });
        self.request(2 * turn + 1, Request::Wait { ids });
        self.settle();
    }

    /// The slave has run a few more; whether it had any.
    fn report(&mut self) -> bool {
        let count = self.assigned.len().min(PER_TURN);
        if count == 0 {
            return false;
        }
        let keys: Vec<_> = self.assigned.drain(..count).collect();
        let started = Report::Started(keys.iter().map(|key| (*key, WALL)).collect());
        let finished = Report::Finished(keys.into_iter().map(finished).collect());
        for report in [started, finished] {
            let Message::Status(Status::Report(report)) = over_the_wire(Status::Report(report), &mut self.buffer)
            else {
                panic!("a report stays one")
            };
            self.give(Input::SlaveReported { link: LINK, report });
        }
        self.settle();
        true
    }

    /// Decides, commits, and only then speaks, until nothing follows.
    fn settle(&mut self) {
        loop {
            let (mut batch, mut spoken) = (Vec::new(), Vec::new());
            for effect in self.master.settle(NOW) {
                if let Effect::Keep(kept) = effect { batch.push(*kept) } else { spoken.push(effect) }
            }
            if batch.is_empty() && spoken.is_empty() {
                return;
            }
            if !batch.is_empty() {
                let mark = self.master.mark();
                self.master.commit(&batch).unwrap();
                self.give(Input::Committed(mark));
            }
            spoken.into_iter().for_each(|effect| self.speak(effect));
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "nothing else belongs to the way of a program")]
    fn speak(&mut self, effect: Effect) {
        match effect {
            Effect::ToClient(_, status) => {
                let message = over_the_wire(status, &mut self.buffer);
                if let Message::Status(Status::Reply { result, .. }) = message
                    && let Reply::Ended { programs, .. } = result.unwrap()
                {
                    self.ended += programs.len();
                }
            }
            Effect::ToSlave(_, order) => {
                let message = over_the_wire(Command::Order(order), &mut self.buffer);
                if let Message::Command(Command::Order(Order::Assign(assignments))) = message {
                    self.assigned.extend(assignments.into_iter().map(|assignment| assignment.key));
                }
            }
            other => panic!("not foreseen: {other:?}"),
        }
    }
}

fn finished(key: AttemptKey) -> Finished {
    Finished {
        key,
        outcome: Outcome::Exited { code: 0 },
        started_at: Some(WALL),
        ended_at: WALL,
        usage: Usage::default(),
        tails: Default::default(),
        output_truncated: false,
        last_line: String::new(),
    }
}
