#!/usr/bin/env python3
"""Makes the drawings of the manual: handshake.svg, message.svg, rooms.svg and threads.svg.

    python3 docs/drawings.py            writes them beside this file
    python3 docs/drawings.py --check    fails where they are not up to date

Only the standard library. Change the drawings here, never in the SVG files.
"""

import pathlib
import sys
from xml.sax.saxutils import escape

# A class of the style below; for each, its colour on a light page and on a dark one.
INK, SOFT, PAPER = "ink", "soft", "paper"
BLUE, GREEN, SAND, GREY = "blue", "green", "sand", "grey"
COLOURS = {
    INK: ("#1f2933", "#e3e8ec"),
    SOFT: ("#5a6570", "#b4bec8"),
    PAPER: ("#ffffff", "#14191f"),
    BLUE: ("#dbe9f8", "#1d3a57"),
    GREEN: ("#dff0dc", "#224a2b"),
    SAND: ("#f6ecd6", "#54421c"),
    GREY: ("#eef0f2", "#2c343c"),
}


def style(dark):
    """The rules for one kind of page. `l` stands for a line of that colour."""
    rules = []
    for name, colours in COLOURS.items():
        colour = colours[dark]
        rules.append(f".{name}{{fill:{colour}}}.l{name}{{stroke:{colour}}}")
    return "".join(rules)




class Drawing:
    def __init__(self, width, height, title):
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="DejaVu Sans, Verdana, sans-serif" '
            f'font-size="13" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{style(0)}@media (prefers-color-scheme: dark){{{style(1)}}}</style>",
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
            f'markerHeight="8" orient="auto-start-reverse"><path d="M0 1 9 5 0 9z" class="{INK}"/>'
            "</marker></defs>",
            f'<rect width="{width}" height="{height}" class="{PAPER}"/>',
        ]

    def text(self, x, y, text, anchor="start", mono=False, soft=False, bold=False, size=None):
        style = f' text-anchor="{anchor}"'
        style += ' font-family="DejaVu Sans Mono, Consolas, monospace"' if mono else ""
        style += f' class="{SOFT if soft else INK}"'
        style += ' font-weight="bold"' if bold else ""
        style += f' font-size="{size}"' if size else ""
        self.parts.append(f'<text x="{x}" y="{y}"{style}>{escape(text)}</text>')

    def box(self, x, y, w, h, fill, lines, dashed=False, radius=4):
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="{radius}" '
            f'class="{fill} l{INK}"{dash}/>'
        )
        top = y + h / 2 - (len(lines) - 1) * 8.5 + 4.5
        for i, line in enumerate(lines):
            first = i == 0
            self.text(x + w / 2, top + 17 * i, line, "middle", soft=not first, bold=first,
                      size=None if first else 12)

    def line(self, x1, y1, x2, y2, tip=True, dashed=False, soft=False, double=False):
        extra = ' marker-end="url(#tip)"' if tip else ""
        extra += ' marker-start="url(#tip)"' if double else ""
        extra += ' stroke-dasharray="4 3"' if dashed else ""
        self.parts.append(
            f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" '
            f'class="l{SOFT if soft else INK}" stroke-width="1.3"{extra}/>'
        )

    def band(self, x, y1, y2, fill):
        self.parts.append(
            f'<rect x="{x - 5}" y="{y1}" width="10" height="{y2 - y1}" '
            f'class="{fill} l{INK}"/>'
        )

    def done(self):
        return "\n".join(self.parts) + "\n</svg>\n"


def handshake():
    d = Drawing(860, 744, "A connection of two lanpeers, from the handshake to the close")
    left, right = 265, 595
    for x, name in ((left, "Alice connects"), (right, "Bob accepts")):
        d.box(x - 75, 16, 150, 30, BLUE, [name], radius=6)
        d.line(x, 46, x, 700, tip=False, dashed=True, soft=True)

    def message(y, text, to_right=True, note=None):
        a, b = (left + 6, right - 6) if to_right else (right - 6, left + 6)
        d.line(a, y, b, y + 14)
        d.text((left + right) / 2, y - 5, text, "middle", mono=True, size=12)
        if note:
            d.text((left + right) / 2, y + 28, note, "middle", soft=True, size=11)

    def says(x, y, *lines):
        for i, line in enumerate(lines):
            at = left - 16 if x == left else right + 16
            d.text(at, y + 16 * i, line, "end" if x == left else "start", mono=i == 0,
                   soft=i > 0, size=12 if i == 0 else 11)

    def part(y, text):
        d.line(30, y, 830, y, tip=False, soft=True)
        d.text(30, y + 18, text, bold=True, size=12)

    d.text(30, 66, "1  Handshake", bold=True, size=12)
    d.band(left, 72, 250, SAND)
    says(left, 98, "peer.connect(addr)", "waits for the answer,", "at most timeout, 2 s")
    message(86, "TCP connect", note="Bob's listener starts a reader")
    message(140, "HELLO, WHO", note="128 bytes each: data type, address; name")
    says(right, 158, "peer.accept()", "or an Offer of incoming(),", "which the program accepts,",
         "denies, or drops: then it is denied")
    d.band(right, 156, 232, SAND)
    message(232, "ACCEPT, WHO", to_right=False, note="or DENY|reason=… , and the connection is over")

    part(284, "2  Messages")
    says(left, 326, "conn.send(&item)", "Ok: written, or queued", "behind what is not yet written")
    message(322, "length, payload", note="in text: 128 bytes DATA…, then the payload")
    says(right, 340, "conn.recv()", "in the order it was sent")
    message(382, "length, payload", to_right=False, note="either side, whenever it likes")

    part(432, "3  Close")
    d.band(left, 462, 672, SAND)
    says(left, 476, "conn.close()", "no more sends; the queue is", "written out, then a goodbye.",
         "Waits at most close_timeout, 5 s")
    message(476, "what was queued, goodbye", note="in text: FIN for goodbye")
    d.band(right, 492, 610, GREEN)
    says(right, 512, "conn.recv()", "what has arrived is still there,", "then the end:",
         "CloseReason::ClosedThere")
    d.text((left + right) / 2, 546, "Bob takes in everything, writes out", "middle", soft=True, size=11)
    d.text((left + right) / 2, 562, "what he still has queued, and only then:", "middle", soft=True,
           size=11)
    message(606, "goodbye, so many taken in; FIN", to_right=False,
            note="in text: FIN, and that is all")
    message(666, "taken, FIN")
    says(left, 640, "Ok(())", "CloseReason::ClosedHere:", "nothing was lost")
    d.text(30, 726, "A bar: sand, a call that waits for the other side; green, Bob's reader at work. Time runs down.",
           soft=True, size=11)
    return d.done()


def legend(d, x, y):
    """What the colours stand for, in one line."""
    for fill, what, width in ((BLUE, "your program", 130), (SAND, "a bounded queue", 150),
                              (GREEN, "lanpeer", 100), (GREY, "the system", 120)):
        d.box(x, y - 11, 14, 14, fill, [])
        d.text(x + 20, y, what, soft=True, size=11)
        x += width


def message():
    d = Drawing(980, 604, "What happens to a message, from send to recv")
    d.text(245, 30, "Alice, who sends", "middle", bold=True, size=14)
    d.text(735, 30, "Bob, who receives", "middle", bold=True, size=14)
    d.line(490, 16, 490, 400, tip=False, dashed=True, soft=True)

    # Down Alice's side.
    d.box(40, 50, 410, 52, BLUE, ["conn.send(&item)", "on your thread"])
    d.line(245, 102, 245, 126)
    d.box(40, 128, 410, 52, GREEN, ["encode, and put the length before it",
                                    "too large, or the wrong size for a stream: refused"])
    d.line(150, 180, 150, 326)
    d.text(142, 222, "nothing waits,", "end", soft=True, size=11)
    d.text(142, 237, "or the message", "end", soft=True, size=11)
    d.text(142, 252, "is large:", "end", soft=True, size=11)
    d.text(142, 267, "written by your", "end", soft=True, size=11)
    d.text(142, 282, "own thread", "end", soft=True, size=11)
    d.line(310, 180, 310, 208)
    d.text(318, 198, "others wait, or a burst", soft=True, size=11)
    d.box(180, 210, 270, 46, SAND, ["send queue", "1 MiB; full: send waits here"])
    d.line(310, 256, 310, 278)
    d.box(180, 280, 270, 26, GREEN, ["sender, flusher or writer"])
    d.line(310, 306, 310, 326)
    d.box(40, 328, 410, 52, GREY, ["the system's send buffer", "full: the rest waits in the queue"])

    # Across.
    d.line(245, 380, 245, 420, tip=False)
    d.line(245, 420, 735, 420, tip=False)
    d.line(735, 420, 735, 382)
    d.text(490, 437, "TCP: whole, in order, or the connection ends", "middle", soft=True, size=11)

    # Up Bob's side.
    d.box(530, 328, 410, 52, GREY, ["the system's receive buffer", "full: TCP tells Alice's system to wait"])
    d.line(735, 328, 735, 308)
    d.box(530, 222, 410, 84, GREEN, ["reader, or a recv that waits: size, decode",
                                     "the size is checked before memory is reserved;",
                                     "not well formed, or no such value:", "the connection ends with the reason"])
    d.line(640, 222, 640, 182)
    d.box(530, 128, 230, 52, SAND, ["receive queue", "4,096 messages, 16 MiB"])
    d.text(652, 206, "full: the reader stops", soft=True, size=11)
    d.line(850, 222, 850, 104)
    d.text(858, 186, "with a", soft=True, size=11)
    d.text(858, 201, "handler", soft=True, size=11)
    d.line(640, 128, 640, 104)
    d.box(530, 50, 230, 52, BLUE, ["conn.recv()", "or iter(), receiver()"])
    d.box(790, 50, 150, 52, BLUE, ["your handler", "on the reader's thread"])

    d.line(30, 454, 950, 454, tip=False, soft=True)
    rows = [
        ("send returned Ok", "it is in Alice's send queue, or in her system's buffer"),
        ("close returned Ok", "Bob's reader has taken in all that was sent: it is in his queue, or his handler has it"),
        ("otherwise", "the connection ended, not normally: what was under way may be lost, and the reason says so"),
    ]
    for i, (what, means) in enumerate(rows):
        d.text(180, 482 + 24 * i, what, "end", mono=i < 2, size=12)
        d.text(196, 482 + 24 * i, means, size=12)
    d.text(30, 558, "Back-pressure runs against the arrows: a slow recv fills box after box, until send waits.",
           soft=True, size=11)
    legend(d, 30, 580)
    return d.done()


def threads():
    d = Drawing(980, 740, "Which thread does what")
    for x, w, name in ((20, 200, "your program"), (250, 220, "bounded queues"),
                       (500, 240, "threads of lanpeer"), (770, 190, "the system")):
        d.text(x + w / 2, 30, name, "middle", bold=True, size=14)

    d.text(20, 62, "once per peer", soft=True, size=12)
    d.box(20, 80, 200, 56, BLUE, ["watch", "discover needs no thread"])
    d.box(250, 80, 220, 56, SAND, ["found, lost", "1,024; full: the final state"])
    d.box(500, 80, 240, 56, GREEN, ["responder", "answers, and keeps the watches"])
    d.box(770, 80, 190, 56, GREY, ["UDP port 1024", "or discovery_port"])
    d.line(250, 108, 222, 108)
    d.line(500, 108, 472, 108)
    d.line(770, 108, 742, 108, double=True)

    d.box(20, 160, 200, 56, BLUE, ["events"])
    d.box(250, 160, 220, 56, SAND, ["events", "256; full: counted, not waited for"])
    d.box(500, 160, 240, 56, GREEN, ["timer", "ends what is dead or overdue"])
    d.box(770, 160, 190, 56, GREY, ["kernel's table", "of TCP connections"])
    d.line(250, 188, 222, 188)
    d.line(770, 188, 742, 188)

    d.box(20, 240, 200, 56, BLUE, ["accept, incoming, offers", "an Offer: accept or deny"])
    d.box(250, 240, 220, 56, SAND, ["offers", "waiting for the program's word"])
    d.box(500, 240, 240, 56, GREEN, ["listener", "accepts, starts a reader"])
    d.box(770, 240, 190, 56, GREY, ["listening socket"])
    d.line(770, 268, 742, 268)
    d.line(250, 268, 222, 268)
    d.line(500, 268, 472, 268)

    d.line(20, 324, 960, 324, tip=False, dashed=True, soft=True)
    d.text(20, 348, "once per connection", soft=True, size=12)

    d.box(500, 370, 240, 90, GREEN, ["reader", "first the handshake (2 s), then:",
                                     "bytes to messages, in order,", "until the connection ends"])
    d.box(770, 370, 190, 296, GREY, ["socket", "its buffers are", "the kernel's"])
    d.line(770, 415, 742, 415)
    d.line(548, 370, 462, 298)
    d.text(528, 344, "an offer", soft=True, size=11)
    d.line(640, 298, 640, 368, dashed=True)
    d.text(650, 344, "starts one for each connection", soft=True, size=11)
    d.box(250, 370, 220, 90, SAND, ["receive queue", "4,096 messages, 16 MiB", "full: the reader stops reading,",
                                    "so TCP holds the sender back"])
    d.box(20, 370, 200, 76, BLUE, ["recv, iter, receiver()", "your threads wait here;", "a lone recv reads the socket"])
    d.line(500, 398, 472, 398)
    d.line(250, 398, 222, 398)
    d.box(20, 472, 200, 44, BLUE, ["your handler", "runs on the reader's thread"], dashed=True)
    d.line(500, 448, 478, 494, tip=False)
    d.line(478, 494, 222, 494)
    d.text(350, 488, "with connect_with, accept_with: no queue", "middle", soft=True, size=11)

    d.box(20, 580, 200, 86, BLUE, ["send, try_send", "send waits only while", "the queue is full"])
    d.line(222, 596, 768, 596)
    d.text(488, 588, "nothing queued and the socket takes it: written at once", "middle", soft=True,
           size=11)
    d.box(250, 616, 220, 62, SAND, ["send queue", "1 MiB, or one larger message"])
    d.box(500, 616, 240, 62, GREEN, ["sender, flusher or writer", "120 KiB gathered; sender gone quiet;", "or the socket was full"],
          dashed=True)
    d.line(222, 647, 248, 647)
    d.line(472, 647, 498, 647)
    d.line(742, 647, 768, 647)
    d.text(20, 706, "Arrows show which way data goes; the dashed one starts a thread. Dashed boxes: only if they are used.",
           soft=True, size=11)
    d.text(20, 726, "keep_connected has threads of its own: see the table.", soft=True, size=11)
    return d.done()


def rooms():
    d = Drawing(980, 690, "The rooms of net, and who uses whom")
    d.text(20, 30, "A room uses only rooms below it; an arrow leads to one.", soft=True, size=12)
    d.box(420, 14, 22, 22, SAND, [])
    d.text(450, 30, "a machine: a type without a lock, a thread or a clock, and its states", soft=True,
           size=12)

    def room(x, y, w, name, what, machines=(), fill=GREEN):
        """A room with its machines, each a name and its states."""
        h = 62 + 36 * len(machines)
        d.box(x, y, w, h, fill, [])
        d.text(x + 14, y + 24, name, bold=True, size=14)
        d.text(x + 14, y + 44, what, soft=True, size=12)
        for i, (machine, states) in enumerate(machines):
            at = y + 54 + 36 * i
            d.box(x + 10, at, w - 20, 32, SAND, [])
            d.text(x + 20, at + 14, machine, size=12)
            d.text(x + 20, at + 27, states, soft=True, size=10.5)

    room(20, 50, 720, "endpoint", "one peer: listener, offers, open connections, events, stop, dead remotes")
    room(20, 128, 720, "handshake", "from a socket to an agreement, driven by one loop", [
        ("client, server", "bytes in; bytes to write, an agreement or a refusal out")])
    room(20, 242, 720, "link", "one connection: its terms, the pump from socket to program, its end", [
        ("Overdue", "an end that waits: writing, written")])
    room(388, 356, 352, "recv", "messages to the program, and who reads", [
        ("ReceiveQueue", "batches, lent, reading, recalled, at end, channel, ended")])
    room(20, 356, 352, "send", "messages to the socket, in order", [
        ("SendQueue, Gathering", "the half: here, out for a turn, gone; a burst: begun, seen")])
    room(20, 470, 352, "wire", "one socket's bytes, plain or encrypted: two halves")
    room(388, 470, 352, "life, context, burst, panics", "what the rooms above share", [
        ("Life", "open, closing, answering, over; and the one reason")])
    room(20, 600, 940, "os", "sockets, their table in the kernel, threads, the timer, locks and time", fill=GREY)
    d.box(770, 242, 190, 98, GREEN, [])
    d.text(784, 266, "discovery", bold=True, size=14)
    for y, what in ((286, "searches, watches,"), (304, "the responder;"), (322, "uses os alone")):
        d.text(784, y, what, soft=True, size=12)

    d.box(770, 50, 190, 140, GREEN, [])
    d.text(784, 74, "keep", bold=True, size=14)
    for y, what in ((94, "connections that come"), (112, "back; the topmost room")):
        d.text(784, y, what, soft=True, size=12)
    d.box(780, 124, 170, 56, SAND, [])
    d.text(790, 140, "Machine", size=12)
    for y, what in ((156, "of each peer: waiting,"), (170, "asking, up, refused")):
        d.text(790, y, what, soft=True, size=10.5)
    d.line(768, 81, 742, 81)
    for x in (190, 560):
        d.line(x, 112, x, 126)
        d.line(x, 226, x, 240)
        d.line(x, 340, x, 354)
    for x in (190, 560):
        d.line(x, 454, x, 468)
    d.line(374, 510, 386, 510)
    d.line(190, 532, 190, 598)
    d.line(560, 568, 560, 598)
    d.line(865, 340, 865, 598)
    d.text(20, 682, "proto, secure and format, the functions of bytes, know nothing of net: its rooms use them.", soft=True,
           size=11)
    return d.done()


def main():
    here = pathlib.Path(__file__).parent
    stale = []
    for name, make in (("handshake", handshake), ("message", message), ("rooms", rooms),
                       ("threads", threads)):
        path, drawn = here / f"{name}.svg", make()
        if "--check" not in sys.argv[1:]:
            path.write_text(drawn, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != drawn:
            stale.append(path.name)
    if stale:
        sys.exit(f"not up to date: {', '.join(stale)} (run python3 docs/drawings.py)")


if __name__ == "__main__":
    main()
