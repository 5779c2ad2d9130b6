//! What is refused, and what `auto` chooses.

use ndarray::{Array3, array};

use super::*;
use crate::{LossKind, Policy, PolicyRow, Section};

fn row(kind: LossKind, share: f32, method: Method, cost_us: u32, drop: f32) -> PolicyRow {
    PolicyRow {
        kind,
        share,
        method,
        cost_us,
        drop,
    }
}

/// A mask of a tensor of ten channels of 4×5 of which so many entries are missing, one by one.
fn missing(number: usize) -> Array3<bool> {
    Array3::from_shape_fn((10, 4, 5), |(c, i, j)| {
        (73 * (20 * c + 5 * i + j)) % 200 >= number
    })
}

fn used(concealer: &mut Concealer, mask: &Array3<bool>) -> Method {
    let mut tensor = Array3::zeros(mask.dim());
    concealer.conceal(tensor.view_mut(), mask.view()).unwrap()
}

#[test]
fn what_the_caller_got_wrong_is_named_and_the_tensor_is_left_alone() {
    let mut tensor = array![[[1.0, f32::NAN]]];
    let mask = array![[[true, false]]];
    let before = bits(&tensor);
    let side = bundle(&array![[[1.0, 2.0]]]);
    for &method in Method::ALL {
        if let Some(section) = method.section() {
            let error =
                Concealer::new(method, (1, 1, 2), Some(Arc::new(side.clone()))).unwrap_err();
            assert_eq!(error, ConcealError::MissingSection { method, section });
            assert!(error.to_string().contains(&section.to_string()));
            continue;
        }
        let mut concealer = concealer(method, (1, 1, 2), Some(&side));
        let wrong_mask = Array3::from_elem((1, 2, 1), true);
        let error = ConcealError::MaskShape {
            tensor: (1, 1, 2),
            mask: (1, 2, 1),
        };
        assert_eq!(
            concealer.conceal(tensor.view_mut(), wrong_mask.view()),
            Err(error)
        );
        let mut other = Array3::zeros((1, 2, 1));
        let error = ConcealError::TensorShape {
            expected: (1, 1, 2),
            given: (1, 2, 1),
        };
        assert_eq!(concealer.conceal(other.view_mut(), mask.view()), Err(error));
        let error = Concealer::new(method, (1, 2, 1), Some(Arc::new(side.clone()))).unwrap_err();
        let expected = ConcealError::BundleShape {
            tensor: (1, 2, 1),
            bundle: (1, 1, 2),
        };
        assert_eq!(error, expected);
        let bare = Concealer::new(method, (1, 1, 2), None);
        let expected = method
            .needs_bundle()
            .then_some(ConcealError::NeedsBundle { method });
        assert_eq!(bare.err(), expected);
        assert_eq!(bits(&tensor), before);
    }
}

#[test]
fn an_empty_tensor_has_nothing_to_fill() {
    for shape in [(0, 0, 0), (0, 3, 3), (4, 0, 3), (4, 3, 0)] {
        for &method in Method::ALL.iter().filter(|method| !method.needs_bundle()) {
            let mut tensor = Array3::<f32>::zeros(shape);
            let mask = Array3::from_elem(shape, false);
            let result = concealer(method, shape, None).conceal(tensor.view_mut(), mask.view());
            assert!(result.is_ok(), "{method}");
        }
    }
}

#[test]
fn names_and_codes_are_read_as_they_are_written() {
    for &method in Method::ALL {
        assert_eq!(method.to_string().parse(), Ok(method));
        let unknown = "mean".parse::<Method>().unwrap_err().to_string();
        assert!(unknown.contains(method.name()));
        assert_eq!(
            method.code().and_then(Method::from_code),
            Some(method).filter(|_| method != Method::Auto)
        );
    }
    assert_eq!(Method::from_code(12), None);
}

#[test]
fn without_a_policy_auto_takes_the_best_that_the_bundle_allows() {
    let mean = Array3::from_elem((10, 4, 5), 1.0);
    let lost = Array3::from_shape_fn((10, 4, 5), |(c, _, _)| c != 3);
    let mut bare = concealer(Method::Auto, mean.dim(), None);
    assert_eq!(used(&mut bare, &missing(20)), Method::Spatial);
    assert_eq!(used(&mut bare, &lost), Method::ChannelMean);
    let mut means = concealer(Method::Auto, mean.dim(), Some(&bundle(&mean)));
    assert_eq!(used(&mut means, &missing(20)), Method::Spatial);
    assert_eq!(used(&mut means, &lost), Method::Hybrid);
    let mut full = concealer(Method::Auto, mean.dim(), Some(&full_bundle(&mean)));
    assert_eq!(used(&mut full, &missing(20)), Method::Lmmse);
    assert_eq!(used(&mut full, &lost), Method::Lmmse);
}

#[test]
fn auto_takes_the_row_of_the_policy_that_fits_kind_share_and_budget() {
    use LossKind::{Channels, Elements};
    let rows = vec![
        row(Elements, 0.1, Method::Spatial, 300, 1.0),
        row(Elements, 0.1, Method::Lmmse, 900, 0.5),
        row(Elements, 0.1, Method::Zero, 5, 4.0),
        row(Elements, 0.3, Method::Halrtc, 50_000, 1.0),
        row(Elements, 0.3, Method::Caltec, 900, 1.0),
        row(Channels, 1.0, Method::DatasetMean, 20, 2.0),
    ];
    let mean = Array3::from_elem((10, 4, 5), 1.0);
    let policy = Policy::new(rows).unwrap();
    // Without a covariance, so LMMSE is out.
    let side = Arc::new(bundle(&mean).with_policy(policy.clone()).unwrap());
    let auto = || Concealer::new(Method::Auto, mean.dim(), Some(Arc::clone(&side))).unwrap();
    assert_eq!(used(&mut auto(), &missing(20)), Method::Spatial);
    assert_eq!(
        used(&mut auto(), &missing(21)),
        Method::Caltec,
        "equal drop, cheaper"
    );
    assert_eq!(
        used(&mut auto(), &missing(150)),
        Method::Caltec,
        "beyond the last share"
    );
    let channels = auto().with_kind(Channels);
    assert_eq!(used(&mut { channels }, &missing(20)), Method::DatasetMean);
    let other = auto().with_kind(LossKind::Blocks);
    assert_eq!(
        used(&mut { other }, &missing(20)),
        Method::Spatial,
        "no row of the kind"
    );
    let hurried = auto().with_budget(Duration::from_micros(299));
    assert_eq!(used(&mut { hurried }, &missing(20)), Method::Zero);
    let rushed = auto().with_budget(Duration::from_micros(1));
    assert_eq!(
        used(&mut { rushed }, &missing(20)),
        Method::Hybrid,
        "nothing as cheap"
    );

    let full = Arc::new(full_bundle(&mean).with_policy(policy).unwrap());
    let mut auto = Concealer::new(Method::Auto, mean.dim(), Some(full)).unwrap();
    assert_eq!(used(&mut auto, &missing(20)), Method::Lmmse);
}

#[test]
fn auto_looks_back_only_when_there_is_something_to_look_at() {
    let mean = Array3::from_elem((10, 4, 5), 1.0);
    let rows = vec![
        row(LossKind::Elements, 1.0, Method::Motion, 500, 0.2),
        row(LossKind::Elements, 1.0, Method::Spatial, 300, 1.0),
    ];
    let side = bundle(&mean)
        .with_policy(Policy::new(rows).unwrap())
        .unwrap();
    let mut auto = concealer(Method::Auto, mean.dim(), Some(&side));
    assert_eq!(used(&mut auto, &missing(20)), Method::Spatial);
    assert_eq!(used(&mut auto, &missing(20)), Method::Motion);
    auto.forget();
    assert_eq!(used(&mut auto, &missing(20)), Method::Spatial);
}

#[test]
fn policies_that_break_a_rule_are_refused() {
    let good = row(LossKind::Rows, 0.1, Method::Spatial, 300, 1.0);
    assert!(Policy::new(vec![good]).is_ok());
    let cases = [
        vec![good, PolicyRow { cost_us: 1, ..good }],
        vec![PolicyRow { share: 0.0, ..good }],
        vec![PolicyRow { share: 1.1, ..good }],
        vec![PolicyRow {
            share: f32::NAN,
            ..good
        }],
        vec![PolicyRow {
            drop: f32::NAN,
            ..good
        }],
        vec![PolicyRow {
            drop: 101.0,
            ..good
        }],
        vec![PolicyRow {
            method: Method::Auto,
            ..good
        }],
    ];
    for rows in cases {
        let error = Policy::new(rows).unwrap_err();
        assert_eq!(error.section, Section::Policy);
    }
}
