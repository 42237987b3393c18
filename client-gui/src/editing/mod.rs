//! The tabs of the submit pane: text, settings, and the program that they become.

mod attached;
mod fields;

pub use attached::{Attached, sending_words};
pub(crate) use attached::{attach, look, read};
pub(crate) use fields::length;

use crate::{
    arguments,
    panels::output_view::OutputView,
    state::{Choosing, Loaded},
    templates::Sample,
};
use client::{files::Sending, live::Busy};
use common::{
    ByteSize, ErrorCode, ProgramId, ProgramSpec, ResourceLimits, UserError, Work, escape::RawText, language, limits,
    program::LiveInput,
};
use fields::{number, variables, wrong};
use std::{path::Path, sync::Arc};

/// The word of the language chooser for a command.
pub const COMMAND: &str = "Command";

/// Tabs that may be open at once.
pub const TABS_MAX: usize = 64;

/// All tabs.
#[derive(Debug)]
pub struct SubmitState {
    /// The tabs.
    pub tabs: Vec<EditorTab>,
    /// The open one.
    pub open: usize,
    /// A file dialog that is open.
    pub choosing: Option<Choosing>,
    /// Files that are being read.
    pub loading: Vec<crate::backend::Asked<Loaded>>,
    /// The editor takes the keyboard in the next frame.
    pub focus: bool,
    made: u64,
}

/// Where standard input comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stdin {
    /// Empty.
    #[default]
    None,
    /// Typed here.
    Text(String),
    /// A file: its name and what is in it.
    File(String, Arc<[u8]>),
    /// What is typed while the program runs.
    Live,
}

/// One tab.
#[derive(Debug)]
pub struct EditorTab {
    /// Its number, never used again.
    pub id: u64,
    /// The file's name.
    pub file_name: String,
    /// The text.
    pub text: String,
    /// Whether it was changed since it was opened.
    pub changed: bool,
    /// The language by name, or [`COMMAND`].
    pub language: String,
    /// As typed.
    pub arguments: String,
    /// Where standard input comes from.
    pub stdin: Stdin,
    /// As typed.
    pub wall_time: String,
    /// As typed; empty is none of its own.
    pub cpu_time: String,
    /// As typed.
    pub memory: String,
    /// As typed.
    pub processes: String,
    /// As typed.
    pub copies: String,
    /// As typed.
    pub priority: String,
    /// As typed.
    pub retry: String,
    /// As typed.
    pub output: String,
    /// As typed.
    pub file_size: String,
    /// As typed.
    pub disk: String,
    /// As typed.
    pub open_files: String,
    /// Whether it asks for the network.
    pub network: bool,
    /// Files that are sent with it.
    pub inputs: Vec<Attached>,
    /// Patterns of the files that it brings back, as typed.
    pub collect: String,
    /// `NAME=value` as typed, in words as a shell would read them.
    pub environment: String,
    /// Whether the settings that few need are shown.
    pub more: bool,
    /// The only slave that may run it.
    pub slave: Option<String>,
    /// What became of the last run.
    pub run: Run,
    /// The result below.
    pub view: OutputView,
    /// The coloured text, with what it was made from.
    pub coloured: Option<(u64, egui::text::LayoutJob)>,
}

/// What became of the last run.
#[derive(Debug, Default)]
pub enum Run {
    /// There was none.
    #[default]
    None,
    /// On its way to the master; or put off, because the master is busy.
    Submitting(Option<Busy>),
    /// Its files are read, or sent so far.
    Sending(Option<Sending>),
    /// Acknowledged: the first of so many copies.
    Submitted(ProgramId, usize),
    /// Refused.
    Refused(UserError),
}

impl Default for SubmitState {
    fn default() -> Self {
        let mut state = Self { tabs: Vec::new(), open: 0, choosing: None, loading: Vec::new(), focus: false, made: 0 };
        state.add_sample(&crate::templates::SAMPLES[0]);
        state
    }
}

impl SubmitState {
    /// The open tab.
    #[must_use]
    pub fn tab(&self) -> Option<&EditorTab> {
        self.tabs.get(self.open)
    }

    /// The open tab, to change it.
    pub fn tab_mut(&mut self) -> Option<&mut EditorTab> {
        self.tabs.get_mut(self.open)
    }

    /// Opens a new tab and shows it; a tab that was never written in makes room.
    pub fn add(&mut self, mut tab: EditorTab) {
        self.made += 1;
        tab.id = self.made;
        if self.tabs.len() >= TABS_MAX {
            self.tabs.remove(0);
        }
        let untouched = |tab: &EditorTab| tab.text.trim().is_empty() && !tab.changed && matches!(tab.run, Run::None);
        if self.tabs.get(self.open).is_some_and(untouched) {
            self.tabs[self.open] = tab;
        } else {
            self.tabs.push(tab);
            self.open = self.tabs.len() - 1;
        }
        self.focus = true;
    }

    /// Opens an empty tab.
    pub fn add_empty(&mut self) {
        let language = self.tab().map_or_else(|| "Python".to_owned(), |tab| tab.language.clone());
        let extension = language::by_name(language::built_in(), &language).map_or("txt", |found| &found.extensions[0]);
        let tab = EditorTab::new(format!("untitled.{extension}"), String::new(), language);
        self.made += 1;
        self.tabs.push(EditorTab { id: self.made, ..tab });
        self.open = self.tabs.len() - 1;
        self.focus = true;
    }

    /// Opens a sample.
    pub fn add_sample(&mut self, sample: &Sample) {
        let mut tab = EditorTab::new(sample.file_name.to_owned(), sample.text.to_owned(), sample.language.to_owned());
        tab.arguments = sample.arguments.to_owned();
        if sample.language == "Perl" {
            tab.stdin = Stdin::Text("the cat and the hat\nand the bat\n".to_owned());
        }
        self.add(tab);
    }

    /// Opens a file.
    pub fn add_file(&mut self, path: &Path, text: String) {
        let name = path.file_name().map_or_else(|| "program".to_owned(), |name| name.to_string_lossy().into_owned());
        let language = language::by_file_name(language::built_in(), &name)
            .map_or_else(|| "Python".to_owned(), |found| found.name.clone());
        self.add(EditorTab::new(name, text, language));
    }

    /// Opens what was submitted, to change it.
    pub fn add_spec(&mut self, spec: &ProgramSpec) {
        self.add(EditorTab::from_spec(spec));
    }

    /// Closes the open tab.
    pub fn close(&mut self) {
        if self.open < self.tabs.len() {
            self.tabs.remove(self.open);
        }
        self.open = self.open.min(self.tabs.len().saturating_sub(1));
    }
}

impl EditorTab {
    /// A tab with every setting at its default.
    #[must_use]
    pub fn new(file_name: String, text: String, language: String) -> Self {
        Self {
            id: 0,
            file_name,
            text,
            changed: false,
            language,
            arguments: String::new(),
            stdin: Stdin::None,
            wall_time: limits::WALL_TIME_DEFAULT.to_string(),
            cpu_time: String::new(),
            memory: limits::MEMORY_DEFAULT.to_string(),
            processes: limits::PROCESSES_DEFAULT.to_string(),
            copies: "1".to_owned(),
            priority: limits::PRIORITY_DEFAULT.to_string(),
            retry: "0".to_owned(),
            output: limits::OUTPUT_DEFAULT.to_string(),
            file_size: limits::FILE_SIZE_DEFAULT.to_string(),
            disk: limits::DISK_DEFAULT.to_string(),
            open_files: limits::OPEN_FILES_DEFAULT.to_string(),
            network: false,
            inputs: Vec::new(),
            collect: String::new(),
            environment: String::new(),
            more: false,
            slave: None,
            run: Run::None,
            view: OutputView::default(),
            coloured: None,
        }
    }

    fn from_spec(spec: &ProgramSpec) -> Self {
        let words: Vec<String> = spec.arguments.iter().map(|word| word.to_lossy().into_owned()).collect();
        let joined = arguments::join(words.iter().map(String::as_str));
        let mut tab = match &spec.work {
            Work::Source { language, file_name, text } => {
                let mut tab =
                    Self::new(file_name.clone(), String::from_utf8_lossy(&text.0).into_owned(), language.clone());
                tab.arguments = joined;
                tab
            }
            Work::Command { command } => {
                let command = arguments::join([&*command.to_lossy()]);
                let line = if joined.is_empty() { command } else { format!("{command} {joined}") };
                Self::new(spec.name.clone(), line, COMMAND.to_owned())
            }
        };
        if let Some(stdin) = &spec.stdin {
            tab.stdin = match std::str::from_utf8(&stdin.0) {
                Ok(text) if text.len() <= 64 << 10 => Stdin::Text(text.to_owned()),
                _ => Stdin::File("as before".to_owned(), Arc::clone(&stdin.0)),
            };
        }
        if spec.live.is_some() {
            tab.stdin = Stdin::Live;
        }
        tab.inputs = spec.inputs.iter().cloned().map(Attached::Before).collect();
        tab.collect = arguments::join(spec.collect.iter().map(String::as_str));
        tab.network = spec.network;
        tab.disk = spec.limits.disk.to_string();
        tab.open_files = spec.limits.open_files.to_string();
        tab.wall_time = spec.limits.wall_time.to_string();
        tab.cpu_time = spec.limits.cpu_time.map(|time| time.to_string()).unwrap_or_default();
        tab.memory = spec.limits.memory.to_string();
        tab.processes = spec.limits.processes.to_string();
        tab.priority = spec.priority.to_string();
        tab.retry = spec.retry.to_string();
        tab.output = spec.limits.output.to_string();
        tab.file_size = spec.limits.file_size.to_string();
        let variable = |(name, value): &(RawText, RawText)| {
            arguments::join([format!("{}={}", name.to_lossy(), value.to_lossy()).as_str()])
        };
        tab.environment = spec.environment.iter().map(variable).collect::<Vec<_>>().join("\n");
        let few = |limits: &ResourceLimits| (limits.output, limits.file_size, limits.disk, limits.open_files);
        let usual = few(&spec.limits) == few(&ResourceLimits::default());
        tab.more = !spec.environment.is_empty() || spec.network || !usual;
        tab.slave.clone_from(&spec.slave);
        tab
    }

    /// Whether there is something to run.
    #[must_use]
    pub fn runnable(&self) -> bool {
        !self.text.trim().is_empty() && !matches!(self.run, Run::Submitting(_) | Run::Sending(_))
    }

    /// Whether it is a command rather than a source file.
    #[must_use]
    pub fn is_command(&self) -> bool {
        self.language == COMMAND
    }

    /// The language for the slaves; none for a command.
    #[must_use]
    pub fn language(&self) -> Option<&str> {
        (!self.is_command()).then_some(self.language.as_str())
    }

    /// Chooses another language; a file without a name of its own is renamed after it.
    pub fn set_language(&mut self, name: &str) {
        name.clone_into(&mut self.language);
        let Some(known) = language::by_name(language::built_in(), name) else { return };
        let stem = self.file_name.rsplit_once('.').map_or(self.file_name.as_str(), |(stem, _)| stem);
        let fits = language::by_file_name(language::built_in(), &self.file_name).is_some_and(|told| told.name == name);
        if !fits {
            self.file_name = format!("{stem}.{}", known.extensions[0]);
        }
    }

    /// What is submitted, and how many copies.
    ///
    /// # Errors
    /// Names the field and what is accepted.
    pub fn spec(&self) -> Result<(ProgramSpec, u32), UserError> {
        let refuse = |what: String| UserError::new(ErrorCode::SubmitInvalid, what);
        let (work, words) = if self.is_command() {
            let mut words =
                arguments::split(&self.text).map_err(|why| refuse(format!("the command cannot be read: {why}")))?;
            if words.is_empty() {
                return Err(refuse("the command is empty".to_owned()));
            }
            let command = words.remove(0);
            (Work::Command { command: command.into() }, words)
        } else {
            let words = arguments::split(&self.arguments)
                .map_err(|why| refuse(format!("the arguments cannot be read: {why}")))?;
            let work = Work::Source {
                language: self.language.clone(),
                file_name: self.file_name.clone(),
                text: self.text.as_bytes().into(),
            };
            (work, words)
        };
        let name = if self.is_command() { self.text.trim().to_owned() } else { self.file_name.clone() };
        let mut spec = ProgramSpec::new(common::escape::shorten(&name, limits::NAME_BYTES_MAX), work);
        spec.arguments = words.into_iter().map(RawText::from).collect();
        spec.stdin = match &self.stdin {
            Stdin::None | Stdin::Live => None,
            Stdin::Text(text) => Some(text.as_bytes().into()),
            Stdin::File(_, bytes) => Some(common::program::SourceText(Arc::clone(bytes))),
        };
        spec.live = (self.stdin == Stdin::Live).then_some(LiveInput { terminal: None });
        spec.limits = self.limits()?;
        spec.environment = variables(&self.environment).map_err(refuse)?;
        spec.collect = attached::patterns(&self.collect).map_err(refuse)?;
        spec.network = self.network;
        let before = |file: &Attached| match file {
            Attached::Before(file) => Some(file.clone()),
            Attached::Here(..) => None,
        };
        spec.inputs = self.inputs.iter().filter_map(before).collect();
        spec.priority = number("priority", &self.priority)?;
        spec.retry = number("retries", &self.retry)?;
        spec.slave.clone_from(&self.slave);
        let copies: u32 = number("copies", &self.copies)?;
        if copies == 0 || copies > limits::COPIES_MAX {
            return Err(refuse(format!("copies is {copies}; 1 to {} is accepted", limits::COPIES_MAX)));
        }
        spec.validate()?;
        Ok((spec, copies))
    }

    /// The limits.
    ///
    /// # Errors
    /// Names the field and what is accepted.
    pub fn limits(&self) -> Result<ResourceLimits, UserError> {
        let refuse = |what: String| UserError::new(ErrorCode::SubmitInvalid, what);
        let size = |what: &str, text: &str| {
            text.trim().parse::<ByteSize>().map_err(|error| refuse(format!("{what}: {error}")))
        };
        Ok(ResourceLimits {
            wall_time: length(&self.wall_time).ok_or_else(|| refuse(wrong("wall time", &self.wall_time)))?,
            cpu_time: match self.cpu_time.trim() {
                "" => None,
                text => Some(length(text).ok_or_else(|| refuse(wrong("CPU time", text)))?),
            },
            memory: size("memory", &self.memory)?,
            processes: number("processes", &self.processes)?,
            output: size("output limit", &self.output)?,
            file_size: size("file size limit", &self.file_size)?,
            disk: size("disk limit", &self.disk)?,
            open_files: number("open files", &self.open_files)?,
        })
    }

    /// Whether the field of this name holds something that cannot be read.
    #[must_use]
    pub fn wrong_field(&self, name: &str) -> bool {
        match name {
            "Wall time" => length(&self.wall_time).is_none(),
            "CPU time" => !self.cpu_time.trim().is_empty() && length(&self.cpu_time).is_none(),
            "Memory" => self.memory.trim().parse::<ByteSize>().is_err(),
            "Output limit" => self.output.trim().parse::<ByteSize>().is_err(),
            "File size limit" => self.file_size.trim().parse::<ByteSize>().is_err(),
            "Disk limit" => self.disk.trim().parse::<ByteSize>().is_err(),
            "Open files" => number::<u32>("", &self.open_files).is_err(),
            "Files to bring back" => attached::patterns(&self.collect).is_err(),
            "Environment" => variables(&self.environment).is_err(),
            "Processes" => number::<u32>("", &self.processes).is_err(),
            "Copies" => number::<u32>("", &self.copies).is_err(),
            "Priority" => number::<u8>("", &self.priority).map_or(true, |value| value > limits::PRIORITY_MAX),
            "Retries" => number::<u32>("", &self.retry).is_err(),
            "Arguments" => arguments::split(&self.arguments).is_err(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
