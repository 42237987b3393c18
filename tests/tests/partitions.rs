//! F10–F12: slaves that are cut off or die, in a network of the test's own.

use std::time::Duration;
use tests::{
    Cluster,
    checker::Rules,
    cluster::Surroundings,
    nemesis::{
        Nemesis, Plan, Workload, judge,
        machine::can_divide,
        network::{Network, Node},
    },
    soak, wait_until,
    witness::{Mark, Witness},
};

/// Short, so that a cut outlasts it; in the configuration of every master here.
const LEASE: Duration = Duration::from_secs(4);

/// A master, two slaves and the clients, each on a node of its own.
struct Divided {
    cluster: Cluster,
    master: Node,
    slaves: Vec<Node>,
    // Ended last.
    _clients: Node,
    _network: Network,
}

fn divided() -> Divided {
    let mut network = Network::new();
    let (master, clients) = (network.node(), network.node());
    let slaves = vec![network.node(), network.node()];
    let surroundings = Surroundings {
        master: master.enter(),
        listen: format!("{}:7420", master.address),
        clients: clients.enter(),
        clients_network: Some(clients.file()),
        ..Surroundings::default()
    };
    let mut cluster = Cluster::within(&format!("lease = \"{}s\"\n", LEASE.as_secs()), surroundings);
    for (place, node) in slaves.iter().enumerate() {
        cluster.slave_within(&format!("pc-0{}", place + 1), 2, &node.enter());
    }
    Divided { cluster, master, slaves, _clients: clients, _network: network }
}

/// Which way of a connection is cut.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Both,
    FromSlave,
    FromMaster,
}

fn cut(master: &Node, slave: &Node, cut: Cut) {
    if matches!(cut, Cut::Both | Cut::FromSlave) {
        master.refuse(slave);
    }
    if matches!(cut, Cut::Both | Cut::FromMaster) {
        slave.refuse(master);
    }
}

/// Cuts slaves off by chance while clients work; when all is healed, everything ends within twice the lease.
fn check_partitions(name: &'static str, usual: u64, kinds: &[Cut], cuts: u64) {
    if !can_divide("slaves that are cut off", &["unshare", "nsenter", "ip", "nft"]) {
        return;
    }
    let mut nemesis = Nemesis::new(name, usual);
    let mut divided = divided();
    let cluster = &mut divided.cluster;
    let witness = Witness::new(&cluster.outside());
    let plan = Plan { programs: 10_000, pause_ms: 600..1_500, run_ms: 50..1_500, ..Plan::default() };
    let load = Workload::start(cluster, &witness, &plan, nemesis.seed(), None);
    load.wait_for_more(5);
    for left in (0..cuts).rev() {
        let kind = *nemesis.random.pick(kinds);
        let slave = nemesis.random.count(0..2);
        let millis = nemesis.random.within(500..LEASE.as_millis() as u64 * 3);
        nemesis.note(&format!("cut {kind:?} of slave {slave} for {millis} ms"));
        cut(&divided.master, &divided.slaves[slave], kind);
        nemesis.hold(Duration::from_millis(millis));
        divided.master.heal();
        divided.slaves[slave].heal();
        nemesis.note("healed");
        if left > 0 {
            load.wait_for_more(3);
        }
    }
    // From here on the time until everything has ended tells how fast a partition heals.
    let calls = load.stop();
    nemesis.note("the clients are done");
    judge(cluster, &witness, calls, &Rules::LOSING);
}

#[test]
fn f11_slaves_that_are_cut_off_both_ways_lose_and_repeat_nothing_that_they_must_not() {
    check_partitions("f11", 11, &[Cut::Both], if soak() { 60 } else { 2 });
}

#[test]
fn f12_slaves_that_are_cut_off_one_way_lose_and_repeat_nothing_that_they_must_not() {
    check_partitions("f12", 12, &[Cut::FromSlave, Cut::FromMaster], if soak() { 60 } else { 2 });
}

/// The host of a slave that dies whole, agent, launcher and programs at once: a process namespace that is killed.
const HOST: [&str; 5] = ["unshare", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"];

#[test]
fn f10_a_host_that_dies_loses_its_programs_after_the_lease_and_not_before() {
    if !can_divide("a host that dies", &["unshare"]) {
        return;
    }
    let mut nemesis = Nemesis::new("f10", 10);
    let mut cluster = Cluster::with_config(&format!("lease = \"{}s\"\n", LEASE.as_secs()));
    let witness = Witness::new(&cluster.outside());
    let dying = cluster.slave_within("pc-01", 2, &HOST.map(str::to_owned));
    let admin = cluster.admin();
    let submit = |retry: &str| {
        let program = witness.program().to_str().unwrap();
        let words = witness.arguments(60_000, 100);
        let options = ["--retry", retry, "--memory", "256M", "--", program];
        admin.submit(options.iter().map(|word| (*word).to_owned()).chain(words))
    };
    let (once, again) = (submit("0"), submit("1"));
    for id in [&once, &again] {
        wait_until("it runs", || (!witness.lines_of(id).is_empty()).then_some(()));
    }
    cluster.slave("pc-02", 2);
    let died = transport::clock::boot_now();
    cluster.slaves[dying].kill();
    nemesis.note("the host is dead");
    let row = wait_until("the one that may start once is lost", || {
        Some(admin.show(&once)).filter(|row| !row["ended_at"].is_null())
    });
    let lost = transport::clock::boot_now();
    nemesis.note("it is lost");
    assert_eq!((&row["state"], &row["attempt"]), (&"lost".into(), &1.into()), "{row}");
    let second = wait_until("the other one begins again", || {
        witness.lines_of(&again).into_iter().find(|line| line.attempt == 2)
    });
    nemesis.note("the other one runs again");
    assert_eq!(second.node, "pc-02");
    for (what, at) in [("lost", lost.0), ("begun again", second.at)] {
        let after = at - died.0;
        assert!(u128::from(after) >= LEASE.as_micros(), "{what} {after} µs after the death, before the lease was over");
    }
    assert_eq!(witness.lines_of(&once).iter().filter(|line| line.mark == Mark::Begin).count(), 1);
    let last = witness.lines_of(&again).into_iter().filter(|line| line.attempt == 1).map(|line| line.at).max();
    assert!(last < Some(second.at), "the first attempt was over when the second began");
    admin.run(["cancel", &again]).expect(0);
    // The host comes up again, and so does its slave. Stopped in order it leaves nothing behind on this machine.
    cluster.restart_slave(dying);
    cluster.slaves[dying].line("connected to ");
    let agent = cluster.slaves[dying].descendants()[0].pid;
    nix::sys::signal::kill(agent, nix::sys::signal::Signal::SIGTERM).unwrap();
    wait_until("it has ended", || cluster.slaves[dying].ended());
}
