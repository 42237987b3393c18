//! The session's thread: connect, serve, and begin again after each end.

use super::{
    LiveTarget, Order, Wanted,
    submitting::Current,
    view::{View, Wake, until},
};
use crate::{
    connection::{Client, Credentials, News},
    context::Context,
    mirror::{Link, Mirror},
};
use common::{
    ErrorCode, Timestamp, UserError,
    message::{Request, command::Secret},
    units::Duration,
    view::ClientKind,
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};
use tokio::sync::{Notify, mpsc, watch};
use transport::Backoff;

/// Runs until the window drops its end of `orders`.
pub(super) fn run(
    kind: ClientKind,
    orders: mpsc::Receiver<Order>,
    wishes: watch::Receiver<Wanted>,
    shared: Arc<Mutex<Arc<Mirror>>>,
    wake: Wake,
) {
    let mut view = View::new(shared, wake);
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let signal = Arc::new(Notify::new());
            let inbox = Inbox { orders, held: VecDeque::new(), wishes, signal: Arc::clone(&signal) };
            let current = watch::Sender::new(Current::default());
            runtime.block_on(Session { kind, inbox, view, signal, current, token: None }.run());
            // A name lookup under way may hold a thread for long, and the window waits for this one.
            runtime.shutdown_background();
        }
        Err(error) => {
            let reason = UserError::new(ErrorCode::Internal, format!("the session cannot be started: {error}"));
            view.set_link(Link::Refused { reason });
            view.publish();
        }
    }
}

pub(super) struct Session {
    kind: ClientKind,
    pub(super) inbox: Inbox,
    pub(super) view: View,
    /// Notified by tasks that answered the window.
    pub(super) signal: Arc<Notify>,
    /// The connection of the moment, for submits that outlive one.
    pub(super) current: watch::Sender<Current>,
    /// What the last login gave; tried before the password.
    token: Option<Secret>,
}

/// What comes from the window.
pub(super) struct Inbox {
    orders: mpsc::Receiver<Order>,
    /// Taken out of `orders` too early; they come first.
    held: VecDeque<Order>,
    pub(super) wishes: watch::Receiver<Wanted>,
    signal: Arc<Notify>,
}

/// One thing that came.
pub(super) enum Heard {
    Order(Order),
    Wishes,
    Signal,
    Closed,
}

impl Inbox {
    /// May be dropped while it waits without losing anything.
    pub(super) async fn next(&mut self) -> Heard {
        if let Some(order) = self.held.pop_front() {
            return Heard::Order(order);
        }
        tokio::select! {
            order = self.orders.recv() => order.map_or(Heard::Closed, Heard::Order),
            changed = self.wishes.changed() => if changed.is_ok() { Heard::Wishes } else { Heard::Closed },
            () = self.signal.notified() => Heard::Signal,
        }
    }

    /// The logouts among the orders that wait; the others keep waiting.
    pub(super) fn logouts(&mut self) -> Vec<Order> {
        let mut logouts = Vec::new();
        let waiting = std::mem::take(&mut self.held).into_iter();
        for order in waiting.chain(std::iter::from_fn(|| self.orders.try_recv().ok())).collect::<Vec<_>>() {
            match order {
                Order::Request(request, sender) if *request == Request::Logout => {
                    logouts.push(Order::Request(request, sender));
                }
                other @ (Order::Request(..) | Order::Submit(_)) => self.held.push_back(other),
            }
        }
        logouts
    }
}

/// How a wait without a connection ended.
enum Away<T> {
    Done(T),
    /// The window wants to be connected elsewhere or nowhere.
    Round,
    Closed,
}

/// How a connection ended.
pub(super) enum Served {
    Lost(UserError),
    Round,
    Closed,
}

impl Session {
    async fn run(mut self) {
        loop {
            let wanted = self.inbox.wishes.borrow_and_update().clone();
            self.begin_round(&wanted);
            let closed = match wanted.target {
                None => matches!(self.away(std::future::pending::<()>()).await, Away::Closed),
                Some(target) => self.stay_connected(&target).await,
            };
            if closed {
                return;
            }
        }
    }

    /// Another round: nothing of the last one may reach this one.
    fn begin_round(&mut self, wanted: &Wanted) {
        self.token = None;
        self.current.send_replace(Current { round: wanted.round, client: None });
        let address = wanted.target.as_ref().map_or("", |target| target.target.address.as_str());
        if self.view.mirror.address != address {
            let link = self.view.mirror.link.clone();
            self.view.mirror = Mirror { address: address.to_owned(), link, ..Mirror::default() };
        }
        self.view.mirror.history.show(wanted.window.clone());
        let link = if wanted.target.is_some() { Link::Connecting } else { Link::Off };
        self.view.set_link(link);
        self.view.touch();
    }

    /// Connects and serves for ever. True when the window is gone, false when it wants another round.
    async fn stay_connected(&mut self, target: &LiveTarget) -> bool {
        let mut backoff = Backoff::new();
        loop {
            let reason = match self.connect(target).await {
                Away::Done(Ok((client, news))) => {
                    backoff.reset();
                    match self.serve(client, news).await {
                        Served::Lost(reason) => reason,
                        Served::Round => return false,
                        Served::Closed => return true,
                    }
                }
                Away::Done(Err(reason)) => reason,
                Away::Round => return false,
                Away::Closed => return true,
            };
            let end = if is_refusal(&reason) {
                self.view.set_link(Link::Refused { reason });
                self.away(std::future::pending::<()>()).await
            } else {
                let asked = reason.retry_after.unwrap_or_default().to_std();
                let delay = backoff.next_delay().max(asked);
                let retry_at = Timestamp(transport::clock::now().0 + Duration::from(delay).0);
                self.view.set_link(Link::Waiting { reason, retry_at });
                self.away(tokio::time::sleep(delay)).await
            };
            match end {
                Away::Done(()) => {}
                Away::Round => return false,
                Away::Closed => return true,
            }
        }
    }

    /// Logs in: by the token of the last login if there is one, else, or when it has run out, as told.
    async fn connect(&mut self, target: &LiveTarget) -> Away<Result<(Client, mpsc::Receiver<News>), UserError>> {
        let kind = self.kind;
        if !matches!(self.view.mirror.link, Link::Waiting { .. }) {
            self.view.set_link(Link::Connecting);
        }
        let token = self.token.clone().map(Credentials::Token);
        let login = async {
            let by_token = match &token {
                Some(token) => Some(Client::connect(&target.target, kind, token).await),
                None => None,
            };
            match by_token {
                Some(Ok(done)) => Ok(done),
                Some(Err(error)) if !error.is(ErrorCode::LoginNeeded) => Err(error),
                Some(Err(_)) | None => Client::connect(&target.target, kind, &target.credentials).await,
            }
        };
        let done = self.away(login).await;
        if let Away::Done(Ok((client, _))) = &done {
            self.token = Some(client.token().clone());
            if let Some(folder) = &target.remember_in
                && let Err(error) = Context::of(&target.target, client).save(folder)
            {
                tracing::warn!(%error, "the login is not remembered");
            }
        }
        done
    }

    /// Does `work` without a connection, answering the window meanwhile.
    async fn away<T>(&mut self, work: impl Future<Output = T>) -> Away<T> {
        let mut work = std::pin::pin!(work);
        loop {
            let due = self.view.due();
            tokio::select! {
                done = &mut work => return Away::Done(done),
                heard = self.inbox.next() => match heard {
                    Heard::Order(order) => self.order_while_away(order),
                    Heard::Wishes if self.is_new_round() => return Away::Round,
                    Heard::Wishes => self.take_wishes(),
                    Heard::Signal => self.view.touch(),
                    Heard::Closed => return Away::Closed,
                },
                () = until(due) => self.view.publish(),
            }
        }
    }

    fn order_while_away(&mut self, order: Order) {
        let reason = match &self.view.mirror.link {
            Link::Off => UserError::new(ErrorCode::LoginNeeded, "there is no connection to a master"),
            Link::Refused { reason } => reason.clone(),
            Link::Waiting { reason, .. } => UserError::new(
                ErrorCode::ConnectionLost,
                format!("there is no connection to the master: {}", reason.sentence),
            ),
            Link::Connecting | Link::Connected => {
                UserError::new(ErrorCode::ConnectionLost, "the connection to the master is not there yet")
            }
        };
        match order {
            Order::Submit(job) if !matches!(self.view.mirror.link, Link::Off | Link::Refused { .. }) => {
                self.start_submit(job);
            }
            Order::Submit(_) | Order::Request(..) => order.refuse(reason),
        }
        self.view.touch();
    }

    pub(super) fn start_submit(&self, job: Box<super::submitting::Job>) {
        tokio::spawn(job.run(self.current.subscribe(), Arc::clone(&self.signal)));
    }

    pub(super) fn is_new_round(&self) -> bool {
        self.inbox.wishes.borrow().round != self.current.borrow().round
    }

    /// Takes in what the window shows, without asking the master for it.
    pub(super) fn take_wishes(&mut self) {
        let wanted = self.inbox.wishes.borrow_and_update();
        let mirror = &mut self.view.mirror;
        mirror.pinned.retain(|id, _| wanted.pinned.contains(id));
        mirror.history.show(wanted.window.clone());
        self.view.touch();
    }
}

/// Whether only a person can help: trying again would be refused again, or slow the next login down. A
/// wrong pin stays wrong until a person has compared the new one.
fn is_refusal(error: &UserError) -> bool {
    [ErrorCode::LoginWrong, ErrorCode::LoginNeeded, ErrorCode::NotAllowed, ErrorCode::PinWrong]
        .iter()
        .any(|code| error.is(*code))
}
