//! Who may ask what: one table made from the request enum. A new request does not compile before it
//! has its line here.

use common::{ErrorCode, UserError, message::Request, session::Role};

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    /// Everybody who is logged in; of programs, only those that he may see.
    Look,
    /// Submitters and above.
    Submit,
    /// Submitters for their own programs, operators for all.
    Stop,
    /// Operators and above.
    Operate,
}

/// The table.
pub(crate) const fn of(request: &Request) -> Permission {
    match request {
        Request::Submit { .. }
        | Request::SubmitCopies { .. }
        | Request::SubmitEntries { .. }
        | Request::Again { .. } => Permission::Submit,
        Request::InputsHeld { .. } | Request::PutInput { .. } => Permission::Submit,
        Request::Cancel { .. }
        | Request::Suspend { .. }
        | Request::Resume { .. }
        | Request::SetWallTime { .. }
        | Request::Input { .. }
        | Request::Resize { .. }
        | Request::Signal { .. } => Permission::Stop,
        Request::SetMaxProcesses { .. }
        | Request::SetPolicy(_)
        | Request::SetAside { .. }
        | Request::TakeBack { .. } => Permission::Operate,
        Request::List(_)
        | Request::Show { .. }
        | Request::Spec { .. }
        | Request::ReadOutput { .. }
        | Request::Wait { .. }
        | Request::Why { .. }
        | Request::Slaves
        | Request::Clients
        | Request::Summary
        | Request::Watch { .. }
        | Request::Logout
        | Request::Events { .. } => Permission::Look,
    }
}

/// Refuses a role that is too low.
pub(crate) fn check(role: Role, request: &Request) -> Result<(), UserError> {
    let (least, what) = match of(request) {
        Permission::Look => (Role::Viewer, "look at this"),
        Permission::Submit => (Role::Submitter, "submit programs"),
        Permission::Stop => (Role::Submitter, "stop programs"),
        Permission::Operate => (Role::Operator, "change how the master works"),
    };
    if role >= least {
        return Ok(());
    }
    Err(UserError::new(ErrorCode::NotAllowed, format!("a {role} may not {what}; that takes the role {least}")))
}

/// Whether someone of this role sees a program of `owner`. What he does not see is unknown to him.
pub(super) fn sees(role: Role, user: &str, owner: &str) -> bool {
    match role {
        Role::Viewer | Role::Operator | Role::Admin => true,
        Role::Submitter => user == owner,
    }
}

/// Whether someone of this role may stop a program of `owner`.
pub(super) fn stops(role: Role, user: &str, owner: &str) -> bool {
    match role {
        Role::Viewer => false,
        Role::Submitter => user == owner,
        Role::Operator | Role::Admin => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{
        Digest, Duration, ProgramId, ProgramSpec,
        message::{HistoryQuery, Stream},
        program::{ProgramSignal, TerminalSize, Work},
        view::Policy,
    };
    use uuid::Uuid;

    #[test]
    fn e10_the_permission_matrix_is_the_reviewed_one() {
        let id = ProgramId(Uuid::nil());
        let spec = Box::new(ProgramSpec::new("a", Work::Command { command: "true".into() }));
        // Columns: viewer, submitter, operator, admin.
        for (request, allowed) in [
            (Request::Submit { ids: vec![], first_index: 0, copies: 1, spec: spec.clone() }, [false, true, true, true]),
            (Request::SubmitCopies { first: id, copies: 1, spec: spec.clone() }, [false, true, true, true]),
            (
                Request::SubmitEntries { first: id, first_index: 0, copies: 1, spec, entries: vec![] },
                [false, true, true, true],
            ),
            (Request::Again { id, new_id: id }, [false, true, true, true]),
            (Request::Cancel { ids: vec![] }, [false, true, true, true]),
            (Request::Suspend { ids: vec![] }, [false, true, true, true]),
            (Request::Resume { ids: vec![] }, [false, true, true, true]),
            (Request::SetWallTime { id, wall_time: Duration(1) }, [false, true, true, true]),
            (Request::Input { id, offset: 0, bytes: vec![], end: true }, [false, true, true, true]),
            (Request::Resize { id, size: TerminalSize { columns: 80, rows: 24 } }, [false, true, true, true]),
            (Request::Signal { id, signal: ProgramSignal::Interrupt }, [false, true, true, true]),
            (Request::InputsHeld { digests: vec![] }, [false, true, true, true]),
            (
                Request::PutInput { digest: Digest([0; 32]), size: 0, offset: 0, bytes: vec![] },
                [false, true, true, true],
            ),
            (Request::SetMaxProcesses { slave: None, slots: 1 }, [false, false, true, true]),
            (Request::SetPolicy(Policy::Fifo), [false, false, true, true]),
            (Request::SetAside { slave: String::new(), reason: String::new() }, [false, false, true, true]),
            (Request::TakeBack { slave: String::new() }, [false, false, true, true]),
            (Request::List(HistoryQuery::default()), [true; 4]),
            (Request::Show { id }, [true; 4]),
            (Request::Spec { id }, [true; 4]),
            (Request::ReadOutput { id, stream: Stream::Stdout, offset: 0, bytes_max: 1, follow: false }, [true; 4]),
            (Request::Wait { ids: vec![] }, [true; 4]),
            (Request::Why { id }, [true; 4]),
            (Request::Slaves, [true; 4]),
            (Request::Clients, [true; 4]),
            (Request::Summary, [true; 4]),
            (Request::Watch { programs: true, slaves: true, clients: true }, [true; 4]),
            (Request::Logout, [true; 4]),
            (Request::Events { limit: 1, before: None }, [true; 4]),
        ] {
            let found = Role::ALL.map(|role| check(role, &request).is_ok());
            assert_eq!(found, allowed, "{request:?}");
        }
        assert_eq!(Role::ALL.map(|role| sees(role, "ann", "bob")), [true, false, true, true]);
        assert_eq!(Role::ALL.map(|role| stops(role, "ann", "bob")), [false, false, true, true]);
        assert_eq!(Role::ALL.map(|role| stops(role, "ann", "ann")), [false, true, true, true]);
    }
}
