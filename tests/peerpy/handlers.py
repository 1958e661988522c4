"""A peerpy program as peerpy's own README writes it: the handler of data is set in the handler of
"connection". Prints what it is given.

    handlers.py listen
    handlers.py connect ADDRESS
"""

import sys
import time

from peerpy import Peer


def on_data(connection, data):
    print("data", data, flush=True)


def set_connection_handler(connection):
    connection.set_handler("data", on_data)


handlers = {
    "listen": lambda peer: print("listening on", peer.address_name, flush=True),
    "connection": lambda peer, connection: set_connection_handler(connection),
}
with Peer("127.0.0.1", invisible=True, handlers=handlers) as peer:
    if sys.argv[1] == "connect":
        peer.connect(sys.argv[2], data_type="json")
    while True:
        time.sleep(1.0)
