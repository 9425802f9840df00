//! Decoding, resampling, cropping and scaling pixels.

use std::io::Cursor;
use std::path::Path;

#[cfg(feature = "formats")]
use image::codecs::bmp::BmpDecoder;
#[cfg(feature = "formats")]
use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
#[cfg(feature = "formats")]
use image::codecs::tiff::TiffDecoder;
#[cfg(feature = "formats")]
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageBuffer, ImageDecoder, ImageFormat, ImageResult, Limits};

use super::jpeg;
use super::recipe::{Recipe, Resize};
use super::resample::{Side, resample};
use crate::exit::{Failure, Outcome};
use crate::limits::{Largest, RESIZED_PIXELS};
use crate::tensors::Array;

/// Whether bytes begin as those of an image that is read do.
#[cfg(feature = "serving")]
pub(crate) fn is_image(bytes: &[u8]) -> bool {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    matches!(image::guess_format(bytes), Ok(Png | Jpeg | WebP | Bmp | Gif | Tiff))
}

/// An image, turned upright as its EXIF data says. Orientation data that cannot be read is as good as none.
pub(super) fn decode(bytes: &[u8], path: &Path, largest: Largest) -> Outcome<DynamicImage> {
    let (mut image, orientation) = match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => {
            jpeg::decode(bytes, largest).map_err(|what| Failure::damaged(path, what))?
        }
        format => decode_format(bytes, format.ok(), path, largest)?,
    };
    if let Some(orientation) = orientation {
        image.apply_orientation(orientation);
    }
    Ok(image)
}

/// An image of another format as it lies in the file, and how it is to be turned.
fn decode_format(
    bytes: &[u8],
    format: Option<ImageFormat>,
    path: &Path,
    largest: Largest,
) -> Outcome<(DynamicImage, Option<Orientation>)> {
    let damaged = |error: image::ImageError| Failure::damaged(path, error.to_string());
    let mut limits = Limits::default();
    limits.max_image_width = Some(largest.side);
    limits.max_image_height = Some(largest.side);
    limits.max_alloc = Some(largest.bytes);
    let decoder = decoder(bytes, format, &limits).map_err(damaged)?;
    let mut decoder = decoder.ok_or_else(|| Failure::damaged(path, UNKNOWN))?;
    limits.reserve(decoder.total_bytes()).map_err(damaged)?;
    let orientation = decoder.orientation().ok();
    Ok((DynamicImage::from_decoder(decoder).map_err(damaged)?, orientation))
}

/// What is said of bytes that begin like no image that is read.
#[cfg(feature = "formats")]
const UNKNOWN: &str = "it is no PNG, JPEG, WebP, BMP, GIF or TIFF image";
#[cfg(not(feature = "formats"))]
const UNKNOWN: &str = "it is neither a PNG nor a JPEG image; `cargo install --path cli --features full` reads WebP, BMP, GIF and TIFF too, and executables do not";

/// A decoder for a format, of several images for the first; `None` where that is none of those that are read.
fn decoder<'a>(
    bytes: &'a [u8],
    format: Option<ImageFormat>,
    limits: &Limits,
) -> ImageResult<Option<Box<dyn ImageDecoder + 'a>>> {
    let reader = Cursor::new(bytes);
    let mut decoder: Box<dyn ImageDecoder> = match format {
        Some(ImageFormat::Png) => Box::new(PngDecoder::with_limits(reader, limits.clone())?),
        #[cfg(feature = "formats")]
        Some(ImageFormat::Bmp) => Box::new(BmpDecoder::new(reader)?),
        #[cfg(feature = "formats")]
        Some(ImageFormat::Gif) => Box::new(GifDecoder::new(reader)?),
        #[cfg(feature = "formats")]
        Some(ImageFormat::Tiff) => Box::new(TiffDecoder::new(reader)?),
        #[cfg(feature = "formats")]
        Some(ImageFormat::WebP) => Box::new(WebPDecoder::new(reader)?),
        _ => return Ok(None),
    };
    decoder.set_limits(limits.clone())?;
    Ok(Some(decoder))
}

/// The image as `f32[1, C, H, W]`.
pub(super) fn prepare(image: DynamicImage, recipe: &Recipe) -> Result<Array, String> {
    let size = (image.width(), image.height());
    match recipe.channels {
        1 => tensor::<1>(grey(image).as_raw(), size, recipe),
        // Transparency is dropped, as Pillow's `convert("RGB")` does.
        _ => tensor::<3>(image.into_rgb8().as_raw(), size, recipe),
    }
}

/// Luma of ITU-R 601 in Pillow's fixed point.
fn grey(image: DynamicImage) -> image::GrayImage {
    if !image.color().has_color() {
        return image.into_luma8();
    }
    let rgb = image.into_rgb8();
    let luma = |[r, g, b]: [u8; 3]| {
        let sum = 19595 * u32::from(r) + 38470 * u32::from(g) + 7471 * u32::from(b) + 0x8000;
        image::Luma([(sum >> 16) as u8])
    };
    ImageBuffer::from_fn(rgb.width(), rgb.height(), |x, y| luma(rgb.get_pixel(x, y).0))
}

/// What is made of pixels `u8[H, W, C]`, of a width and a height.
fn tensor<const C: usize>(
    pixels: &[u8],
    size: (u32, u32),
    recipe: &Recipe,
) -> Result<Array, String> {
    let (width, height) = size_before_crop(size, recipe)?;
    let (crop_height, crop_width) = recipe.crop;
    let width = side(size.0, width, crop_width);
    let height = side(size.1, height, crop_height);
    let cropped = resample::<C>(pixels, &width, &height, recipe.interpolation);
    let mut values = Vec::with_capacity(cropped.len());
    for (channel, (mean, std)) in recipe.mean.iter().zip(&recipe.std).enumerate() {
        let bytes = cropped.iter().skip(channel).step_by(C);
        values.extend(bytes.map(|byte| (f32::from(*byte) / 255. - mean) / std));
    }
    let shape = vec![1, C, crop_height as usize, crop_width as usize];
    Ok(Array::from_f32(shape, &values))
}

/// A side that is resized, and of which the middle is wanted.
fn side(from: u32, to: u32, wanted: u32) -> Side {
    let first = centred(to - wanted) as usize;
    Side { from: from as usize, to: to as usize, wanted: first..first + wanted as usize }
}

/// Width and height to resize to: the aspect ratio stays, and the crop fits in.
fn size_before_crop((width, height): (u32, u32), recipe: &Recipe) -> Result<(u32, u32), String> {
    let (crop_height, crop_width) = recipe.crop;
    let (least_width, least_height) = match recipe.resize {
        Resize::CropPct(fraction) => {
            let before = |side: u32| (f64::from(side) / fraction).floor() as u64;
            (before(crop_width), before(crop_height))
        }
        Resize::Shorter(side) => (u64::from(side), u64::from(side)),
    };
    let (w, h) = (u64::from(width), u64::from(height));
    if w == 0 || h == 0 {
        return Err("the image is empty".into());
    }
    // Cover the least size; the other side is rounded down, as torchvision does.
    let (w, h) = match least_width * h >= least_height * w {
        true => (least_width, least_width * h / w),
        false => (least_height * w / h, least_height),
    };
    if w < u64::from(crop_width) || h < u64::from(crop_height) {
        return Err(format!(
            "resized to {w}x{h} it is smaller than the model's {crop_width}x{crop_height}; \
             give a larger --resize"
        ));
    }
    match (u32::try_from(w), u32::try_from(h)) {
        (Ok(new_w), Ok(new_h)) if w.saturating_mul(h) <= RESIZED_PIXELS => Ok((new_w, new_h)),
        _ => Err(format!("{width}x{height} is too long and thin to resize (to {w}x{h})")),
    }
}

/// Half of the excess, halves to even, as Python's `round`.
fn centred(excess: u32) -> u32 {
    let half = excess / 2;
    half + (excess % 2) * (half % 2)
}

#[cfg(test)]
#[path = "pixels_tests.rs"]
mod tests;
