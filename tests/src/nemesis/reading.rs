//! The reading in the end: waits until everything is quiet, reads history and outputs twice, lets the checker judge.

use super::{
    link::{Access, Link},
    workload::in_network,
};
use crate::{
    Cluster,
    checker::{Call, Evidence, Reading, Report, Row, Rules, check},
    wait::PATIENCE,
    witness::Witness,
};
use common::{
    ProgramId,
    message::{HistoryQuery, Reply, Request, Stream},
    view::ProgramView,
};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// Rows of one page.
const PAGE: u32 = 1_000;

/// A reader of the history with an administrator's eyes.
pub struct Reader {
    access: Access,
    network: Option<PathBuf>,
    /// The wall clock less the boot-time clock, read once, so that an instant read twice is the same.
    wall_ahead: u64,
}

impl Reader {
    /// Of this cluster's master.
    #[must_use]
    pub fn new(cluster: &Cluster) -> Self {
        let access = Access::of(cluster.admin().config(), None);
        let wall_ahead = transport::clock::now().0 - transport::clock::boot_now().0;
        Self { access, network: cluster.clients_network().map(PathBuf::from), wall_ahead }
    }

    /// The same at another address, such as that of a restored master.
    #[must_use]
    pub fn at(mut self, address: &str) -> Self {
        address.clone_into(&mut self.access.target.address);
        self
    }

    /// Every row now.
    ///
    /// # Errors
    /// When the master does not answer within [`PATIENCE`], or refuses.
    pub fn rows(&self) -> Result<Vec<ProgramView>, String> {
        self.with(|link| async move { rows(&link).await })
    }

    /// Whether every program has ended; waits for it as long as one ends within [`PATIENCE`].
    ///
    /// # Errors
    /// When the master does not answer.
    pub fn wait_for_quiet(&self) -> Result<bool, String> {
        self.with(|link| async move {
            let (mut since, mut least) = (Instant::now(), u64::MAX);
            loop {
                let Reply::Summary(summary) = ask(&link, Request::Summary).await? else {
                    return Err("no summary".to_owned());
                };
                let alive = summary.waiting + summary.running;
                if alive < least {
                    (since, least) = (Instant::now(), alive);
                }
                if alive == 0 || since.elapsed() > PATIENCE {
                    return Ok(alive == 0);
                }
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        })
    }

    /// Rows and outputs. The rows' times are put on the boot-time clock, unless the wall clock was tampered with.
    ///
    /// # Errors
    /// When the master does not answer, or refuses.
    pub fn read(&self, wall_is_true: bool) -> Result<Reading, String> {
        let wall_ahead = wall_is_true.then_some(self.wall_ahead);
        self.with(move |link| async move {
            let mut reading = Reading::default();
            for row in rows(&link).await? {
                reading.outputs.insert(row.id, output(&link, row.id).await?);
                reading.rows.push(judged(&row, wall_ahead));
            }
            Ok(reading)
        })
    }

    /// The standard output of one program.
    ///
    /// # Errors
    /// When the master does not answer, or refuses.
    pub fn output(&self, id: ProgramId) -> Result<Vec<u8>, String> {
        self.with(move |link| async move { output(&link, id).await })
    }

    fn with<T: Send, F: Future<Output = T>>(&self, work: impl FnOnce(Link) -> F + Send) -> T {
        // A thread of its own: it may have to enter another network.
        std::thread::scope(|scope| {
            let link = Link::new(self.access.clone());
            let reader = std::thread::Builder::new().name("reader".into());
            reader.spawn_scoped(scope, || in_network(self.network.as_deref(), work(link))).unwrap().join().unwrap()
        })
    }
}

async fn ask(link: &Link, request: Request) -> Result<Reply, String> {
    let begun = Instant::now();
    link.ask_until(request, || begun.elapsed() > PATIENCE)
        .await
        .ok_or_else(|| format!("the master did not answer within {PATIENCE:?}"))?
        .map_err(|error| error.to_string())
}

async fn rows(link: &Link) -> Result<Vec<ProgramView>, String> {
    let mut all: Vec<ProgramView> = Vec::new();
    loop {
        let before = all.last().map(|row| row.sequence);
        let query = HistoryQuery { before, limit: PAGE, ..HistoryQuery::default() };
        let Reply::Page { rows, .. } = ask(link, Request::List(query)).await? else {
            return Err("no page".to_owned());
        };
        let last = rows.len() < PAGE as usize;
        all.extend(rows);
        if last {
            return Ok(all);
        }
    }
}

async fn output(link: &Link, id: ProgramId) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    loop {
        let request = Request::ReadOutput {
            id,
            stream: Stream::Stdout,
            offset: all.len() as u64,
            bytes_max: 64 << 10,
            follow: false,
        };
        let Reply::Output { offset, bytes, end } = ask(link, request).await? else {
            return Err("no output".to_owned());
        };
        if offset != all.len() as u64 {
            return Err(format!("{id}: asked for output from {}, got it from {offset}", all.len()));
        }
        let nothing = bytes.is_empty();
        all.extend(bytes);
        if end || nothing {
            return Ok(all);
        }
    }
}

fn judged(row: &ProgramView, wall_ahead: Option<u64>) -> Row {
    let ended_at = row.ended_at.zip(wall_ahead).map(|(at, ahead)| at.0.saturating_sub(ahead));
    let detail = row.outcome.as_ref().map(common::Outcome::sentence).unwrap_or_default();
    Row { id: row.id, state: row.state, attempt: row.attempt, ended_at, detail }
}

/// Waits until everything is quiet, reads twice and judges.
///
/// # Panics
/// When the history cannot be read, or a rule is broken; says which.
#[track_caller]
pub fn judge(cluster: &Cluster, witness: &Witness, calls: Vec<Call>, rules: &Rules) -> Report {
    judge_with_clock(cluster, witness, calls, rules, true)
}

/// The same, told whether the wall clock of the master can be believed.
///
/// # Panics
/// When the history cannot be read, or a rule is broken; says which.
#[track_caller]
pub fn judge_with_clock(
    cluster: &Cluster,
    witness: &Witness,
    calls: Vec<Call>,
    rules: &Rules,
    wall_is_true: bool,
) -> Report {
    let reader = Reader::new(cluster);
    let begun = Instant::now();
    // Not quiet in time: the rows say which programs, and the checker flags them.
    reader.wait_for_quiet().unwrap();
    println!("everything has ended after {} ms more", begun.elapsed().as_millis());
    let first = reader.read(wall_is_true).unwrap();
    as_the_command_line_shows(cluster, &first);
    let second = reader.read(wall_is_true).unwrap();
    let report = check(&Evidence { calls, witness: witness.lines(), first, second }, rules);
    println!("{report}");
    assert!(report.is_green(), "{report}");
    report
}

/// `ruche list --json` shows the same rows, and `ruche output` the same bytes; some of them stand for all.
#[track_caller]
fn as_the_command_line_shows(cluster: &Cluster, reading: &Reading) {
    let admin = cluster.admin();
    let listed = admin.list(&[]);
    let shown: Vec<_> = listed.iter().map(|row| (row["id"].as_str(), row["state"].as_str())).collect();
    let read: Vec<_> = reading.rows.iter().map(|row| (row.id.to_string(), row.state.word())).collect();
    let read: Vec<_> = read.iter().map(|(id, state)| (Some(id.as_str()), Some(*state))).collect();
    assert_eq!(shown, read, "the command line shows another history");
    for row in reading.rows.iter().take(3) {
        let output = admin.run(["output", &row.id.to_string()]).expect(0).stdout;
        assert_eq!(Some(&output), reading.outputs.get(&row.id), "the command line shows another output of {}", row.id);
    }
}
