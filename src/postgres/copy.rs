//! Rows in the binary format of `COPY` (PostgreSQL documentation, "COPY", "Binary Format"), which is big-endian.

use bytes::BufMut as _;

/// Rows that are encoded one after the other.
pub(super) struct CopyBuffer {
    bytes: Vec<u8>,
    columns: i16,
}

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
const NULL: i32 = -1;
const END: i16 = -1;
const LENGTH_BYTES: usize = 4;
/// What `pg_type` numbers `text` with.
const OID_TEXT: i32 = 25;
/// From 1970 to 2000, where PostgreSQL's time begins.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

impl CopyBuffer {
    pub(super) fn with_capacity(columns: i16, bytes: usize) -> Self {
        let mut buffer = Self { bytes: Vec::with_capacity(bytes), columns };
        buffer.bytes.put_slice(SIGNATURE);
        // No flags, no extension.
        buffer.bytes.put_i32(0);
        buffer.bytes.put_i32(0);
        buffer
    }

    pub(super) fn begin_row(&mut self) {
        self.bytes.put_i16(self.columns);
    }

    pub(super) fn uuid(&mut self, value: Option<[u8; 16]>) {
        match value {
            Some(value) => {
                self.bytes.put_i32(16);
                self.bytes.put_slice(&value);
            }
            None => self.bytes.put_i32(NULL),
        }
    }

    pub(super) fn text(&mut self, value: Option<&str>) {
        // No text of a record is as long as 2 GiB.
        match value.and_then(|value| Some((i32::try_from(value.len()).ok()?, value))) {
            Some((length, value)) => {
                self.bytes.put_i32(length);
                self.bytes.put_slice(value.as_bytes());
            }
            None => self.bytes.put_i32(NULL),
        }
    }

    /// An array of texts: its dimensions, whether it has nulls, what it holds; the length and the first index of the one dimension.
    pub(super) fn texts(&mut self, values: Option<&[String]>) {
        let Some(values) = values else { return self.bytes.put_i32(NULL) };
        let start = self.bytes.len();
        self.bytes.put_i32(0);
        for number in [i32::from(!values.is_empty()), 0, OID_TEXT] {
            self.bytes.put_i32(number);
        }
        if !values.is_empty() {
            self.bytes.put_i32(i32::try_from(values.len()).unwrap_or(i32::MAX));
            self.bytes.put_i32(1);
        }
        values.iter().for_each(|value| self.text(Some(value)));
        let length = i32::try_from(self.bytes.len() - start - LENGTH_BYTES).unwrap_or(i32::MAX);
        if let Some(mut place) = self.bytes.get_mut(start..start + LENGTH_BYTES) {
            place.put_i32(length);
        }
    }

    pub(super) fn bigint(&mut self, value: i64) {
        self.bytes.put_i32(8);
        self.bytes.put_i64(value);
    }

    pub(super) fn integer(&mut self, value: i32) {
        self.bytes.put_i32(4);
        self.bytes.put_i32(value);
    }

    pub(super) fn smallint(&mut self, value: i16) {
        self.bytes.put_i32(2);
        self.bytes.put_i16(value);
    }

    /// A `timestamptz` of milliseconds since 1970. What is beyond its range, 290,000 years, is its last moment.
    pub(super) fn timestamp(&mut self, unix_millis: u64) {
        let micros = i64::try_from(unix_millis).unwrap_or(i64::MAX).saturating_mul(1000);
        self.bigint(micros.saturating_sub(EPOCH_MICROS));
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.put_i16(END);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_laid_out_as_the_documentation_says() {
        let mut buffer = CopyBuffer::with_capacity(5, 0);
        buffer.begin_row();
        buffer.uuid(None);
        buffer.smallint(-2);
        buffer.timestamp(946_684_800_001);
        buffer.text(Some("ab"));
        buffer.text(None);
        let bytes = buffer.finish();
        let mut expected = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
        expected.extend(b"\0\x05\xff\xff\xff\xff\0\0\0\x02\xff\xfe\0\0\0\x08\0\0\0\0\0\0\x03\xe8\0\0\0\x02ab\xff\xff\xff\xff\xff\xff");
        assert_eq!(bytes, expected);
    }

    #[test]
    fn an_array_is_laid_out_as_array_recv_reads_it() {
        let laid_out = |values: Option<&[&str]>| {
            let mut buffer = CopyBuffer::with_capacity(1, 0);
            let values = values.map(|values| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>());
            buffer.texts(values.as_deref());
            buffer.bytes.split_off(SIGNATURE.len() + 8)
        };
        assert_eq!(laid_out(None), b"\xff\xff\xff\xff");
        assert_eq!(laid_out(Some(&[])), b"\0\0\0\x0c\0\0\0\0\0\0\0\0\0\0\0\x19");
        let two = b"\0\0\0\x1f\0\0\0\x01\0\0\0\0\0\0\0\x19\0\0\0\x02\0\0\0\x01\0\0\0\x01a\0\0\0\x02bc";
        assert_eq!(laid_out(Some(&["a", "bc"])), two);
    }
}
