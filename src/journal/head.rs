//! `HEAD`: what was durable at the last rotation, close or open. The layout is drawn in [`crate::journal`].

use crate::journal::error::{Defect, JournalError};
use crate::journal::fields::{FieldReader, FieldWriter};
use crate::journal::file::{Directory, NamedFile};
use crate::journal::frame::PAGE_BYTES;
use crate::journal::keys::JournalKeys;
use crate::journal::lsn::Lsn;
use crate::journal::segment::{COVERED_BYTES, Instance, check_key, check_version, sealed_page, unsealed_page};
use crate::journal::snapshot::SnapshotExtent;

/// One slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Grows by one with every write; the higher slot counts.
    pub(crate) counter: u64,
    pub(crate) instance: Instance,
    pub(crate) epoch: u64,
    pub(crate) durable_lsn: Lsn,
    /// The newest segment that had its final name.
    pub(crate) segment_id: u64,
    /// The oldest record that must be there.
    pub(crate) retained_from: Lsn,
}

impl Head {
    pub(super) fn to_page(self, keys: &JournalKeys) -> [u8; PAGE_BYTES] {
        let mut fields = [0; COVERED_BYTES];
        FieldWriter::new(&mut fields)
            .bytes(HEAD_MAGIC)
            .u16(HEAD_VERSION)
            .u16(0)
            .u64(self.counter)
            .bytes(self.instance)
            .u64(keys.key_id)
            .u64(self.epoch)
            .u64(self.durable_lsn.value())
            .u64(self.segment_id)
            .u64(self.retained_from.value());
        sealed_page(fields, keys.mac_of(&fields))
    }

    /// A slot that does not verify is `Ok(Err(..))`: the other one stands in for it.
    fn read(file: &NamedFile, offset: u64, keys: &JournalKeys) -> Result<Result<Self, Defect>, JournalError> {
        let mut page = [0; PAGE_BYTES];
        file.read_at(&mut page, offset)?;
        let (fields, mac) = match unsealed_page(&page, HEAD_MAGIC) {
            Ok(page) => page,
            Err(defect) => return Ok(Err(defect)),
        };
        let Some((version, key_id, head)) = Self::parse(&fields) else { return Ok(Err(Defect::Header)) };
        check_version(file.name(), version, HEAD_VERSION)?;
        check_key(file.name(), key_id, keys)?;
        Ok(if keys.verifies(&fields, mac) { Ok(head) } else { Err(Defect::Mac) })
    }

    fn parse(fields: &[u8]) -> Option<(u16, u64, Self)> {
        let mut fields = FieldReader::new(fields);
        fields.bytes::<4>()?;
        let version = fields.u16()?;
        let is_reserved_zero = fields.u16()? == 0;
        let counter = fields.u64()?;
        let instance = fields.bytes()?;
        let key_id = fields.u64()?;
        let epoch = fields.u64()?;
        let durable_lsn = Lsn::new(fields.u64()?);
        let segment_id = fields.u64()?;
        let retained_from = Lsn::new(fields.u64()?);
        // What comes after the last number would be taken for older.
        if [counter, epoch, segment_id].contains(&u64::MAX) {
            return None;
        }
        if !(is_reserved_zero && fields.u64()? == 0) && version == HEAD_VERSION {
            return None;
        }
        Some((version, key_id, Self { counter, instance, epoch, durable_lsn, segment_id, retained_from }))
    }
}

/// The file with its two slots, written by turns: a torn write leaves the other slot whole.
pub(crate) struct HeadFile {
    file: NamedFile,
    latest: Head,
    /// Where a slot begins that does not verify, and why not. The next write goes there.
    pub(crate) damage: Option<(u64, Defect)>,
}

impl HeadFile {
    /// `None` where nothing was ever written.
    pub(crate) fn load(directory: &Directory, keys: &JournalKeys) -> Result<Option<Self>, JournalError> {
        let file = directory.open(HEAD)?;
        file.drop_cache()?;
        let mut latest: Option<Head> = None;
        let mut damage = None;
        for slot in 0..2 {
            match Head::read(&file, slot * PAGE_BYTES as u64, keys)? {
                Ok(head) if latest.is_none_or(|latest| head.counter > latest.counter) => latest = Some(head),
                Ok(_) | Err(Defect::Empty) => {}
                Err(defect) => damage = Some((slot * PAGE_BYTES as u64, defect)),
            }
        }
        match (latest, damage) {
            (Some(latest), damage) => Ok(Some(Self { file, latest, damage })),
            (None, None) => Ok(None),
            (None, Some((offset, defect))) => {
                let (first, last) = (Lsn::FIRST, Lsn::FIRST);
                Err(JournalError::Corrupt { segment: HEAD.to_owned(), offset, first, last, defect })
            }
        }
    }

    /// The first write of a journal: it has an identity before it has a segment.
    pub(crate) fn create(directory: &Directory, instance: Instance, keys: &JournalKeys) -> Result<Self, JournalError> {
        let file = directory.create(HEAD)?;
        let retained_from = Lsn::FIRST;
        let latest = Head { counter: 0, instance, epoch: 0, durable_lsn: Lsn::ZERO, segment_id: 0, retained_from };
        let mut head = Self { file, latest, damage: None };
        head.write(0, Lsn::ZERO, 0, keys)?;
        directory.sync()?;
        Ok(head)
    }

    /// The first write of a journal that goes on from a backup.
    pub(crate) fn restore(
        directory: &Directory,
        instance: Instance,
        extent: &SnapshotExtent,
        keys: &JournalKeys,
    ) -> Result<Self, JournalError> {
        let SnapshotExtent { end_lsn, epoch, .. } = *extent;
        let retained_from = end_lsn.after(1);
        let latest = Head { counter: 0, instance, epoch, durable_lsn: end_lsn, segment_id: 0, retained_from };
        let mut head = Self { file: directory.create(HEAD_TMP)?, latest, damage: None };
        head.write(epoch, end_lsn, 0, keys)?;
        let file = directory.publish(head.file, HEAD.to_owned())?;
        Ok(Self { file, ..head })
    }

    pub(crate) fn latest(&self) -> &Head {
        &self.latest
    }

    /// Notes in both slots that nothing before `first` needs to be there.
    pub(crate) fn retain_from(&mut self, first: Lsn, keys: &JournalKeys) -> Result<(), JournalError> {
        let Head { epoch, durable_lsn, segment_id, .. } = self.latest;
        self.latest.retained_from = first;
        self.write(epoch, durable_lsn, segment_id, keys)?;
        self.write(epoch, durable_lsn, segment_id, keys)
    }

    /// Makes durable what was read: it may have been in the page cache alone.
    pub(crate) fn sync(&self) -> Result<(), JournalError> {
        self.file.sync_data()
    }

    /// Writes the other slot and makes it durable.
    pub(crate) fn write(
        &mut self,
        epoch: u64,
        durable_lsn: Lsn,
        segment_id: u64,
        keys: &JournalKeys,
    ) -> Result<(), JournalError> {
        let counter = self.latest.counter + 1;
        self.latest = Head { counter, epoch, durable_lsn, segment_id, ..self.latest };
        self.file.write_at(&self.latest.to_page(keys), counter % 2 * PAGE_BYTES as u64)?;
        self.file.sync_data()
    }
}

pub(crate) const HEAD: &str = "HEAD";
/// While a restore writes it.
pub(crate) const HEAD_TMP: &str = "head.tmp";
const HEAD_MAGIC: [u8; 4] = *b"TSRH";
const HEAD_VERSION: u16 = 1;
