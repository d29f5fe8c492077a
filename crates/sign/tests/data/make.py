#!/usr/bin/env python3
"""Makes the files beside it: keys in all their forms, certificates, and signatures that another
implementation than kiln's made, from the Notary Project's and cosign's specifications.

    python3 -m pip install cryptography pynacl cbor2; python3 make.py

The keys are for tests and for nothing else. Whoever runs it again gets other keys, and other
digests in what was signed; the tests name none of them.
"""

import base64
import datetime
import hashlib
import json
import os
import pathlib
import subprocess
import tempfile

import cbor2
import nacl.secret
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HERE = pathlib.Path(__file__).parent
PEM = serialization.Encoding.PEM
DER = serialization.Encoding.DER
PKCS8 = serialization.PrivateFormat.PKCS8
OLD = serialization.PrivateFormat.TraditionalOpenSSL
OPEN = serialization.NoEncryption()
FROM = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
UNTIL = datetime.datetime(2036, 1, 1, tzinfo=datetime.timezone.utc)
SIGNED = datetime.datetime(2026, 6, 1, tzinfo=datetime.timezone.utc)
EXPIRES = datetime.datetime(2027, 6, 1, tzinfo=datetime.timezone.utc)

# image-builder.md 13.5: the manifest of 246 bytes.
MANIFEST = (
    '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":'
    '{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146'
    'ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}'
).encode()
assert len(MANIFEST) == 246


def put(name, content):
    path = HERE / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


KEYS = {
    "rsa2048": rsa.generate_private_key(65537, 2048),
    "rsa3072": rsa.generate_private_key(65537, 3072),
    "rsa4096": rsa.generate_private_key(65537, 4096),
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "p521": ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}
for name, key in KEYS.items():
    put(f"keys/{name}.pem", key.private_bytes(PEM, PKCS8, OPEN))
    public = key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    put(f"keys/{name}.pub", public)
for name in ["rsa2048", "p256", "p384", "p521"]:
    put(f"keys/{name}-old.pem", KEYS[name].private_bytes(PEM, OLD, OPEN))
sealed = serialization.BestAvailableEncryption(b"a passphrase")
for name in ["rsa2048", "p256", "ed25519"]:
    put(f"keys/{name}-sealed.pem", KEYS[name].private_bytes(PEM, PKCS8, sealed))
put("keys/p256-sealed-old.pem", KEYS["p256"].private_bytes(PEM, OLD, sealed))
weak = rsa.generate_private_key(65537, 1024)
put("keys/rsa1024.pem", weak.private_bytes(PEM, PKCS8, OPEN))
put(
    "keys/rsa1024.pub",
    weak.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
)
koblitz = ec.generate_private_key(ec.SECP256K1())
put("keys/secp256k1.pem", koblitz.private_bytes(PEM, PKCS8, OPEN))


def cosign_key(name, key):
    salt, nonce = os.urandom(32), os.urandom(24)
    # Cosign's own cost is 32768; the smallest keeps the tests quick.
    secret = Scrypt(salt=salt, length=32, n=1024, r=8, p=1).derive(b"a passphrase")
    box = nacl.secret.SecretBox(secret)
    sealed = box.encrypt(key.private_bytes(DER, PKCS8, OPEN), nonce).ciphertext
    text = lambda data: base64.b64encode(data).decode()
    document = {
        "kdf": {"name": "scrypt", "params": {"N": 1024, "r": 8, "p": 1}, "salt": text(salt)},
        "cipher": {"name": "nacl/secretbox", "nonce": text(nonce)},
        "ciphertext": text(sealed),
    }
    lines = base64.encodebytes(json.dumps(document).encode()).decode()
    label = "ENCRYPTED SIGSTORE PRIVATE KEY"
    put(name, f"-----BEGIN {label}-----\n{lines}-----END {label}-----\n".encode())


cosign_key("keys/p256-cosign.pem", KEYS["p256"])


def name_of(common):
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "BW"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Kiln, Tests"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def certificate(common, key, issuer, issuer_key, ca=None, purpose=None):
    usage = dict.fromkeys(
        [
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ],
        False,
    )
    usage["key_cert_sign" if ca is not None else "digital_signature"] = True
    builder = (
        x509.CertificateBuilder()
        .subject_name(name_of(common))
        .issuer_name(name_of(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(FROM)
        .not_valid_after(UNTIL)
        .add_extension(x509.KeyUsage(**usage), critical=True)
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(True, ca), critical=True)
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
    return builder.sign(issuer_key, hashes.SHA384())


ROOT_KEY = ec.generate_private_key(ec.SECP384R1())
MIDDLE_KEY = rsa.generate_private_key(65537, 2048)
ROOT = certificate("root", ROOT_KEY, "root", ROOT_KEY, ca=1)
MIDDLE = certificate("middle", MIDDLE_KEY, "root", ROOT_KEY, ca=0)
put("root.pem", ROOT.public_bytes(PEM))
CHAINS = {}
for name, key in KEYS.items():
    leaf = certificate(name, key, "middle", MIDDLE_KEY, purpose=ExtendedKeyUsageOID.CODE_SIGNING)
    CHAINS[name] = [leaf, MIDDLE, ROOT]
    put(f"chains/{name}.pem", b"".join(c.public_bytes(PEM) for c in CHAINS[name]))

TSA_KEY = rsa.generate_private_key(65537, 2048)
TSA = certificate("tsa", TSA_KEY, "root", ROOT_KEY, purpose=ExtendedKeyUsageOID.TIME_STAMPING)
put("tsa.pem", TSA.public_bytes(PEM))
put("tsa-key.pem", TSA_KEY.private_bytes(PEM, PKCS8, OPEN))

HASHES = {
    "rsa2048": ("PS256", -37, hashes.SHA256()),
    "rsa3072": ("PS384", -38, hashes.SHA384()),
    "rsa4096": ("PS512", -39, hashes.SHA512()),
    "p256": ("ES256", -7, hashes.SHA256()),
    "p384": ("ES384", -35, hashes.SHA384()),
    "p521": ("ES512", -36, hashes.SHA512()),
}


def sign(name, message):
    key, (_, _, hash) = KEYS[name], HASHES[name]
    if name.startswith("rsa"):
        pss = padding.PSS(padding.MGF1(hash), hash.digest_size)
        return key.sign(message, pss, hash)
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hash)))
    size = (key.key_size + 7) // 8
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def timestamp(name, signature):
    """A token of OpenSSL's timestamp authority, or nothing where there is no OpenSSL."""
    hash = HASHES[name][2].name
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        (place / "signature").write_bytes(signature)
        (place / "serial").write_text("01")
        (place / "config").write_text(
            f"[tsa]\ndefault_tsa = one\n[one]\nserial = {place}/serial\ncrypto_device = builtin\n"
            f"signer_cert = {HERE}/tsa.pem\nsigner_key = {HERE}/tsa-key.pem\nsigner_digest = sha256\n"
            "default_policy = 1.2.3.4\ndigests = sha256, sha384, sha512\naccuracy = secs:1\n"
            "ordering = no\ntsa_name = no\ness_cert_id_chain = no\ness_cert_id_alg = sha256\n"
        )
        run = lambda *words: subprocess.run(["openssl", "ts", *words], check=True)
        run("-query", "-data", place / "signature", f"-{hash}", "-cert", "-out", place / "query")
        run(
            "-reply", "-config", place / "config", "-queryfile", place / "query", "-token_out",
            "-out", place / "token",
        )
        return (place / "token").read_bytes()


TARGET = {
    "targetArtifact": {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": "sha256:" + hashlib.sha256(MANIFEST).hexdigest(),
        "size": len(MANIFEST),
    }
}
PAYLOAD = json.dumps(TARGET, separators=(",", ":")).encode()
TYPE = "application/vnd.cncf.notary.payload.v1+json"


def url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def jws(name, stamped):
    protected = {
        "alg": HASHES[name][0],
        "cty": TYPE,
        "crit": ["io.cncf.notary.signingScheme", "io.cncf.notary.expiry"],
        "io.cncf.notary.signingScheme": "notary.x509",
        "io.cncf.notary.signingTime": SIGNED.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "io.cncf.notary.expiry": EXPIRES.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    head, body = url(json.dumps(protected).encode()), url(PAYLOAD)
    signature = sign(name, f"{head}.{body}".encode())
    text = lambda data: base64.b64encode(data).decode()
    header = {
        "x5c": [text(c.public_bytes(DER)) for c in CHAINS[name]],
        "io.cncf.notary.signingAgent": "make.py/1",
    }
    if stamped:
        header["io.cncf.notary.timestampSignature"] = text(timestamp(name, signature))
    document = {
        "payload": body,
        "protected": head,
        "header": header,
        "signature": url(signature),
    }
    return json.dumps(document).encode()


def cose(name, stamped):
    protected = cbor2.dumps(
        {
            1: HASHES[name][1],
            2: ["io.cncf.notary.signingScheme", "io.cncf.notary.expiry"],
            3: TYPE,
            "io.cncf.notary.signingScheme": "notary.x509",
            "io.cncf.notary.signingTime": cbor2.CBORTag(1, int(SIGNED.timestamp())),
            "io.cncf.notary.expiry": cbor2.CBORTag(1, int(EXPIRES.timestamp())),
        }
    )
    signature = sign(name, cbor2.dumps(["Signature1", protected, b"", PAYLOAD]))
    unprotected = {
        33: [c.public_bytes(DER) for c in CHAINS[name]],
        "io.cncf.notary.signingAgent": "make.py/1",
    }
    if stamped:
        unprotected["io.cncf.notary.timestampSignature"] = timestamp(name, signature)
    return cbor2.dumps(cbor2.CBORTag(18, [protected, unprotected, PAYLOAD, signature]))


for name in HASHES:
    stamped = name in ["rsa2048", "p384"]
    put(f"notary/{name}.jws", jws(name, stamped))
    put(f"notary/{name}.cose", cose(name, stamped))

SIMPLE = {
    "critical": {
        "identity": {"docker-reference": "registry.example/team/image"},
        "image": {"docker-manifest-digest": TARGET["targetArtifact"]["digest"]},
        "type": "cosign container image signature",
    },
    "optional": None,
}
SIMPLE = json.dumps(SIMPLE, separators=(",", ":")).encode()
put("cosign/payload.json", SIMPLE)
for name, made in {
    "p256": KEYS["p256"].sign(SIMPLE, ec.ECDSA(hashes.SHA256())),
    "rsa2048": KEYS["rsa2048"].sign(SIMPLE, padding.PKCS1v15(), hashes.SHA256()),
    "ed25519": KEYS["ed25519"].sign(SIMPLE),
}.items():
    put(f"cosign/{name}.signature", base64.b64encode(made))
