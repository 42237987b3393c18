//! `ruche slaves`, `ruche clients` and `ruche languages`.

use crate::{
    failure::Outcome,
    json,
    output::{print, print_json},
    session::Session,
    table::{Cell, Colour, Table, ago},
    terminal,
};
use client::reply;
use common::{
    message::Request,
    view::{IsolationLevel, SlaveState, SlaveView},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A guard that is missing wherever programs get no network at all.
const NETWORK_GUARD: &str = "network-on-request";

pub(super) async fn slaves(as_json: bool) -> Outcome {
    let slaves = reply::slaves(Session::open_asking(Request::Slaves).await?.1)?;
    if as_json {
        print_json(&Value::Array(slaves.iter().map(json::slave).collect()))?;
        return Ok(0);
    }
    if slaves.is_empty() {
        print("No slave has connected yet; `ruche-master join-string` makes what one needs to join.\n")?;
        return Ok(0);
    }
    let now = transport::clock::now();
    let head = ["NAME", "STATE", "RUNNING", "SLOTS", "SINCE", "ADDRESS", "ID", "ISOLATION", "LANGUAGES", "SET ASIDE"];
    let aside = slaves.iter().any(|row| row.aside.is_some());
    let mut table = if aside { Table::new(&head, &[0, 7, 8, 9]) } else { Table::new(&head[..9], &[0, 7, 8]) };
    for row in &slaves {
        let (sign, colour) = match row.state {
            SlaveState::Connected => ("✓", Colour::Good),
            SlaveState::Unreachable => ("✗", Colour::Bad),
            SlaveState::Draining => ("–", Colour::Quiet),
        };
        let mut cells = vec![
            Cell::new(&row.name),
            Cell::new(&format!("{sign} {}", row.state.word())).coloured(colour),
            Cell::number(row.running),
            Cell::number(row.slots),
            Cell::new(&ago(row.since, now)),
            Cell::new(&row.address),
            Cell::new(&row.id.to_string()).coloured(Colour::Quiet),
            isolation(row),
            Cell::new(&languages_line(row)),
        ];
        if aside {
            cells.push(Cell::new(row.aside.as_deref().unwrap_or("-")));
        }
        table.row(cells);
    }
    print(&table.render(terminal::columns(), terminal::colours()))?;
    Ok(0)
}

/// The level; and where it is not the strongest, or a guard is off that it usually has, which ones are missing.
fn isolation(row: &SlaveView) -> Cell {
    let level = row.isolation.level;
    let off = row.isolation.guards.iter().filter(|guard| !guard.on && guard.name != NETWORK_GUARD);
    let off: Vec<&str> = off.map(|guard| guard.name.as_str()).collect();
    let (text, colour) = match (level, off.as_slice()) {
        (_, []) if row.isolation.guards.is_empty() => return Cell::new("-"),
        (IsolationLevel::Root, []) => (level.word().to_owned(), Colour::Good),
        (_, []) => (level.word().to_owned(), Colour::Quiet),
        (_, off) => (format!("{} without {}", level.word(), off.join(", ")), Colour::Bad),
    };
    Cell::new(&text).coloured(colour)
}

pub(super) async fn set_aside(slave: String, reason: String) -> Outcome {
    reply::done(Session::open().await?.ask(Request::SetAside { slave, reason }).await?)?;
    Ok(0)
}

pub(super) async fn take_back(slave: String) -> Outcome {
    reply::done(Session::open().await?.ask(Request::TakeBack { slave }).await?)?;
    Ok(0)
}

fn languages_line(row: &SlaveView) -> String {
    let languages: Vec<_> = row.languages.iter().map(|offer| format!("{} {}", offer.name, offer.version)).collect();
    if languages.is_empty() { "-".to_owned() } else { languages.join(", ") }
}

pub(super) async fn clients(as_json: bool) -> Outcome {
    let clients = reply::clients(Session::open_asking(Request::Clients).await?.1)?;
    if as_json {
        print_json(&Value::Array(clients.iter().map(json::client).collect()))?;
        return Ok(0);
    }
    let now = transport::clock::now();
    let mut table = Table::new(&["USER", "ROLE", "KIND", "RUNNING", "WAITING", "SINCE", "ADDRESS", "ID"], &[0]);
    for row in &clients {
        table.row(vec![
            Cell::new(&row.user),
            Cell::new(row.role.word()),
            Cell::new(row.kind.word()),
            Cell::number(row.running),
            Cell::number(row.waiting),
            Cell::new(&ago(row.connected_since, now)),
            Cell::new(&row.address),
            Cell::new(&row.id.to_string()).coloured(Colour::Quiet),
        ]);
    }
    print(&table.render(terminal::columns(), terminal::colours()))?;
    Ok(0)
}

pub(super) async fn languages(as_json: bool) -> Outcome {
    let slaves = reply::slaves(Session::open_asking(Request::Slaves).await?.1)?;
    let connected = slaves.iter().filter(|row| row.state == SlaveState::Connected);
    let mut offers: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (slave, offer) in connected.flat_map(|slave| slave.languages.iter().map(move |offer| (slave, offer))) {
        offers.entry((&offer.name, &offer.version)).or_default().push(&slave.name);
    }
    if as_json {
        let rows = offers
            .iter()
            .map(|((name, version), slaves)| json!({ "name": name, "version": version, "slaves": slaves }));
        print_json(&Value::Array(rows.collect()))?;
        return Ok(0);
    }
    let mut table = Table::new(&["LANGUAGE", "VERSION", "SLAVES"], &[2]);
    for ((name, version), slaves) in &offers {
        table.row(vec![Cell::new(name), Cell::new(version), Cell::new(&slaves.join(", "))]);
    }
    let text = if offers.is_empty() {
        "No connected slave offers a language.\n".to_owned()
    } else {
        table.render(terminal::columns(), terminal::colours())
    };
    print(&text)?;
    Ok(0)
}
