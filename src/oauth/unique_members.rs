//! JSON objects in which no member is there twice: of two readers of such an object each might take another one.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The members of a JSON object. Reading one with a member twice is an error; of what is inside of a member the last counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UniqueMembers(pub BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for UniqueMembers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = UniqueMembers;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueMembers, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((member, value)) = map.next_entry::<String, Value>()? {
            if members.contains_key(&member) {
                return Err(A::Error::custom(format_args!("{member}: is there twice")));
            }
            members.insert(member, value);
        }
        Ok(UniqueMembers(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_there_once_and_what_is_no_object_is_none() {
        let read = |json: &str| serde_json::from_str::<UniqueMembers>(json);
        assert_eq!(read(r#"{"a":1,"b":[{}]}"#).unwrap().0.len(), 2);
        assert!(read(r#"{"a":1,"b":2,"a":1}"#).unwrap_err().to_string().starts_with("a: is there twice"));
        assert!(read(r#"{"a":1,"\u0061":1}"#).unwrap_err().to_string().starts_with("a: is there twice"));
        for other in ["[]", "[[\"a\",1]]", "1", "null", ""] {
            assert!(read(other).is_err(), "{other}");
        }
    }
}
