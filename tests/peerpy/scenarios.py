"""What peerpy's own test suite does, with one of its peers replaced by another program.

    scenarios.py connects ADDRESS     peerpy is the one that connects to ADDRESS
    scenarios.py accepts [ADDRESS]    peerpy accepts, prints what it hears, until its input ends

An assertion that fails, fails the program.
"""

import json
import os
import sys
import time
from contextlib import ExitStack

from peerpy import Peer


def say(*words):
    # In one write: several threads say something.
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def peer(address="127.0.0.1", timeout=1.0, **handlers):
    quiet = {"listen": lambda peer: None, "stop": lambda peer: None}
    return Peer(address, invisible=True, timeout=timeout, handlers={**quiet, **handlers})


def on_listen(peer):
    say("listening", peer.address_name)


def until(done):
    end = time.monotonic() + 15
    while not done():
        assert time.monotonic() < end, "too late"
        time.sleep(0.01)


def connects(address, data_types):
    with ExitStack() as stack:
        peers = [stack.enter_context(peer()) for _ in range(8)]
        new = iter(peers)

        # test_connect_successful
        first = next(new)
        connection = first.connect(address)
        assert connection
        assert address in first.connections

        # test_connect_fails
        assert not first.connect(first.address)
        assert first.connect(address, data_type="json") is connection
        assert first.connect(address, data_type="bytes") is not connection
        until(lambda: connection.closed)

        # test_receive_raw, test_receive_json, test_receive_bytes
        for data_type in data_types:
            connection = next(new).connect(address, data_type=data_type)
            assert connection.send(b"2easy4u" if data_type == "bytes" else "2easy4u")

        # test_receive_multiple
        both = [next(new).connect(address, data_type="json") for _ in range(2)]
        for i in range(15):
            for connection in both:
                assert connection.send(f"data{i}")

        # test_receive_stream, test_stream: all of one size
        connection = next(new).connect(address, data_type=data_types[0], stream=True)
        for _ in range(15):
            assert connection.send(b"data" if data_types[0] == "bytes" else "data")

        # test_send_large: patient, or on a busy machine its keepalives would fall into the message.
        # So it has to be told by force that it is over, and its server is not waited for.
        patient = stack.enter_context(peer(timeout=20.0))
        connection = patient.connect(address, data_type=data_types[0])
        assert connection.send(list(range(int(2e6))))
        connection.close(force=True)
        until(lambda: not connection.thread.is_alive())

        # test_disconnect
        last = next(new)
        connection = last.connect(address)
        connection.close()
        until(lambda: not connection.thread.is_alive() and not last.connections)

        # Here they all stop, as at the end of a `with`.
    for one in peers:
        until(lambda: not one.server_thread.is_alive() and not one.connections)
    say("done")


def accepts(address="127.0.0.1"):
    def on_connection(peer, connection):
        # As in its tests: set here, and not in the "offer" handler.
        connection.handlers["data"] = lambda connection, data: say("data", pack(data))
        connection.handlers["close"] = lambda connection: say("closed")
        say("connected", connection.target_name)

    with peer(address, listen=on_listen, connection=on_connection):
        sys.stdin.read()


def pack(data):
    return json.dumps(data.hex() if isinstance(data, bytes) else data)


def lengths(address="127.0.0.1"):
    """Says how long each message of `bytes` is that it hears."""

    def on_offer(peer, connection):
        connection.set_handler("data", lambda connection, data: say("length", len(data)))
        return True

    with peer(address, listen=on_listen, offer=on_offer):
        sys.stdin.read()


def main(what, *arguments):
    if what == "connects":
        address, *data_types = arguments
        connects(address, data_types)
    else:
        {"accepts": accepts, "lengths": lengths}[what](*arguments)
    os._exit(0)  # threads of peerpy may be waiting for a timeout


if __name__ == "__main__":
    main(*sys.argv[1:])
