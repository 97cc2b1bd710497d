//! Why a client gets no session, and how it is told.

use crate::wire::Fields;
use safepoint::manager::OpenError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    sqlstate: &'static str,
    message: &'static str,
}

pub(crate) const TOO_MANY: Refusal =
    Refusal { sqlstate: "53300", message: "sorry, too many clients already" };

const SHUTTING_DOWN: Refusal =
    Refusal { sqlstate: "57P03", message: "the database system is shutting down" };

impl Refusal {
    pub(crate) fn fields(self) -> Fields {
        Fields::new("FATAL", self.sqlstate, self.message)
    }
}

impl From<OpenError> for Refusal {
    fn from(error: OpenError) -> Refusal {
        if error == OpenError::Closed { SHUTTING_DOWN } else { TOO_MANY }
    }
}
