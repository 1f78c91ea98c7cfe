use fearless_simd::Level;
use proptest::prelude::*;
use serde_json::Value;

use super::super::review::PlainReview;
use super::*;

/// The creation of a pod, as the API server of Kubernetes 1.36 sent it.
const FROM_API_SERVER: &[u8] = include_bytes!("review.json");

/// Text with special characters, some of it longer than a block.
fn odd_text() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(vec!['"', '\\', '{', '}', '[', ']', ',', ':', 'a', 'ß', '\n']);
    let plain = "[a-z]{0,150}".prop_map(String::from);
    prop_oneof![prop::collection::vec(odd, 0..90).prop_map(String::from_iter), plain]
}

fn odd_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        odd_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from);
        let map = prop::collection::hash_map(odd_text(), inner, 0..6);
        prop_oneof![list, map.prop_map(|map| map.into_iter().collect())]
    })
}

proptest! {
    #[test]
    fn skipping_ends_where_the_value_does(value in odd_json(), behind in odd_text()) {
        let value = value.to_string();
        let text = format!("{value},{behind}");
        let mut reader = Reader { rest: text.as_bytes() };
        prop_assert!(reader.skip().is_ok());
        prop_assert_eq!(reader.rest.len(), behind.len() + 1, "{}", text);
    }

    #[test]
    fn all_simd_levels_find_the_same_end(value in odd_json(), behind in odd_text()) {
        let text = format!("[{value}]{behind}");
        for level in [Level::new(), Level::baseline()] {
            let end = skip::nested_at(level, text.as_bytes());
            prop_assert_eq!(end, Some(text.len() - behind.len()), "{:?}: {}", level, text);
        }
    }

    #[test]
    fn a_value_without_end_is_not_skipped(value in odd_json(), cut in any::<prop::sample::Index>()) {
        let text = format!("[{value}]");
        let cut = &text.as_bytes()[..cut.index(text.len())];
        let mut reader = Reader { rest: cut };
        prop_assert!(reader.skip().is_err());
    }

    #[test]
    fn a_text_is_plain_or_not_read(text in odd_text()) {
        let json = Value::from(text.as_str()).to_string();
        let is_plain = json.len() == text.len() + 2;
        prop_assert_eq!(read::<String>(json.as_bytes()), is_plain.then_some(text));
    }

    #[test]
    fn any_bytes_are_read_without_panic(text in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read::<PlainReview<'_>>(&text);
        for find_end in [skip::plain_string, skip::string, skip::nested, skip::scalar] {
            prop_assert!(find_end(&text).is_none_or(|length| length <= text.len()));
        }
    }
}

#[test]
fn the_api_server_writes_plain_json() {
    let review = read::<PlainReview<'_>>(FROM_API_SERVER).expect("it is plain");
    let request = review.request.unwrap().request(Ok, Ok).unwrap();
    let containers = request.spec.unwrap().containers;
    let images: Vec<_> = containers.iter().filter_map(|one| one.value.image.as_deref()).collect();
    assert_eq!(
        images,
        [
            "registry.example.com/shop/payment-service:v1.24.3",
            "registry.example.com/shop/envoy-proxy:v1.24.3"
        ]
    );
}

#[test]
fn a_review_that_is_cut_short_is_not_read() {
    let whole = FROM_API_SERVER.trim_ascii_end();
    for end in 0..whole.len() {
        assert!(read::<PlainReview<'_>>(&whole[..end]).is_none(), "after {end} bytes");
    }
}

#[test]
fn whatever_is_not_plain_is_not_read() {
    assert_eq!(read::<Vec<String>>(b"[\"a\",\"\"]\n"), Some(vec!["a".into(), String::new()]));
    assert_eq!(read::<Option<bool>>(b"null"), Some(None));
    for text in [
        &b"[ \"a\"]"[..],
        b"[\"a\", \"b\"]",
        b"[\"a\"] ",
        b"[\"a\"]\n\n",
        b"[\"a\"]]",
        b"[\"a\",]",
        b"[\"a\"\"b\"]",
        b"[,\"a\"]",
        b"[\"a\"}",
        b"[\"\\u0061\"]",
        b"[\"a\tb\"]",
        b"[\"a tab in the first part\t of a long text\"]",
        b"[\"a\xFFb\"]",
        b"[1]",
        b"[nul]",
        b"",
    ] {
        let shown = String::from_utf8_lossy(text);
        assert_eq!(read::<Vec<String>>(text), None, "{shown}");
    }
}
