"""A TCP proxy on loopback that counts bytes in both directions, and requests."""

import socket
import threading

from requests_in import RequestCounter

PIECE_BYTES = 1 << 20


class CountingProxy:
    """Forwards every connection to `target` ("host:port").

    `down` is what came from the target, `up` what went to it, `requests` how
    many HTTP requests began."""

    def __init__(self, target):
        host, port = target.rsplit(":", 1)
        self.target = (host, int(port))
        self.lock = threading.Lock()
        self.down = self.up = self.requests = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def reset(self):
        with self.lock:
            self.down = self.up = self.requests = 0

    def close(self):
        self.listener.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection(self.target)
            except OSError:
                if self.listener.fileno() < 0:
                    return
                continue
            for connection in (client, server):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, sink, up in ((client, server, True), (server, client, False)):
                threading.Thread(target=self.pump, args=(source, sink, up), daemon=True).start()

    def pump(self, source, sink, up):
        buffer = memoryview(bytearray(PIECE_BYTES))
        counter = RequestCounter()
        try:
            while count := source.recv_into(buffer):
                began = counter.feed(buffer[:count]) if up else 0
                # Counted before it is passed on, so that whoever has seen the
                # answer finds it in the numbers.
                with self.lock:
                    if up:
                        self.up += count
                        self.requests += began
                    else:
                        self.down += count
                sink.sendall(buffer[:count])
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for connection in (source, sink):
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
