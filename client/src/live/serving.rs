//! The session while it is connected: what it asks, and what it does with what comes.

use super::{
    Order, answer,
    session::{Heard, Served, Session},
    view::until,
};
use crate::{
    connection::{Client, News, lost},
    mirror::{Link, Mirror},
};
use common::{
    ProgramId, UserError,
    limits::PAGE_ROWS_MAX,
    message::{Change, Reply, Request},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

/// Least time between two pages of history: scrolling stays smooth and the master is not flooded.
const PAGE_INTERVAL: Duration = Duration::from_millis(100);
/// Wait after a page that was refused.
const PAGE_RETRY: Duration = Duration::from_secs(2);
/// Least rows of a page, so that a little scrolling needs no other.
const PAGE_ROWS_MIN: u32 = 200;
/// The counts are asked for this often, so that the age of the data never shows more on a quiet master.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(2);
/// Least time between two questions for all pinned programs, while one burst follows the other.
const PINNED_INTERVAL: Duration = Duration::from_secs(1);
/// Events that are asked for at the beginning.
const EVENTS_AT_START: u32 = 200;

/// What the session itself asked for.
enum Asked {
    Watch,
    Summary,
    Slaves,
    Clients,
    Events,
    Page { skip: u64, generation: u64 },
    Pinned(ProgramId),
}

/// The state of one connection.
struct Serving {
    client: Client,
    asked: JoinSet<(Asked, Result<Reply, UserError>)>,
    pinned: BTreeSet<ProgramId>,
    /// Pinned programs may have changed without a word.
    pinned_stale: bool,
    /// Not before this are the pinned programs asked for again.
    pinned_after: Instant,
    page_open: bool,
    page_after: Instant,
    summary_at: Instant,
}

impl Serving {
    /// Sends a request of the session's own; its answer comes out of `asked`.
    fn ask(&mut self, what: Asked, request: Request) {
        let answer = self.client.request(request);
        self.asked.spawn(async move { (what, answer.await) });
    }

    /// Asks for everything that the mirror holds.
    fn ask_all(&mut self) {
        self.ask(Asked::Watch, Request::Watch { programs: true, slaves: true, clients: true });
        self.ask(Asked::Summary, Request::Summary);
        self.ask(Asked::Slaves, Request::Slaves);
        self.ask(Asked::Clients, Request::Clients);
        self.ask(Asked::Events, Request::Events { limit: EVENTS_AT_START, before: None });
    }

    /// Asks for the programs that are pinned since the last call.
    fn ask_pinned(&mut self, wanted: &BTreeSet<ProgramId>) {
        for id in wanted.difference(&self.pinned.clone()) {
            self.ask(Asked::Pinned(*id), Request::Show { id: *id });
        }
        self.pinned.clone_from(wanted);
    }

    /// Asks for every pinned program again, after a burst whose rows were not told.
    fn ask_pinned_again(&mut self) {
        self.pinned_stale = false;
        self.pinned_after = Instant::now() + PINNED_INTERVAL;
        let pinned = std::mem::take(&mut self.pinned);
        self.ask_pinned(&pinned);
    }

    /// When to ask for the pinned programs again.
    fn pinned_due(&self) -> Option<Instant> {
        self.pinned_stale.then_some(self.pinned_after)
    }

    /// Asks for the visible page when it is needed and not on its way.
    fn ask_page(&mut self, mirror: &Mirror) {
        if self.page_open || Instant::now() < self.page_after || !mirror.history.needs_page() {
            return;
        }
        let window = mirror.history.window();
        let skip = window.first.saturating_sub(u64::from(window.rows));
        let limit = window.rows.saturating_mul(3).clamp(PAGE_ROWS_MIN, PAGE_ROWS_MAX);
        let generation = mirror.history.generation();
        let query = window.filter.query(skip, limit);
        self.page_open = true;
        self.page_after = Instant::now() + PAGE_INTERVAL;
        self.ask(Asked::Page { skip, generation }, Request::List(query));
    }

    /// When to look again whether a page is needed.
    fn page_due(&self, mirror: &Mirror) -> Option<Instant> {
        (!self.page_open && mirror.history.needs_page()).then_some(self.page_after)
    }

    fn take(&mut self, what: Asked, result: Result<Reply, UserError>, mirror: &mut Mirror) {
        if matches!(what, Asked::Page { .. }) {
            self.page_open = false;
        }
        match (what, result) {
            (Asked::Watch, Ok(_)) => {}
            (Asked::Summary, Ok(Reply::Summary(summary))) => mirror.summary = Some(summary),
            (Asked::Slaves, Ok(Reply::Slaves(slaves))) => mirror.set_slaves(slaves),
            (Asked::Clients, Ok(Reply::Clients(clients))) => mirror.set_clients(clients),
            (Asked::Events, Ok(Reply::Events(events))) => mirror.set_events(events),
            (Asked::Page { skip, generation }, Ok(Reply::Page { rows, total })) => {
                mirror.history.set_page(skip, rows, total, generation);
            }
            (Asked::Pinned(id), Ok(Reply::Program(row))) if self.pinned.contains(&id) => mirror.set_pinned(*row),
            (Asked::Page { .. }, Err(error)) => {
                self.page_after = Instant::now() + PAGE_RETRY;
                tracing::debug!(%error, "no page of history");
            }
            // A role that may not see a list leaves it empty.
            (_, Err(error)) => tracing::debug!(%error, "the master refused a part of the mirror"),
            (_, Ok(_)) => tracing::debug!("an answer that is not wanted any more"),
        }
    }
}

impl Session {
    /// Serves the window over this connection until it ends.
    pub(super) async fn serve(&mut self, client: Client, mut news: mpsc::Receiver<News>) -> Served {
        self.view.mirror.begin_session(client.identity().clone());
        self.view.mirror.history.invalidate();
        self.view.mirror.notice = None;
        self.view.set_link(Link::Connected);
        self.current.send_modify(|current| current.client = Some(client.clone()));
        let now = Instant::now();
        let mut serving = Serving {
            client,
            asked: JoinSet::new(),
            pinned: BTreeSet::new(),
            pinned_stale: false,
            pinned_after: now,
            page_open: false,
            page_after: now,
            summary_at: now + SUMMARY_INTERVAL,
        };
        serving.ask_all();
        let pinned = self.inbox.wishes.borrow().pinned.clone();
        serving.ask_pinned(&pinned);
        let served = self.serve_until_end(&mut serving, &mut news).await;
        self.current.send_modify(|current| current.client = None);
        served
    }

    async fn serve_until_end(&mut self, serving: &mut Serving, news: &mut mpsc::Receiver<News>) -> Served {
        loop {
            serving.ask_page(&self.view.mirror);
            let due = self.view.due();
            let page_due = serving.page_due(&self.view.mirror);
            let pinned_due = serving.pinned_due();
            tokio::select! {
                told = news.recv() => match told {
                    Some(told) => {
                        serving.pinned_stale |= is_burst(&told);
                        self.take_news(told);
                    }
                    None => return Served::Lost(serving.client.lost().unwrap_or_else(|| lost("the connection ended"))),
                },
                Some(done) = serving.asked.join_next() => {
                    if let Ok((what, result)) = done {
                        serving.take(what, result, &mut self.view.mirror);
                        self.view.touch();
                    }
                },
                heard = self.inbox.next() => match heard {
                    Heard::Order(order) => self.order(order, &serving.client),
                    Heard::Wishes if self.is_new_round() => {
                        // A logout just before is sent before the connection closes, or the session would
                        // stay good.
                        for order in self.inbox.logouts() {
                            self.order(order, &serving.client);
                        }
                        return Served::Round;
                    }
                    Heard::Wishes => {
                        self.take_wishes();
                        let pinned = self.inbox.wishes.borrow().pinned.clone();
                        serving.ask_pinned(&pinned);
                    }
                    Heard::Signal => self.view.touch(),
                    Heard::Closed => return Served::Closed,
                },
                () = tokio::time::sleep_until(serving.summary_at) => {
                    serving.summary_at = Instant::now() + SUMMARY_INTERVAL;
                    serving.ask(Asked::Summary, Request::Summary);
                }
                () = until(page_due) => {}
                () = until(pinned_due) => serving.ask_pinned_again(),
                () = until(due) => {
                    self.view.mirror.heard_at = Some(serving.client.heard_at());
                    self.view.publish();
                }
            }
        }
    }

    fn take_news(&mut self, news: News) {
        match news {
            News::Changes(changes) => {
                for change in changes {
                    self.view.mirror.apply(change);
                }
            }
            News::Stopping { grace } => {
                self.view.mirror.notice =
                    Some(format!("The master is stopping; running programs have {grace} to end."));
            }
            News::Notice(text) => self.view.mirror.notice = Some(text),
        }
        self.view.touch();
    }

    fn order(&self, order: Order, client: &Client) {
        match order {
            Order::Request(request, sender) => {
                let pending = client.request(*request);
                let signal = Arc::clone(&self.signal);
                tokio::spawn(answer_later(pending, sender, signal));
            }
            Order::Submit(job) => self.start_submit(job),
        }
    }
}

/// Whether rows changed that were not told one by one.
fn is_burst(news: &News) -> bool {
    matches!(news, News::Changes(changes) if changes.contains(&Change::ManyPrograms))
}

async fn answer_later(pending: crate::connection::Pending, sender: answer::Sender, signal: Arc<tokio::sync::Notify>) {
    sender.send(pending.await);
    signal.notify_one();
}
