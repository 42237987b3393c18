//! Programs that the player hands over to a keeper, one behind another.
#![expect(clippy::print_stdout, reason = "the player tells the test what it does")]

use super::Player;
use crate::kit::now;
use common::{
    Timestamp,
    frame::{decode_record, encode_record},
    message::Assignment,
};
use std::fs;

impl Player {
    pub(super) fn look_at_waiting(&mut self) {
        for entry in fs::read_dir(self.data.join("journal/waiting")).unwrap() {
            let (assignment, _): (Assignment, Timestamp) =
                decode_record(&fs::read(entry.unwrap().path()).unwrap()).unwrap();
            if self.names.insert(assignment.key, assignment.spec.name.clone()).is_none() {
                self.waiting.push_back(assignment);
            }
        }
        self.waiting.make_contiguous().sort_by_key(|assignment| assignment.key);
    }

    /// What came back waits again, on the disk too.
    pub(super) fn not_started(&mut self, back: Vec<Assignment>) {
        for assignment in back.into_iter().rev() {
            let name = self.names[&assignment.key].clone();
            println!("back {name}");
            fs::rename(self.started(&name), self.data.join("journal/waiting").join(name)).unwrap();
            self.handed_over.retain(|key| *key != assignment.key);
            self.waiting.push_front(assignment);
        }
        self.waiting.make_contiguous().sort_by_key(|assignment| assignment.key);
    }

    /// As many as a keeper is handed over, each written down before.
    pub(super) fn hand_over(&mut self) {
        while self.runs_on.is_none() && self.handed_over.len() < 8 {
            let Some(assignment) = self.waiting.pop_front() else { break };
            let name = self.names[&assignment.key].clone();
            let (at, waits) = (now(), self.data.join("journal/waiting").join(&name));
            fs::write(self.data.join("journal/draft"), encode_record(&(assignment.clone(), at))).unwrap();
            fs::rename(self.data.join("journal/draft"), &waits).unwrap();
            fs::rename(waits, self.started(&name)).unwrap();
            let behind = self.handed_over.back().copied();
            self.handed_over.push_back(assignment.key);
            self.executor.hand_over(assignment, behind, at);
            println!("handed {name}");
        }
        self.executor.send_steps();
    }
}
