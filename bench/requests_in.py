"""How many HTTP/1.1 requests begin in a stream of bytes.

Follows Content-Length and chunked bodies (RFC 9112 section 6), so that a
layer's bytes are never taken for a request. A connection that does not speak
HTTP, such as somebody's attempt at TLS, counts nothing.
"""

HEAD_BYTES_MAX = 64 * 1024


class RequestCounter:
    """Fed with what a client sends on one connection."""

    def __init__(self):
        self.head, self.skip, self.chunked, self.lost = b"", 0, False, False

    def feed(self, data):
        """Takes some bytes; returns how many requests' heads ended in them."""
        began = 0
        while len(data) and not self.lost:
            if self.skip:
                taken = min(self.skip, len(data))
                self.skip -= taken
                data = data[taken:]
                continue
            end = b"\r\n" if self.chunked else b"\r\n\r\n"
            # Bodies are skipped above without being copied; heads are short.
            before = len(self.head)
            self.head += bytes(data[:HEAD_BYTES_MAX])
            at = self.head.find(end, max(0, before - len(end)))
            if at < 0:
                data = data[HEAD_BYTES_MAX:]
                self.lost = len(self.head) > HEAD_BYTES_MAX
                continue
            data = data[at + len(end) - before:]
            line, self.head = self.head[:at], b""
            if self.chunked:
                self.chunk(line)
            else:
                began += self.request(line)
        return began

    def request(self, head):
        lines = head.split(b"\r\n")
        if not lines[0].endswith((b" HTTP/1.1", b" HTTP/1.0")):
            self.lost = True
            return 0
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            name, value = name.strip().lower(), value.strip().lower()
            if name == b"content-length":
                self.skip = int(value)
            elif name == b"transfer-encoding" and value.endswith(b"chunked"):
                self.chunked = True
        return 1

    def chunk(self, line):
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError:
            self.lost = True
            return
        # The last chunk has no bytes; nobody here sends trailers.
        self.skip, self.chunked = size + 2, size > 0
