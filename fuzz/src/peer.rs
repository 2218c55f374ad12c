//! What fuzzing checks about messages between nodes.

use rstmdb_cluster::peer::{Decoder, Envelope, Message, MessageError, MessageKind};

/// The first byte chooses: 0 reads the rest as a connection, others as the body of a message of that type.
pub fn messages(data: &[u8]) {
    let Some((chosen, rest)) = data.split_first() else { return };
    match chosen.checked_sub(1) {
        None => connection(rest),
        Some(number) => {
            let kinds = MessageKind::ALL;
            let Some(kind) = kinds.get(usize::from(number) % kinds.len()) else { return };
            if let Ok(message) = Message::decode(*kind, rest) {
                comes_again(message);
            }
        }
    }
}

/// Whatever the pieces in which bytes arrive, they mean the same; and no more is kept than has arrived.
fn connection(data: &[u8]) {
    let whole = read(data, data.len().max(1));
    for step in [1, 7, 21] {
        assert_eq!(read(data, step), whole, "in steps of {step}");
    }
    whole.0.into_iter().for_each(|found| comes_again(found.message));
}

fn read(data: &[u8], step: usize) -> (Vec<Envelope>, Option<MessageError>) {
    let mut decoder = Decoder::default();
    let mut found = Vec::new();
    for mut part in data.chunks(step) {
        loop {
            match decoder.read(&mut part) {
                Ok(Some(next)) => found.push(next),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
        assert!(part.is_empty(), "it takes all");
    }
    (found, None)
}

/// What was read is written in a way that is read as the same.
fn comes_again(message: Message) {
    let bytes = message.encode(3, 9);
    let (found, error) = read(&bytes, bytes.len());
    assert_eq!(error, None);
    assert_eq!(found, [Envelope { group: 3, request: 9, message }]);
}
