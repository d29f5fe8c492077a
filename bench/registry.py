"""The registry that builders pull from and push to, and a way to put images
in it that needs no builder."""

import hashlib
import http.client
import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
GZIP_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"

# Repositories of runs: Session.repository makes the names.
PUSHED = re.compile(r"[a-z]+-[0-9]+-[0-9]+(-|$)")


class Registry:
    """Debian's docker-registry on loopback, with its files in `directory`."""

    def __init__(self, directory):
        self.directory = directory
        self.data = directory / "data/docker/registry/v2"
        self.sweep()
        start = [ROOT / "scripts/registry", "start", directory]
        done = subprocess.run(start, check=True, stdout=subprocess.PIPE, text=True)
        self.address = done.stdout.strip()

    def close(self):
        subprocess.run([ROOT / "scripts/registry", "stop", self.directory], check=False)

    def sweep(self):
        """Removes what an earlier run, ended by force, left behind."""
        left = [path for path in self.data.glob("repositories/*") if PUSHED.match(path.name)]
        for path in left:
            shutil.rmtree(path)
        if left:
            subprocess.run(["docker-registry", "garbage-collect", self.directory / "config.yml"],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def snapshot(self):
        """What is there: repositories and blobs."""
        blobs = self.data.glob("blobs/sha256/*/*")
        return set(self.data.glob("repositories/*")) | set(blobs)

    def restore(self, snapshot):
        """Forgets what was pushed since, so that runs do not fill the disk.
        The registry keeps no list of its own beside its files."""
        for path in self.snapshot() - snapshot:
            shutil.rmtree(path)


class Foreign:
    """A registry that somebody else runs: used, not cleaned."""

    def __init__(self, address):
        self.address = address

    def close(self):
        pass

    def snapshot(self):
        return set()

    def restore(self, snapshot):
        pass


class Repository:
    """Puts blobs and manifests (distribution-spec, "Push")."""

    def __init__(self, address, name):
        self.address, self.name = address, name

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(self.address)
        try:
            headers = headers or {}
            chunked = "Transfer-Encoding" in headers
            connection.request(method, path, body, headers, encode_chunked=chunked)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def demand(self, method, path, body=None, headers=None):
        status, headers, text = self.ask(method, path, body, headers)
        if status >= 300:
            raise SystemExit(f"{method} {path}: {status} {text.decode(errors='replace')[:500]}")
        return headers

    def manifest(self, tag):
        """The manifest with this tag, or None."""
        status, _, text = self.ask("GET", f"/v2/{self.name}/manifests/{tag}",
                                   headers={"Accept": MANIFEST})
        return json.loads(text) if status == 200 else None

    def put_stream(self, pieces, finish):
        """Sends pieces as they come; `finish()` tells digest and size at the end."""
        location = self.demand("POST", f"/v2/{self.name}/blobs/uploads/",
                               headers={"Content-Length": "0"})["Location"]
        headers = {"Content-Type": "application/octet-stream", "Transfer-Encoding": "chunked"}
        location = self.demand("PATCH", path_of(location), pieces, headers)["Location"]
        digest, size = finish()
        mark = "&" if "?" in location else "?"
        self.demand("PUT", f"{path_of(location)}{mark}digest={digest}",
                    headers={"Content-Length": "0"})
        return digest, size

    def put(self, data):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        location = self.demand("POST", f"/v2/{self.name}/blobs/uploads/",
                               headers={"Content-Length": "0"})["Location"]
        mark = "&" if "?" in location else "?"
        self.demand("PUT", f"{path_of(location)}{mark}digest={digest}", data,
                    {"Content-Type": "application/octet-stream"})
        return digest

    def put_image(self, tag, config, layers):
        """`layers` are descriptors of blobs that are here."""
        text = json.dumps(config, sort_keys=True).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": self.put(text), "size": len(text)},
            "layers": layers,
        }
        self.demand("PUT", f"/v2/{self.name}/manifests/{tag}", json.dumps(manifest).encode(),
                    {"Content-Type": MANIFEST})


def path_of(location):
    parts = urlsplit(location)
    return parts.path + (f"?{parts.query}" if parts.query else "")
