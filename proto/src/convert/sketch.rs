//! Sketches straight from the wire: they are nearly all of a delta, so they are decoded without the generated message in
//! between.

use barrage_model::delta::SketchRow;
use barrage_model::sketch::Packed;
use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, check_wire_type, decode_key, decode_varint, skip_field};

use super::delta::sketch_key;
use super::frame::undecodable;
use super::{Result, bad};
use crate::v1::sketch_row::Subject;

/// Room for the lists of one sketch, used for all those of a delta.
#[derive(Debug, Default)]
pub(super) struct Lists {
    gaps: Vec<u32>,
    counts: Vec<u64>,
}

/// Reads one `SketchRow`: what the generated code and `TryFrom` make of it, or an error where they have one.
pub(super) fn sketch_in(mut bytes: &[u8], Lists { gaps, counts }: &mut Lists) -> Result<SketchRow> {
    let (mut subject, mut numbers, mut clipped) = (None, [0u32; 4], 0);
    gaps.clear();
    counts.clear();
    while bytes.has_remaining() {
        let (number, kind) = decode_key(&mut bytes).map_err(undecodable)?;
        match number {
            1 => subject = Some(Subject::Step(varint(kind, &mut bytes)? as u32)),
            2 => subject = Some(Subject::Scenario(varint(kind, &mut bytes)? as u32)),
            3..=6 => numbers[number as usize - 3] = varint(kind, &mut bytes)? as u32,
            7 => varints(kind, &mut bytes, gaps, |gap| gap as u32)?,
            8 => varints(kind, &mut bytes, counts, |count| count)?,
            9 => clipped = varint(kind, &mut bytes)?,
            _ => skip_field(kind, number, &mut bytes, DecodeContext::default()).map_err(undecodable)?,
        }
    }
    let sketch = Packed::from_wire(gaps, counts, clipped).map_err(|error| bad("sketches.gaps", error.to_string()))?;
    Ok(SketchRow {
        key: sketch_key(subject, numbers)?,
        sketch,
    })
}

/// Takes a field's bytes with their length in front.
pub(super) fn delimited<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8]> {
    let length = decode_varint(bytes).map_err(undecodable)?;
    let cut = usize::try_from(length)
        .ok()
        .and_then(|length| bytes.split_at_checked(length));
    let (piece, rest) = cut.ok_or_else(|| bad("delta", "cannot be decoded"))?;
    *bytes = rest;
    Ok(piece)
}

fn varint(kind: WireType, bytes: &mut &[u8]) -> Result<u64> {
    check_wire_type(WireType::Varint, kind).map_err(undecodable)?;
    decode_varint(bytes).map_err(undecodable)
}

/// A `repeated` field of varints: in one piece, as everybody sends it, or one by one.
fn varints<T>(kind: WireType, bytes: &mut &[u8], values: &mut Vec<T>, convert: impl Fn(u64) -> T) -> Result<()> {
    if kind != WireType::LengthDelimited {
        values.push(convert(varint(kind, bytes)?));
        return Ok(());
    }
    let mut piece = delimited(bytes)?;
    // The last byte of each has its high bit clear.
    let count = piece.iter().filter(|byte| **byte < 0x80).count();
    values.reserve(count);
    if count == piece.len() {
        values.extend(piece.iter().map(|byte| convert(u64::from(*byte))));
        return Ok(());
    }
    while let [first, rest @ ..] = piece {
        let value = if *first < 0x80 {
            piece = rest;
            (*first).into()
        } else {
            decode_varint(&mut piece).map_err(undecodable)?
        };
        values.push(convert(value));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use barrage_model::delta::Delta;
    use barrage_model::rng::Rng;
    use prost::Message as _;

    use crate::convert::delta_in;
    use crate::v1::{self, sketch_row::Subject};

    fn below(rng: &mut Rng, bits: u64) -> u64 {
        let bits = rng.below(bits + 1);
        rng.next_u64() & ((1 << bits) - 1)
    }

    /// A delta with sketches of every kind; most of them are right.
    fn delta(rng: &mut Rng) -> v1::Delta {
        let row = |rng: &mut Rng| v1::SketchRow {
            subject: match rng.below(20) {
                0 => None,
                1..10 => Some(Subject::Step(below(rng, 20) as u32)),
                _ => Some(Subject::Scenario(below(rng, 10) as u32)),
            },
            measure: rng.below(8) as u32,
            group: rng.below(5) as u32,
            tag: below(rng, 16) as u32,
            segment: below(rng, 31) as u32,
            gaps: (0..20).map(|_| 1 + below(rng, 9) as u32).collect(),
            counts: (0..20).map(|_| 1 + below(rng, 40)).collect(),
            clipped: below(rng, 3),
        };
        v1::Delta {
            seq: 1 + below(rng, 20),
            interval: below(rng, 19) as u32,
            last: rng.below(2) == 0,
            steps: vec![v1::StepRow {
                failed: vec![0; 9],
                ok: below(rng, 30),
                ..v1::StepRow::default()
            }],
            sketches: (0..rng.below(4)).map(|_| row(rng)).collect(),
            open: Some(v1::Open::default()),
            ended_us: Some(below(rng, 40)),
            ..v1::Delta::default()
        }
    }

    /// What the generated code makes of it.
    fn generated(bytes: &[u8]) -> Option<Delta> {
        Delta::try_from(v1::Delta::decode(bytes).ok()?).ok()
    }

    #[test]
    fn any_bytes_give_what_the_generated_code_makes_of_them() {
        let mut rng = Rng::from_seed(11);
        let mut good = 0;
        for _ in 0..20_000 {
            let mut bytes = delta(&mut rng).encode_to_vec();
            for _ in 0..rng.below(4) {
                let at = rng.below(bytes.len() as u64) as usize;
                match rng.below(3) {
                    0 => bytes[at] ^= 1 << rng.below(8),
                    1 => drop(bytes.drain(at..)),
                    _ => bytes.insert(at, rng.next_u64() as u8),
                }
                if bytes.is_empty() {
                    break;
                }
            }
            let want = generated(&bytes);
            good += u32::from(want.is_some());
            assert_eq!(delta_in(&bytes).ok(), want, "{bytes:02x?}");
        }
        assert!((5_000..19_000).contains(&good), "{good} of 20,000 are right");
    }

    #[test]
    fn numbers_one_by_one_are_a_list_as_well() {
        // Field 7 (gaps) and 8 (counts) once each as a single number, then once as a list.
        let row = [0x08, 3, 0x38, 5, 0x40, 2, 0x3a, 2, 1, 1, 0x42, 2, 4, 6];
        let mut bytes = vec![0x08, 1, 0x3a, 0, 0x32, row.len() as u8];
        bytes.extend(row);
        let delta = delta_in(&bytes).expect("a delta");
        assert_eq!(
            delta.sketches[0].sketch.iter().collect::<Vec<_>>(),
            [(4, 2), (5, 4), (6, 6)]
        );
        assert_eq!(Some(delta), generated(&bytes));
    }
}
