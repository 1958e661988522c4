"""A real peerpy peer, driven by a test: commands on stdin, what happens on stdout.

Each line is one JSON object. A command has "do"; its answer has "done" with the same word, and
everything else that happens is reported with "event". Bytes travel as {"hex": "00ff"}; what is
long can be told by its length, {"bytes": 1000} or {"text": 1000}, and is digits then.

    driver.py [ADDRESS]

The peer is used as peerpy's users use it: its handlers, connect, send, close, stop. The handlers
are those of the offer, because peerpy's reader thread starts before its "connection" event.
"""

import glob
import json
import os
import sys
import threading
import time

import peerpy
import peerpy.connection

LOCK = threading.Lock()


def say(**what):
    with LOCK:
        sys.__stdout__.write(json.dumps(what) + "\n")
        sys.__stdout__.flush()


def pack(data):
    return {"hex": data.hex()} if isinstance(data, bytes) else data


def unpack(data):
    kind = list(data) if isinstance(data, dict) else []
    if kind == ["hex"]:
        return bytes.fromhex(data["hex"])
    if kind == ["text"]:
        return digits(data["text"])
    if kind == ["bytes"]:
        return digits(data["bytes"]).encode()
    return data


def digits(length):
    return ("0123456789" * (length // 10 + 1))[:length]


def crashed(args):
    say(event="crash", what=f"{args.exc_type.__name__}: {args.exc_value}")


def reporting_pings(build_header):
    """Reports each keepalive that peerpy is about to send; changes nothing of it."""

    def build(header_type, contents):
        if header_type == "PING":
            say(event="ping")
        return build_header(header_type, contents)

    return build


def waited():
    """For how many seconds the threads of this process but the main one have waited for a core; 0 where
    the system does not say."""
    nanoseconds = 0
    for path in glob.glob("/proc/self/task/*/schedstat"):
        if path.split("/")[4] != str(os.getpid()):
            try:
                with open(path, encoding="ascii") as file:
                    nanoseconds += int(file.read().split()[1])
            except OSError:
                pass  # it has just ended
    return nanoseconds / 1e9


class Driver:
    def __init__(self, address):
        self.connection = None  # the newest one: a test uses one at a time
        self.reply = False
        self.welcome = True
        self.busy = 0  # how many seconds each offer takes
        self.peer = peerpy.Peer(
            address,
            invisible=True,  # else it binds UDP port 1024
            timeout=2,
            handlers={
                "listen": lambda peer: say(event="listening", address=peer.address_name),
                "offer": self.on_offer,
                "connection": self.on_connection,
                "stop": lambda peer: say(event="stopped"),
            },
        )
        self.peer.start()

    def handlers(self):
        return {"data": self.on_data, "close": self.on_close}

    def on_offer(self, peer, connection):
        for name, handler in self.handlers().items():
            connection.set_handler(name, handler)
        say(
            event="offer",
            target=connection.target_name,
            data_type=connection.data_type,
            strict=connection.strict,
            stream=connection.stream,
            data_size=connection.data_size,
        )
        time.sleep(self.busy)
        return self.welcome

    def on_connection(self, peer, connection):
        self.connection = connection
        say(event="connection", target=connection.target_name)

    def on_data(self, connection, data):
        if self.reply:
            connection.send({"heard": data})
        say(event="data", data=pack(data))

    def on_close(self, connection):
        say(event="close")

    # the commands

    def connect(self, address, **options):
        """options are those of peerpy's connect: data_type, strict, stream, data_size."""
        connection = self.peer.connect(address, handlers=self.handlers(), **options)
        return {"connected": bool(connection)}

    def send(self, data):
        return {"sent": self.connection.send(unpack(data))}

    def broadcast(self, data):
        self.peer.broadcast(unpack(data))
        return {}

    def set(self, reply=False, welcome=True, busy=0):
        self.reply, self.welcome, self.busy = reply, welcome, busy
        return {}

    def timeout(self, seconds):
        """How soon peerpy sends a keepalive, and sees that it was closed from its own side."""
        self.peer.timeout = seconds
        return {}

    def close(self):
        self.connection.close()
        return {}

    def state(self):
        return {"closed": self.connection.closed, "connections": len(self.peer.connections)}

    def cpu(self, seconds):
        """The share of one core that this process takes while it has nothing to do, and that it would
        take if nobody else were there: then nothing would wait for a core."""
        before, start = (time.process_time(), waited()), time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - start
        share = (time.process_time() - before[0]) / took
        return {"share": share, "wanted": share + (waited() - before[1]) / took}

    def stop(self):
        self.peer.stop()
        return {}


def main():
    threading.excepthook = crashed
    peerpy.connection.build_header = reporting_pings(peerpy.connection.build_header)
    sys.stdout = sys.stderr  # what peerpy itself prints
    driver = Driver(*(sys.argv[1:] or ["127.0.0.1"]))
    for line in sys.stdin:
        command = json.loads(line)
        do = command.pop("do")
        try:
            say(done=do, **getattr(driver, do)(**command))
        except Exception as error:  # the test decides what it means
            say(done=do, error=f"{type(error).__name__}: {error}")
    os._exit(0)  # peerpy's threads may be waiting for a timeout


main()
