//! The log on standard error: what `RUCHE_LOG` names, else warnings. Most commands say nothing in it, and then it costs
//! nothing: what writes it is made when the first line comes.

use std::{io::Stderr, sync::OnceLock};
use tracing::{
    Event, Level, Metadata, Subscriber,
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::Interest,
};
use tracing_subscriber::{
    EnvFilter,
    fmt::{
        self,
        format::{DefaultFields, Format},
    },
};

type Writer = fmt::Subscriber<DefaultFields, Format, LevelFilter, fn() -> Stderr>;

/// Warnings and errors.
#[derive(Default)]
struct Warnings(OnceLock<Writer>);

/// Starts the log of this process.
pub(crate) fn start() {
    // Both fail when a test of this process has started one already.
    match std::env::var("RUCHE_LOG") {
        Ok(filter) => {
            let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("warn"));
            drop(fmt::fmt().with_writer(std::io::stderr).with_env_filter(filter).try_init());
        }
        Err(_) => drop(tracing::subscriber::set_global_default(Warnings::default())),
    }
}

impl Warnings {
    fn writer(&self) -> &Writer {
        let stderr: fn() -> Stderr = std::io::stderr;
        self.0.get_or_init(|| fmt::fmt().with_writer(stderr).with_max_level(LevelFilter::WARN).finish())
    }
}

impl Subscriber for Warnings {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.writer().new_span(span)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.writer().record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.writer().record_follows_from(span, follows);
    }

    fn event(&self, event: &Event<'_>) {
        self.writer().event(event);
    }

    fn enter(&self, span: &Id) {
        self.writer().enter(span);
    }

    fn exit(&self, span: &Id) {
        self.writer().exit(span);
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.writer().clone_span(span)
    }

    fn try_close(&self, span: Id) -> bool {
        self.writer().try_close(span)
    }
}
