//! Reading instrument lists as they come: a list of many megabytes is never held as a whole, and an
//! entry that is not as expected costs only itself.

use std::fmt;
use std::io::Read;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};

/// The entries of a JSON array that are as expected.
pub(super) struct Each<T>(pub(super) Vec<T>);

/// Understands one page, whose fields beside those of `T` are skipped as they come.
///
/// # Errors
/// What was wrong with it, for the log.
pub(super) fn read_page<T: for<'de> Deserialize<'de>>(body: impl Read) -> Result<T, String> {
    serde_json::from_reader(body).map_err(|error| error.to_string())
}

impl<T> Default for Each<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Each<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Entries(PhantomData))
    }
}

struct Entries<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
    type Value = Each<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Each<T>, A::Error> {
        let mut right = Vec::new();
        while let Some(entry) = entries.next_element()? {
            if let Entry::Right(entry) = entry {
                right.push(entry);
            }
        }
        Ok(Each(right))
    }
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Entry<T> {
    Right(T),
    Wrong(IgnoredAny),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Named {
        name: String,
    }

    #[test]
    fn an_entry_that_is_not_as_expected_costs_only_itself() {
        let text = r#"[{"name":"A","more":[[1.5,{"deep":null}]]},null,7,{"name":null},["B",1],
            {"name":"C","name":"D"},{"name":"E"},{}]"#;
        let Each::<Named>(read) = read_page(text.as_bytes()).unwrap();
        let names: Vec<_> = read.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["A", "E"]);
        for text in [r#"[{"name":"A"}"#, r#"{"name":"A"}"#, "<html>", "", "null"] {
            assert!(read_page::<Each<Named>>(text.as_bytes()).is_err(), "{text}");
        }
    }
}
