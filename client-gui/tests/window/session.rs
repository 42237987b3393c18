//! Connecting, and being cut off.

use crate::kit::{NOW, demo, labels, show, window};
use client::Link;
use client_gui::{backend::Backend, command::Pane};
use common::{ErrorCode, Timestamp, UserError};
use egui::Role;
use egui_kittest::kittest::{NodeT as _, Queryable as _};

#[test]
fn e13_a_cut_is_visible_and_greys_the_data() {
    let demo = demo();
    let mut harness = window(&demo, (1_280.0, 800.0));
    show(&mut harness, Pane::History);
    demo.change(|mirror| {
        mirror.heard_at = Some(Timestamp(NOW.0 - 30_000_000));
        mirror.link = client::Link::Waiting {
            reason: UserError::new(ErrorCode::MasterUnreachable, "lab-master:7420 does not answer"),
            retry_at: Timestamp(NOW.0 + 3_000_000),
        };
    });
    harness.run_steps(4);
    harness.get_by_label("lab-master · cut off, trying again in 3 s");
    let rows = labels(&harness, Role::Row);
    assert!(!rows.is_empty(), "what is known stays");
    assert!(harness.state_mut().state.submit.tab().is_some());
    show(&mut harness, Pane::Submit);
    harness.get_by_label("Run");
    assert!(harness.get_by_label("Run").accesskit_node().is_disabled());
}

#[test]
fn e10_the_pin_is_shown_before_anything_is_sent() {
    let demo = demo();
    demo.disconnect();
    demo.change(|mirror| mirror.identity = None);
    let mut harness = window(&demo, (1_280.0, 800.0));
    show(&mut harness, Pane::Connect);
    let state = &mut harness.state_mut().state.connect;
    (state.address, state.user, state.password) = ("other:7420".into(), "bob".into(), "wrong".into());
    harness.run_steps(2);
    harness.get_by_label("Log in").click();
    harness.run_steps(6);
    harness.get_by_label("Is this your master?");
    harness.get_by_label_contains("sha256:4f4f");
    harness.get_by_label("Yes, log in").click();
    harness.run_steps(6);
    harness.get_by_label("E-LOGIN-WRONG");
    assert!(harness.state().state.connect.password.is_empty(), "the password is forgotten once it was sent");
    harness.state_mut().state.connect.address = "nowhere:7420".into();
    harness.state_mut().state.connect.password = "12345678".into();
    harness.run_steps(2);
    harness.get_by_label("Log in").click();
    harness.run_steps(6);
    harness.get_by_label("E-MASTER-UNREACHABLE");
}

#[test]
fn e10_an_address_without_a_port_gets_the_usual_one() {
    let demo = demo();
    demo.disconnect();
    demo.change(|mirror| mirror.identity = None);
    let mut harness = window(&demo, (1_280.0, 800.0));
    show(&mut harness, Pane::Connect);
    let state = &mut harness.state_mut().state.connect;
    (state.address, state.user, state.password) = (" other ".into(), "bob".into(), "secret".into());
    harness.run_steps(2);
    harness.get_by_label("Log in").click();
    harness.run_steps(6);
    harness.get_by_label("Yes, log in").click();
    harness.run_steps(6);
    let confirmed = harness.state().state.connect.confirmed.clone();
    assert_eq!(confirmed.map(|(address, _)| address).as_deref(), Some("other:7420"));
}

#[test]
fn e10_another_pin_than_before_is_shown_beside_the_old_one() {
    let demo = demo();
    demo.disconnect();
    demo.change(|mirror| {
        mirror.identity = None;
        mirror.address = "other:7420".into();
        mirror.link = Link::Refused { reason: UserError::new(ErrorCode::PinWrong, "another pin") };
    });
    let mut harness = window(&demo, (1_280.0, 1_200.0));
    show(&mut harness, Pane::Connect);
    let state = &mut harness.state_mut().state.connect;
    (state.address, state.user, state.password) = ("other:7420".into(), "bob".into(), "secret".into());
    state.confirmed = Some(("other:7420".into(), "sha256:0123".into()));
    harness.run_steps(2);
    harness.get_by_label("Log in").click();
    harness.run_steps(6);
    harness.get_by_label_contains("another pin than before");
    harness.get_by_label_contains("sha256:0123");
    harness.get_by_label_contains("sha256:4f4f");
    harness.get_by_label("Yes, log in").click();
    harness.run_steps(6);
    let confirmed = harness.state().state.connect.confirmed.clone().unwrap();
    assert!(confirmed.1.starts_with("sha256:4f4f"), "the new pin is used: {}", confirmed.1);
}
