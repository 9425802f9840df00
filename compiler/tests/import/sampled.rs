//! Operators that read images between their elements, put elements back at places, or compute with bits: small
//! models, computed by hand.

use onnx_protobuf::tensor_proto::DataType;
use onnx_protobuf::{AttributeProto, ModelProto, TensorProto};

use cardinal_compiler::error::Problem;
use cardinal_compiler::{CompileOptions, Target, compile};

use crate::compositions::near;
use crate::operators::{at, one, run, run_from, values};
use crate::proto::{float, imported, int, ints, longs, node, numbers, refused, string, tensor};

fn integers(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
    let mut all = tensor(name, DataType::INT64, dims);
    all.raw_data = values.iter().flat_map(|n| n.to_le_bytes()).collect();
    all
}

/// RoiAlign of `x`, 4 by 4 elements for each image, whose element is 4 times the row and the column.
fn roi_align(
    opset: i64,
    attributes: Vec<AttributeProto>,
    rois: &[f32],
    images: &[i64],
) -> ModelProto {
    let regions = images.len() as i64;
    let constants = vec![numbers("rois", &[regions, 4], rois), longs("images", images)];
    one(opset, &[2, 1, 4, 4], "RoiAlign", attributes, constants)
}

/// Two by two points a region.
fn four_points() -> Vec<AttributeProto> {
    vec![int("sampling_ratio", 2)]
}

#[test]
fn regions_are_means_of_points_between_elements() {
    let region = [0.0, 0.0, 2.0, 2.0];
    // Points at 0 and 1 along both axes.
    let (shape, found) = run(&roi_align(16, four_points(), &region, &[0]));
    assert_eq!((shape, found), (vec![1, 1, 1, 1], vec![2.5]));
    // Of the other image, and without moving by half an element: at 0.5 and 1.5.
    near(values(&roi_align(16, four_points(), &region, &[1])), &[18.5]);
    near(values(&roi_align(10, four_points(), &region, &[0])), &[5.0]);
    let unmoved = string("coordinate_transformation_mode", "output_half_pixel");
    let unmoved = [four_points(), vec![unmoved]].concat();
    near(values(&roi_align(22, unmoved, &region, &[0])), &[5.0]);
    // The same region in the measure of an image twice as large.
    let scaled = [four_points(), vec![float("spatial_scale", 0.5)]].concat();
    near(values(&roi_align(16, scaled, &[0.0, 0.0, 4.0, 4.0], &[0])), &[2.5]);
    // Parts of a region, row by row: points at 0, 1, 2 and 3 along both axes.
    let parts = [four_points(), vec![int("output_height", 2), int("output_width", 2)]].concat();
    let parts = roi_align(16, parts, &[0.0, 0.0, 4.0, 4.0], &[0]);
    near(values(&parts), &[2.5, 4.5, 10.5, 12.5]);
}

/// Within an element of an image its ends go on; farther out it is 0.
#[test]
fn regions_may_lie_outside() {
    let one = || vec![int("sampling_ratio", 1)];
    let at = |y: f32, x: f32| [x, y, x + 1.0, y + 1.0];
    // The middle of each is the point, less half an element.
    let rois = [at(-1.0, 2.0), at(-1.5, 2.0), at(3.5, 0.0), at(4.5, 0.0), at(1.0, -90.0)].concat();
    near(values(&roi_align(16, one(), &rois, &[0; 5])), &[2.0, 0.0, 12.0, 0.0, 0.0]);
    let nowhere = [f32::NAN, 0.0, f32::NAN, 1.0, f32::INFINITY, 0.0, f32::INFINITY, 1.0];
    near(values(&roi_align(16, one(), &nowhere, &[0, 0])), &[0.0, 0.0]);
    assert_eq!(run(&roi_align(16, one(), &[], &[])).0, [0, 1, 1, 1]);
}

/// As many points as a region has elements for each of its parts.
#[test]
fn known_regions_say_at_how_many_points_they_are_read() {
    let large = [0.0, 0.0, 2.0, 1.0];
    let small = [0.0, 0.0, 1.0, 1.0];
    let empty = [3.0, 3.0, 3.0, 3.0];
    let rois = [large, small, empty, large].concat();
    near(values(&roi_align(16, vec![], &rois, &[0, 0, 0, 1])), &[0.5, 0.0, 0.0, 16.5]);
    // In version 10 a region is an element wide and high at least.
    near(values(&roi_align(10, vec![], &empty, &[0])), &[15.0]);
}

/// The largest of elements times their weights, of which those at 0 and 1 are 1, and those between a quarter.
#[test]
fn the_largest_of_a_region_is_of_weighted_elements() {
    let largest = || [four_points(), vec![string("mode", "max")]].concat();
    let region = [0.0, 0.0, 2.0, 2.0];
    near(values(&roi_align(16, largest(), &region, &[0])), &[5.0]);
    near(values(&roi_align(10, largest(), &region, &[0])), &[2.5]);
}

#[test]
fn regions_that_cannot_be_read_are_refused() {
    let said = |model: &ModelProto| refused(model).to_string();
    let square = [0.0, 0.0, 1.0, 1.0];
    assert!(
        said(&roi_align(16, four_points(), &square, &[2])).contains("image 2, of a batch of 2")
    );
    assert!(said(&roi_align(16, four_points(), &square, &[-1])).contains("image -1"));
    let mode = || vec![string("coordinate_transformation_mode", "half_pixel")];
    assert!(said(&roi_align(10, mode(), &square, &[0])).contains("does not have"));
    let mode = vec![string("mode", "median")];
    assert!(said(&roi_align(16, mode, &square, &[0])).contains("`median`"));
    // Regions that are computed when the model runs have a number of points.
    let of_input = |attributes| {
        let nodes = vec![node("RoiAlign", &["image", "x", "images"], &["y"], attributes)];
        let image = (0..16).map(|i| i as f32).collect::<Vec<_>>();
        let constants = vec![numbers("image", &[1, 1, 4, 4], &image), longs("images", &[0])];
        at(16, &[1, 4], nodes, constants)
    };
    let error = refused(&of_input(vec![]));
    assert!(error.to_string().contains("`sampling_ratio` 0"), "{error}");
    assert!(error.remedy.unwrap().contains("sampling_ratio=2"));
    // The region from 0, 1 to 2, 3: at 1.5 and 0.5.
    near(values(&of_input(vec![int("sampling_ratio", 1)])), &[6.5]);
}

/// What is too large is said of the file's operator, with what makes it so: where an option allows it and where none does.
#[test]
fn absurdly_many_points_are_refused_with_what_makes_them_so_many() {
    let refused = |ratio: i64, memory: usize| {
        let parts = [("output_height", 7), ("output_width", 7), ("sampling_ratio", ratio)];
        let parts = parts.map(|(name, value)| int(name, value)).to_vec();
        let model = imported(&roi_align(16, parts, &[0.0, 0.0, 2.0, 2.0], &[0]));
        let target = Target::named("x86_64-unknown-linux-gnu", "x86-64-v3").unwrap();
        let options = CompileOptions { memory, ..CompileOptions::default() };
        compile(&model, &[target], &options).err()
    };
    let usual = CompileOptions::default().memory;
    for (ratio, is_allowed) in [(10_000, true), (1 << 16, false)] {
        let error = refused(ratio, usual).unwrap();
        assert!(matches!(error.problem, Problem::TooLarge { .. }), "{error}");
        let site = error.site.as_ref().unwrap();
        assert_eq!([&*site.node, &*site.operator], ["the RoiAlign", "RoiAlign"]);
        let remedy = error.remedy.as_deref().unwrap();
        assert!(remedy.contains("`sampling_ratio`"), "{remedy}");
        assert!(remedy.contains("of this RoiAlign meant to be this large?"), "{remedy}");
        assert_eq!(remedy.contains("--max-memory"), is_allowed, "{remedy}");
    }
    assert_eq!(refused(10_000, usize::MAX), None);
}

/// DeformConv of `x`, 3 by 3 elements, by a kernel of 2 by 2 ones, moved as one says.
fn deformed(offsets: &[f32], mask: Option<&[f32]>) -> ModelProto {
    let mut constants = vec![
        numbers("w", &[1, 1, 2, 2], &[1.0; 4]),
        numbers("offsets", &[1, 8, 2, 2], offsets),
        numbers("b", &[1], &[100.0]),
    ];
    constants.extend(mask.map(|mask| numbers("mask", &[1, 4, 2, 2], mask)));
    one(19, &[1, 1, 3, 3], "DeformConv", vec![], constants)
}

#[test]
fn moved_taps_read_between_elements_and_zeros_outside() {
    near(values(&deformed(&[0.0; 32], None)), &[108.0, 112.0, 120.0, 124.0]);
    // Half an element down and right.
    let found = values(&deformed(&[0.5; 32], None));
    near(vec![found[0], found[3]], &[116.0, 115.0]);
    // The last tap alone moves, to the right and out of the image.
    let mut offsets = [0.0; 32];
    offsets[28..].fill(f32::INFINITY);
    near(values(&deformed(&offsets, None)), &[104.0, 107.0, 113.0, 116.0]);
    let mut mask = [1.0; 16];
    mask[..4].fill(0.0);
    near(values(&deformed(&[0.0; 32], Some(&mask))), &[108.0, 111.0, 117.0, 120.0]);
}

/// With nothing moved it is Conv, whichever groups move alike.
#[test]
fn groups_of_channels_are_convolved_and_moved_each_by_itself() {
    let weights: Vec<f32> = (0..32).map(|i| (i % 7) as f32 - 3.0).collect();
    let w = || numbers("w", &[4, 2, 2, 2], &weights);
    let window = || vec![int("group", 2), ints("strides", &[1, 2]), ints("pads", &[1, 0, 0, 1])];
    let expected = values(&one(19, &[1, 4, 3, 4], "Conv", window(), vec![w()]));
    for groups in [1, 2, 4] {
        let offsets = numbers("o", &[1, groups * 8, 3, 2], &vec![0.0; groups as usize * 48]);
        let attributes = [window(), vec![int("offset_group", groups)]].concat();
        let found = one(19, &[1, 4, 3, 4], "DeformConv", attributes, vec![w(), offsets]);
        near(values(&found), &expected);
    }
    let three = [window(), vec![int("offset_group", 3)]].concat();
    let offsets = numbers("o", &[1, 24, 3, 2], &[0.0; 144]);
    let error = refused(&one(19, &[1, 4, 3, 4], "DeformConv", three, vec![w(), offsets]));
    assert!(error.to_string().contains("`offset_group` is 3"), "{error}");
}

/// MaxUnpool of `x`, 2 by 2 elements, with a window of 2 by 2.
fn unpooled(places: &[i64; 4], result: Option<&[i64]>) -> ModelProto {
    let attributes = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
    let mut constants = vec![integers("places", &[1, 1, 2, 2], places)];
    constants.extend(result.map(|result| longs("result", result)));
    one(11, &[1, 1, 2, 2], "MaxUnpool", attributes, constants)
}

#[test]
fn maxima_go_back_to_their_places() {
    let with = |count: usize, at: &[(usize, f64)]| {
        let mut all = vec![0.0; count];
        at.iter().for_each(|(place, value)| all[*place] = *value);
        all
    };
    let (shape, found) = run_from(&unpooled(&[5, 7, 13, 15], None), -1.0);
    let expected = with(16, &[(5, 1.0), (7, 2.0), (13, 3.0), (15, 4.0)]);
    assert_eq!((shape, found), (vec![1, 1, 4, 4], expected));
    // Places are those of four columns, whatever is added behind them.
    let (shape, found) = run_from(&unpooled(&[5, 7, 13, 15], Some(&[1, 1, 5, 5])), -1.0);
    let expected = with(25, &[(6, 1.0), (8, 2.0), (16, 3.0), (18, 4.0)]);
    assert_eq!((shape, found), (vec![1, 1, 5, 5], expected));
    // Of several the last.
    let (_, found) = run_from(&unpooled(&[9, 0, 9, 1], None), -1.0);
    assert_eq!(found, with(16, &[(9, 3.0), (0, 2.0), (1, 4.0)]));
    for places in [[0, 1, 2, 16], [0, 1, 2, -1], [0, 1, 2, i64::MAX]] {
        let error = refused(&unpooled(&places, None));
        assert!(error.to_string().contains("of 16 elements"), "{error}");
    }
    let error = refused(&unpooled(&[5, 7, 13, 15], Some(&[1, 1, 3, 4])));
    assert!(error.to_string().contains("follows from the window"), "{error}");
    assert!(error.remedy.unwrap().contains("output_shape"));
}

/// Pooling what was unpooled gives what was pooled.
#[test]
fn places_may_be_those_that_max_pool_gives() {
    let window = || vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
    let nodes = vec![
        node("MaxPool", &["x"], &["maxima", "places"], window()),
        node("MaxUnpool", &["maxima", "places"], &["whole"], window()),
        node("MaxPool", &["whole"], &["again"], window()),
        node("Concat", &["maxima", "again"], &["y"], vec![int("axis", 1)]),
    ];
    let found = values(&at(22, &[2, 2, 4, 6], nodes, vec![]));
    let halves: Vec<&[f64]> = found.chunks(12).collect();
    assert_eq!(halves[0], halves[1]);
    assert_eq!(halves[0][..3], [7.0, 9.0, 11.0]);
}

/// Indices that are computed when the model runs: what is outside is left out, and the last of several counts.
#[test]
fn elements_are_scattered_to_computed_indices() {
    let scatter = |operator: &str, shape: &[i64], attributes, offset: f64| {
        let nodes = vec![
            node("Cast", &["x"], &["i"], vec![int("to", 7)]),
            node(operator, &["data", "i", "new"], &["y"], attributes),
        ];
        let updates = if operator == "ScatterND" { vec![shape[0]] } else { shape.to_vec() };
        let count = updates.iter().product::<i64>();
        let new: Vec<f32> = (1..=count).map(|i| i as f32).collect();
        let constants = vec![numbers("data", &[2, 3], &[-1.0; 6]), numbers("new", &updates, &new)];
        run_from(&at(16, shape, nodes, constants), offset).1
    };
    // Columns 0, 1, 2 of both rows but for the last, then -2 to 3, of which only -2 and -1 count from behind.
    let along = || vec![int("axis", 1)];
    let found = scatter("ScatterElements", &[1, 3], along(), 0.0);
    assert_eq!(found, [1.0, 2.0, 3.0, -1.0, -1.0, -1.0]);
    let found = scatter("ScatterElements", &[2, 3], along(), 2.0);
    assert_eq!(found, [3.0, 1.0, 2.0, -1.0, 4.0, 5.0]);
    let found = scatter("ScatterElements", &[1, 6], along(), 3.0);
    assert_eq!(found, [4.0, 5.0, 6.0, -1.0, -1.0, -1.0]);
    let found = scatter("ScatterElements", &[1, 3], vec![], 1.0);
    assert_eq!(found, [-1.0, 2.0, -1.0, 1.0, -1.0, 3.0]);
    // Rows and columns 0 and 1, which is one, and 2 and 3, which is none.
    let found = scatter("ScatterND", &[2, 2], vec![], 0.0);
    assert_eq!(found, [-1.0, 1.0, -1.0, -1.0, -1.0, -1.0]);
    let combined = |operator| {
        let nodes = vec![
            node("Cast", &["x"], &["i"], vec![int("to", 7)]),
            node(operator, &["data", "i", "new"], &["y"], vec![string("reduction", "add")]),
        ];
        let constants = vec![numbers("data", &[3], &[0.0; 3]), numbers("new", &[1], &[1.0])];
        refused(&at(16, &[1], nodes, constants)).to_string()
    };
    assert!(combined("ScatterElements").contains("must be known at compile time"));
}

/// An operator on constants of one type; as bytes.
fn of_constants(
    opset: i64,
    operator: &str,
    attributes: Vec<AttributeProto>,
    kind: DataType,
    operands: &[&[u8]],
) -> ModelProto {
    let names: Vec<String> = (0..operands.len()).map(|i| format!("c{i}")).collect();
    let constants = names.iter().zip(operands).map(|(name, bytes)| {
        let size = if kind == DataType::INT32 { 4 } else { 1 };
        let mut constant = tensor(name, kind, &[(bytes.len() / size) as i64]);
        constant.raw_data = bytes.to_vec();
        constant
    });
    let constants = constants.collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    at(opset, &[1], vec![node(operator, &names, &["y"], attributes)], constants)
}

#[test]
fn bits_of_constants_are_known() {
    let of = |operator: &str, kind, operands: &[&[u8]]| {
        values(&of_constants(18, operator, vec![], kind, operands))
    };
    let pair: [&[u8]; 2] = [&[0b1100, 0xff], &[0b1010, 0x80]];
    assert_eq!(of("BitwiseAnd", DataType::UINT8, &pair), [8.0, 128.0]);
    assert_eq!(of("BitwiseOr", DataType::UINT8, &pair), [14.0, 255.0]);
    assert_eq!(of("BitwiseXor", DataType::UINT8, &pair), [6.0, 127.0]);
    assert_eq!(of("BitwiseXor", DataType::INT8, &pair), [6.0, 127.0]);
    assert_eq!(of("BitwiseNot", DataType::UINT8, &pair[..1]), [243.0, 0.0]);
    assert_eq!(of("BitwiseNot", DataType::INT8, &pair[..1]), [-13.0, 0.0]);
    // One operand is broadcast.
    assert_eq!(
        of("BitwiseAnd", DataType::INT32, &[&[7, 0, 0, 0, 255, 255, 255, 255], &[5, 0, 0, 0]]),
        [5.0, 5.0]
    );
    let error = refused(&of_constants(18, "BitwiseAnd", vec![], DataType::BOOL, &[&[1], &[1]]));
    assert!(error.to_string().contains("the bits of bool"), "{error}");
}

/// By as many bits as there are, or by less than none, all are shifted out.
#[test]
fn shifted_bits_are_lost_and_signs_fill_up() {
    let shifted = |direction: &str, kind, operands: &[&[u8]]| {
        let attributes = vec![string("direction", direction)];
        values(&of_constants(28, "BitShift", attributes, kind, operands))
    };
    let by: &[u8] = &[1, 7, 8, 255];
    assert_eq!(shifted("LEFT", DataType::UINT8, &[&[255; 4], by]), [254.0, 128.0, 0.0, 0.0]);
    assert_eq!(shifted("RIGHT", DataType::UINT8, &[&[255; 4], by]), [127.0, 1.0, 0.0, 0.0]);
    // 0x81 is -127.
    assert_eq!(shifted("LEFT", DataType::INT8, &[&[0x81; 4], by]), [2.0, -128.0, 0.0, 0.0]);
    assert_eq!(shifted("RIGHT", DataType::INT8, &[&[0x81; 4], by]), [-64.0, -1.0, -1.0, -1.0]);
    let error = refused(&of_constants(11, "BitShift", vec![], DataType::UINT8, &[&[1], &[1]]));
    assert!(error.to_string().contains("`direction` is missing"), "{error}");
}

#[test]
fn bits_of_values_that_are_not_known_are_refused() {
    let nodes = vec![
        node("Cast", &["x"], &["whole"], vec![int("to", 6)]),
        node("BitwiseNot", &["whole"], &["y"], vec![]),
    ];
    let error = refused(&at(18, &[3], nodes, vec![]));
    assert!(error.to_string().contains("known at compile time"), "{error}");
    assert!(error.remedy.unwrap().contains("BitwiseNot"));
}
