//! The tokens of a shard: one thread writes, any number read without a lock.
//!
//! ```text
//! digest  ┌─ 13 bits: which small table ─┬─ 19 bits: where its probe begins ─┬─ 96 bits ─┐
//!
//! TokenTable   [AtomicShared; 8192] ──▶ SmallTable [Box; n] ──▶ Block [Slot; 64]
//! ```
//!
//! Each small table is open addressing with linear probing. It grows alone: its tokens are copied into a new one of an
//! eighth more slots, which is swapped in whole; so the longest stall is the copy of one small table. Slots are held in
//! blocks of one size, so that what a growing table gives back is at once what the next one takes: memory does not
//! fragment, and the peak of a growth is the size of one small table.

use std::collections::BTreeMap;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prefetch_index::prefetch_index;
use sdd::{AtomicShared, Guard, Shared, Tag};
use smallvec::SmallVec;

use crate::token::digest::TokenDigest;
use crate::token::grant::{Grant, GrantDirectory};
use crate::token::slot::{Occupant, Slot, SlotData};

/// The writer's side of the table.
pub(super) struct TokenTable {
    tables: Arc<[TableCell]>,
    usage: Box<[Usage]>,
    /// What every small table is until it has its first token.
    empty: Shared<SmallTable>,
    tokens: usize,
}

/// The readers' side of the table. Clones share it.
#[derive(Clone)]
pub struct TokenReader {
    tables: Arc<[TableCell]>,
    grants: Arc<GrantDirectory>,
}

/// A token as a reader found it. It may have expired or be revoked.
#[derive(Clone, Copy)]
pub struct FoundToken<'g> {
    /// When it was issued, in seconds since the epoch.
    pub issued_at: u32,
    /// When it expires, in seconds since the epoch.
    pub expires_at: u32,
    /// The shard's sequence of its revocation; 0 if it is not revoked.
    pub revoked: u64,
    /// What it was granted.
    pub grant: &'g Grant,
}

/// A reader gave up: the writer was put off its core in the middle of a write, many times over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shard is being written to")]
pub struct Contended;

/// The place of a token that will be looked up: see [`TokenReader::place`].
#[derive(Clone, Copy)]
pub struct TokenPlace<'g> {
    table: &'g SmallTable,
    home: Home,
    words: [u64; 2],
}

impl TokenPlace<'_> {
    /// Has the processor fetch what leads to the slots.
    pub fn prefetch_table(&self) {
        self.table.prefetch();
    }

    /// Has the processor fetch the slots where the token should be.
    pub fn prefetch_slots(&self) {
        self.table.prefetch_slots(self.home);
    }
}

/// Most tokens are among the first slots that a probe looks at, which are on up to three lines of the cache.
const NEAR_SLOTS: usize = 4;

impl TokenReader {
    /// Where a token should be.
    #[must_use]
    pub fn place<'g>(&self, digest: TokenDigest, guard: &'g Guard) -> Option<TokenPlace<'g>> {
        let words = digest.words();
        let home = Home::of(words);
        let table = self.tables.get(home.table)?.load(guard)?;
        Some(TokenPlace { table, home, words })
    }

    /// Looks a token up. Takes no lock and waits for nobody, but for a writer between two stores.
    ///
    /// # Errors
    ///
    /// [`Contended`] after a bounded number of attempts.
    pub fn find<'g>(&self, digest: TokenDigest, guard: &'g Guard) -> Result<Option<FoundToken<'g>>, Contended> {
        self.place(digest, guard).map_or(Ok(None), |place| self.find_at(place, guard))
    }

    /// Looks a token up at its place, as [`Self::find`] does.
    ///
    /// # Errors
    ///
    /// [`Contended`] after a bounded number of attempts.
    pub fn find_at<'g>(
        &self,
        mut place: TokenPlace<'g>,
        guard: &'g Guard,
    ) -> Result<Option<FoundToken<'g>>, Contended> {
        for _ in 0..LOOKUPS_MAX {
            match self.probe(place, guard)? {
                Probe::Absent => return Ok(None),
                Probe::Found(found) => return Ok(Some(found)),
                Probe::Changed => {}
            }
            // What changed may have been moved to another table before.
            let Some(table) = self.tables.get(place.home.table).and_then(|cell| cell.load(guard)) else {
                return Ok(None);
            };
            place.table = table;
        }
        Err(Contended)
    }

    /// Hands out the tokens of one small table, in no order, while its writer goes on. `visit` answers whether the token's grant
    /// was there; where it was not, the token has gone meanwhile.
    pub(super) fn walk_table(
        &self,
        table: usize,
        visit: &mut dyn FnMut(&Self, SlotData) -> bool,
    ) -> Result<(), Contended> {
        let Some(table) = self.tables.get(table) else { return Ok(()) };
        // If it is replaced meanwhile, it still has all that was there when the walk came by.
        let Some(table) = table.share() else { return Ok(()) };
        table.blocks.iter().flat_map(|block| block.iter()).try_for_each(|slot| self.walk_slot(slot, visit))
    }

    fn walk_slot(&self, slot: &Slot, visit: &mut dyn FnMut(&Self, SlotData) -> bool) -> Result<(), Contended> {
        for _ in 0..LOOKUPS_MAX {
            let (Occupant::Token(data), version) = slot.read().map_err(|_| Contended)? else { return Ok(()) };
            if visit(self, data) || slot.is_unchanged(version) {
                return Ok(());
            }
        }
        Err(Contended)
    }

    /// A grant, if a token still hangs on it.
    pub(super) fn grant<'g>(&self, id: u64, guard: &'g Guard) -> Option<&'g Grant> {
        self.grants.find(id, guard)
    }

    /// Whether both read the same shard's tokens.
    pub fn is_of_the_same_table(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.tables, &other.tables)
    }

    fn probe<'g>(&self, place: TokenPlace<'g>, guard: &'g Guard) -> Result<Probe<'g>, Contended> {
        let look = |slot: &Slot| match slot.read() {
            Ok((Occupant::Empty, _)) => Some(Ok(Probe::Absent)),
            Ok((Occupant::Token(data), version)) if data.digest == place.words => {
                // Only if the slot still holds what led us to the grant do the two belong together.
                let grant = self.grants.find(data.grant_id, guard).filter(|_| slot.is_unchanged(version));
                Some(Ok(grant.map_or(Probe::Changed, |grant| Probe::Found(FoundToken::new(data, grant)))))
            }
            Ok((Occupant::Token(_) | Occupant::Removed, _)) => None,
            Err(_) => Some(Err(Contended)),
        };
        place.table.probe(place.home).find_map(look).unwrap_or(Ok(Probe::Absent))
    }
}

/// Lookups before a reader gives up because the token's slot changes under it.
const LOOKUPS_MAX: usize = 8;

enum Probe<'g> {
    Absent,
    Found(FoundToken<'g>),
    Changed,
}

impl<'g> FoundToken<'g> {
    fn new(data: SlotData, grant: &'g Grant) -> Self {
        Self { issued_at: data.issued_at, expires_at: data.expires_at, revoked: data.revoked, grant }
    }
}

impl TokenTable {
    pub(super) fn new() -> Self {
        let empty = Shared::new(SmallTable::with_blocks(0));
        let tables = (0..TABLES).map(|_| TableCell(AtomicShared::from(empty.clone()))).collect();
        Self { tables, usage: vec![Usage::default(); TABLES].into_boxed_slice(), empty, tokens: 0 }
    }

    pub(super) fn reader(&self, grants: Arc<GrantDirectory>) -> TokenReader {
        TokenReader { tables: Arc::clone(&self.tables), grants }
    }

    /// How many tokens it holds, expired ones that were not removed yet among them.
    pub(super) const fn len(&self) -> usize {
        self.tokens
    }

    /// What it holds of a token.
    pub(super) fn find(&self, digest: TokenDigest) -> Option<SlotData> {
        let words = digest.words();
        let guard = Guard::new();
        let table = self.tables.get(Home::of(words).table)?.load(&guard)?;
        match table.locate(words) {
            Place::Of(_, data) => Some(data),
            Place::Free { .. } | Place::Nowhere => None,
        }
    }

    /// Puts a token in. Answers whether it is new; one that is there already stays as it is.
    pub(super) fn insert(&mut self, data: SlotData) -> bool {
        let home = Home::of(data.digest);
        let (Some(cell), Some(usage)) = (self.tables.get(home.table), self.usage.get_mut(home.table)) else {
            return false;
        };
        let guard = Guard::new();
        let Some(table) = cell.load(&guard) else { return false };
        let mut place = table.locate(data.digest);
        if matches!(place, Place::Of(..)) {
            return false;
        }
        if usage.used + 1 > table.used_max() && !matches!(place, Place::Free { was_removed: true, .. }) {
            cell.store(Shared::new(table.copied_into(blocks_for(usage.tokens + 1))));
            usage.used = usage.tokens;
            let Some(table) = cell.load(&guard) else { return false };
            place = table.locate(data.digest);
        }
        let Place::Free { slot, was_removed } = place else { return false };
        slot.write(data);
        usage.tokens += 1;
        usage.used += usize::from(!was_removed);
        self.tokens += 1;
        true
    }

    /// Makes room for tokens that are about to be put in, by their homes in any order: each small table grows at most once.
    pub(super) fn reserve(&mut self, homes: impl Iterator<Item = u32>) {
        let mut more: BTreeMap<usize, usize> = BTreeMap::new();
        homes.for_each(|home| *more.entry(Home::unpacked(home).table).or_default() += 1);
        for (table, more) in more {
            let (Some(cell), Some(usage)) = (self.tables.get(table), self.usage.get_mut(table)) else { continue };
            let guard = Guard::new();
            let Some(table) = cell.load(&guard) else { continue };
            if usage.used + more > table.used_max() {
                cell.store(Shared::new(table.copied_into(blocks_for(usage.tokens + more))));
                usage.used = usage.tokens;
            }
        }
    }

    /// Marks a token as revoked at `sequence`, unless it is already. Answers whether there is such a token.
    pub(super) fn revoke(&mut self, digest: TokenDigest, sequence: u64) -> bool {
        let words = digest.words();
        let Some(cell) = self.tables.get(Home::of(words).table) else { return false };
        let guard = Guard::new();
        let Some(Place::Of(slot, data)) = cell.load(&guard).map(|table| table.locate(words)) else { return false };
        if data.revoked == 0 {
            slot.write(SlotData { revoked: sequence, ..data });
        }
        true
    }

    /// Removes what has expired among the tokens that share a probe with the one at `home`. Calls `on_removed` with the
    /// grant of each.
    pub(super) fn remove_expired(&mut self, home: u32, now: u32, mut on_removed: impl FnMut(u64)) -> usize {
        let home = Home::unpacked(home);
        let (Some(cell), Some(usage)) = (self.tables.get(home.table), self.usage.get_mut(home.table)) else { return 0 };
        let guard = Guard::new();
        let Some(table) = cell.load(&guard) else { return 0 };
        let mut removed = 0;
        let mut slots = table.probe(home).peekable();
        while let Some(slot) = slots.next() {
            let data = match slot.occupant() {
                Occupant::Empty => break,
                Occupant::Token(data) if data.expires_at <= now => data,
                Occupant::Token(_) | Occupant::Removed => continue,
            };
            // No probe goes past an empty slot, so none needs to go on past the one before it.
            if slots.peek().is_some_and(|next| next.occupant() == Occupant::Empty) {
                slot.clear();
                usage.used -= 1;
            } else {
                slot.remove();
            }
            usage.tokens -= 1;
            removed += 1;
            on_removed(data.grant_id);
        }
        self.tokens -= removed;
        Self::shrink(cell, usage, table, &self.empty);
        removed
    }

    /// Gives memory back once half of it would do.
    fn shrink(cell: &TableCell, usage: &mut Usage, table: &SmallTable, empty: &Shared<SmallTable>) {
        if usage.tokens == 0 {
            cell.store(empty.clone());
            usage.used = 0;
        } else if blocks_for(usage.tokens) * 2 <= table.blocks.len() {
            cell.store(Shared::new(table.copied_into(blocks_for(usage.tokens))));
            usage.used = usage.tokens;
        }
    }
}

/// Which small table a token is in, and where its probe begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Home {
    table: usize,
    /// In units of 2^-[`START_BITS`] of the small table.
    start: u64,
}

/// Fewer in unit tests: a simulation makes shards by the ten thousand.
const TABLE_BITS: u32 = if cfg!(test) { 4 } else { 13 };
const START_BITS: u32 = 32 - TABLE_BITS;
pub(super) const TABLES: usize = 1 << TABLE_BITS;
const SLOTS_PER_BLOCK: usize = 64;

impl Home {
    fn of(words: [u64; 2]) -> Self {
        Self::unpacked(Self::packed(words))
    }

    /// The 32 bits of a digest that say where its token lives, for those who will look for it later.
    pub(super) fn packed(words: [u64; 2]) -> u32 {
        u32::try_from(words[0] >> 32).unwrap_or_default()
    }

    fn unpacked(packed: u32) -> Self {
        let table = usize::try_from(packed >> START_BITS).unwrap_or_default();
        Self { table, start: u64::from(packed & ((1 << START_BITS) - 1)) }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    tokens: usize,
    /// Slots that are not empty: tokens, and those removed.
    used: usize,
}

/// Where readers find a small table. What a growth took out of it is freed once no guard is left that may have seen it.
struct TableCell(AtomicShared<SmallTable>);

impl TableCell {
    fn load<'g>(&self, guard: &'g Guard) -> Option<&'g SmallTable> {
        self.0.load(Ordering::Acquire, guard).as_ref()
    }

    /// For who looks at it for longer than a guard should live.
    fn share(&self) -> Option<Shared<SmallTable>> {
        self.0.get_shared(Ordering::Acquire, &Guard::new())
    }

    fn store(&self, table: Shared<SmallTable>) {
        self.0.swap((Some(table), Tag::None), Ordering::AcqRel);
    }
}

type Block = [Slot; SLOTS_PER_BLOCK];

struct SmallTable {
    /// Found without a step more, up to several million tokens a shard.
    blocks: SmallVec<[Box<Block>; BLOCKS_INLINE]>,
}

const BLOCKS_INLINE: usize = 12;

enum Place<'a> {
    /// The token is here.
    Of(&'a Slot, SlotData),
    /// It is not there, and would go here.
    Free { slot: &'a Slot, was_removed: bool },
    /// It is not there, and there is no room.
    Nowhere,
}

impl SmallTable {
    fn with_blocks(blocks: usize) -> Self {
        Self { blocks: (0..blocks).map(|_| Box::new(std::array::from_fn(|_| Slot::empty()))).collect() }
    }

    fn capacity(&self) -> usize {
        self.blocks.len() * SLOTS_PER_BLOCK
    }

    /// The most slots that may be in use: beyond 85 %, probes for what is not there grow long.
    fn used_max(&self) -> usize {
        self.capacity() * 85 / 100
    }

    /// Every slot once, from where the probe begins.
    fn probe(&self, home: Home) -> impl Iterator<Item = &Slot> {
        let (block, place) = self.start_of(home);
        let (before, from) = self.blocks.get(block).map_or((&[][..], &[][..]), |block| block.split_at(place));
        let others = self.blocks.iter().skip(block + 1).chain(self.blocks.iter().take(block));
        from.iter().chain(others.flat_map(|block| block.iter())).chain(before)
    }

    fn prefetch(&self) {
        prefetch_index(slice::from_ref(self), 0);
    }

    /// The first slots that a probe looks at, as far as they are in one block.
    fn prefetch_slots(&self, home: Home) {
        let (block, place) = self.start_of(home);
        let Some(block) = self.blocks.get(block) else { return };
        (place..place + NEAR_SLOTS).for_each(|place| prefetch_index(block.as_slice(), place));
    }

    /// In which block a probe begins, and where in it.
    fn start_of(&self, home: Home) -> (usize, usize) {
        let start = usize::try_from((home.start * self.capacity() as u64) >> START_BITS).unwrap_or_default();
        (start / SLOTS_PER_BLOCK, start % SLOTS_PER_BLOCK)
    }

    fn locate(&self, words: [u64; 2]) -> Place<'_> {
        let mut removed = None;
        for slot in self.probe(Home::of(words)) {
            match slot.occupant() {
                Occupant::Token(data) if data.digest == words => return Place::Of(slot, data),
                Occupant::Token(_) => {}
                Occupant::Removed => removed = removed.or(Some(slot)),
                Occupant::Empty => {
                    let was_removed = removed.is_some();
                    return Place::Free { slot: removed.unwrap_or(slot), was_removed };
                }
            }
        }
        removed.map_or(Place::Nowhere, |slot| Place::Free { slot, was_removed: true })
    }

    fn copied_into(&self, blocks: usize) -> Self {
        let copy = Self::with_blocks(blocks);
        for slot in self.blocks.iter().flat_map(|block| block.iter()) {
            let Occupant::Token(data) = slot.occupant() else { continue };
            let free = copy.probe(Home::of(data.digest)).find(|slot| slot.occupant() == Occupant::Empty);
            if let Some(free) = free {
                free.write(data);
            }
        }
        copy
    }
}

/// How many blocks `tokens` need so that an eighth more of them still fits.
const fn blocks_for(tokens: usize) -> usize {
    (tokens * 9 / 8 * 100 / 85 + 1).div_ceil(SLOTS_PER_BLOCK)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::token::grant::tests::book_with_grants;

    /// Digests that crowd into few small tables and few homes, so that probes are long and wrap around.
    fn crowded(number: u16) -> TokenDigest {
        let home = u64::from(number % 7) << 51 | u64::from(number % 5) << 46 | 0x3FFF << 32;
        let bits = u128::from(home | u64::from(number)) | u128::from(number) << 64;
        TokenDigest::from_bytes(bits.to_le_bytes())
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Insert { number: u16, expires_at: u32, grant: u64 },
        Revoke { number: u16, sequence: u64 },
        Expire { number: u16, now: u32 },
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let number = 0..600_u16;
        prop_oneof![
            6 => (number.clone(), 1..100_u32, 1..=5_u64)
                .prop_map(|(number, expires_at, grant)| Operation::Insert { number, expires_at, grant }),
            2 => (number.clone(), 1..50_u64).prop_map(|(number, sequence)| Operation::Revoke { number, sequence }),
            2 => (number, 1..100_u32).prop_map(|(number, now)| Operation::Expire { number, now }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

        #[test]
        fn the_table_answers_as_a_map_would(operations in prop::collection::vec(operation(), 1..1500)) {
            let grants = book_with_grants(5);
            let mut table = TokenTable::new();
            let reader = table.reader(grants.directory());
            let mut model: HashMap<u16, (u32, u64, u64)> = HashMap::new();
            for operation in operations {
                match operation {
                    Operation::Insert { number, expires_at, grant } => {
                        let digest = crowded(number).words();
                        let data = SlotData { digest, grant_id: grant, issued_at: 7, expires_at, revoked: 0, partition: number };
                        prop_assert_eq!(table.insert(data), !model.contains_key(&number));
                        model.entry(number).or_insert((expires_at, grant, 0));
                    }
                    Operation::Revoke { number, sequence } => {
                        prop_assert_eq!(table.revoke(crowded(number), sequence), model.contains_key(&number));
                        if let Some((_, _, revoked)) = model.get_mut(&number) {
                            *revoked = if *revoked == 0 { sequence } else { *revoked };
                        }
                    }
                    Operation::Expire { number, now } => {
                        let mut removed = 0;
                        table.remove_expired(Home::packed(crowded(number).words()), now, |_| removed += 1);
                        let before = model.len();
                        // Its own probe at least; neighbours that expired may go with it.
                        model.retain(|number, (expires_at, ..)| *expires_at > now || table.find(crowded(*number)).is_some());
                        prop_assert_eq!(before - model.len(), removed);
                        prop_assert!(model.get(&number).is_none_or(|(expires_at, ..)| *expires_at > now));
                    }
                }
                prop_assert_eq!(table.len(), model.len());
            }
            for number in 0..600 {
                let guard = Guard::new();
                let found = reader.find(crowded(number), &guard).unwrap();
                let found = found.map(|found| (found.expires_at, found.grant.id(), found.revoked));
                prop_assert_eq!(found, model.get(&number).copied());
            }
        }
    }

    #[test]
    fn what_was_reserved_for_is_put_in_without_growth() {
        let mut table = TokenTable::new();
        let data = |number| SlotData {
            digest: crowded(number).words(),
            grant_id: 1,
            issued_at: 0,
            expires_at: 10,
            revoked: 0,
            partition: 0,
        };
        assert!((0..100).all(|number| table.insert(data(number))));
        table.reserve((100..700).map(|number| Home::packed(crowded(number).words())));
        let tables = |table: &TokenTable| table.tables.iter().map(TableCell::share).collect::<Vec<_>>();
        let before = tables(&table);
        (100..700).for_each(|number| assert!(table.insert(data(number))));
        let address = |table: &Option<Shared<SmallTable>>| table.as_ref().map(Shared::as_ptr);
        assert!(before.iter().zip(&tables(&table)).all(|(before, after)| address(before) == address(after)));
        assert!((0..700).all(|number| table.find(crowded(number)).is_some()));
    }

    #[test]
    fn a_table_that_has_emptied_gives_its_memory_back() {
        let mut table = TokenTable::new();
        for number in 0..600 {
            let digest = crowded(number).words();
            table.insert(SlotData { digest, grant_id: 1, issued_at: 0, expires_at: 10, revoked: 0, partition: 0 });
        }
        let blocks =
            |table: &TokenTable| table.tables.iter().map(|cell| cell.share().unwrap().blocks.len()).sum::<usize>();
        assert!(blocks(&table) >= 600 / SLOTS_PER_BLOCK);
        for number in 0..600 {
            table.remove_expired(Home::packed(crowded(number).words()), 10, |_| ());
        }
        assert_eq!((table.len(), blocks(&table)), (0, 0));
    }
}
