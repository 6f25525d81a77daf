//! Large deletion requests: the steps of [`deletion`](super::deletion), one transaction each.

use super::batch::Batch;
use super::deletion;
use super::error::StoreError;
use super::progress::DeletionProgress;
use super::sweep::Swept;
use super::writer::Writer;

impl Writer {
    /// Removes some targets of the deletion request that is carried out, if there is one.
    pub(super) fn step_deletion(&mut self) -> Result<Swept, StoreError> {
        let Some(progress) = self.deletion else {
            return Ok(Swept::default());
        };
        let store = self.store.clone();
        let snapshot = store.snapshot()?;
        let mut batch = Batch::new(&snapshot);
        let position = match snapshot.record(progress.serial)? {
            Some(request) => deletion::step(&mut batch, &request, progress.position)?,
            // It has expired meanwhile; its tombstones stay.
            None => None,
        };
        let next = position.map(|position| DeletionProgress { position, ..progress });
        batch.set_deletion(next);
        let removed = batch.removals();
        self.write(batch)?;
        Ok(Swept { removed, more: next.is_some() })
    }

    /// Carries out the deletion request.
    pub(super) fn finish_deletion(&mut self) -> Result<(), StoreError> {
        while self.step_deletion()?.more {}
        Ok(())
    }
}
