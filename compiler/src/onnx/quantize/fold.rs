//! BatchNormalization into the convolution before it, so that its scales are in the weights when those
//! are rounded.

use std::collections::BTreeSet;

use onnx_protobuf::NodeProto;
use onnx_protobuf::tensor_proto::DataType;

use super::network::{Floats, Links, Network, is};

/// What a channel is multiplied with, and what is added then.
struct Affine {
    factors: Vec<f64>,
    terms: Vec<f64>,
}

/// Folds each BatchNormalization that alone reads a convolution with constant weights.
pub(super) fn fold_batch_norm(network: &mut Network) {
    let links = Links::of(network.nodes());
    let mut names = network.names();
    let mut folded = BTreeSet::new();
    for index in 0..network.nodes().len() {
        let Some((conv, weight, bias)) = fold(network, &links, index) else { continue };
        let norm = network.nodes()[index].output[0].clone();
        let [w, b] = ["weight", "bias"].map(|what| names.unique(&format!("{norm}_{what}")));
        for (name, floats) in [(&w, weight), (&b, bias)] {
            let raw = floats.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            network.add_tensor(name, DataType::FLOAT, &floats.dims, raw);
        }
        let node = &mut network.model.graph.mut_or_insert_default().node[conv];
        node.input.truncate(1);
        node.input.extend([w.to_string(), b.to_string()]);
        node.output[0] = norm;
        folded.insert(index);
    }
    let mut index = 0..;
    let nodes = &mut network.model.graph.mut_or_insert_default().node;
    nodes.retain(|_| index.next().is_none_or(|index| !folded.contains(&index)));
    network.drop_unread();
}

/// The convolution before a BatchNormalization, with the weights and the bias that stand for both.
fn fold(network: &Network, links: &Links, index: usize) -> Option<(usize, Floats, Floats)> {
    let norm = &network.nodes()[index];
    let x = norm.input.first().filter(|_| is(norm, "BatchNormalization"))?;
    let conv = links.maker(x)?;
    let node = &network.nodes()[conv];
    if !is(node, "Conv") || links.readers(x) != [index] || network.is_output(x) {
        return None;
    }
    let Affine { factors, terms } = affine(network, norm)?;
    let mut weight = network.floats(node.input.get(1)?)?;
    let mut bias = match node.input.get(2).filter(|name| !name.is_empty()) {
        Some(name) => network.floats(name)?,
        None => Floats { dims: vec![terms.len() as i64], values: vec![0.; terms.len()] },
    };
    let row = weight.values.len() / factors.len().max(1);
    if row == 0 || bias.values.len() != factors.len() {
        return None;
    }
    for (row, factor) in weight.values.chunks_mut(row).zip(&factors) {
        row.iter_mut().for_each(|value| *value = (f64::from(*value) * factor) as f32);
    }
    for ((value, factor), term) in bias.values.iter_mut().zip(&factors).zip(&terms) {
        *value = (f64::from(*value) * factor + term) as f32;
    }
    Some((conv, weight, bias))
}

/// `(x - mean) * scale / sqrt(variance + epsilon) + shift`, an import has checked that it is not training.
fn affine(network: &Network, norm: &NodeProto) -> Option<Affine> {
    let floats = |slot: usize| norm.input.get(slot).and_then(|name| network.floats(name));
    let epsilon = norm.attribute.iter().find(|a| a.name == "epsilon").map_or(1e-5, |a| a.f);
    let [scale, shift, mean, variance] = [floats(1)?, floats(2)?, floats(3)?, floats(4)?];
    let deviation = variance.values.iter().map(|v| f64::from(v + epsilon).sqrt());
    let factors = scale.values.iter().zip(deviation).map(|(s, d)| f64::from(*s) / d);
    let factors: Vec<f64> = factors.collect();
    let shifts = shift.values.iter().zip(&mean.values).zip(&factors);
    let terms = shifts.map(|((shift, mean), factor)| f64::from(*shift) - f64::from(*mean) * factor);
    Some(Affine { terms: terms.collect(), factors })
}
