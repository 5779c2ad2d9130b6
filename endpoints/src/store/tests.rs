use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const LIMITS: StoreLimits = StoreLimits {
    blob: 400,
    total: 1_000,
    partial_age: Duration::from_secs(3_600),
};

/// The bytes of blob `number`, of a length of its own.
fn content(number: usize, len: usize) -> Vec<u8> {
    let bytes = (0..=250).cycle().skip(7 * number);
    bytes.take(len).collect()
}

fn writing(store: &Arc<Store>, digest: Digest) -> Partial {
    match store.begin(digest).unwrap() {
        Begun::Writing(partial) => partial,
        other => panic!("{other:?}"),
    }
}

fn put(store: &Arc<Store>, bytes: &[u8]) -> Blob {
    let mut partial = writing(store, Digest::of(bytes));
    partial.expect(bytes.len() as u64).unwrap();
    partial.write(bytes).unwrap();
    partial.finish().unwrap()
}

fn age(path: &Path, by: Duration) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - by).unwrap();
}

fn store() -> (tempfile::TempDir, Arc<Store>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("cache"), LIMITS);
    (dir, store)
}

#[test]
fn what_is_put_is_given_back() {
    let (_dir, store) = store();
    let bytes = content(1, 300);
    assert!(store.get(Digest::of(&bytes)).unwrap().is_none());
    let blob = put(&store, &bytes);
    assert_eq!((blob.len(), blob.read().unwrap()), (300, bytes.clone()));
    // Another store on the same folder, as another process has it.
    let other = Store::new(store.dir(), LIMITS);
    assert!(matches!(
        other.begin(blob.digest()).unwrap(),
        Begun::Present(_)
    ));
    assert_eq!(
        other.get(blob.digest()).unwrap().unwrap().read().unwrap(),
        bytes
    );
    assert_eq!(store.used().unwrap(), 300);
}

#[test]
fn a_beginning_is_gone_on_from_at_every_byte() {
    let bytes = content(2, 137);
    let digest = Digest::of(&bytes);
    let (_dir, store) = store();
    for at in 0..bytes.len() {
        let mut partial = writing(&store, digest);
        assert_eq!(partial.offset(), at as u64);
        partial.expect(bytes.len() as u64).unwrap();
        partial.write(&bytes[at..=at]).unwrap();
        if at + 1 < bytes.len() {
            assert!(matches!(partial.finish(), Err(StoreError::Short { .. })));
        } else {
            assert_eq!(partial.finish().unwrap().read().unwrap(), bytes);
        }
    }
}

#[test]
fn one_writes_and_others_wait() {
    let (_dir, store) = store();
    let bytes = content(3, 100);
    let digest = Digest::of(&bytes);
    let mut partial = writing(&store, digest);
    assert!(matches!(store.begin(digest).unwrap(), Begun::Busy));
    let other = Store::new(store.dir(), LIMITS);
    assert!(matches!(other.begin(digest).unwrap(), Begun::Busy));
    partial.expect(100).unwrap();
    partial.write(&bytes).unwrap();
    let blob = partial.finish().unwrap();
    assert!(matches!(other.begin(digest).unwrap(), Begun::Present(_)));
    drop(blob);
}

#[test]
fn wrong_bytes_are_thrown_away() {
    let (_dir, store) = store();
    let digest = Digest::of(b"right");
    let mut partial = writing(&store, digest);
    partial.expect(5).unwrap();
    partial.write(b"wrong").unwrap();
    let error = partial.finish().unwrap_err();
    assert!(matches!(error, StoreError::Mismatch { .. }), "{error}");
    assert!(store.get(digest).unwrap().is_none());
    // Nothing of them is left to go on from.
    assert_eq!(writing(&store, digest).offset(), 0);
    assert_eq!(store.used().unwrap(), 0);
}

#[test]
fn lengths_are_held_to() {
    let (_dir, store) = store();
    let mut partial = writing(&store, Digest::of(b"x"));
    let error = partial.expect(401).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::TooLarge {
                bytes: 401,
                limit: 400
            }
        ),
        "{error}"
    );
    partial.expect(10).unwrap();
    partial.write(&[0; 8]).unwrap();
    assert!(matches!(
        partial.write(&[0; 3]),
        Err(StoreError::Overrun { total: 10 })
    ));
    assert!(matches!(
        partial.expect(7),
        Err(StoreError::Overrun { total: 7 })
    ));
    assert_eq!(partial.offset(), 8);
}

#[test]
fn what_was_used_longest_ago_goes() {
    let (_dir, store) = store();
    let blobs = [4, 5].map(|number| content(number, 400));
    for (bytes, hours) in blobs.iter().zip([1, 2]) {
        let blob = put(&store, bytes);
        age(
            &store.blob_path(blob.digest()),
            Duration::from_secs(hours * 3_600),
        );
    }
    let [newer, older] = blobs.map(|bytes| Digest::of(&bytes));
    put(&store, &content(6, 400));
    assert!(store.get(newer).unwrap().is_some());
    assert!(store.get(older).unwrap().is_none());
    // Use is what counts: the newer one has just been used.
    put(&store, &content(7, 400));
    assert!(store.get(newer).unwrap().is_some());
}

#[test]
fn what_is_in_use_stays() {
    let (_dir, store) = store();
    // One is used by us, one by another process.
    let ours = put(&store, &content(8, 400));
    let other = Store::new(store.dir(), LIMITS);
    let theirs = put(&other, &content(9, 400));
    let bytes = content(10, 300);
    let mut partial = writing(&store, Digest::of(&bytes));
    let error = partial.expect(300).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::NoRoom {
                bytes: 300,
                limit: 1_000
            }
        ),
        "{error}"
    );
    assert_eq!(ours.read().unwrap(), content(8, 400));
    drop(theirs);
    partial.expect(300).unwrap();
    assert_eq!(store.used().unwrap(), 400);
    assert!(ours.read().is_ok());
}

#[test]
fn nothing_goes_for_what_will_not_fit() {
    let (_dir, store) = store();
    let small = put(&store, &content(11, 200)).digest();
    let _used = [12, 13].map(|number| put(&store, &content(number, 400)));
    let mut partial = writing(&store, Digest::of(b"more"));
    assert!(partial.expect(400).is_err());
    assert!(store.get(small).unwrap().is_some());
}

#[test]
fn room_is_kept_for_what_is_being_written() {
    let (_dir, store) = store();
    let (mut first, mut second) = (
        writing(&store, Digest::of(b"first")),
        writing(&store, Digest::of(b"second")),
    );
    let mut third = writing(&store, Digest::of(b"third"));
    first.expect(400).unwrap();
    second.expect(400).unwrap();
    assert!(matches!(third.expect(400), Err(StoreError::NoRoom { .. })));
    drop(first);
    third.expect(400).unwrap();
}

#[test]
fn partial_files_count_and_age() {
    let (_dir, store) = store();
    let digests = [&b"old"[..], b"new"].map(Digest::of);
    for digest in digests {
        let mut partial = writing(&store, digest);
        partial.expect(300).unwrap();
        partial.write(&[1; 300]).unwrap();
    }
    assert_eq!(store.used().unwrap(), 600);
    age(&store.partial_path(digests[0]), Duration::from_secs(3_601));
    put(&store, &content(14, 50));
    assert_eq!(writing(&store, digests[0]).offset(), 0);
    assert_eq!(writing(&store, digests[1]).offset(), 300);
}

#[test]
fn damage_is_noticed_and_fetched_again() {
    let (_dir, store) = store();
    let bytes = content(15, 200);
    let blob = put(&store, &bytes);
    let path = store.blob_path(blob.digest());
    for damaged in [&bytes[..199], &[7; 200], b""] {
        fs::write(&path, damaged).unwrap();
        let blob = store.get(Digest::of(&bytes)).unwrap().unwrap();
        let error = if damaged.is_empty() {
            blob.verify().unwrap_err()
        } else {
            blob.read().unwrap_err()
        };
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert!(store.get(blob.digest()).unwrap().is_none());
        drop(blob);
        put(&store, &bytes).verify().unwrap();
    }
}

#[test]
fn notes_go_with_their_blob() {
    let (_dir, store) = store();
    let (blob, key) = (put(&store, &content(16, 400)).digest(), Digest::of(b"key"));
    store.set_note(blob, key, b"fine");
    assert_eq!(store.note(blob, key).unwrap(), b"fine");
    assert_eq!(store.note(blob, Digest::of(b"other")), None);
    for number in [17, 18] {
        put(&store, &content(number, 400));
    }
    assert!(store.get(blob).unwrap().is_none());
    put(&store, &content(19, 10));
    assert_eq!(store.note(blob, key), None);
}

#[test]
fn a_folder_that_cannot_be_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let store = Store::new(file.path().join("cache"), LIMITS);
    assert!(matches!(
        store.begin(Digest::of(b"x")),
        Err(StoreError::Io { .. })
    ));
}

/// What sessions do with a store, by number of blob.
#[derive(Clone, Debug)]
enum Step {
    Begin(usize),
    Write(usize, usize),
    /// The session ends in the middle.
    Drop(usize),
    Finish(usize),
    Use(usize),
    Release(usize),
    /// The process is killed, and starts again.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = 0..6_usize;
    let step = prop_oneof![
        3 => number.clone().prop_map(Step::Begin),
        6 => (number.clone(), 1..250_usize).prop_map(|(number, len)| Step::Write(number, len)),
        1 => number.clone().prop_map(Step::Drop),
        3 => number.clone().prop_map(Step::Finish),
        2 => number.clone().prop_map(Step::Use),
        2 => number.prop_map(Step::Release),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn any_order_of_steps_keeps_the_promises(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::new(dir.path(), LIMITS);
        let contents: Vec<_> = (0..6).map(|number| content(number, 100 + 60 * number)).collect();
        let mut partials = BTreeMap::<usize, Partial>::new();
        let mut used = BTreeMap::<usize, Blob>::new();
        for step in steps {
            match step {
                Step::Begin(number) => match store.begin(Digest::of(&contents[number])).unwrap() {
                    Begun::Present(blob) => prop_assert_eq!(&blob.read().unwrap(), &contents[number]),
                    Begun::Busy => prop_assert!(partials.contains_key(&number)),
                    Begun::Writing(mut partial) => {
                        prop_assert!(!used.contains_key(&number));
                        // What cannot be kept is refused before a byte of it comes.
                        match partial.expect(contents[number].len() as u64) {
                            Ok(()) => { partials.insert(number, partial); }
                            Err(StoreError::NoRoom { .. }) => {}
                            Err(error) => return Err(TestCaseError::fail(error.to_string())),
                        }
                    }
                },
                Step::Write(number, len) => if let Some(partial) = partials.get_mut(&number) {
                    let from = usize::try_from(partial.offset()).unwrap();
                    let to = (from + len).min(contents[number].len());
                    partial.write(&contents[number][from..to]).unwrap();
                },
                Step::Drop(number) => drop(partials.remove(&number)),
                Step::Finish(number) => if let Some(partial) = partials.remove(&number) {
                    let whole = partial.offset() == contents[number].len() as u64;
                    match partial.finish() {
                        Ok(blob) => { prop_assert!(whole); used.insert(number, blob); }
                        Err(error) => prop_assert!(!whole, "{}", error),
                    }
                },
                Step::Use(number) => if let Some(blob) = store.get(Digest::of(&contents[number])).unwrap() {
                    used.insert(number, blob);
                },
                Step::Release(number) => drop(used.remove(&number)),
                Step::Crash => {
                    partials.clear();
                    used.clear();
                    store = Store::new(dir.path(), LIMITS);
                }
            }
            prop_assert!(store.used().unwrap() <= LIMITS.total);
            for (number, blob) in &used {
                prop_assert!(store.get(blob.digest()).unwrap().is_some());
                prop_assert_eq!(&blob.read().unwrap(), &contents[*number]);
            }
        }
    }
}
