//! How fast programs start and end through the executor, beside the machine's own rate:
//! `cargo run --profile ci-release -p slave --example spawn_rate -- SLAVE_BINARY [COUNT] [SLOTS]`.
#![expect(clippy::print_stdout, reason = "a measurement is printed")]

use common::{
    id::{AttemptKey, ProgramId},
    message::Assignment,
    program::{ProgramSpec, Work},
    units::Timestamp,
};
use launcher::{Launcher, cgroup::Base};
use slave::executor::{Executor, ExecutorEvent, Outputs, Setup, WorkRoot};
use std::{
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let slave = PathBuf::from(arguments.next().unwrap_or_else(|| "target/ci-release/ruche-slave".to_owned()));
    let count: usize = arguments.next().map_or(Ok(4_000), |text| text.parse())?;
    let slots: usize = arguments.next().map_or(Ok(2), |text| text.parse())?;
    for _ in 0..3 {
        let local = local(count, slots)?;
        let through = through_executor(&slave, count, slots)?;
        println!("local {local:.0}/s, executor {through:.0}/s, ratio {:.2}", through / local);
    }
    Ok(())
}

fn local(count: usize, threads: usize) -> anyhow::Result<f64> {
    let before = Instant::now();
    std::thread::scope(|scope| {
        let run = || {
            for _ in 0..count / threads {
                let status = Command::new("/bin/true").stdin(Stdio::null()).status();
                assert!(status.is_ok_and(|status| status.success()));
            }
        };
        for _ in 0..threads {
            scope.spawn(run);
        }
    });
    Ok(count as f64 / before.elapsed().as_secs_f64())
}

fn through_executor(slave: &std::path::Path, count: usize, slots: usize) -> anyhow::Result<f64> {
    let data = tempfile::tempdir_in("/var/tmp")?;
    std::fs::set_permissions(data.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711))?;
    let is_root = rustix::process::geteuid().is_root();
    let setup = Setup {
        program_path: vec!["/usr/bin".into(), "/bin".into()],
        ceiling: common::ResourceLimits::MOST,
        work: WorkRoot::prepare(data.path(), is_root.then_some(1_700_000_000), "bench")?,
        groups: Base::prepare(&format!("ruche-bench-{}", std::process::id())),
        guards: Default::default(),
        outputs: Outputs::new(data.path())?,
    };
    let mut executor = Executor::new(Launcher::start_program(slave)?, setup, Vec::new(), None)?;
    let spec = Arc::new(ProgramSpec::new("true", Work::Command { command: "/bin/true".into() }));
    let now = || Timestamp(1);
    let (mut started, mut ended) = (0, 0);
    let before = Instant::now();
    while ended < count {
        while started < count && executor.running() < slots {
            let key = AttemptKey { program: ProgramId(uuid::Uuid::now_v7()), attempt: 1 };
            executor.start(Assignment { key, spec: spec.clone(), index: 0, fence: 1 }, now());
            started += 1;
        }
        for event in executor.turn(Duration::from_secs(1), now)? {
            if let ExecutorEvent::Ended(end) = event {
                executor.outputs().remove(end.key);
                ended += 1;
            }
        }
    }
    let rate = count as f64 / before.elapsed().as_secs_f64();
    executor.shut_down()?;
    Ok(rate)
}
