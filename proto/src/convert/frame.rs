//! Deltas travel as encoded bytes within their frame, so that their size in memory is known before anything is built:
//! two bytes on the wire can be a row of two hundred bytes in memory.

use barrage_model::delta::{Delta, SketchRow};
use prost::Message as _;
use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};

use super::delta::ROWS_MAX;
use super::sketch::{Lists, delimited, sketch_in};
use super::{BadMessage, Result, bad};
use crate::v1;

/// The field of a delta that holds its sketches.
const SKETCHES: u32 = 6;

/// Encodes a delta for its frame.
pub fn delta_out(delta: &Delta) -> Vec<u8> {
    v1::Delta::from(delta).encode_to_vec()
}

/// Decodes the delta of a frame. Takes memory for at most as many rows as an honest delta may have.
///
/// # Errors
/// Bytes that are no delta, too many rows, or a row that means nothing.
pub fn delta_in(bytes: &[u8]) -> Result<Delta> {
    if parts(bytes)? > ROWS_MAX {
        return Err(bad("delta", "has too many rows"));
    }
    let (rest, sketches) = split(bytes)?;
    let wire = v1::Delta::decode(rest.as_slice()).map_err(undecodable)?;
    let delta = Delta::try_from(wire)?;
    Ok(Delta { sketches, ..delta })
}

/// A delta's fields without its sketches, and its sketches.
fn split(mut bytes: &[u8]) -> Result<(Vec<u8>, Vec<SketchRow>)> {
    let (mut rest, mut sketches, mut lists) = (Vec::new(), Vec::new(), Lists::default());
    while bytes.has_remaining() {
        let field = bytes;
        let (number, kind) = decode_key(&mut bytes).map_err(undecodable)?;
        if number == SKETCHES && kind == WireType::LengthDelimited {
            sketches.push(sketch_in(delimited(&mut bytes)?, &mut lists)?);
        } else {
            skip_field(kind, number, &mut bytes, DecodeContext::default()).map_err(undecodable)?;
            rest.extend_from_slice(&field[..field.len() - bytes.len()]);
        }
    }
    Ok((rest, sketches))
}

/// Counts the fields of a message that can become something of their own, without building any.
fn parts(mut bytes: &[u8]) -> Result<usize> {
    let mut parts = 0;
    while bytes.has_remaining() {
        let (number, wire_type) = decode_key(&mut bytes).map_err(undecodable)?;
        parts += usize::from(wire_type == WireType::LengthDelimited);
        skip_field(wire_type, number, &mut bytes, DecodeContext::default()).map_err(undecodable)?;
    }
    Ok(parts)
}

pub(super) fn undecodable(_: prost::DecodeError) -> BadMessage {
    bad("delta", "cannot be decoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], want: &str) {
        let got = delta_in(bytes).map_or_else(|error| error.to_string(), |delta| format!("delta {}", delta.seq));
        assert_eq!(got, want);
    }

    #[test]
    fn bytes_that_are_no_delta_build_nothing() {
        check(&[], "delta.seq: begins at 1");
        check(&[0x08, 0x01], "delta.open: is missing");
        check(&[0x08, 0x01, 0x3a, 0x00], "delta 1");
        check(&[0x22], "delta: cannot be decoded");
        check(&[0x22, 0x7f], "delta: cannot be decoded");
        check(&[0xff; 64], "delta: cannot be decoded");
        check(&[0x0b; 300], "delta: cannot be decoded");
        // A row of iterations in two bytes, sixteen million times.
        check(&[0x22, 0x00].repeat(16 << 20), "delta: has too many rows");
    }
}
