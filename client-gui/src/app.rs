//! The window: each frame drains what arrived, draws the open pane, then does what a person asked for.

use crate::{
    answers::{self, Awaited},
    backend::Backend,
    command::{Command, Commands, Files, Go, Pane, View},
    command_handling::{self, Means},
    editing::Run,
    files::FileDialogs,
    panels,
    state::{AppState, DetailTab},
    theme::{self, tokens},
    view_model::{Clock, Standing, pulse, slaves},
};
use client::{HistoryWindow, Link, Mirror};
use common::{ProgramId, message::Request, program::State, view::ProgramView};
use egui::{Key, Modifiers, Panel, Ui};
use jiff::tz::TimeZone;
use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

/// How often a waiting program is asked why it still waits, while somebody looks.
const WHY_INTERVAL: Duration = Duration::from_secs(3);

/// The window.
pub struct App {
    /// What the window itself knows.
    pub state: AppState,
    backend: Rc<dyn Backend>,
    dialogs: Box<dyn FileDialogs>,
    mirror: Arc<Mirror>,
    zone: TimeZone,
    clock: Option<Clock>,
    pinned: Option<ProgramId>,
    window: Option<HistoryWindow>,
    was_connected: bool,
}

impl App {
    /// The window over `backend`.
    #[must_use]
    pub fn new(backend: Rc<dyn Backend>, dialogs: Box<dyn FileDialogs>, state: AppState) -> Self {
        let mirror = backend.mirror();
        Self {
            state,
            backend,
            dialogs,
            mirror,
            zone: TimeZone::system(),
            clock: None,
            pinned: None,
            window: None,
            was_connected: false,
        }
    }

    /// Stops the clock here, for tests.
    pub fn freeze(&mut self, clock: Clock) {
        self.clock = Some(clock);
    }

    /// Does `command` as if a person had asked for it.
    pub fn run(&mut self, ctx: &egui::Context, command: impl Into<Command>) {
        let means = Means { backend: &self.backend, mirror: &self.mirror, dialogs: &*self.dialogs, ctx };
        command_handling::handle(&mut self.state, command.into(), &means);
        ctx.request_repaint();
    }

    fn clock(&self) -> Clock {
        self.clock.clone().unwrap_or_else(|| Clock::system(self.zone.clone()))
    }

    /// Takes what arrived: also while the window is hidden.
    fn drain(&mut self, ctx: &egui::Context) {
        self.mirror = self.backend.mirror();
        let mut changed = answers::take(&mut self.state, &*self.backend);
        if self.backend.take_started() {
            command_handling::forget_programs(&mut self.state);
            changed = true;
        }
        let means = Means { backend: &self.backend, mirror: &self.mirror, dialogs: &*self.dialogs, ctx };
        for command in std::mem::take(&mut self.state.next) {
            command_handling::handle(&mut self.state, command, &means);
            changed = true;
        }
        command_handling::chosen(&mut self.state, &means);
        command_handling::loaded(&mut self.state);
        let connected = self.mirror.connected();
        if connected && !self.was_connected && self.state.pane == Pane::Connect {
            self.state.pane = Pane::Submit;
            self.state.submit.focus = true;
        }
        self.was_connected = connected;
        if matches!(self.mirror.link, Link::Waiting { .. })
            && let Some(trouble) = self.backend.trouble()
        {
            self.state.fail(&trouble);
            self.state.connect.error = Some(trouble);
            self.state.pane = Pane::Connect;
        }
        changed |= self.follow_outputs();
        changed |= self.follow_files();
        let (sent, refused) = self.state.inputs.pump(&*self.backend, self.mirror.connected(), Instant::now());
        changed |= sent;
        if let Some(error) = refused {
            self.state.fail(&error);
        }
        self.ask_about_programs();
        if changed {
            ctx.request_repaint();
        }
        // Answers of threads of this window wake nobody: they are looked for while they are awaited.
        let local = |awaited: &Awaited| {
            matches!(
                awaited,
                Awaited::Pin(_) | Awaited::Start(_) | Awaited::Saved(_) | Awaited::Files(..) | Awaited::Taken(..)
            )
        };
        let waits = !self.state.submit.loading.is_empty()
            || self.state.submit.choosing.is_some()
            || self.state.awaited.iter().any(local);
        let now = Instant::now();
        if let Some(next) = self.state.inputs.changes_in(now) {
            ctx.request_repaint_after(next);
        }
        for awaited in &self.state.awaited {
            if let Awaited::Again(again) = awaited
                && let Some(next) = again.changes_in(now)
            {
                ctx.request_repaint_after(next);
            }
        }
        if waits {
            ctx.request_repaint_after(Duration::from_millis(60));
        }
        if self.state.toast.as_ref().is_some_and(|toast| toast.until <= Instant::now()) {
            self.state.toast = None;
        }
        if let Some(toast) = &self.state.toast {
            ctx.request_repaint_after(toast.until.saturating_duration_since(Instant::now()));
        }
    }

    /// The programs whose output is on the screen.
    fn looked_at(&self) -> Option<ProgramId> {
        match self.state.pane {
            Pane::History => self.state.detail.program.filter(|_| self.state.detail.open),
            Pane::Submit => match self.state.submit.tab().map(|tab| &tab.run) {
                Some(Run::Submitted(id, _)) => Some(*id),
                Some(Run::None | Run::Submitting(_) | Run::Sending(_) | Run::Refused(_)) | None => None,
            },
            Pane::Connect | Pane::Slaves | Pane::Clients => None,
        }
    }

    fn follow_outputs(&mut self) -> bool {
        let looked_at = self.looked_at();
        if looked_at != self.pinned {
            if let Some(old) = self.pinned {
                self.backend.unpin(old);
            }
            if let Some(new) = looked_at {
                self.backend.pin(new);
            }
            self.pinned = looked_at;
        }
        let Some(id) = looked_at else { return false };
        self.state.outputs.follow(id, &*self.backend, &self.mirror)
    }

    /// Reads the list of files while it is on the screen.
    fn follow_files(&mut self) -> bool {
        if self.state.pane != Pane::History || self.state.detail.tab != DetailTab::Files {
            return false;
        }
        let Some(program) = self.looked_at().and_then(|id| self.mirror.program(id)) else { return false };
        self.state.files.follow(program, &*self.backend, self.mirror.connected())
    }

    /// What was submitted, and why it waits: asked once somebody looks.
    fn ask_about_programs(&mut self) {
        if self.state.pane != Pane::History || !self.mirror.connected() {
            return;
        }
        let Some(program) = self.looked_at().and_then(|id| self.mirror.program(id)) else { return };
        let id = program.id;
        let asked = |awaited: &Awaited| matches!(awaited, Awaited::Spec(other, ..) if *other == id);
        let refused = self.state.refused.get(&id).is_some_and(|since| since.elapsed() < WHY_INTERVAL);
        if !refused && !self.state.specs.contains_key(&id) && !self.state.awaited.iter().any(asked) {
            self.state.awaited.push(Awaited::Spec(id, false, self.backend.request(Request::Spec { id })));
        }
        let Some(interval) = why_interval(program) else { return };
        let old = self.state.whys.get(&id).is_none_or(|(_, since)| since.elapsed() >= interval);
        let asked = |awaited: &Awaited| matches!(awaited, Awaited::Why(other, _) if *other == id);
        if old && !self.state.awaited.iter().any(asked) {
            self.state.awaited.push(Awaited::Why(id, self.backend.request(Request::Why { id })));
        }
    }

    fn shortcuts(&mut self, ui: &Ui, commands: &mut Commands) {
        if self.state.dialog.is_some() {
            return;
        }
        if self.state.palette.is_some() {
            if ui.input_mut(|input| {
                Command::from(Go::Palette).shortcut().is_some_and(|keys| input.consume_shortcut(&keys))
            }) {
                commands.send(Go::Palette);
            }
            return;
        }
        // With shift first: Ctrl F would take Ctrl Shift F for its own.
        let mut list = Command::listed();
        list.sort_by_key(|command| !command.shortcut().is_some_and(|keys| keys.modifiers.shift));
        for command in list {
            if let Some(keys) = command.shortcut()
                && ui.input_mut(|input| input.consume_shortcut(&keys))
            {
                commands.send(command);
            }
        }
        let zoom_in = egui::KeyboardShortcut::new(Modifiers::COMMAND, Key::Equals);
        if ui.input_mut(|input| input.consume_shortcut(&zoom_in)) {
            commands.send(View::ZoomIn);
        }
        let question = ui.input(|input| input.events.iter().any(|event| *event == egui::Event::Text("?".to_owned())));
        if question && ui.memory(|memory| memory.focused().is_none()) {
            commands.send(Go::Shortcuts);
        }
    }

    fn dropped_files(&self, ui: &Ui, commands: &mut Commands) {
        let dropped = ui.input(|input| input.raw.dropped_files.clone());
        let paths: Vec<_> = dropped.iter().map(|file| file.path().to_owned()).collect();
        if !paths.is_empty() {
            commands.send(Files::Dropped(paths));
        }
        if ui.input(|input| !input.raw.hovered_files.is_empty()) {
            let t = tokens(ui);
            let screen = ui.ctx().content_rect();
            let words = if self.state.pane == Pane::Submit && self.state.submit.tab().is_some() {
                "Drop a program to open it, any other file to send it with this program"
            } else {
                "Drop to open it as a program"
            };
            let layer = egui::LayerId::new(egui::Order::Foreground, egui::Id::unique("drop"));
            let painter = ui.ctx().layer_painter(layer);
            painter.rect_filled(screen, 0.0, t.backdrop());
            painter.text(screen.center(), egui::Align2::CENTER_CENTER, words, crate::fonts::title(), t.text);
        }
    }

    fn bars(&self, ui: &mut Ui, clock: &Clock, commands: &mut Commands) {
        let t = tokens(ui);
        let frame = egui::Frame::new().fill(t.panel);
        let bar =
            |panel: Panel, size: f32| panel.exact_size(size).resizable(false).show_separator_line(false).frame(frame);
        let connection = pulse::connection(&self.mirror, clock);
        bar(Panel::top("top bar"), theme::TOP_BAR).show(ui, |ui| {
            panels::bars::top_bar(ui, &self.state, &self.mirror, &connection, commands);
        });
        let counts = pulse::pulse(&self.mirror, clock);
        bar(Panel::bottom("bottom bar"), theme::BOTTOM_BAR).show(ui, |ui| {
            panels::bars::bottom_bar(ui, &self.state, &self.mirror, counts.as_ref(), commands);
        });
        if self.state.pane != Pane::Connect || self.mirror.identity.is_some() {
            bar(Panel::left("rail"), theme::RAIL).show(ui, |ui| panels::bars::rail(ui, self.state.pane, commands));
        }
    }

    fn pane(&mut self, ui: &mut Ui, clock: &Clock, commands: &mut Commands) {
        let mirror = Arc::clone(&self.mirror);
        // What is old is greyed; what is being written is not data of the master.
        let stale = !mirror.connected() && mirror.identity.is_some();
        if stale && matches!(self.state.pane, Pane::History | Pane::Slaves | Pane::Clients) {
            ui.multiply_opacity(0.5);
        }
        match self.state.pane {
            Pane::Connect => {
                let known = self.backend.known();
                panels::connect::connect_ui(ui, &mirror, &known, &mut self.state.connect, commands);
            }
            Pane::Submit => {
                let state = &mut self.state;
                let streams = panels::Streams { outputs: &state.outputs, inputs: &mut state.inputs };
                panels::submit::submit_ui(ui, &mirror, clock, streams, &mut state.submit, commands);
            }
            Pane::History => self.history(ui, &mirror, clock, commands),
            Pane::Slaves => panels::slaves::slaves_ui(ui, &mirror, clock, &mut self.state.slaves, commands),
            Pane::Clients => panels::clients::clients_ui(ui, &mirror, clock, &mut self.state.clients),
        }
    }

    /// The list, and the detail pane beside it, below it or in its place.
    fn history(&mut self, ui: &mut Ui, mirror: &Arc<Mirror>, clock: &Clock, commands: &mut Commands) {
        let whole = ui.max_rect();
        let program = self.state.detail.program.filter(|_| self.state.detail.open).and_then(|id| mirror.program(id));
        let (list, pane) = panels::beside(ui, whole, program.is_some());
        if let Some(list) = list {
            let window = ui
                .scope_builder(egui::UiBuilder::new().max_rect(list).id_salt("list"), |ui| {
                    ui.set_clip_rect(list.intersect(ui.clip_rect()));
                    let AppState { history: state, detail, .. } = &mut self.state;
                    panels::history::history_ui(ui, panels::history::History { mirror, clock, state, detail, commands })
                })
                .inner;
            self.window = Some(window);
        }
        // Without the list nobody else takes Escape.
        let free = ui.memory(|memory| memory.focused().is_none() && memory.top_modal_layer().is_none());
        if list.is_none() && free && ui.input_mut(|input| input.consume_key(Modifiers::NONE, Key::Escape)) {
            commands.send(Go::CloseDetail);
        }
        if let (Some(pane), Some(program)) = (pane, program) {
            ui.scope_builder(egui::UiBuilder::new().max_rect(pane).id_salt("detail"), |ui| {
                ui.set_clip_rect(pane.intersect(ui.clip_rect()));
                let state = &mut self.state;
                let mut shown = panels::detail::Shown {
                    program,
                    spec: state.specs.get(&program.id).map(|spec| &**spec),
                    why: state.whys.get(&program.id).and_then(|(why, _)| why.as_ref()),
                    files: &state.files,
                    streams: panels::Streams { outputs: &state.outputs, inputs: &mut state.inputs },
                };
                panels::detail::detail_ui(ui, &mut shown, clock, &mut state.detail, commands);
                panels::divide(ui, pane, list);
            });
        }
    }

    fn overlays(&mut self, ui: &Ui, commands: &mut Commands) {
        if let Some(palette) = &mut self.state.palette
            && !panels::palette::palette_ui(ui, palette, commands)
        {
            self.state.palette = None;
        }
        let Some(mut dialog) = self.state.dialog.take() else { return };
        match panels::dialogs::dialog_ui(ui, &mut dialog, commands) {
            panels::dialogs::Outcome::Open => self.state.dialog = Some(dialog),
            panels::dialogs::Outcome::Closed => {}
            panels::dialogs::Outcome::Path(purpose, path) => {
                let means =
                    Means { backend: &self.backend, mirror: &self.mirror, dialogs: &*self.dialogs, ctx: ui.ctx() };
                command_handling::take_path(&mut self.state, &purpose, &path, &means);
            }
        }
    }

    /// Paints again when something changes by time alone, and not before.
    fn schedule(&self, ctx: &egui::Context, clock: &Clock) {
        let mut times = vec![pulse::changes_in(&self.mirror, clock), self.backend.changes_in()];
        match self.state.pane {
            Pane::History => {
                times.push(
                    self.window.as_ref().and_then(|window| panels::history::changes_in(&self.mirror, clock, window)),
                );
                let program = self.looked_at().and_then(|id| self.mirror.program(id));
                times.push(program.and_then(|row| why_interval(row)));
            }
            Pane::Submit => {
                let runs =
                    self.looked_at().and_then(|id| self.mirror.program(id)).is_some_and(|row| !row.state.is_final());
                times.push(runs.then_some(Duration::from_millis(500)));
                let put_off = |run: &Run| matches!(run, Run::Submitting(Some(_)) | Run::Sending(_));
                let counts = self.state.submit.tab().is_some_and(|tab| put_off(&tab.run));
                times.push(counts.then_some(Duration::from_millis(250)));
            }
            Pane::Slaves => times.push(slaves::changes_in(&self.mirror, clock)),
            Pane::Clients => times.push(Some(Duration::from_secs(30))),
            Pane::Connect => {}
        }
        if let Some(next) = times.into_iter().flatten().min()
            && self.clock.is_none()
        {
            ctx.request_repaint_after(next.max(Duration::from_millis(100)));
        }
    }
}

/// How often the master is asked why it waits, or when it is decided what became of it; none when neither.
fn why_interval(program: &ProgramView) -> Option<Duration> {
    match Standing::of(program) {
        Standing::Known(State::Waiting) => Some(WHY_INTERVAL),
        // The answer counts seconds.
        Standing::Unknown => Some(Duration::from_secs(1)),
        Standing::Known(_) => None,
    }
}

impl eframe::App for App {
    fn logic(&mut self, ctx: &egui::Context, _frame: &mut eframe::Frame) {
        self.drain(ctx);
    }

    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        let clock = self.clock();
        let mut commands = Commands::new(command_handling::situation(&self.state, &self.mirror));
        self.shortcuts(ui, &mut commands);
        self.dropped_files(ui, &mut commands);
        let t = tokens(ui);
        ui.painter().rect_filled(ui.ctx().content_rect(), 0.0, t.bg);
        self.bars(ui, &clock, &mut commands);
        egui::CentralPanel::no_frame().show(ui, |ui| self.pane(ui, &clock, &mut commands));
        self.overlays(ui, &mut commands);
        if let Some(window) = &self.window
            && self.state.pane == Pane::History
        {
            self.backend.show_history(window);
        }
        let ctx = ui.ctx().clone();
        for command in commands.take() {
            self.run(&ctx, command);
        }
        self.schedule(&ctx, &clock);
    }

    fn clear_color(&self, visuals: &egui::Visuals) -> [f32; 4] {
        visuals.panel_fill.to_normalized_gamma_f32()
    }
}
