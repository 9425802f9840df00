//! JPEG images, in the very pixels of libjpeg-turbo, with which Pillow and torchvision read them.

mod structure;

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, RgbImage};
use libjpeg_turbo_rs::{
    ComponentInfo, DecodeLimits, Decoder, FrameHeader, Image, JpegError, PixelFormat,
};

use crate::limits::Largest;
use structure::Shape;

/// More scans than any encoder makes: each of them goes over the whole image.
const SCANS: usize = 100;

/// The image as it lies in the file, grey or in colours, and how it is to be turned.
pub(super) fn decode(
    bytes: &[u8],
    largest: Largest,
) -> Result<(DynamicImage, Option<Orientation>), String> {
    let shape = structure::check(bytes)?;
    let mut decoder = Decoder::new_with_limits(bytes, limits(largest)).map_err(said)?;
    // What is damaged can be read in two ways: only what was looked at is decoded.
    if shape_of(decoder.header()) != shape {
        return Err("its headers contradict each other".into());
    }
    let is_grey = decoder.header().components.len() == 1;
    decoder.set_output_format(if is_grey { PixelFormat::Grayscale } else { PixelFormat::Rgb });
    let orientation = decoder.exif_orientation().and_then(Orientation::from_exif);
    let Image { width, height, data, .. } = decoder.decode_image().map_err(said)?;
    let (width, height) = (width as u32, height as u32);
    let image = match is_grey {
        true => GrayImage::from_raw(width, height, data).map(DynamicImage::ImageLuma8),
        false => RgbImage::from_raw(width, height, data).map(DynamicImage::ImageRgb8),
    };
    Ok((image.ok_or("it has not as many pixels as it says")?, orientation))
}

fn shape_of(header: &FrameHeader) -> Shape {
    let sides = |c: &ComponentInfo| [c.horizontal_sampling.into(), c.vertical_sampling.into()];
    Shape {
        size: [header.width.into(), header.height.into()],
        sampling: header.components.iter().map(sides).collect(),
    }
}

fn limits(largest: Largest) -> DecodeLimits {
    let side = largest.side as usize;
    DecodeLimits {
        max_width: side,
        max_height: side,
        max_pixels: u64::from(largest.side).pow(2),
        max_scans: SCANS,
        max_memory: Some(largest.bytes),
    }
}

fn said(error: JpegError) -> String {
    error.to_string()
}
