use ndarray::{Array, Array1, Array2, ShapeBuilder as _};
use ndarray_npy::{WritableElement, WriteNpyExt as _};

use super::*;

fn csv(text: &str) -> Result<Vec<u8>, String> {
    read_csv(text.as_bytes(), true)
        .map(|fates| fates.into_iter().map(u8::from).collect())
        .map_err(|error| error.to_string())
}

#[test]
fn csv_in_every_form() {
    for text in [
        "0\n1\n1\n0\n",
        "0\r\n1\r\n1\r\n0",
        "\n0\n\n1\n1\n0\n",
        "\u{feff}0\n1\n1\n0\n",
        "# of Monday\n0\n1\n1\n0\n",
        "\"packet\",\"lost\"\n\"0\",\"0\"\n1,1\n2,1\n3,0\n",
        "fate\n0\n1\n1\n0\n",
        "lost\n0\n1\n1\n0\n",
        "received\n1\n0\n0\n1\n",
        "received\nlost\nlost\nreceived\n",
        "fate\nReceived\nLOST\nlost\nreceived\n",
        "false\ntrue\nTrue\nFalse\n",
        "0.000000e+00\n1.000000e+00\n1.0\n0.0\n",
        "packet,lost\n0,0\n1,1\n2,1\n3,0\n",
        "Packet, Lost\n7, 0\n8, 1\n9, lost\n10, received\n",
        "packet,received\n0,1\n1,0\n2,0\n3,1\n",
    ] {
        assert_eq!(csv(text), Ok(vec![0, 1, 1, 0]), "{text:?}");
    }
    assert_eq!(csv("lost\n"), Ok(vec![1]));
    assert_eq!(csv("received\n"), Ok(vec![0]));
    assert_eq!(csv("fate\n"), Ok(vec![]));
    let inverted = |text: &str| read_csv(text.as_bytes(), false).unwrap();
    assert_eq!(inverted("1\n0\nlost\n"), [false, true, true]);
    assert_eq!(inverted("lost\n1\n"), [true], "the header says it");
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    for (text, expected) in [
        ("0\n1\n2\n", "line 3: `2` is neither 0 nor 1"),
        ("fate\n0\n\n# noon\nx\n", "line 5: `x`"),
        ("2\n0\n", "line 1: `2` is neither"),
        ("0\n1,1\n", "line 2 has 2 columns"),
        ("0,1,0\n", "line 1 has 3 columns"),
        ("0,0\n1,1\n", "line 1 is no header"),
        ("time,lost\n0,0\n", "line 1 is no header"),
        (
            "packet,lost\n0,0\n2,0\n",
            "line 3: packet 2 does not follow",
        ),
        ("packet,lost\n-1,0\n", "line 2: the first column, `-1`"),
        ("packet,lost\n0,0.5\n", "line 2: `0.5`"),
        ("0\n\u{1}\n", "line 2"),
    ] {
        let error = csv(text).unwrap_err();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
    let error = trace(b"", true).unwrap_err().to_string();
    assert!(error.contains("no packets"), "{error}");
    let error = trace(b"0\n\xFF\xFE\n", true).unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
}

fn npy<T: WritableElement>(array: &Array1<T>) -> Vec<u8> {
    let mut bytes = vec![];
    array.write_npy(&mut bytes).unwrap();
    bytes
}

#[test]
fn npy_of_every_type_and_shape() {
    macro_rules! check {
        ($($kind:ty),*) => {$(
            let bytes = npy(&Array1::<$kind>::from_vec(vec![0 as $kind, 1 as $kind, 1 as $kind]));
            assert_eq!(read_npy(&bytes, true).unwrap(), [false, true, true], stringify!($kind));
            assert_eq!(read_npy(&bytes, false).unwrap(), [true, false, false]);
        )*};
    }
    check!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);
    let bytes = npy(&Array1::from_vec(vec![false, true]));
    assert_eq!(read_npy(&bytes, true).unwrap(), [false, true]);

    let mut fortran: Array2<u8> = Array::zeros((2, 3).f());
    fortran[[0, 1]] = 1;
    fortran[[1, 2]] = 1;
    let mut bytes = vec![];
    fortran.write_npy(&mut bytes).unwrap();
    assert_eq!(
        read_npy(&bytes, true).unwrap(),
        [false, true, false, false, false, true]
    );
}

#[test]
fn npy_that_is_no_trace_says_why() {
    let error = |bytes: &[u8]| trace(bytes, true).unwrap_err().to_string();
    assert!(error(&npy(&Array1::from_vec(vec![0_u8, 3]))).contains("entry 1"));
    assert!(error(&npy(&Array1::from_vec(vec![0.0, f64::NAN]))).contains("entry 1"));
    assert!(error(&npy(&Array1::<u8>::zeros(0))).contains("no packets"));
    let bytes = npy(&Array1::<u8>::zeros(9));
    for length in NPY.len()..bytes.len() {
        assert!(read_npy(&bytes[..length], true).is_err());
    }
    let mut other = bytes;
    let at = other.windows(3).position(|three| three == b"|u1").unwrap();
    other[at..at + 3].copy_from_slice(b"|S1");
    assert!(error(&other).contains("another type"));
}
