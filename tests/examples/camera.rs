//! A camera, and who watches it.

use crate::beacons::Port;
use crate::examples::program::Program;
use crate::examples::terminal::Terminal;

/// The middle of each bar at the upper edge, where the ball never is.
const BARS: [[u8; 3]; 8] = [
    [191, 191, 191],
    [191, 191, 0],
    [0, 191, 191],
    [0, 191, 0],
    [191, 0, 191],
    [191, 0, 0],
    [0, 0, 191],
    [0, 0, 0],
];

#[test]
fn frames_are_counted_and_one_is_saved() {
    let port = Port::new();
    let number = port.number.to_string();
    let network = ["--bind", "127.0.0.1", "--port", &number];
    let picture = std::env::temp_dir().join(format!("lanpeer-{}.png", std::process::id()));
    let path = picture.to_str().expect("a plain name");

    let mut camera = Program::start("camera", &[&["film", "--fps", "50"], &network[..]].concat());
    let watch = ["watch", "--frames", "100", "--save", path];
    let mut watcher = Program::start("camera", &[&watch, &network[..]].concat());
    camera.line_after("filming for 127.0.0.1:");
    watcher.line_after("saved ");
    loop {
        let rate = watcher.line_with(" frames/s, ");
        let (frames, rest) = rate.split_once(" frames/s, ").expect("it has both");
        let (megabytes, _) = rest.split_once(" MB/s, ").expect("it has both");
        let [frames, megabytes] = [frames, megabytes].map(|n| n.parse::<f64>().expect("a number"));
        // It may just have begun.
        if frames >= 1.0 {
            assert!((megabytes / frames / 0.043204 - 1.0).abs() < 0.2, "{rate}");
            break;
        }
    }
    watcher.succeed();
    camera.line_with(" has gone; ");

    let mut file = png::Decoder::new(std::io::BufReader::new(
        std::fs::File::open(&picture).expect("the frame was saved"),
    ));
    file.set_transformations(png::Transformations::IDENTITY);
    let mut png = file.read_info().expect("a PNG");
    let mut pixels = vec![0; png.output_buffer_size().expect("it is small")];
    let info = png.next_frame(&mut pixels).expect("a picture");
    assert_eq!(
        (info.width, info.height, info.color_type),
        (160, 90, png::ColorType::Rgb)
    );
    for (bar, colour) in BARS.iter().enumerate() {
        assert_eq!(pixels[3 * (20 * bar + 10)..][..3], *colour, "bar {bar}");
    }
    assert!(pixels.chunks(3).any(|pixel| pixel == [255; 3]), "the ball");
    std::fs::remove_file(picture).expect("it is there");
}

#[test]
fn a_terminal_shows_the_colours() {
    let port = Port::new();
    let number = port.number.to_string();
    let network = ["--bind", "127.0.0.1", "--port", &number];
    let _camera = Program::start("camera", &[&["film"], &network[..]].concat());
    let Some(mut terminal) = Terminal::start("camera", &[&["watch"], &network[..]].concat()) else {
        return;
    };
    terminal.until("eight bars, and below them the rate", |screen| {
        for (bar, [r, g, b]) in BARS.iter().enumerate() {
            let cell = screen.cell(0, 10 * bar as u16 + 4)?;
            let colour = vt100::Color::Rgb(*r, *g, *b);
            let both = cell.fgcolor() == colour && cell.bgcolor() == colour;
            (cell.contents() == "▀" && both).then_some(())?;
        }
        screen.contents().contains(" frames/s, ").then_some(())
    });
    terminal.press("\u{3}"); // Ctrl-C
    terminal.ended(0);

    // Also an error leaves the terminal as it was.
    let nowhere = ["watch", "--save", "no such directory/frame.png"];
    let terminal = Terminal::start("camera", &[&nowhere, &network[..]].concat());
    terminal.expect("it ran before").ended(1);
}
