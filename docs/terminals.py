#!/usr/bin/env python3
"""Makes the pictures of the examples in a terminal: terminal-NAME.svg, beside this file.

    cargo build --examples
    python3 -m venv /tmp/terminals && /tmp/terminals/bin/pip install pyte==0.8.2
    /tmp/terminals/bin/python docs/terminals.py [NAME …]     all, or only these
    python3 docs/terminals.py --check                        only looks at the files; needs no pyte

Runs the real programs in a pseudo terminal, on loopback and a discovery port of their own, and draws what
stands on the screen. pyte, a terminal emulator in Python, knows what that is. A picture with the name of this
machine or its user in it is refused. Ports and figures differ from run to run, so `--check` does not make them
anew: it looks whether each picture is there, is small, and is drawn by this script as it is.
"""

import fcntl
import getpass
import itertools
import os
import pathlib
import re
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from xml.sax.saxutils import escape

HERE = pathlib.Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "target" / "debug" / "examples"
LARGEST = 15_000  # bytes of a picture
DEADLINE = 60  # seconds for everything that one program does

# Cells of the terminal, in pixels. Each run of text is told how long it is, so that columns stand below each
# other in whatever monospaced font the reader has.
WIDTH, HEIGHT, MARGIN, BAR = 8, 17, 12, 30

# The names that pyte has for colours; on a light page and on a dark one.
COLOURS = {
    "default": ("#1f2933", "#e3e8ec"),
    "black": ("#1f2933", "#5a6570"),
    "red": ("#b3261e", "#ff8a80"),
    "green": ("#1b7f3b", "#7ddc92"),
    "brown": ("#8a6100", "#e8c266"),
    "blue": ("#1d5fb0", "#84b8ff"),
    "magenta": ("#8e3a9d", "#e29af0"),
    "cyan": ("#0b7285", "#6fd3e3"),
    "white": ("#5a6570", "#e3e8ec"),
    "soft": ("#5a6570", "#b4bec8"),
    "paper": ("#ffffff", "#14191f"),
    "bar": ("#eef0f2", "#2c343c"),
}


class Terminal:
    """A program in a pseudo terminal."""

    def __init__(self, columns, rows, name, *args):
        import pyte

        self.screen = pyte.Screen(columns, rows)
        stream = pyte.ByteStream(self.screen)
        self.master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

        def own_terminal():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [EXAMPLES / name, *args], stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=own_terminal, env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"})
        os.close(slave)
        self.lock = threading.Lock()

        def read():
            while True:
                try:
                    data = os.read(self.master, 65536)
                except OSError:  # the program has ended
                    return
                if not data:
                    return
                with self.lock:
                    stream.feed(data)

        self.reader = threading.Thread(target=read, daemon=True)
        self.reader.start()

    def press(self, keys):
        os.write(self.master, keys.encode())

    def lines(self):
        with self.lock:
            return [line.rstrip() for line in self.screen.display]

    def until(self, pattern, times=1):
        """Waits until the screen has this so often."""
        end = time.monotonic() + DEADLINE
        while len(re.findall(pattern, "\n".join(self.lines()), re.MULTILINE)) < times:
            if time.monotonic() > end:
                sys.exit(f"not within {DEADLINE} s: {pattern}\n" + "\n".join(self.lines()))
            time.sleep(0.02)

    def ended(self):
        self.process.wait(DEADLINE)
        self.reader.join(DEADLINE)

    def cells(self):
        """Rows of (character, colour, background, bold), without what is blank below."""
        rows = []
        with self.lock:
            for y in range(self.screen.lines):
                row = []
                for x in range(self.screen.columns):
                    cell = self.screen.buffer[y][x]
                    front, back = cell.fg.removeprefix("bright"), cell.bg.removeprefix("bright")
                    if cell.reverse:
                        front, back = ("paper" if back == "default" else back), front
                    row.append((cell.data, front, back, cell.bold))
                rows.append(row)
            cursor = self.screen.cursor
            if not cursor.hidden and self.process.poll() is None:
                rows[cursor.y][cursor.x] = (" ", "default", "soft", False)
        while rows and all(c == " " and back == "default" for c, _, back, _ in rows[-1]):
            rows.pop()
        return rows


class Stage:
    """The programs of one picture, on a discovery port that no other has; ended with it."""

    def __init__(self, columns=80, rows=24):
        self.size = columns, rows
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            self.port = str(free.getsockname()[1])
        self.network = ["--bind", "127.0.0.1", "--port", self.port]
        self.processes = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()

    def run(self, name, *args, network=None):
        """In the background. Gives its process, to which lines can be said."""
        process = subprocess.Popen([EXAMPLES / name, *args, *(network or self.network)], stdin=subprocess.PIPE,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
        self.processes.append(process)
        return process

    def show(self, name, *args, network=None):
        terminal = Terminal(*self.size, name, *args, *(network or self.network))
        self.processes.append(terminal.process)
        return terminal


def say(process, line):
    process.stdin.write(line + "\n")
    process.stdin.flush()


def discover():
    with Stage(columns=88, rows=12) as stage, tempfile.TemporaryDirectory() as folder:
        stage.run("chatroom", "--name", "alice")
        stage.run("chatroom", "--name", "bob")
        stage.run("lab", "2", network=["127.0.0.1", stage.port])
        terminal = stage.show("discover")
        terminal.until(r"alice|bob|sensor-\d", 4)
        time.sleep(2)  # so that not all have come at the same time
        stage.run("send_file", "receive", folder, "--name", "archive")
        terminal.until("archive")
        time.sleep(2)
        return "cargo run --example discover -- --bind 127.0.0.1", terminal.cells()


def chatroom():
    with Stage(columns=72, rows=14) as stage:
        bob = stage.run("chatroom", "--name", "bob")
        terminal = stage.show("chatroom", "--name", "alice")
        terminal.until("bob is here")
        terminal.press("Anyone for lunch?\r")
        terminal.until("^(alice: )?.*lunch")
        say(bob, "In five minutes.")
        terminal.until("In five minutes")
        carol = stage.run("chatroom", "--name", "carol")
        terminal.until("carol is here")
        say(carol, "Wait for me!")
        terminal.until("Wait for me")
        bob.stdin.close()
        terminal.until("bob has left")
        terminal.press("On my w")
        terminal.until("> On my w$")
        return "cargo run --example chatroom -- --name alice --bind 127.0.0.1", terminal.cells()


def telemetry():
    with Stage(rows=16) as stage:
        terminal = stage.show("telemetry", "collect")
        stage.run("telemetry", "sense", "--name", "roof", "--count", "3")
        stage.run("telemetry", "sense", "--name", "cellar", "--count", "2", "--every", "50")
        terminal.until(r"roof-\d|cellar-\d", 5)
        time.sleep(6)  # for some history
        return "cargo run --example telemetry -- collect --bind 127.0.0.1", terminal.cells()


def lab():
    with Stage(rows=14) as stage:
        network = ["127.0.0.1", stage.port]
        sensors = stage.run("lab", "4", network=network)
        terminal = stage.show("lab", "show", network=network)
        terminal.until(r"^sensor-\d +1 ", 4)
        time.sleep(1.5)
        sensors.kill()
        sensors.wait()
        terminal.until(r"^sensor-\d +\d +0 ", 4)
        stage.run("lab", "4", network=network)
        terminal.until(r"^sensor-\d +2 +1 ", 4)
        time.sleep(1.5)
        return "cargo run --example lab -- show 127.0.0.1", terminal.cells()


def send_file():
    with Stage(columns=72, rows=10) as stage, tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        film = path / "film.mkv"
        film.write_bytes(os.urandom(60_000_000))
        (path / "in").mkdir()
        receiver = stage.run("send_file", "receive", folder + "/in", "--name", "archive")
        # In the folder of the file, so that it is called as a reader would call it.
        before = os.getcwd()
        os.chdir(folder)
        terminal = stage.show("send_file", "send", "film.mkv", "--limit", "20")
        os.chdir(before)
        terminal.until(r"3\d %")
        receiver.kill()
        receiver.wait()
        terminal.until("again|lost|gone|cut|wait")
        stage.run("send_file", "receive", folder + "/in", "--name", "archive")
        terminal.until(r"6\d %")
        return "cargo run --example send_file -- send film.mkv --bind 127.0.0.1", terminal.cells()


def camera():
    with Stage(columns=64, rows=20) as stage:
        stage.run("camera", "film")
        terminal = stage.show("camera", "watch")
        terminal.until("▀.*\n.*▀")
        time.sleep(2)
        return "cargo run --example camera -- watch --bind 127.0.0.1", terminal.cells()


def doctor():
    with Stage(columns=100, rows=30) as stage:
        stage.run("chatroom", "--name", "alice")
        terminal = stage.show("doctor")
        terminal.ended()
        return "cargo run --example doctor -- --bind 127.0.0.1", terminal.cells()


SCENES = {scene.__name__: scene for scene in (discover, chatroom, telemetry, lab, send_file, camera, doctor)}


def style():
    def rules(dark):
        return "".join(f".{name}{{fill:{pair[dark]}}}" for name, pair in COLOURS.items())

    return rules(0) + f"@media (prefers-color-scheme: dark){{{rules(1)}}}"


def fill(colour):
    return f'class="{colour}"' if colour in COLOURS else f'fill="#{colour}"'


def blocks(rows):
    """The pixels of half blocks and backgrounds: rectangles of one colour, as large as they come."""
    def halves(cell):
        character, front, back, _ = cell
        return {"▀": (front, back), "▄": (back, front), "█": (front, front)}.get(character, (back, back))

    # A cell that is drawn as text has its background here alone.
    pixels = []
    for row in rows:
        has_picture = any(cell[0] == "▀" for cell in row)
        for half in (0, 1):
            pixels.append([halves(cell)[half] if has_picture or cell[0] not in "█" else cell[2] for cell in row])
    done = set()
    found = {}
    for y, x in itertools.product(range(len(pixels)), range(len(pixels[0]) if pixels else 0)):
        colour = pixels[y][x]
        if (y, x) in done or colour == "default":
            continue
        right = x
        while right < len(pixels[y]) and pixels[y][right] == colour and (y, right) not in done:
            right += 1
        low = y
        while low < len(pixels) and all(pixels[low][i] == colour and (low, i) not in done for i in range(x, right)):
            low += 1
        done.update(itertools.product(range(y, low), range(x, right)))
        found.setdefault(colour, []).append((x, y, right - x, low - y))
    return found


def draw(title, rows):
    """The window as SVG."""
    columns = max(len(row) for row in rows)
    width, height = columns * WIDTH + 2 * MARGIN, len(rows) * HEIGHT + 2 * MARGIN + BAR
    top = BAR + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="monospace" font-size="13" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{style()}text{{white-space:pre}}</style>",
        f'<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="6" class="paper" stroke="#8a949e"/>',
        f'<path d="M1 {BAR}V6a5 5 0 0 1 5-5h{width - 12}a5 5 0 0 1 5 5v{BAR - 6}z" class="bar"/>',
        f'<text x="{MARGIN}" y="20" class="soft" font-size="12">$ {escape(title)}</text>',
    ]
    half = HEIGHT / 2
    for colour, rectangles in blocks(rows).items():
        path = "".join(f"M{MARGIN + x * WIDTH} {top + y * half:g}h{w * WIDTH}v{h * half:g}h-{w * WIDTH}z"
                       for x, y, w, h in rectangles)
        parts.append(f'<path d="{path}" {fill(colour)} shape-rendering="crispEdges"/>')
    for y, row in enumerate(rows):
        has_picture = any(cell[0] == "▀" for cell in row)
        base = top + y * HEIGHT + 13
        x = 0
        for (colour, bold), run in itertools.groupby(row, key=lambda cell: (cell[1], cell[3])):
            text = "".join(" " if has_picture and cell[0] in "▀▄█" else cell[0] for cell in run)
            # A gap of two begins a new text, which needs no blanks then.
            for match in re.finditer(r"\S+(?: \S+)*", text):
                weight = ' font-weight="bold"' if bold else ""
                parts.append(
                    f'<text x="{MARGIN + (x + match.start()) * WIDTH}" y="{base}" '
                    f'textLength="{len(match.group()) * WIDTH}" {fill(colour)}{weight}>{escape(match.group())}</text>')
            x += len(text)
    return "\n".join(parts) + "\n</svg>\n"


def strange(drawn):
    """Names of this machine that stand in a picture."""
    words = {socket.gethostname(), socket.gethostname().split(".")[0], getpass.getuser(), str(HERE.parent)}
    text = re.sub(r"<style>.*?</style>|<[^>]*>", " ", drawn)
    return sorted(word for word in words if re.search(rf"\b{re.escape(word)}\b", text))


def check():
    for name in SCENES:
        path = HERE / f"terminal-{name}.svg"
        drawn = path.read_text(encoding="utf-8") if path.exists() else sys.exit(f"{path.name} is not there")
        if len(drawn.encode()) >= LARGEST:
            sys.exit(f"{path.name} has {len(drawn.encode())} bytes")
        if f"<style>{style()}" not in drawn:
            sys.exit(f"{path.name} was not made by this script as it is")


def main():
    names = sys.argv[1:]
    if names == ["--check"]:
        return check()
    for name in names or SCENES:
        drawn = draw(*SCENES[name]())
        if found := strange(drawn):
            sys.exit(f"{name} shows {found}")
        if len(drawn.encode()) >= LARGEST:
            sys.exit(f"{name} has {len(drawn.encode())} bytes")
        (HERE / f"terminal-{name}.svg").write_text(drawn, encoding="utf-8")
        print(f"{name}: {len(drawn.encode())} bytes")


if __name__ == "__main__":
    main()
