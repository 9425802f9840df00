//! Expected bytes are Pillow 13.0's for the same steps (resize the shorter side, centre crop) on
//! the images in `tests/images`.

use std::path::PathBuf;

use cardinal_runtime::DType;

use super::*;
use crate::image_input::ImageOptions;
use crate::image_input::options::Interpolation;
use crate::tensors::Spec;

fn image(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/images").join(name);
    std::fs::read(path).unwrap()
}

fn decode(bytes: &[u8], path: &Path) -> Outcome<DynamicImage> {
    super::decode(bytes, path, Largest::USUAL)
}

fn recipe(channels: usize, side: usize, options: ImageOptions) -> Recipe {
    let shape = vec![1, channels, side, side];
    let spec = Spec { name: "x".into(), dtype: DType::F32, shape };
    // Scaled so that the tensor holds bytes again.
    let options = ImageOptions { mean: Some(vec![0.]), std: Some(vec![1. / 255.]), ..options };
    Recipe::of(&[spec], &[], &options, "m").unwrap()
}

fn bytes_of(name: &str, recipe: &Recipe) -> Vec<f32> {
    let decoded = decode(&image(name), Path::new(name)).unwrap();
    prepare(decoded, recipe).unwrap().to_f32().unwrap()
}

fn resize_to(side: u32) -> ImageOptions {
    ImageOptions { resize: std::num::NonZeroU32::new(side), ..Default::default() }
}

fn assert_bytes(actual: &[f32], expected: &[u8]) {
    let rounded: Vec<u8> = actual.iter().map(|value| value.round() as u8).collect();
    assert_eq!(rounded, expected);
    assert!(actual.iter().zip(expected).all(|(a, e)| (a - f32::from(*e)).abs() < 1e-3));
}

/// Crops of a photograph in every coding, beside the pixels that Pillow with libjpeg-turbo reads in them.
#[test]
fn jpegs_have_the_pixels_of_libjpeg_turbo() {
    for name in ["cat_420", "cat_422_progressive", "cat_444", "cat_grey", "cat_cmyk"] {
        let [found, expected] = ["jpg", "png"].map(|format| {
            let name = format!("{name}.{format}");
            decode(&image(&name), Path::new(&name)).unwrap()
        });
        assert_eq!(found.color(), expected.color(), "{name}");
        assert!(found == expected, "{name}: other pixels");
    }
}

#[test]
fn an_image_is_shrunk_with_the_bicubic_filter_by_default() {
    let expected = [
        53, 93, 136, 179, 94, 114, 128, 180, 80, 104, 138, 179, 49, 94, 137, 179, // red
        23, 28, 37, 43, 94, 60, 94, 102, 139, 143, 155, 167, 208, 215, 221, 226, // green
        221, 190, 185, 166, 161, 116, 163, 151, 201, 180, 151, 134, 178, 158, 139,
        118, // blue
    ];
    assert_bytes(&bytes_of("colour_12x8.png", &recipe(3, 4, ImageOptions::default())), &expected);
}

#[test]
fn an_image_is_shrunk_with_the_bilinear_filter_when_asked() {
    let expected = [
        81, 116, 150, 188, 115, 100, 150, 188, 131, 116, 150, 188, 86, 118, 150, 188, // red
        25, 30, 34, 40, 52, 65, 81, 87, 109, 103, 130, 136, 168, 167, 178, 184, // green
        213, 197, 181, 162, 116, 139, 169, 150, 176, 152, 156, 137, 182, 158, 143,
        124, // blue
    ];
    let bilinear = ImageOptions { interpolation: Some(Interpolation::Bilinear), ..resize_to(5) };
    assert_bytes(&bytes_of("colour_12x8.png", &recipe(3, 4, bilinear)), &expected);
}

#[test]
fn a_grey_image_is_enlarged() {
    let expected = [158, 100, 62, 54, 57, 195, 173, 90, 96, 231, 178, 97, 185, 220, 151, 112];
    assert_bytes(&bytes_of("grey_6x6.png", &recipe(1, 4, resize_to(9))), &expected);
}

#[test]
fn colour_becomes_grey_with_the_weights_of_itu_r_601() {
    let expected = [54, 66, 83, 97, 102, 83, 112, 131, 129, 135, 150, 167, 157, 172, 186, 200];
    assert_bytes(&bytes_of("colour_12x8.png", &recipe(1, 4, resize_to(4))), &expected);
}

#[test]
fn an_odd_excess_is_cropped_as_python_rounds() {
    let expected = [
        146, 34, 126, 190, 66, 126, 35, 141, 126, // red
        19, 46, 80, 18, 105, 111, 215, 32, 142, // green
        37, 49, 179, 237, 102, 171, 218, 151, 163, // blue
    ];
    assert_bytes(&bytes_of("colour_12x8.png", &recipe(3, 3, resize_to(8))), &expected);
    assert_eq!([0, 1, 2, 3, 5, 7].map(centred), [0, 0, 1, 2, 2, 4]);
}

#[test]
fn transparency_is_dropped() {
    let recipe = recipe(3, 4, ImageOptions::default());
    assert_eq!(bytes_of("alpha_12x8.png", &recipe), bytes_of("colour_12x8.png", &recipe));
}

#[test]
fn an_image_of_the_right_size_is_left_as_it_is() {
    let exact = bytes_of("grey_6x6.png", &recipe(1, 6, ImageOptions::default()));
    let decoded = decode(&image("grey_6x6.png"), Path::new("x")).unwrap().into_luma8();
    assert_bytes(&exact, decoded.as_raw());
}

#[test]
fn a_photograph_is_turned_upright() {
    // Stored as red left of blue, to be turned a quarter clockwise: red above blue.
    let turned = decode(&image("turned_16x8.jpg"), Path::new("x")).unwrap().into_rgb8();
    assert_eq!(turned.dimensions(), (8, 16));
    assert!(turned.get_pixel(4, 2).0[0] > 200 && turned.get_pixel(4, 13).0[2] > 200);
}

#[test]
fn mean_and_std_are_applied_after_scaling_to_one() {
    let spec = Spec { name: "x".into(), dtype: DType::F32, shape: vec![1, 1, 6, 6] };
    let options =
        ImageOptions { mean: Some(vec![0.1307]), std: Some(vec![0.3081]), ..Default::default() };
    let recipe = Recipe::of(&[spec], &[], &options, "m").unwrap();
    let decoded = decode(&image("grey_6x6.png"), Path::new("x")).unwrap();
    let first = f32::from(decoded.to_luma8().as_raw()[0]);
    let values = prepare(decoded, &recipe).unwrap().to_f32().unwrap();
    assert!((values[0] - (first / 255. - 0.1307) / 0.3081).abs() < 1e-6);
}

#[test]
fn damaged_images_are_refused() {
    for name in ["colour_12x8.png", "turned_16x8.jpg"] {
        let good = image(name);
        for length in [0, 4, 20, good.len() / 2] {
            let failure = decode(&good[..length], Path::new(name)).unwrap_err();
            assert!(matches!(failure, Failure::Damaged { .. }), "{failure}");
        }
    }
}

#[test]
fn an_image_that_claims_to_be_huge_is_refused_before_it_is_allocated() {
    let mut png = image("grey_6x6.png");
    png[16..20].copy_from_slice(&30_000u32.to_be_bytes());
    png[20..24].copy_from_slice(&60_000u32.to_be_bytes());
    assert!(decode(&png, Path::new("bomb.png")).is_err());
}

#[test]
fn what_cannot_be_fitted_says_so() {
    let thin = DynamicImage::new_luma8(30_000, 1);
    let error = prepare(thin, &recipe(1, 224, ImageOptions::default())).unwrap_err();
    assert!(error.contains("too long and thin"), "{error}");
    let small = decode(&image("grey_6x6.png"), Path::new("x")).unwrap();
    let error = prepare(small, &recipe(1, 6, resize_to(4))).unwrap_err();
    assert!(error.contains("larger --resize"), "{error}");
}

#[test]
fn other_formats_are_refused() {
    for bytes in [&b"P5\n1 1\n255\n\x00"[..], b"8BPS\x00\x01", b""] {
        let failure = decode(bytes, Path::new("x")).unwrap_err();
        assert!(failure.to_string().contains(UNKNOWN), "{failure}");
    }
}

#[cfg(not(feature = "formats"))]
#[test]
fn the_build_that_reads_other_formats_is_named() {
    let failure = decode(b"GIF89a\x01\x00\x01\x00\x80\x00\x00", Path::new("x")).unwrap_err();
    assert!(failure.to_string().contains("--features full"), "{failure}");
}

/// Pillow wrote the same pixels in each: the GIF is animated, and begins with them.
#[cfg(feature = "formats")]
#[test]
fn formats_without_loss_have_the_same_pixels() {
    let pixels = decode(&image("colour_12x8.png"), Path::new("x")).unwrap().into_rgb8();
    for name in ["colour_12x8.bmp", "colour_12x8.gif", "colour_12x8.tiff", "colour_12x8.webp"] {
        let decoded = decode(&image(name), Path::new(name)).unwrap().into_rgb8();
        assert!(decoded == pixels, "{name}");
    }
}

#[cfg(feature = "formats")]
#[test]
fn other_formats_are_turned_upright_too() {
    let turned = decode(&image("turned_16x8.webp"), Path::new("x")).unwrap().into_rgb8();
    assert_eq!(turned.dimensions(), (8, 16));
    assert!(turned.get_pixel(4, 2).0[0] > 200 && turned.get_pixel(4, 13).0[2] > 200);
    let pixels = decode(&image("colour_12x8.png"), Path::new("x")).unwrap().into_rgb8();
    let turned = decode(&image("turned_12x8.tiff"), Path::new("x")).unwrap().into_rgb8();
    assert!(turned == image::imageops::rotate90(&pixels));
}

#[cfg(feature = "formats")]
#[test]
fn cut_and_huge_images_of_other_formats_are_refused() {
    let pixels = decode(&image("colour_12x8.png"), Path::new("x")).unwrap().into_rgb8();
    for name in ["colour_12x8.bmp", "colour_12x8.gif", "colour_12x8.tiff", "colour_12x8.webp"] {
        let good = image(name);
        for length in 0..good.len() {
            // Further images, tags and padding need not be there, but all pixels.
            if let Ok(decoded) = decode(&good[..length], Path::new(name)) {
                assert!(decoded.into_rgb8() == pixels, "{name}, {length} bytes");
            }
        }
    }
    let mut bmp = image("colour_12x8.bmp");
    bmp[18..22].copy_from_slice(&30_000u32.to_le_bytes());
    bmp[22..26].copy_from_slice(&60_000u32.to_le_bytes());
    assert!(decode(&bmp, Path::new("bomb.bmp")).is_err());
    let mut gif = image("colour_12x8.gif");
    gif[6..10].fill(0xFF);
    assert!(decode(&gif, Path::new("bomb.gif")).is_err());
}

#[test]
fn every_beginning_of_an_image_file_is_refused() {
    for name in ["grey_6x6.png", "alpha_12x8.png", "turned_16x8.jpg"] {
        let good = image(name);
        let cut = |length: usize| decode(&good[..length], Path::new(name));
        // PNG ends with a chunk of 12 bytes that says that this is the end, which decoders need not see.
        let end = good.len() - if name.ends_with("png") { 12 } else { 0 };
        for length in 0..end {
            assert!(cut(length).is_err(), "{name}, {length} of {} bytes", good.len());
        }
    }
}
