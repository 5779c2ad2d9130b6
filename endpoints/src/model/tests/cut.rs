//! Split points, and the parts on both sides of them.

use ndarray::{Array3, ArrayView3};

use super::graph::{node, residual, with_int};
use super::{image, largest_difference, load};
use crate::model::*;

fn names(model: &Model) -> Vec<&str> {
    model
        .split_points()
        .iter()
        .map(|point| point.name.as_str())
        .collect()
}

#[test]
fn split_points_are_the_tensors_that_separate() {
    let model = load(residual()).unwrap();
    assert_eq!(model.input().as_tuple(), (1, 8, 6));
    assert_eq!(model.classes(), 3);
    assert_eq!(names(&model), ["stem", "relu", "add_1", "mean", "flat"]);
    let add = model.split_point("add_1").unwrap();
    assert_eq!(add.shape.as_tuple(), (4, 8, 6));
    assert_eq!(
        (add.elements(), add.bytes_f32(), add.operator.as_str()),
        (192, 768, "Add")
    );
    assert_eq!(
        model.split_point("flat").unwrap().shape.as_tuple(),
        (4, 1, 1)
    );
    // Multiply-accumulates: stem 192·9, a and b 192·36 each, logits 12.
    let total = 192.0 * 9.0 + 2.0 * 192.0 * 36.0 + 12.0;
    assert!((model.split_point("stem").unwrap().work_share - 192.0 * 9.0 / total).abs() < 1e-12);
    assert!((add.work_share - (total - 12.0) / total).abs() < 1e-12);
}

#[test]
fn a_node_can_be_named_too() {
    let model = load(residual()).unwrap();
    assert_eq!(model.split_point("node_add_1").unwrap().name, "add_1");
    // Tensors go before nodes, and a name of two nodes means neither.
    let mut graph = residual();
    graph.node[0].name = "add_1".to_owned();
    graph.node[6].name = "node_add_1".to_owned();
    let model = load(graph).unwrap();
    assert_eq!(
        model.split_point("add_1").unwrap().shape.as_tuple(),
        (4, 8, 6)
    );
    assert!(matches!(
        model.split_point("node_add_1"),
        Err(ModelError::UnknownSplit { .. })
    ));
}

#[test]
fn other_names_are_refused_with_the_nearest() {
    let model = load(residual()).unwrap();
    let Err(ModelError::UnknownSplit { near, .. }) = model.split_point("add_2") else {
        panic!("add_2 does not exist")
    };
    assert_eq!(near[0], "add_1");
    // Inside the block, the input, the output, a weight.
    for name in ["a", "b", "image", "logits", "w_a"] {
        let error = model.edge(name).unwrap_err();
        assert!(
            matches!(error, ModelError::NotASplit { .. }),
            "{name}: {error}"
        );
        assert!(error.to_string().contains("add_1"), "{error}");
    }
    assert!(model.cloud("").is_err());
}

#[test]
fn halves_are_the_whole() {
    let model = load(residual()).unwrap();
    let whole = model.whole().unwrap();
    let image = image(model.input());
    let expected = whole.run(image.view()).unwrap();
    // The closing softmax is left out.
    assert!((expected.iter().sum::<f32>() - 1.0).abs() > 1e-3);
    for point in model.split_points() {
        let edge = model.edge(&point.name).unwrap();
        let cloud = model.cloud(&point.name).unwrap();
        assert_eq!((edge.output(), cloud.input()), (point.shape, point.shape));
        let features = edge.run(image.view()).unwrap();
        let scores = cloud.run(features.view()).unwrap();
        assert!(
            largest_difference(&scores, &expected) < 1e-5,
            "{}",
            point.name
        );
    }
}

#[test]
fn strides_of_the_caller_do_not_matter() {
    let model = load(residual()).unwrap();
    let whole = model.whole().unwrap();
    let image = image(model.input());
    let transposed = image
        .clone()
        .permuted_axes([0, 2, 1])
        .as_standard_layout()
        .into_owned();
    let strided: ArrayView3<'_, f32> = transposed.view().permuted_axes([0, 2, 1]);
    assert_eq!(
        whole.run(strided).unwrap(),
        whole.run(image.view()).unwrap()
    );
}

#[test]
fn shapes_and_values_are_checked() {
    let model = load(residual()).unwrap();
    let cloud = model.cloud("add_1").unwrap();
    let wrong = Array3::zeros((4, 6, 8));
    assert!(matches!(
        cloud.run(wrong.view()),
        Err(ModelError::Shape {
            found: (4, 6, 8),
            ..
        })
    ));
    let nan = Array3::from_elem((4, 8, 6), f32::NAN);
    assert!(matches!(cloud.run(nan.view()), Err(ModelError::NotFinite)));
}

#[test]
fn parts_are_shared_between_threads() {
    fn shareable<T: Send + Sync + Clone + 'static>() {}
    fn sendable<T: Send + Sync + 'static>() {}
    shareable::<EdgeModel>();
    shareable::<CloudModel>();
    shareable::<WholeModel>();
    sendable::<Model>();

    let model = load(residual()).unwrap();
    let whole = model.whole().unwrap();
    let image = image(model.input());
    let expected = whole.run(image.view()).unwrap();
    std::thread::scope(|scope| {
        let run = || {
            (0..20)
                .map(|_| whole.run(image.view()).unwrap())
                .collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        for thread in threads {
            assert!(
                thread
                    .join()
                    .unwrap()
                    .iter()
                    .all(|scores| *scores == expected)
            );
        }
    });
}

#[test]
fn a_node_with_two_outputs() {
    let mut graph = residual();
    // Two halves of the channels, added: neither half is a split, the tensors around them are.
    let mut halves = with_int(node("Split", &["add_1"], "half_1"), "axis", 1);
    halves.output.push("half_2".to_owned());
    graph.node.splice(
        6..7,
        [
            halves,
            node("Add", &["half_1", "half_2"], "sum"),
            node("Concat", &["sum", "half_2"], "joined"),
            node("GlobalAveragePool", &["joined"], "mean"),
        ],
    );
    let joined = graph
        .node
        .iter_mut()
        .find(|node| node.output == ["joined"])
        .unwrap();
    *joined = with_int(joined.clone(), "axis", 1);
    let model = load(graph).unwrap();
    assert_eq!(
        names(&model),
        ["stem", "relu", "add_1", "joined", "mean", "flat"]
    );
    let features = model
        .edge("add_1")
        .unwrap()
        .run(image(model.input()).view())
        .unwrap();
    let scores = model.cloud("add_1").unwrap().run(features.view()).unwrap();
    let expected = model
        .whole()
        .unwrap()
        .run(image(model.input()).view())
        .unwrap();
    assert!(largest_difference(&scores, &expected) < 1e-5);
}
