//! Programs for runners of other languages, as the embedded database answers them.

use rstmdb_testkit::exchange::{Exchange, SEEDS, check};
use rstmdb_testkit::target::{DatabaseTarget, read_options};
use serde_json::Value;

#[test]
fn a_database_in_memory_answers_programs_as_the_model_does() {
    check(&|options| Box::new(DatabaseTarget::memory(read_options(options).unwrap().0).unwrap()));
}

#[test]
fn a_database_in_a_directory_answers_programs_as_the_model_does() {
    let root = tempfile::tempdir().unwrap();
    check(&|options| {
        let directory = tempfile::tempdir_in(root.path()).unwrap().keep();
        let options = read_options(options).unwrap().0;
        Box::new(DatabaseTarget::directory(&directory, options).unwrap())
    });
}

/// What does not survive the way through a language is not in a program, and what is hard is.
#[test]
fn programs_hold_what_every_language_can_write() {
    let mut largest = false;
    let mut least = false;
    for seed in SEEDS {
        let exchange = Exchange::generate(seed);
        let text = exchange.program.to_string();
        assert_eq!(text, Exchange::generate(seed).program.to_string(), "a seed is a program");
        assert!(!text.contains("$generated") && !text.contains("$offset_of"), "{text}");
        largest |= exchange.answers.contains(&u64::MAX.to_string());
        least |= exchange.answers.contains(&i64::MIN.to_string());
        let mut portable = |number: &serde_json::Number| {
            let text = number.to_string();
            let plain = number.as_i64().is_some() || number.as_u64().is_some();
            assert!(plain || text.contains('.') && !text.contains(['e', 'E']), "{text}");
        };
        numbers(&exchange.program, &mut portable);
        for line in exchange.answers.lines() {
            numbers(&serde_json::from_str(line).unwrap(), &mut portable);
        }
    }
    assert!(largest && least, "the borders of the integers");
}

fn numbers(value: &Value, look: &mut dyn FnMut(&serde_json::Number)) {
    match value {
        Value::Number(number) => look(number),
        Value::Array(items) => items.iter().for_each(|item| numbers(item, look)),
        Value::Object(members) => members.values().for_each(|item| numbers(item, look)),
        _ => {}
    }
}
