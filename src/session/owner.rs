//! What the owner of a session keeps beside its record.

use crate::core::record::Record;
use crate::core::shared::SharedHandle;
use crate::types::error::OpenError;
use std::sync::Arc;

/// What its owner keeps.
pub(crate) struct OwnerState {
    /// From its first attachment on. The thread that runs it has this reference meanwhile, so that
    /// to attach and to detach counts none.
    pub(crate) spare: Option<Arc<Record>>,
    pub(crate) home: SharedHandle,
}

impl OwnerState {
    /// Asks for admission, where places are kept for administrators.
    pub(crate) fn admit(&self, record: &Record) -> Result<(), OpenError> {
        self.home.places.as_ref().map_or(Ok(()), |places| record.admit(places))
    }
}
