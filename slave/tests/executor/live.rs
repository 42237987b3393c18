//! Input while a program runs, through a pipe and through a terminal; programs that stand still.

use crate::{
    agent::House,
    kit::{Kit, shell},
};
use common::{
    Outcome,
    id::AttemptKey,
    message::Stream,
    program::{LiveInput, ProgramSignal, ProgramSpec, TerminalSize},
};
use slave::executor::{Control, ExecutorEvent, Stop};

fn live(script: &str) -> ProgramSpec {
    let mut spec = shell(script);
    spec.live = Some(LiveInput { terminal: None });
    spec
}

fn at_terminal(script: &str) -> ProgramSpec {
    let mut spec = shell(script);
    spec.live = Some(LiveInput { terminal: Some(TerminalSize { columns: 71, rows: 23 }) });
    spec
}

impl Kit {
    fn give(&mut self, key: AttemptKey, offset: u64, bytes: &[u8], end: bool) {
        self.executor().control(key, Control::Input { offset, bytes: bytes.to_vec(), end });
    }

    /// Waits until the program has all input before `wanted`.
    #[track_caller]
    fn wait_taken(&mut self, key: AttemptKey, wanted: u64) {
        self.until("the input is taken", |_, event| {
            matches!(event, ExecutorEvent::InputTaken { key: found, offset } if *found == key && *offset >= wanted)
        });
    }

    /// Waits until standard output holds this, and gives it.
    #[track_caller]
    fn wait_output(&mut self, key: AttemptKey, wanted: &str) {
        if !self.output(key).contains(wanted) {
            self.until(wanted, |executor, _| {
                let bytes = executor.outputs().read(key, Stream::Stdout, 0, usize::MAX).unwrap();
                String::from_utf8_lossy(&bytes).contains(wanted)
            });
        }
    }

    fn output(&mut self, key: AttemptKey) -> String {
        let bytes = self.executor().outputs().read(key, Stream::Stdout, 0, usize::MAX).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[test]
fn i13_a_program_reads_input_as_it_comes_and_sees_its_end() {
    let mut kit = Kit::new();
    let key = kit.start(live("while read -r line; do echo \"got $line\"; done; echo over"));
    kit.give(key, 0, b"one\n", false);
    kit.wait_output(key, "got one");
    // A repeat is skipped, a part that is missing is not made up for.
    kit.give(key, 0, b"one\ntwo\n", false);
    kit.give(key, 12, b"four\n", false);
    kit.wait_output(key, "got two");
    kit.give(key, 8, b"six\n", true);
    let end = kit.end_of(key);
    assert_eq!(end.outcome, Outcome::Exited { code: 0 });
    assert_eq!(kit.output(key), "got one\ngot two\ngot six\nover\n");
}

#[test]
fn i13_input_waits_for_a_program_that_does_not_read_and_goes_where_nobody_reads() {
    let mut kit = Kit::new();
    let gate = kit.data.join("gate");
    let key = kit.start(live(&format!("while [ ! -e {} ]; do sleep 0.01; done; exec cksum", gate.display())));
    let chunk: Vec<u8> = (0..64 * 1024_u32).map(|number| number.to_le_bytes()[0]).collect();
    let mut offset = 0;
    for _ in 0..4 {
        kit.give(key, offset, &chunk, false);
        offset += chunk.len() as u64;
    }
    // A pipe takes 64 KiB.
    kit.wait_taken(key, 60_000);
    assert!(kit.executor().input_of(key).unwrap() <= 1 << 17);
    std::fs::write(&gate, b"").unwrap();
    kit.wait_taken(key, offset);
    kit.give(key, offset, b"", true);
    kit.end_of(key);
    let output = kit.output(key);
    assert!(output.ends_with(&format!(" {offset}\n")), "{output}");
    let deaf = kit.start(live("exec 0<&-; echo closed; sleep 1000"));
    kit.wait_output(deaf, "closed");
    kit.give(deaf, 0, b"for nobody", false);
    kit.wait_taken(deaf, 10);
    kit.stop(deaf, Stop::Cancelled { by: "ann".to_owned() });
    kit.end_of(deaf);
}

#[test]
fn i13_a_terminal_has_a_size_echoes_and_ends() {
    let mut kit = Kit::new();
    let script = "test -t 0 && test -t 1 && test -t 2 && echo terminal; trap 'echo winch' WINCH; stty size; \
                  until [ \"$(stty size)\" = '10 40' ]; do sleep 0.01; done; trap - WINCH; echo resized; \
                  while read -r line; do echo \"got $line\" >&2; done; echo over";
    let key = kit.start(at_terminal(script));
    kit.wait_output(key, "23 71");
    kit.executor().control(key, Control::Resize(TerminalSize { columns: 40, rows: 10 }));
    kit.wait_output(key, "resized");
    kit.give(key, 0, b"one\n", false);
    kit.wait_output(key, "got one");
    kit.give(key, 4, b"two\n", false);
    kit.wait_output(key, "got two");
    kit.give(key, 8, b"", true);
    let end = kit.end_of(key);
    assert_eq!(end.outcome, Outcome::Exited { code: 0 });
    let output = kit.output(key);
    assert!(output.starts_with("terminal\r\n23 71\r\n"), "{output:?}");
    assert!(output.contains("winch\r\n") && output.ends_with("over\r\n"), "{output:?}");
    // Its errors are in the same stream.
    assert_eq!(kit.executor().outputs().end(key, Stream::Stderr), 0);
}

#[test]
fn i13_ctrl_c_at_a_terminal_reaches_what_is_in_front_and_output_is_whole() {
    let mut kit = Kit::new();
    let key = kit.start(at_terminal("echo ready; while :; do sleep 0.01; done"));
    // The shell waits for the one in front; Ctrl-C ends both unless the shell goes on.
    kit.wait_output(key, "ready");
    kit.give(key, 0, b"\x03", false);
    assert_eq!(kit.end_of(key).outcome, Outcome::Signalled { signal: 2 });
    let key = kit.start(at_terminal(
        "trap 'caught=1' INT; echo ready; until [ $caught ]; do sleep 0.01; done; seq 1 20000; exit 7",
    ));
    kit.wait_output(key, "ready");
    kit.give(key, 0, b"\x03", false);
    assert_eq!(kit.end_of(key).outcome, Outcome::Exited { code: 7 });
    let output = kit.output(key);
    let lines: Vec<&str> = output.split("\r\n").collect();
    // The terminal shows the key that was struck.
    let start = lines.iter().position(|line| line.trim_start_matches("^C") == "1").unwrap();
    assert_eq!(lines.len(), start + 20_001);
    assert_eq!(lines[start + 19_999], "20000");
}

#[test]
fn i12_a_signal_reaches_the_process_group() {
    let mut kit = Kit::new();
    let key = kit.start(shell("trap 'echo user1; exit 3' USR1; echo ready; while :; do sleep 0.01; done"));
    kit.wait_output(key, "ready");
    kit.executor().control(key, Control::Signal(ProgramSignal::User1));
    assert_eq!(kit.end_of(key).outcome, Outcome::Exited { code: 3 });
    assert!(kit.output(key).contains("user1"));
}

#[test]
fn i12_what_stands_still_writes_nothing_uses_no_time_and_can_be_cancelled() {
    let mut kit = Kit::new();
    let mut spec = live("echo ready; while read -r line; do echo \"got $line\"; done");
    spec.limits.wall_time = common::Duration::from_secs(4);
    let key = kit.start(spec);
    kit.wait_output(key, "ready");
    let stands_still = |wanted| move |_: &mut slave::executor::Executor, event: &ExecutorEvent| matches!(event, ExecutorEvent::Suspended { suspended, .. } if *suspended == wanted);
    kit.executor().control(key, Control::Suspend);
    kit.until("it stands still", stands_still(true));
    assert!(kit.executor().is_suspended(key));
    kit.give(key, 0, b"one\n", false);
    kit.wait_taken(key, 4);
    // Longer than it may run: what it does not do cannot be waited for.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while std::time::Instant::now() < deadline {
        let events = kit.executor().turn(std::time::Duration::from_millis(50), crate::kit::now).unwrap();
        assert!(events.is_empty(), "{events:?}");
    }
    kit.executor().control(key, Control::Resume);
    kit.until("it goes on", stands_still(false));
    kit.executor().control(key, Control::SetWallTime(common::Duration::from_secs(60)));
    kit.wait_output(key, "got one");
    kit.executor().control(key, Control::Suspend);
    kit.until("it stands still", stands_still(true));
    kit.stop(key, Stop::Cancelled { by: "ann".to_owned() });
    assert_eq!(kit.end_of(key).outcome, Outcome::Cancelled { by: "ann".to_owned() });
}

#[test]
fn i12_the_wall_time_of_a_program_that_runs_is_changed_both_ways() {
    let mut kit = Kit::new();
    let key = kit.start(shell("echo ready; sleep 1000"));
    kit.wait_output(key, "ready");
    kit.executor().control(key, Control::SetWallTime(common::Duration::from_millis(300)));
    let end = kit.end_of(key);
    let Outcome::Limit { limit: common::Limit::WallTime, detail } = end.outcome else { panic!("{end:?}") };
    assert!(detail.contains("of 0.30 s"), "{detail}");
    let mut spec = live("echo ready; read -r line; echo over");
    spec.limits.wall_time = common::Duration::from_millis(800);
    let key = kit.start(spec);
    kit.wait_output(key, "ready");
    kit.executor().control(key, Control::SetWallTime(common::Duration::from_secs(60)));
    std::thread::sleep(std::time::Duration::from_millis(900));
    kit.give(key, 0, b"\n", true);
    assert_eq!(kit.end_of(key).outcome, Outcome::Exited { code: 0 });
}

#[test]
fn i13_input_is_byte_exact_over_agents_that_are_killed() {
    let house = House::new();
    let gate = house.open("gate");
    let mut agent = house.agent();
    let script = format!("while [ ! -e {} ]; do sleep 0.01; done; exec cat", gate.display());
    agent.start(&house, live(&script), "reader");
    let bytes: Vec<u8> = (0..60_000_u32).flat_map(|number| format!("{number}\n").into_bytes()).collect();
    let (first, rest) = bytes.split_at(100_000);
    agent.input(&house, "reader", 0, first);
    // The pipe is full, and some of it waits in the agent.
    agent.wait_for("taken reader 65536");
    agent.kill();
    let mut agent = house.start_unready();
    let told = agent.wait_for("input reader");
    assert_eq!(told.trim(), "65536 false");
    agent.wait_for("ready");
    // As a master does that has heard no more than that.
    agent.input(&house, "reader", 65_536, &bytes[65_536..120_000]);
    std::fs::write(&gate, b"").unwrap();
    agent.wait_for("taken reader 120000");
    agent.kill();
    let mut agent = house.agent();
    let mut offset = 100_000;
    for piece in rest.chunks(50_000) {
        agent.input(&house, "reader", offset, piece);
        offset += piece.len();
        agent.wait_for(&format!("taken reader {offset}"));
    }
    agent.end_input("reader", offset);
    let told = house.told("reader");
    assert_eq!(told.outcome, "Exited { code: 0 }");
    let differs = told.output.iter().zip(&bytes).position(|(found, expected)| found != expected);
    assert_eq!((differs, told.output.len()), (None, bytes.len()));
    agent.stop();
    house.assert_all_gone();
}

#[test]
fn i13_a_terminal_and_what_stands_still_outlive_their_agent() {
    let house = House::new();
    let mut agent = house.agent();
    agent.start(&house, at_terminal("while read -r line; do echo \"got $line\"; done; echo over"), "typed");
    agent.input(&house, "typed", 0, b"one\n");
    agent.wait_for("taken typed 4");
    agent.suspend("typed", true);
    agent.kill();
    let mut agent = house.start_unready();
    let told = agent.wait_for("input typed");
    assert_eq!(told.trim(), "4 true");
    agent.wait_for("ready");
    agent.suspend("typed", false);
    agent.input(&house, "typed", 4, b"two\n");
    agent.wait_for("taken typed 8");
    agent.end_input("typed", 8);
    let told = house.told("typed");
    assert_eq!(told.outcome, "Exited { code: 0 }");
    let output = String::from_utf8_lossy(&told.output).into_owned();
    assert!(
        output.contains("got one\r\n") && output.contains("got two\r\n") && output.ends_with("over\r\n"),
        "{output}"
    );
    agent.stop();
    house.assert_all_gone();
}
