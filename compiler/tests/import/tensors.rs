//! Constants: every field that may hold them, in the file and beside it.

use std::cell::RefCell;

use bytes::Bytes;
use cardinal_compiler::error::{Error, Problem};
use cardinal_compiler::interp::{Data, Tensor};
use cardinal_compiler::ir::{DType, Op};
use cardinal_compiler::onnx::{ExternalData, import};
use cardinal_compiler::options::ImportOptions;
use onnx_protobuf::tensor_proto::{DataLocation, DataType, Segment};
use onnx_protobuf::type_proto::Value;
use onnx_protobuf::{ModelProto, StringStringEntryProto, TensorProto};
use protobuf::MessageField;

use crate::proto::{
    bytes, floats, imported, int, model, node, refused, tensor, tensor_attribute, with,
};

/// A model whose output is `constant`.
fn giving(constant: TensorProto) -> ModelProto {
    let mut model = with(model(&[1], vec![]), vec![constant]);
    model.graph.as_mut().unwrap().output[0].name = "w".into();
    model
}

/// The constant as imported.
fn stored(constant: TensorProto) -> Tensor {
    let graph = imported(&giving(constant)).graph;
    let id = graph.outputs()[0].node;
    let Op::Weight(weight) = &graph.node(id).op else { panic!("{:?}", graph.node(id)) };
    Tensor::from_bytes(graph.ty(id), &weight.bytes(graph.ty(id)).unwrap()).unwrap()
}

fn wrong(constant: TensorProto) -> String {
    match refused(&giving(constant)).problem {
        Problem::BadTensor { name, what } if name == "w" => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn typed_fields_hold_what_raw_bytes_do() {
    let int32_data = vec![1, 0, 1];
    let as_ints = |kind| TensorProto { int32_data: int32_data.clone(), ..tensor("w", kind, &[3]) };
    let ints = Data::Int(vec![1, 0, 1]);
    for (kind, dtype) in [
        (DataType::INT32, DType::I32),
        (DataType::INT8, DType::I8),
        (DataType::UINT8, DType::U8),
        (DataType::BOOL, DType::Bool),
    ] {
        let expected = Tensor { dtype, shape: vec![3], data: ints.clone() };
        assert_eq!(stored(as_ints(kind)), expected);
    }
    let int64_data = vec![i64::MIN, 7];
    let longs = TensorProto { int64_data, ..tensor("w", DataType::INT64, &[2]) };
    assert_eq!(stored(longs).data, Data::Int(vec![i64::MIN, 7]));
    let float_data = vec![0.5, -1.0];
    let singles = TensorProto { float_data, ..tensor("w", DataType::FLOAT, &[2, 1]) };
    assert_eq!(stored(singles).data, Data::Float(vec![0.5, -1.0]));
    let double_data = vec![0.1];
    let doubles = TensorProto { double_data, ..tensor("w", DataType::DOUBLE, &[]) };
    assert_eq!(stored(doubles).data, Data::Float(vec![0.1]));
    assert_eq!(stored(floats("w", &[2, 2])).data, Data::Float(vec![0.0, 1.0, 2.0, 3.0]));
    assert_eq!(stored(tensor("w", DataType::FLOAT, &[0])).shape, [0]);
}

/// Values and their bits, from the tables of the formats: zeros, ones, the ends of the range, denormals.
#[test]
fn half_precision_is_read_as_f32() {
    let f16: &[(u16, f64)] = &[
        (0x0000, 0.0),
        (0x8000, -0.0),
        (0x3C00, 1.0),
        (0x7BFF, 65504.0),
        (0xFC00, f64::NEG_INFINITY),
        (0x0001, 5.960_464_477_539_063e-8),
        (0x03FF, 6.097_555_160_522_461e-5),
        (0x3555, 0.333_251_953_125),
    ];
    let bf16: &[(u16, f64)] = &[
        (0x3F80, 1.0),
        (0xC049, -3.140_625),
        (0x7F7F, 3.389_531_389_251_535_5e38),
        (0x7F80, f64::INFINITY),
        (0x0080, 1.175_494_350_822_287_5e-38),
    ];
    for (kind, table) in [(DataType::FLOAT16, f16), (DataType::BFLOAT16, bf16)] {
        let dims = [table.len() as i64];
        let raw_data = table.iter().flat_map(|(bits, _)| bits.to_le_bytes()).collect();
        let int32_data = table.iter().map(|(bits, _)| i32::from(*bits)).collect();
        let data = Data::Float(table.iter().map(|(_, value)| *value).collect());
        let expected = Tensor { dtype: DType::F32, shape: vec![table.len()], data };
        assert_eq!(stored(TensorProto { raw_data, ..tensor("w", kind, &dims) }), expected);
        assert_eq!(stored(TensorProto { int32_data, ..tensor("w", kind, &dims) }), expected);
    }
    let raw_data = vec![0; 3];
    let odd = TensorProto { raw_data, ..tensor("w", DataType::FLOAT16, &[2]) };
    assert!(wrong(odd).contains("3 bytes for f16[2], which takes 4"));
    let int32_data = vec![1 << 16];
    let wide = TensorProto { int32_data, ..tensor("w", DataType::BFLOAT16, &[1]) };
    assert!(wrong(wide).contains("does not fit bf16"));
}

/// What exporters write for weights that are kept small: a half and a cast.
#[test]
fn a_cast_of_half_precision_is_no_operator() {
    let raw_data = [0x3C00u16, 0xC000].iter().flat_map(|half| half.to_le_bytes()).collect();
    let half = TensorProto { raw_data, ..tensor("h", DataType::FLOAT16, &[2]) };
    let nodes = vec![
        node("Cast", &["h"], &["w"], vec![int("to", DataType::FLOAT as i64)]),
        node("Mul", &["x", "w"], &["y"], vec![]),
    ];
    let graph = imported(&with(model(&[2], nodes), vec![half])).graph;
    let casts = graph.nodes().filter(|id| matches!(graph.node(*id).op, Op::Cast { .. }));
    assert_eq!(casts.count(), 0);
}

#[test]
fn outputs_in_half_precision_are_refused() {
    let mut narrow = giving(tensor("w", DataType::FLOAT16, &[0]));
    let value = &mut narrow.graph.as_mut().unwrap().output[0];
    *value = crate::proto::value("w", &[]);
    let Some(Value::TensorType(declared)) = &mut value.type_.as_mut().unwrap().value else {
        panic!("{value:?}")
    };
    declared.elem_type = DataType::FLOAT16 as i32;
    let error = refused(&narrow);
    assert!(error.to_string().contains("the output `w`"), "{error}");
    assert!(error.remedy.is_some());
}

#[test]
fn bytes_and_dims_must_agree() {
    let mut short = floats("w", &[3]);
    short.dims = vec![4];
    assert!(wrong(short).contains("12 bytes for f32[4], which takes 16"));
    assert!(wrong(tensor("w", DataType::FLOAT, &[2])).contains("0 elements"));
    assert!(wrong(tensor("w", DataType::FLOAT, &[-1])).contains("dimension -1"));
    assert!(wrong(tensor("w", DataType::FLOAT, &[1 << 32, 1 << 32])).contains("more bytes"));
    assert!(wrong(tensor("w", DataType::FLOAT, &[0, i64::MAX, i64::MAX])).contains("more bytes"));
    let int32_data = vec![300];
    let wide = TensorProto { int32_data, ..tensor("w", DataType::UINT8, &[1]) };
    assert!(wrong(wide).contains("does not fit u8"));
    let mut segment = floats("w", &[1]);
    segment.segment = MessageField::some(Segment::default());
    assert!(wrong(segment).contains("segments"));
}

#[test]
fn other_element_types_are_refused_with_a_remedy() {
    let error = refused(&giving(tensor("w", DataType::FLOAT8E5M2, &[1])));
    assert!(error.to_string().contains("float8"), "{error}");
    assert!(error.remedy.unwrap().contains("float32"));
    for code in [DataType::STRING as i32, DataType::UINT64 as i32, 0, 77, -1] {
        let mut other = tensor("w", DataType::FLOAT, &[1]);
        other.data_type = code;
        refused(&giving(other));
    }
}

#[test]
fn a_tensor_attribute_is_checked_too() {
    let mut short = floats("value", &[3]);
    short.dims = vec![2];
    let constant = node("Constant", &[], &["y"], vec![tensor_attribute("value", short)]);
    let error = refused(&model(&[1], vec![constant]));
    assert_eq!(error.site.unwrap().operator, "Constant");
}

/// A folder of one file that remembers what was asked of it.
struct Folder {
    file: &'static str,
    bytes: Bytes,
    asked: RefCell<Vec<(u64, Option<u64>)>>,
}

impl ExternalData for Folder {
    fn read(&self, location: &str, offset: u64, length: Option<u64>) -> Result<Bytes, String> {
        if location != self.file {
            return Err("there is no such file".into());
        }
        self.asked.borrow_mut().push((offset, length));
        let end = length.map_or(self.bytes.len() as u64, |n| offset + n);
        if end > self.bytes.len() as u64 || offset > end {
            return Err("it is too short".into());
        }
        Ok(self.bytes.slice(offset as usize..end as usize))
    }
}

fn folder(fill: u8) -> Folder {
    let bytes = vec![fill; 64].into();
    Folder { file: "sub/w.bin", bytes, asked: RefCell::default() }
}

fn external(entries: &[(&str, &str)]) -> ModelProto {
    let mut w = tensor("w", DataType::FLOAT, &[4]);
    w.data_location = DataLocation::EXTERNAL.into();
    let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
        key: (*key).into(),
        value: (*value).into(),
        ..Default::default()
    };
    w.external_data = entries.iter().map(entry).collect();
    giving(w)
}

fn try_external(entries: &[(&str, &str)]) -> Result<[u8; 32], Error> {
    let model = bytes(&external(entries));
    import(model, &folder(1), &ImportOptions::default()).map(|model| model.digest)
}

#[test]
fn external_data_is_read_where_the_model_says() {
    let model = bytes(&external(&[("location", "sub/w.bin"), ("offset", "16"), ("length", "16")]));
    let ones = folder(1);
    let imported = import(model.clone(), &ones, &ImportOptions::default()).unwrap();
    assert_eq!(*ones.asked.borrow(), [(16, Some(16))]);
    let twos = import(model, &folder(2), &ImportOptions::default()).unwrap();
    assert_ne!(imported.digest, twos.digest, "the digest covers external data");
    try_external(&[("location", "./sub/w.bin"), ("length", "16")]).unwrap_err();
    try_external(&[("location", "sub/w.bin"), ("offset", "48")]).unwrap();
    try_external(&[("location", "sub/w.bin"), ("checksum", "?"), ("length", "16")]).unwrap();
}

/// A model that leaves the external `w` unused.
fn unused(entries: &[(&str, &str)]) -> ModelProto {
    let mut model = external(entries);
    let graph = model.graph.as_mut().unwrap();
    graph.node.push(node("Relu", &["x"], &["y"], vec![]));
    graph.output[0].name = "y".into();
    model
}

#[test]
fn external_data_that_nothing_uses_is_not_read() {
    let model = unused(&[("location", "gone.bin"), ("length", "16")]);
    let none = folder(1);
    let imported = import(bytes(&model), &none, &ImportOptions::default()).unwrap();
    assert!(none.asked.borrow().is_empty());
    assert_eq!(imported.digest, *blake3::hash(&bytes(&model)).as_bytes());
    // What the model itself says is checked all the same.
    for entries in [[("location", "../x"), ("length", "16")], [("location", "x"), ("length", "1")]]
    {
        let error = refused(&unused(&entries));
        assert!(matches!(error.problem, Problem::ExternalData { .. }), "{error}");
    }
    let mut short = floats("w", &[3]);
    short.dims = vec![-4];
    let mut model = unused(&[]);
    model.graph.as_mut().unwrap().initializer = vec![short];
    assert!(refused(&model).to_string().contains("dimension -4"));
}

#[test]
fn external_data_stays_in_its_folder() {
    let cases = [
        ("../x", "leaves"),
        ("a/../../x", "leaves"),
        ("..", "leaves"),
        ("/etc/passwd", "absolute"),
        ("C:/x", "absolute"),
        ("c:x", "absolute"),
        ("a\\..\\x", "character"),
        ("\\\\host\\x", "character"),
        ("a\0b", "character"),
        ("a//b", "not the name"),
        ("a/", "not the name"),
        ("", "missing"),
    ];
    for (location, what) in cases {
        let error = try_external(&[("location", location), ("length", "16")]).unwrap_err();
        assert!(matches!(error.problem, Problem::ExternalData { .. }), "{error}");
        assert!(error.to_string().contains(what), "{location}: {error}");
    }
}

#[test]
fn external_data_must_be_there_and_fit() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("location", "other.bin"), ("length", "16")], "`other.bin`: there is no such file"),
        (&[("location", "sub/w.bin"), ("length", "12")], "12 bytes"),
        (&[("location", "sub/w.bin"), ("offset", "60"), ("length", "16")], "too short"),
        (&[("location", "sub/w.bin"), ("offset", "40")], "holds 24 bytes"),
        (&[("location", "sub/w.bin"), ("offset", "-1")], "not a byte count"),
        (&[("location", "sub/w.bin"), ("length", "1e3")], "not a byte count"),
        (&[("location", "sub/w.bin"), ("offset", "18446744073709551615")], "18446744073709551615"),
        (&[], "missing"),
    ];
    for (entries, what) in cases {
        let error = try_external(entries).unwrap_err();
        assert!(error.to_string().contains("`w`"), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
    let alone = refused(&external(&[("location", "sub/w.bin"), ("length", "16")]));
    assert!(alone.to_string().contains("sub/w.bin"), "{alone}");
}
