//! Incremental decoder of the chunked transfer coding (RFC 9112, section 7.1).
//!
//! Strict where leniency would let two readers disagree about where a message ends: every line ends in CR LF, a size has
//! hexadecimal digits, at most 16 of them behind zeros, a trailer is a field like those of a head. Extensions and trailers are skipped, within a
//! limit for each line of extensions and one for the trailers. How many chunks there are is limited by the time that the
//! exchange has.

use super::parser::ProtocolError;

/// Bytes of one chunk's extensions, and of all trailers. More is a protocol failure.
const OVERHEAD_MAX: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size {
        digits: u8,
    },
    SizeSpace,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the begin of a line behind the last chunk; `folds`: it may go on with the field of the line before.
    TrailerStart {
        folds: bool,
    },
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
    End,
}

/// The place in a chunked body.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkDecoder {
    at: At,
    left: u64,
    /// Bytes skipped in this line of extensions, or in the trailers.
    overhead: usize,
}

impl ChunkDecoder {
    pub(super) fn new() -> Self {
        Self {
            at: At::Size { digits: 0 },
            left: 0,
            overhead: 0,
        }
    }

    /// Whether the last chunk and the trailers have been read.
    pub(super) fn ended(&self) -> bool {
        self.at == At::End
    }

    /// Bytes of the chunk that are still to come, by what has been read of its size.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Takes bytes up to the end of the body, hands each stretch of data to `data`, with how many there are from there to
    /// the chunk's end, and says how many were taken.
    pub(super) fn feed(
        &mut self,
        input: &[u8],
        mut data: impl FnMut(&[u8], u64) -> Result<(), ProtocolError>,
    ) -> Result<usize, ProtocolError> {
        let mut taken = 0;
        while taken < input.len() && self.at != At::End {
            if self.at == At::Data {
                let rest = &input[taken..];
                let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
                data(&rest[..count], self.left)?;
                taken += count;
                self.left -= count as u64;
                if self.left == 0 {
                    self.at = At::DataCr;
                }
            } else {
                self.at = self.step(input[taken])?;
                taken += 1;
            }
        }
        Ok(taken)
    }

    fn step(&mut self, byte: u8) -> Result<At, ProtocolError> {
        match (self.at, byte) {
            (At::Size { digits }, _) if byte.is_ascii_hexdigit() => self.digit(digits, byte),
            (At::Size { digits: 1.. } | At::SizeSpace, b' ' | b'\t') => self.skip(At::SizeSpace),
            (At::Size { digits: 1.. } | At::SizeSpace, b';') => self.skip(At::Extension),
            (At::Size { digits: 1.. } | At::SizeSpace | At::Extension, b'\r') => Ok(At::SizeLf),
            (At::SizeLf, b'\n') => {
                self.overhead = 0;
                Ok(if self.left == 0 {
                    At::TrailerStart { folds: false }
                } else {
                    At::Data
                })
            }
            (At::DataCr, b'\r') => Ok(At::DataLf),
            (At::DataLf, b'\n') => Ok(At::Size { digits: 0 }),
            (At::TrailerStart { .. }, b'\r') => Ok(At::LastLf),
            (At::TrailerStart { folds: true }, b' ' | b'\t') | (At::TrailerName, b':') => self.skip(At::TrailerValue),
            (At::TrailerStart { .. } | At::TrailerName, _) if is_of_name(byte) => self.skip(At::TrailerName),
            (At::TrailerValue, b'\r') => Ok(At::TrailerLf),
            (At::TrailerValue, _) if is_of_value(byte) => self.skip(At::TrailerValue),
            (At::TrailerLf, b'\n') => Ok(At::TrailerStart { folds: true }),
            (At::LastLf, b'\n') => Ok(At::End),
            (At::Extension, _) if byte != b'\n' => self.skip(At::Extension),
            _ => Err(ProtocolError::Chunk),
        }
    }

    fn digit(&mut self, digits: u8, byte: u8) -> Result<At, ProtocolError> {
        // Leading zeros say nothing, and are limited as extensions are. Sixteen digits always fit.
        if self.left == 0 && digits > 0 {
            self.skip(At::Size { digits })?;
        }
        if self.left >> 60 != 0 {
            return Err(ProtocolError::ChunkSize);
        }
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            _ => (byte | 0x20) - b'a' + 10,
        };
        self.left = (self.left << 4) | u64::from(value);
        Ok(At::Size { digits: 1 })
    }

    fn skip(&mut self, next: At) -> Result<At, ProtocolError> {
        self.overhead += 1;
        if self.overhead > OVERHEAD_MAX {
            Err(ProtocolError::ChunkOverhead)
        } else {
            Ok(next)
        }
    }
}

/// Whether a field's name may have it (RFC 9110, section 5.6.2).
fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether a field's value may have it: no control characters but the tabulator.
fn is_of_value(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(input: &[u8], step: usize) -> Result<(Vec<u8>, usize, bool), ProtocolError> {
        let mut decoder = ChunkDecoder::new();
        let mut body = Vec::new();
        let mut taken = 0;
        for piece in input.chunks(step) {
            let count = decoder.feed(piece, |data, _| {
                body.extend_from_slice(data);
                Ok(())
            })?;
            taken += count;
            if count < piece.len() {
                break;
            }
        }
        Ok((body, taken, decoder.ended()))
    }

    #[test]
    fn bodies_are_decoded_whatever_the_split() {
        let table: [(&[u8], &[u8], usize, bool); 12] = [
            (b"5\r\nhello\r\n0\r\n\r\n", b"hello", 15, true),
            (b"0\r\n\r\n", b"", 5, true),
            (b"0\r\n\r\nHTTP", b"", 5, true),
            (
                b"A\r\n0123456789\r\na\r\n0123456789\r\n000\r\n\r\n",
                b"01234567890123456789",
                37,
                true,
            ),
            (b"3;name=\"v\"\r\nabc\r\n0;last\r\n\r\n", b"abc", 27, true),
            (b"3 \t;x\r\nabc\r\n0\r\n\r\n", b"abc", 17, true),
            (
                b"00000000000000000000003\r\nabc\r\n00000000000000000\r\n\r\n",
                b"abc",
                51,
                true,
            ),
            (b"0\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n", b"", 27, true),
            (b"0\r\nX-Sum:\r\nX: \t\xff\r\n\r\n", b"", 20, true),
            (b"0\r\nX: 1\r\n 2\r\n\t\r\n\r\n", b"", 18, true),
            (b"5\r\nhel", b"hel", 6, false),
            (b"0\r\nX-Sum: 1\r\n", b"", 13, false),
        ];
        for (input, body, taken, ended) in table {
            for step in 1..=input.len() {
                let found = decode(input, step).unwrap();
                assert_eq!(
                    found,
                    (body.to_vec(), taken, ended),
                    "{} by {step}",
                    input.escape_ascii()
                );
            }
        }
    }

    #[test]
    fn malformed_bodies_are_refused_whatever_the_split() {
        let table: [(&[u8], ProtocolError); 21] = [
            (b"\r\n", ProtocolError::Chunk),
            (b"x\r\n", ProtocolError::Chunk),
            (b"-5\r\n", ProtocolError::Chunk),
            (b"+5\r\n", ProtocolError::Chunk),
            (b"0x5\r\n", ProtocolError::Chunk),
            (b";x\r\n", ProtocolError::Chunk),
            (b" 5\r\nhello", ProtocolError::Chunk),
            (b"5 5\r\nhello", ProtocolError::Chunk),
            (b"5\nhello\n0\n\n", ProtocolError::Chunk),
            (b"5;x\nhello", ProtocolError::Chunk),
            (b"5\r\nhello0\r\n\r\n", ProtocolError::Chunk),
            (b"0\r\nX: 1\n\r\n", ProtocolError::Chunk),
            (b"0\r\n\rX", ProtocolError::Chunk),
            (b"0\r\nfoo\r\n\r\n", ProtocolError::Chunk),
            (b"0\r\nX: 1\r\nfoo\r\n\r\n", ProtocolError::Chunk),
            (b"0\r\n: 1\r\n\r\n", ProtocolError::Chunk),
            (b"0\r\nX : 1\r\n\r\n", ProtocolError::Chunk),
            (b"0\r\n X: 1\r\n\r\n", ProtocolError::Chunk),
            (b"0\r\nX: \0\r\n\r\n", ProtocolError::Chunk),
            (b"0\r\nX\xc3: 1\r\n\r\n", ProtocolError::Chunk),
            (b"11111111111111111\r\n", ProtocolError::ChunkSize),
        ];
        for (input, error) in table {
            for step in 1..=input.len() {
                assert_eq!(decode(input, step), Err(error), "{} by {step}", input.escape_ascii());
            }
        }
    }

    #[test]
    fn the_largest_size_does_not_overflow() {
        assert_eq!(decode(b"ffffffffffffffff\r\nabc", 4), Ok((b"abc".to_vec(), 21, false)));
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let flood = |before: &str, line: &str| [before.as_bytes(), &line.as_bytes().repeat(OVERHEAD_MAX + 1)].concat();
        let table = [
            flood("5;", "x"),
            flood("5", " "),
            flood("0", "0"),
            flood("1;x\r\na\r\n5;", "x"),
            flood("0;", "x"),
            flood("0\r\n", "X: 1\r\n"),
            flood("0\r\nX:", "1"),
            flood("0\r\n", "x"),
        ];
        for input in table {
            assert_eq!(decode(&input, 1_000), Err(ProtocolError::ChunkOverhead));
        }
    }

    #[test]
    fn extensions_of_one_chunk_leave_those_of_the_next_their_room() {
        let largest = "x".repeat(OVERHEAD_MAX - 1);
        let chunk = format!("3;{largest}\r\nabc\r\n");
        let trailer = format!("x:{}", "x".repeat(OVERHEAD_MAX - 2));
        let input = format!("{}0;{largest}\r\n{trailer}\r\n\r\n", chunk.repeat(3));
        let found = decode(input.as_bytes(), 1_000);
        assert_eq!(found, Ok((b"abcabcabc".to_vec(), input.len(), true)));
    }
}
