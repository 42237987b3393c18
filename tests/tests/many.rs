//! Many programs at once, through the real binaries: copies that are kept together survive restarts and are run once
//! each, and every line of a list is a program.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use common::ProgramId;
use std::{collections::BTreeSet, fs};
use tests::{Cluster, cli::Cli};

/// More than are ever kept as rows one by one.
const COPIES: u32 = 100_000;

fn ids(text: &str) -> Vec<ProgramId> {
    text.lines().map(|line| line.parse().unwrap()).collect()
}

/// The state of a program and its number among the copies.
fn state(cli: &Cli, id: ProgramId) -> (String, u64) {
    let shown = cli.show(&id.to_string());
    (shown["state"].as_str().unwrap().to_owned(), shown["index"].as_u64().unwrap())
}

/// What the data folder says of itself.
fn is_sound(cluster: &Cluster) {
    let checked = cluster.administer(&["check"], "");
    assert_eq!(checked.code, 0, "{checked:?}");
}

#[test]
fn p2_a_hundred_thousand_copies_survive_restarts_of_the_master_and_run_once_each() {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 4);
    let alice = cluster.user("alice", "submitter");
    let trace = cluster.outside().join("trace");
    fs::write(&trace, "").unwrap();
    fs::set_permissions(&trace, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let append = format!("echo $RUCHE_INDEX >> {}", trace.display());
    let count = COPIES.to_string();
    let ids =
        ids(&alice.run(["submit", "--count", &count, "--name", "many", "--", "sh", "-c", &append]).expect(0).out());
    assert_eq!(ids.len(), COPIES as usize);
    assert!(ids.iter().zip(0..).all(|(id, place)| *id == ids[0].nth(place).unwrap()));

    alice.run(["wait", &ids[200].to_string()]).expect(0);
    cluster.kill_master();
    is_sound(&cluster);
    cluster.start_master();
    alice.run(["wait", &ids[500].to_string()]).expect(0);
    // The newest are listed though they have no rows, each once and with its own number.
    let listed = alice.run(["list", "--state", "waiting", "--limit", "1500", "--json"]).expect(0).json();
    let indexes: Vec<u64> = listed.as_array().unwrap().iter().map(|row| row["index"].as_u64().unwrap()).collect();
    assert!(indexes.iter().copied().eq((0..u64::from(COPIES)).rev().take(1_500)), "{indexes:?}");
    let last = *ids.last().unwrap();
    assert_eq!(state(&alice, last), ("waiting".to_owned(), u64::from(COPIES) - 1));
    let why = alice.run(["why", &last.to_string()]).expect(0).out();
    assert!(why.contains("come before it"), "{why}");
    let found = alice.run(["list", "--search", &last.to_string(), "--json"]).expect(0).json();
    assert_eq!(found[0]["id"], last.to_string());

    // Some in the middle are taken out; that outlives a restart too.
    let middle: Vec<String> = ids[50_000..50_010].iter().map(ToString::to_string).collect();
    alice.run(std::iter::once("cancel").chain(middle.iter().map(String::as_str))).expect(0);
    is_sound(&cluster);
    cluster.master.take().unwrap().stop();
    is_sound(&cluster);
    cluster.start_master();
    for (place, expected) in [(49_999, "waiting"), (50_000, "cancelled"), (50_009, "cancelled"), (50_010, "waiting")] {
        assert_eq!(state(&alice, ids[place]), (expected.to_owned(), place as u64));
    }
    // The one that was cancelled does not start; those that did, did once and in the order of the copies.
    alice.run(["wait", &ids[700].to_string()]).expect(0);
    let ran: Vec<u64> = fs::read_to_string(&trace).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    let once: BTreeSet<u64> = ran.iter().copied().collect();
    assert_eq!(once.len(), ran.len(), "each at most once");
    assert!((0..=700).all(|index| once.contains(&index)), "none is passed over");
    is_sound(&cluster);
}

#[test]
fn e3_bodies_that_together_are_more_than_a_connection_takes_do_not_cut_their_slave() {
    let mut cluster = Cluster::new();
    let alice = cluster.user("alice", "submitter");
    let bytes = 6 << 20;
    let input = cluster.file("large", "x".repeat(bytes));
    // They wait for the slave, which has a slot for each: they leave at once.
    let submitted = alice.run(["submit", "--count", "12", "--stdin", &input, "--", "wc", "-c"]).expect(0).out();
    cluster.slave("pc-01", 12);
    for id in ids(&submitted) {
        alice.run(["wait", &id.to_string()]).expect(0);
        let shown = alice.show(&id.to_string());
        assert_eq!((shown["state"].as_str(), shown["attempt"].as_u64()), (Some("done"), Some(1)), "{shown}");
        assert_eq!(alice.run(["output", &id.to_string()]).expect(0).out().trim(), bytes.to_string());
    }
    let connected = cluster.master.as_ref().unwrap().log();
    let times = connected.lines().filter(|line| line.contains("Connected from")).count();
    assert_eq!(times, 1, "{connected}");
}

#[test]
fn e1_each_line_of_a_list_is_run_with_the_line_as_its_argument() {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 2);
    let alice = cluster.user("alice", "submitter");
    let lines = cluster.file("lines", "one two\n\n$HOME; \"*\"\n{}\n");
    let ids = ids(&alice.run(["submit", "--each-line", &lines, "--", "printf", "[%s]", "<{}>"]).expect(0).out());
    assert_eq!(ids.len(), 4);
    cluster.kill_master();
    cluster.start_master();
    for (id, printed) in ids.iter().zip(["[<one two>]", "[<>]", "[<$HOME; \"*\">]", "[<{}>]"]) {
        alice.run(["wait", &id.to_string()]).expect(0);
        assert_eq!(alice.run(["output", &id.to_string()]).expect(0).out(), printed);
    }
    // Once more is the same program, not the template.
    let again = alice.run(["again", &ids[2].to_string()]).expect(0).out();
    alice.run(["wait", again.trim()]).expect(0);
    assert_eq!(alice.run(["output", again.trim()]).expect(0).out(), "[<$HOME; \"*\">]");
    is_sound(&cluster);
}
