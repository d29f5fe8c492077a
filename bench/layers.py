"""Layers made as streams: tar, gzip and both digests in one pass, no disk.

The slow part of making gigabytes is compression. So large contents are put
together from pieces that were compressed once: a deflate stream may be cut and
joined wherever a full flush forgot what came before (RFC 1951, section 3.2.4).
"""

import hashlib
import zlib

BLOCK = 512
LEVEL = 6


class Piece:
    """Some bytes with their deflate stream."""

    def __init__(self, data):
        self.data = data
        deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, -15)
        self.packed = deflate.compress(data) + deflate.flush(zlib.Z_FULL_FLUSH)


class LayerStream:
    """Iterates over the compressed bytes of a layer with these `files`: names
    with a list of pieces or bytes each. A name that ends in "/" is a directory."""

    GATHERED_BYTES = 1 << 20

    def __init__(self, files):
        self.files = files
        self.blob, self.plain = hashlib.sha256(), hashlib.sha256()
        self.size = self.plain_size = self.crc = 0
        self.waiting, self.waiting_bytes = [], 0
        self.ready, self.ready_bytes = [], 0

    def __iter__(self):
        self.emit(b"\x1f\x8b\x08\0\0\0\0\0\0\xff")  # RFC 1952, section 2.3
        for name, contents in self.files:
            self.small(header(name, sum(map(length, contents))))
            for content in contents:
                if isinstance(content, Piece):
                    self.flush_small()
                    self.count(content.data)
                    self.emit(content.packed)
                else:
                    self.small(content)
            self.small(bytes(-sum(map(length, contents)) % BLOCK))
            if self.ready_bytes > self.GATHERED_BYTES:
                yield self.taken()
        self.small(bytes(2 * BLOCK))
        self.flush_small()
        end = zlib.compressobj(LEVEL, zlib.DEFLATED, -15)
        self.emit(end.flush(zlib.Z_FINISH))
        self.emit(self.crc.to_bytes(4, "little") + (self.plain_size % 2**32).to_bytes(4, "little"))
        yield self.taken()

    def small(self, data):
        self.waiting.append(data)
        self.waiting_bytes += len(data)
        if self.waiting_bytes > self.GATHERED_BYTES:
            self.flush_small()

    def flush_small(self):
        if self.waiting:
            piece = Piece(b"".join(self.waiting))
            self.waiting, self.waiting_bytes = [], 0
            self.count(piece.data)
            self.emit(piece.packed)

    def count(self, data):
        self.plain.update(data)
        self.plain_size += len(data)
        self.crc = zlib.crc32(data, self.crc)

    def emit(self, data):
        self.blob.update(data)
        self.size += len(data)
        self.ready.append(data)
        self.ready_bytes += len(data)

    def taken(self):
        data, self.ready, self.ready_bytes = b"".join(self.ready), [], 0
        return data

    def finish(self):
        return "sha256:" + self.blob.hexdigest(), self.size

    def diff_id(self):
        return "sha256:" + self.plain.hexdigest()


def length(content):
    return len(content.data) if isinstance(content, Piece) else len(content)


class Link(str):
    """The name of a symbolic link, which knows its target."""

    def __new__(cls, name, target):
        link = super().__new__(cls, name)
        link.target = target
        return link


def header(name, size):
    """A tar header (POSIX ustar); names of more than 100 bytes are not needed here."""
    target = getattr(name, "target", "").encode()
    name = name.encode()
    assert len(name) <= 100 and len(target) <= 100, name
    kind = b"2" if target else b"5" if name.endswith(b"/") else b"0"
    mode = b"0000644\0" if name.endswith((b".txt", b".py")) else b"0000755\0"
    fields = (
        name.ljust(100, b"\0") + mode + b"0000000\0" + b"0000000\0" + b"%011o\0" % size
        + b"00000000000\0" + b" " * 8 + kind + target.ljust(100, b"\0") + b"ustar\x0000"
        + bytes(64) + bytes(16) + bytes(155) + bytes(12)
    )
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]
