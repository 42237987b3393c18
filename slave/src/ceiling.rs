//! What this slave never exceeds, whatever its master says: read from the configuration, and held against every order
//! before anything of it is done.

use common::{
    ErrorCode, UserError,
    message::Assignment,
    program::ResourceLimits,
    units::{ByteSize, Duration},
    view::Ceiling,
};
use serde::Deserialize;
use std::{str::FromStr, sync::Arc};

/// `[ceiling]` of the configuration, as it is written. What is left out is bounded by Ruche itself alone.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Written {
    wall_time: Option<String>,
    cpu_time: Option<String>,
    memory: Option<String>,
    processes: Option<u32>,
    output: Option<String>,
    file_size: Option<String>,
    disk: Option<String>,
    open_files: Option<u32>,
}

impl Written {
    /// The ceiling that it means.
    ///
    /// # Errors
    /// Names the setting and what is accepted.
    pub(crate) fn read(&self, network: bool) -> Result<Ceiling, String> {
        let most = ResourceLimits::MOST;
        let limits = ResourceLimits {
            wall_time: unit::<Duration>("wall_time", self.wall_time.as_deref())?.unwrap_or(most.wall_time),
            cpu_time: unit("cpu_time", self.cpu_time.as_deref())?,
            memory: unit::<ByteSize>("memory", self.memory.as_deref())?.unwrap_or(most.memory),
            processes: self.processes.unwrap_or(most.processes),
            output: unit::<ByteSize>("output", self.output.as_deref())?.unwrap_or(most.output),
            file_size: unit::<ByteSize>("file_size", self.file_size.as_deref())?.unwrap_or(most.file_size),
            disk: unit::<ByteSize>("disk", self.disk.as_deref())?.unwrap_or(most.disk),
            open_files: self.open_files.unwrap_or(most.open_files),
        };
        // Within these, so that a program that keeps to the ceiling can be submitted at all.
        limits.validate().map_err(|error| format!("[ceiling]: {}", error.sentence))?;
        Ok(Ceiling { limits, network })
    }
}

fn unit<T: FromStr<Err: std::fmt::Display>>(name: &str, text: Option<&str>) -> Result<Option<T>, String> {
    let read = |text: &str| text.parse().map_err(|error| format!("[ceiling] {name}: {error}"));
    text.map(read).transpose()
}

/// What every order is held against.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// The most of each limit, and whether the network may be asked for.
    pub ceiling: Ceiling,
    /// Programs would run as root: none is started, whatever else holds.
    pub as_root: bool,
}

impl Policy {
    /// Whether an attempt may be started. A processor time that the program leaves open becomes the ceiling's.
    ///
    /// # Errors
    /// Why not, for people.
    pub fn admit(&self, assignment: &mut Assignment) -> Result<(), UserError> {
        let spec = &assignment.spec;
        if self.as_root {
            let sentence = "programs would run as root here, which this slave never does";
            return Err(UserError::new(ErrorCode::IsolationMissing, sentence));
        }
        if let Some(beyond) = spec.limits.beyond(&self.ceiling.limits) {
            return Err(UserError::new(ErrorCode::BeyondCeiling, format!("it asks for {beyond}")));
        }
        if spec.network && !self.ceiling.network {
            let sentence = "it asks for the network, which this slave allows no program";
            return Err(UserError::new(ErrorCode::NetworkNone, sentence));
        }
        // Whoever sent it may not have looked: a name with a folder in it, a limit that nobody enforces.
        spec.validate()?;
        if let (None, Some(most)) = (spec.limits.cpu_time, self.ceiling.limits.cpu_time) {
            Arc::make_mut(&mut assignment.spec).limits.cpu_time = Some(most);
        }
        Ok(())
    }

    /// Whether a running program may be given this wall time.
    ///
    /// # Errors
    /// Why not, for people.
    pub fn admit_wall_time(&self, wall_time: Duration) -> Result<(), String> {
        let limits = ResourceLimits { wall_time, ..self.ceiling.limits };
        limits.validate().map_err(|error| error.sentence)?;
        limits.beyond(&self.ceiling.limits).map_or(Ok(()), |beyond| Err(format!("it asks for {beyond}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{
        id::{AttemptKey, ProgramId},
        program::{ProgramSpec, Work},
    };

    fn assignment(change: impl FnOnce(&mut ProgramSpec)) -> Assignment {
        let mut spec = ProgramSpec::new("x", Work::Command { command: "true".into() });
        change(&mut spec);
        let key = AttemptKey { program: ProgramId(uuid::Uuid::from_u128(1)), attempt: 1 };
        Assignment { key, spec: Arc::new(spec), index: 0, fence: 1 }
    }

    #[test]
    fn i18_what_is_beyond_the_ceiling_is_refused_by_name() {
        let limits = ResourceLimits {
            wall_time: Duration::from_secs(3_600),
            memory: ByteSize(2 << 30),
            open_files: 2_048,
            ..ResourceLimits::MOST
        };
        let policy = Policy { ceiling: Ceiling { limits, network: false }, as_root: false };
        policy.admit(&mut assignment(|_| {})).unwrap();
        type Check = (fn(&mut ProgramSpec), &'static str);
        let checks: [Check; 6] = [
            (|spec| spec.limits.wall_time = Duration::from_secs(36_000), "a wall time of 10 h; at most 1 h"),
            (|spec| spec.limits.memory = ByteSize(20 << 30), "memory limit of 20 GiB; at most 2 GiB"),
            (|spec| spec.limits.open_files = 20_480, "open files of 20480; at most 2048"),
            (|spec| spec.limits.processes = u32::MAX, "processes"),
            (|spec| spec.network = true, "network"),
            (
                |spec| {
                    let (language, file_name) = ("C".to_owned(), "../../etc/x.c".to_owned());
                    spec.work = Work::Source { language, file_name, text: b"int x;"[..].into() };
                },
                "../../etc/x.c",
            ),
        ];
        for (change, named) in checks {
            let refused = policy.admit(&mut assignment(change)).unwrap_err().sentence;
            assert!(refused.contains(named), "{refused}");
        }
        assert!(policy.admit_wall_time(Duration::from_secs(3_600)).is_ok());
        assert!(policy.admit_wall_time(Duration::from_secs(3_601)).unwrap_err().contains("at most 1 h"));
        assert!(policy.admit_wall_time(Duration(0)).is_err());
        let as_root = Policy { as_root: true, ..Policy::default() };
        assert!(as_root.admit(&mut assignment(|_| {})).unwrap_err().sentence.contains("root"));
    }

    #[test]
    fn i18_a_processor_time_that_is_left_open_is_the_ceilings() {
        let limits = ResourceLimits { cpu_time: Some(Duration::from_secs(10)), ..ResourceLimits::MOST };
        let policy = Policy { ceiling: Ceiling { limits, network: true }, as_root: false };
        let mut open = assignment(|spec| spec.network = true);
        policy.admit(&mut open).unwrap();
        assert_eq!(open.spec.limits.cpu_time, Some(Duration::from_secs(10)));
        let mut less = assignment(|spec| spec.limits.cpu_time = Some(Duration::from_secs(3)));
        policy.admit(&mut less).unwrap();
        assert_eq!(less.spec.limits.cpu_time, Some(Duration::from_secs(3)));
        assert!(policy.admit(&mut assignment(|spec| spec.limits.cpu_time = Some(Duration::from_secs(11)))).is_err());
    }
}
