//! The state that the owner of a session has in addition to the record.

use crate::core::record::Record;
use crate::core::shared::SharedHandle;
use crate::types::error::OpenError;
use std::sync::Arc;

/// The owner's state.
pub(crate) struct OwnerState {
    /// A second reference to the record, from the first attachment on. While the session is
    /// attached, the running thread has this reference, so that attaching and detaching count no
    /// references.
    pub(crate) spare: Option<Arc<Record>>,
    pub(crate) shared: SharedHandle,
}

impl OwnerState {
    /// Requests admission, if the manager has a limit on its sessions.
    pub(crate) fn admit(&self, record: &Record) -> Result<(), OpenError> {
        self.shared.admission.as_ref().map_or(Ok(()), |admission| record.admit(admission))
    }
}
