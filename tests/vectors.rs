//! The vectors of spec/vectors/wire were written from the text of the specification; the decoder
//! agrees with every one, and encodes what it decoded to the same bytes.

use tensorwire_protocol::wire::{Message, Refusal, open};
use tensorwire_tests::vectors;

#[test]
fn a_valid_vector_says_what_it_should_and_is_encoded_to_the_same_bytes() {
    for file in vectors::all() {
        for vector in &file.valid {
            let (datagram, name) = (vector.datagram(), (&file.name, &vector.name));
            let opened = open(&datagram, Some(file.connection()));
            let (header, body) = opened.unwrap_or_else(|refusal| panic!("{name:?}: {refusal}"));
            let message = Message::decode(&header, body);
            let message = message.unwrap_or_else(|refusal| panic!("{name:?}: {refusal}"));
            assert_eq!(format!("{header} {message}"), vector.text, "{name:?}");
            let mut encoded = Vec::new();
            message.encode(&mut encoded, header.connection, header.packet_number);
            assert_eq!(encoded, datagram, "{name:?}");
        }
    }
}

#[test]
fn an_invalid_vector_is_refused_for_its_reason() {
    for file in vectors::all() {
        for vector in &file.invalid {
            let datagram = vector.datagram();
            let opened = open(&datagram, Some(file.connection()));
            let decoded = opened.and_then(|(header, body)| Message::decode(&header, body));
            let refusal = decoded.expect_err(&vector.name);
            assert_eq!(
                refusal.to_string(),
                vector.refusal,
                "{}: {}",
                file.name,
                vector.name
            );
        }
    }
}

#[test]
fn every_message_type_has_two_valid_and_three_invalid_vectors() {
    let files = vectors::all();
    assert_eq!(files.len(), 10, "nine types and the common header");
    for file in files {
        assert!(file.valid.len() >= 2, "{}", file.name);
        assert!(file.invalid.len() >= 3, "{}", file.name);
    }
}

#[test]
fn a_datagram_longer_than_any_is_refused_for_its_length() {
    let datagram = vec![0b1001_0101; 65_001];
    assert_eq!(open(&datagram, None), Err(Refusal::Length));
}
