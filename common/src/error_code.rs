//! The catalogue of errors that a user can meet: code, when it happens, and what to do next.
//! `docs/errors.md` is generated from it.

macro_rules! catalogue {
    ($($name:ident, $code:literal, $when:literal, $hint:literal;)+) => {
        /// A code that people can search for. Codes never change their meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode { $(#[doc = $when] $name,)+ }

        impl ErrorCode {
            /// Every code, in the catalogue's order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The stable code, such as `E-LANGUAGE-NONE`.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// When it happens, as a sentence.
            #[must_use]
            pub const fn when(self) -> &'static str {
                match self { $(Self::$name => $when,)+ }
            }

            /// What to do next.
            #[must_use]
            pub const fn hint(self) -> &'static str {
                match self { $(Self::$name => $hint,)+ }
            }
        }
    };
}

catalogue! {
    LanguageNone, "E-LANGUAGE-NONE", "No connected slave can run this language.", "install the language on a slave, or choose one that `ruche slaves` lists";
    LanguageUnknown, "E-LANGUAGE-UNKNOWN", "The language cannot be told from the file's name.", "name it with `--language`";
    SlaveUnknown, "E-SLAVE-UNKNOWN", "No slave has this name.", "`ruche slaves` lists the names";
    SubmitInvalid, "E-SUBMIT-INVALID", "A part of the submit is outside its limits.", "correct the value and submit again";
    SourceEmpty, "E-SOURCE-EMPTY", "The source file has nothing in it.", "save the file first, or choose another";
    SourceNotText, "E-SOURCE-NOT-TEXT", "The source file is not text.", "submit the source, or run a built program as a command";
    FileUnreadable, "E-FILE-UNREADABLE", "A file on this computer cannot be read.", "check the path and its permissions";
    ProgramUnknown, "E-PROGRAM-UNKNOWN", "No program has this ID, or it is not yours to see.", "`ruche list` shows the programs that you may see";
    ProgramConflict, "E-PROGRAM-CONFLICT", "Another program was submitted under the same ID.", "submit again; a new ID is made";
    ProgramEnded, "E-PROGRAM-ENDED", "The program has already ended.", "`ruche show ID` tells how";
    Busy, "E-BUSY", "The master has as much waiting as it can hold.", "wait the time that is named, then submit again";
    QuotaReached, "E-QUOTA-REACHED", "This user has as many programs waiting or running as one user may have.", "wait until some have ended, cancel some, or ask an administrator to raise `programs_per_user`";
    StorageFull, "E-STORAGE-FULL", "The master's disk is full; nothing was accepted.", "free space in the master's data folder; it goes on by itself";
    StorageFailed, "E-STORAGE-FAILED", "The master's store cannot be read or written.", "read the master's log; `ruche-master check` tests the data folder";
    LoginWrong, "E-LOGIN-WRONG", "The name or the password is wrong.", "try again, or ask an administrator for `ruche-master user passwd`";
    LoginSlowed, "E-LOGIN-SLOWED", "There were too many wrong passwords.", "wait the time that is named";
    LoginNeeded, "E-LOGIN-NEEDED", "There is no valid login on this computer.", "run `ruche login HOST:PORT --user NAME`";
    NotAllowed, "E-NOT-ALLOWED", "Your role does not allow this.", "ask an administrator for another role";
    PinWrong, "E-PIN-WRONG", "The master showed another identity than the one that is pinned. Nothing was sent.", "compare with `ruche-master pin`; if the master was set up anew, log in again with the new pin";
    JoinInvalid, "E-JOIN-INVALID", "The join string is not complete, is used up or has run out.", "make a new one with `ruche-master join-string`";
    MasterUnreachable, "E-MASTER-UNREACHABLE", "The master does not answer at this address.", "check that it runs and that the address is right";
    ConnectionLost, "E-CONNECTION-LOST", "The connection to the master was lost.", "the client reconnects by itself; what was acknowledged is safe";
    ProtocolMismatch, "E-PROTOCOL-MISMATCH", "The two programs speak different versions.", "install the same release on both";
    ProtocolError, "E-PROTOCOL-ERROR", "The peer sent something that is not a message of this protocol.", "check that the port is Ruche's and that both releases match";
    AddressInUse, "E-ADDRESS-IN-USE", "Another program listens at this address.", "choose another port with `--listen`, or stop the other program";
    DataLocked, "E-DATA-LOCKED", "Another master uses this data folder.", "stop the other master, or give this one its own `--data`";
    DataTooNew, "E-DATA-TOO-NEW", "The data folder was written by a newer release.", "install that release or a newer one";
    DataUnusable, "E-DATA-UNUSABLE", "The data folder cannot be used.", "check its path, owner and permissions";
    ConfigInvalid, "E-CONFIG-INVALID", "The configuration has a mistake.", "correct the line that is named";
    UserExists, "E-USER-EXISTS", "There is already a user of this name.", "choose another name, or change the password with `ruche-master user passwd`";
    UserUnknown, "E-USER-UNKNOWN", "There is no user of this name.", "`ruche-master user list` shows the names";
    PasswordWeak, "E-PASSWORD-WEAK", "The password is too short.", "take at least 8 characters";
    SlaveNameTaken, "E-SLAVE-NAME-TAKEN", "Another slave has this name.", "choose another with `--name`";
    IdentityMissing, "E-IDENTITY-MISSING", "This slave has no identity yet.", "give it a join string with `--join`";
    IdentityRefused, "E-IDENTITY-REFUSED", "The master does not accept this identity.", "enrol again with a new join string";
    LimitUnavailable, "E-LIMIT-UNAVAILABLE", "This machine cannot start programs within limits.", "read the reason; `ruche-slave languages` shows what works";
    PolicyUnavailable, "E-POLICY-UNAVAILABLE", "This release does not have this policy.", "choose fifo";
    RequestInvalid, "E-REQUEST-INVALID", "The request is not complete or out of range.", "correct it and try again";
    Timeout, "E-TIMEOUT", "It did not happen within the time that was given.", "wait longer, or without a time limit";
    Stopping, "E-STOPPING", "The master is stopping and takes nothing new.", "try again when it is back";
    Internal, "E-INTERNAL", "Something failed that should not have.", "report it with the log";
    CommandNotFound, "E-COMMAND-NOT-FOUND", "The slave has no such command, or cannot execute it.", "check the name, install it on the slave, or submit a source file";
    LimitReached, "E-LIMIT-REACHED", "A limit ended the program.", "raise the limit that is named, for example `--output 64M`, if the program is right";
    NotRunning, "E-NOT-RUNNING", "The program does not run now, so it cannot be given this.", "`ruche show ID` tells its state";
    NotLive, "E-NOT-LIVE", "The program was not submitted with input that comes while it runs.", "submit it with `ruche run`, or choose `Input while it runs` in the window";
    InputMissing, "E-INPUT-MISSING", "The master does not have an input file of this program.", "submit again from where the file is; it is sent then";
    InputDamaged, "E-INPUT-DAMAGED", "A file is not what it was announced to be.", "send it again; if it changes all the time, copy it first";
    IsolationMissing, "E-ISOLATION-MISSING", "This machine cannot enforce a guard that the configuration requires.", "`ruche-slave doctor` says what is missing and why; `require` in the slave's configuration says what must be there";
    BeyondCeiling, "E-BEYOND-CEILING", "The program asks for more than every slave allows.", "ask for less, or raise `ceiling` in a slave's configuration";
    NetworkNone, "E-NETWORK-NONE", "No connected slave lets programs use the network.", "submit without `--network`, or set `network = true` in a slave's configuration";
    FileUnwritable, "E-FILE-UNWRITABLE", "A file on this computer cannot be written.", "check the folder, its permissions and its free space; `--force` writes over files that are there";
    SlaveLost, "E-SLAVE-LOST", "The slave was lost while the program ran; how far it came is not known.", "`ruche again ID` runs it once more";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn e9_codes_are_unique_and_each_says_what_to_do() {
        let codes: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.code()).collect();
        assert_eq!(codes.len(), ErrorCode::ALL.len());
        for code in ErrorCode::ALL {
            assert!(code.code().starts_with("E-") && code.when().ends_with('.') && !code.hint().is_empty(), "{code:?}");
        }
    }
}
