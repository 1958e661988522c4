//! What a frame is: the test picture, and a frame as a file.

use std::fs::File;
use std::io::{self, BufWriter};

pub const WIDTH: usize = 160;
pub const HEIGHT: usize = 90;
/// The bytes of a frame: its number in four, and then three for each pixel. All frames have this size,
/// and so they can be a stream: nothing but frames is on the wire.
pub const FRAME: usize = 4 + 3 * WIDTH * HEIGHT;

/// The test picture: eight bars, and a white ball that moves before them.
pub fn paint(number: u32) -> Vec<u8> {
    let mut frame = number.to_be_bytes().to_vec();
    let time = f64::from(number) / 30.0;
    let ball_x = (0.5 + 0.4 * time.sin()) * WIDTH as f64;
    let ball_y = (0.5 + 0.3 * (1.7 * time).cos()) * HEIGHT as f64;
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let bar = 7 - 8 * x / WIDTH; // its three bits are the three colours
            let distance = (x as f64 - ball_x).hypot(y as f64 - ball_y);
            frame.extend(match distance < HEIGHT as f64 / 8.0 {
                true => [255, 255, 255],
                false => [2, 4, 1].map(|colour| if bar & colour != 0 { 191 } else { 0 }),
            });
        }
    }
    frame
}

pub fn number(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[..4].try_into().expect("four bytes"))
}

/// Red, green and blue.
pub fn pixel(frame: &[u8], x: usize, y: usize) -> [u8; 3] {
    let colours = &frame[4 + 3 * (y * WIDTH + x)..][..3];
    colours.try_into().expect("three bytes")
}

pub fn save_png(frame: &[u8], path: &str) -> io::Result<()> {
    let file = BufWriter::new(File::create(path)?);
    let mut png = png::Encoder::new(file, WIDTH as u32, HEIGHT as u32);
    png.set_color(png::ColorType::Rgb);
    let mut writer = png.write_header()?;
    writer.write_image_data(&frame[4..])?;
    Ok(writer.finish()?)
}
