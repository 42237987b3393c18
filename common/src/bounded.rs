//! Lists that a peer fills: read only up to a number of items. An empty text takes one byte on the wire and two dozen
//! in memory, so the bound on the bytes of a frame alone would let a few frames take gigabytes.

use crate::limits::ITEMS_DECODED_MAX;
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use std::{fmt, marker::PhantomData};

/// Reads a list of at most [`ITEMS_DECODED_MAX`] items. Fewer are accepted in the end, and told by name: this only
/// keeps memory small until then.
pub(crate) fn items<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(Items(PhantomData))
}

struct Items<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {ITEMS_DECODED_MAX} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<T>, A::Error> {
        let claimed = sequence.size_hint().unwrap_or_default();
        let too_many = || A::Error::custom(format_args!("a list has more than {ITEMS_DECODED_MAX} items"));
        if claimed > ITEMS_DECODED_MAX {
            return Err(too_many());
        }
        // What is claimed costs nothing to claim.
        let mut items = Vec::with_capacity(claimed.min(4_096));
        while let Some(item) = sequence.next_element()? {
            if items.len() == ITEMS_DECODED_MAX {
                return Err(too_many());
            }
            items.push(item);
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        ProgramSpec, Work,
        frame::{decode_record, encode_record},
    };

    #[test]
    fn b8_a_list_of_a_million_items_is_read_and_one_of_two_million_is_not() {
        for (count, read) in [(0, true), (1 << 20, true), ((1 << 20) + 1, false), (2 << 20, false)] {
            let mut spec = ProgramSpec::new("x", Work::Command { command: "true".into() });
            spec.arguments = vec!["".into(); count];
            let decoded = decode_record::<ProgramSpec>(&encode_record(&spec));
            assert_eq!(decoded.is_ok(), read, "{count}");
            if let Err(error) = decoded {
                assert!(error.to_string().contains("more than 1048576 items"), "{error}");
            }
        }
    }
}
