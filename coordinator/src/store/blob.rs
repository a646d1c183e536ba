//! Bytes in the store: protobuf behind the first eight bytes of its SHA-256, so that a flipped bit is noticed.

use prost::Message;
use sha2::{Digest, Sha256};

const SUM: usize = 8;

/// Bytes that are not what was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored record is damaged")]
pub(super) struct Damaged;

pub(super) fn seal(message: &impl Message) -> Vec<u8> {
    let mut bytes = vec![0; SUM];
    message.encode(&mut bytes).expect("a vector grows as needed");
    let sum = Sha256::digest(&bytes[SUM..]);
    bytes[..SUM].copy_from_slice(&sum[..SUM]);
    bytes
}

pub(super) fn open<M: Message + Default>(bytes: &[u8]) -> Result<M, Damaged> {
    let (sum, body) = bytes.split_at_checked(SUM).ok_or(Damaged)?;
    if Sha256::digest(body)[..SUM] != *sum {
        return Err(Damaged);
    }
    M::decode(body).map_err(|_| Damaged)
}

#[cfg(test)]
mod tests {
    use barrage_proto::v1;

    use super::*;

    #[test]
    fn every_flipped_bit_is_noticed() {
        let message = v1::Delta {
            seq: 7,
            interval: 3,
            ..v1::Delta::default()
        };
        let sealed = seal(&message);
        assert_eq!(open::<v1::Delta>(&sealed), Ok(message));
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open::<v1::Delta>(&flipped), Err(Damaged), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(open::<v1::Delta>(&sealed[..length]), Err(Damaged), "cut to {length}");
        }
    }
}
