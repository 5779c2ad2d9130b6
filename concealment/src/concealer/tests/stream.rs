//! Tensor after tensor: what the methods that look back do.

use ndarray::Array3;

use super::*;
use crate::nmse;

/// Blobs on a plane, the whole picture moved by `(down, right)` entries.
fn scene(down: f32, right: f32) -> Array3<f32> {
    Array3::from_shape_fn((6, 20, 20), |(c, i, j)| {
        let (y, x) = (i as f32 - down, j as f32 - right);
        let c = c as f32;
        (0.9 * y + c).sin() * (0.8 * x - 0.5 * c).cos() + (1.3 * x + 0.4 * y * c).sin()
    })
}

fn lost_rows(shape: Shape) -> Array3<bool> {
    Array3::from_shape_fn(shape, |(c, i, _)| (i / 5 + c) % 4 != 0)
}

fn error_of_second(method: Method, first: &Array3<f32>, second: &Array3<f32>) -> f64 {
    let mut concealer = concealer(method, first.dim(), None);
    let all = Array3::from_elem(first.dim(), true);
    concealer
        .conceal(first.clone().view_mut(), all.view())
        .unwrap();
    let mask = lost_rows(second.dim());
    let mut tensor = received_part(second, &mask);
    let used = concealer.conceal(tensor.view_mut(), mask.view()).unwrap();
    assert_eq!(used, method);
    nmse(second.view(), tensor.view(), mask.view())
        .unwrap()
        .unwrap()
}

#[test]
fn a_still_picture_is_taken_from_the_previous_tensor() {
    let scene = scene(0.0, 0.0);
    for method in [Method::Temporal, Method::Motion] {
        let error = error_of_second(method, &scene, &scene);
        assert!(error < 1e-6, "{method}: {error}");
    }
}

#[test]
fn a_moved_picture_is_followed() {
    for (down, right) in [(2.0, 0.0), (-1.0, 3.0), (4.0, -4.0), (0.0, 1.0)] {
        let error = error_of_second(Method::Motion, &scene(0.0, 0.0), &scene(down, right));
        // What has moved in from outside, up to a third of the picture, is not known.
        assert!(error < 0.4, "{down} {right}: {error}");
        let still = error_of_second(Method::Temporal, &scene(0.0, 0.0), &scene(down, right));
        assert!(error < 0.6 * still, "{down} {right}: {error} for {still}");
    }
}

#[test]
fn half_an_entry_of_motion_is_followed() {
    let smooth = |shift: f32| {
        Array3::from_shape_fn((4, 24, 24), |(c, i, j)| {
            (0.5 * (j as f32 - shift) + 0.3 * i as f32 + c as f32).sin()
        })
    };
    // Two of 24 columns have moved in from outside.
    let error = error_of_second(Method::Motion, &smooth(0.0), &smooth(1.5));
    let still = error_of_second(Method::Temporal, &smooth(0.0), &smooth(1.5));
    assert!(error < 0.1 && error < 0.5 * still, "{error} for {still}");
}

#[test]
fn a_cut_costs_no_more_than_interpolation() {
    let (first, second) = (scene(0.0, 0.0), reverse_rows(-scene(3.3, 7.7)));
    let mask = lost_rows(second.dim());
    let spatial = filled(Method::Spatial, &received_part(&second, &mask), &mask, None);
    let spatial = nmse(second.view(), spatial.view(), mask.view())
        .unwrap()
        .unwrap();
    for method in [Method::Temporal, Method::Motion] {
        let error = error_of_second(method, &first, &second);
        assert!(error < 1.1 * spatial, "{method}: {error} for {spatial}");
    }
}

#[test]
fn the_first_tensor_and_the_one_after_forgetting_are_interpolated() {
    let scene = scene(0.0, 0.0);
    let mask = lost_rows(scene.dim());
    let expected = filled(Method::Spatial, &received_part(&scene, &mask), &mask, None);
    for method in [Method::Temporal, Method::Motion] {
        let mut concealer = concealer(method, scene.dim(), None);
        let conceal = |concealer: &mut Concealer| {
            let mut tensor = received_part(&scene, &mask);
            let used = concealer.conceal(tensor.view_mut(), mask.view()).unwrap();
            (used, bits(&tensor))
        };
        assert_eq!(conceal(&mut concealer), (Method::Spatial, bits(&expected)));
        assert_eq!(conceal(&mut concealer).0, method);
        concealer.forget();
        assert_eq!(conceal(&mut concealer), (Method::Spatial, bits(&expected)));
    }
}

#[test]
fn what_could_not_be_reckoned_with_is_not_handed_on() {
    let shape = (1, 4, 4);
    for method in [Method::Temporal, Method::Motion] {
        let mut concealer = concealer(method, shape, None);
        let mut first = Array3::from_elem(shape, 1.0_f32);
        first[(0, 1, 1)] = f32::NAN;
        first[(0, 2, 2)] = f32::MAX;
        let all = Array3::from_elem(shape, true);
        let before = bits(&first);
        concealer.conceal(first.view_mut(), all.view()).unwrap();
        assert_eq!(bits(&first), before);
        let mut second = Array3::from_elem(shape, 1.0_f32);
        let mut mask = all.clone();
        for place in [(0, 1, 1), (0, 2, 2)] {
            mask[place] = false;
            second[place] = f32::NAN;
        }
        concealer.conceal(second.view_mut(), mask.view()).unwrap();
        assert!(second.iter().all(|&value| (value - 1.0).abs() < 1e-3));
    }
}

#[test]
fn the_same_stream_gives_the_same_tensors() {
    for &method in Method::ALL {
        let bundle = full_bundle(&scene(0.0, 0.0));
        let run = || {
            let mut concealer = concealer(method, (6, 20, 20), Some(&bundle));
            (0..3_u8)
                .map(|step| {
                    let clean = scene(f32::from(step), 0.5 * f32::from(step));
                    let mask = lost_rows(clean.dim());
                    let mut tensor = received_part(&clean, &mask);
                    concealer.conceal(tensor.view_mut(), mask.view()).unwrap();
                    bits(&tensor)
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(run(), run(), "{method}");
    }
}
