#!/usr/bin/env python3
"""Verifies a directory of tiles that a ledger was exported into, from the C2SP texts alone.

    verify_tiles.py DIR --key VERIFIER_KEY

The key is what `ledger head --key` prints. Checked are the signature on the checkpoint (C2SP
signed-note, Ed25519), that the events in tile/entries have the root that it states (RFC 6962), and
that every tile of hashes follows from them (C2SP tlog-tiles). Exits with 0, or says what is wrong
and exits with 3; 2 means that it was called wrongly. It needs nothing but Python; if the package
`cryptography` is there, it checks the signature with that, unless --plain is given.
"""

import argparse
import base64
import hashlib
import pathlib
import struct
import sys

WIDTH = 256


class Wrong(Exception):
    """The directory is not what the checkpoint says."""


def need(condition, text):
    if not condition:
        raise Wrong(text)


# --- Ed25519 (RFC 8032), for where the package is missing -------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def recover_x(y, sign):
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if x2 == 0:
        return None if sign else 0
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * ROOT % P
    if (x * x - x2) % P:
        return None
    return P - x if x & 1 != sign else x


def decompress(point):
    y = int.from_bytes(point, "little")
    x = recover_x(y & (2**255 - 1), y >> 255)
    y &= 2**255 - 1
    return None if x is None else (x, y, 1, x * y % P)


def add(p, q):
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def plain_verify(public, message, signature):
    a, r = decompress(public), decompress(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= ORDER:
        return False
    digest = hashlib.sha512(signature[:32] + public + message).digest()
    h = int.from_bytes(digest, "little") % ORDER
    y = 4 * pow(5, P - 2, P) % P
    base_x = recover_x(y, 0)
    base = (base_x, y, 1, base_x * y % P)
    left, right = multiply(s, base), add(r, multiply(h, a))
    same_x = (left[0] * right[2] - right[0] * left[2]) % P == 0
    return same_x and (left[1] * right[2] - right[1] * left[2]) % P == 0


def verify_signature(public, message, signature, plain):
    if not plain:
        try:
            from cryptography.exceptions import InvalidSignature
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        except ImportError:
            pass
        else:
            try:
                Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
            except InvalidSignature:
                return False
            return True
    return plain_verify(public, message, signature)


# --- The checkpoint ---------------------------------------------------------------------------


def strict_base64(text, what):
    try:
        value = base64.b64decode(text, validate=True)
    except ValueError:
        raise Wrong(f"{what} is not base64") from None
    need(base64.b64encode(value).decode() == text, f"{what} has another form")
    return value


def parse_key(text):
    """A verifier key: name, key id, base64(algorithm 1, public key)."""
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    need(name and key_id and encoded, "the key is not NAME+ID+KEY")
    key = strict_base64(encoded, "the key")
    need(len(key) == 33 and key[0] == 1, "the key is not an Ed25519 key")
    computed = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]
    need(computed.hex() == key_id, "the key's id does not fit it")
    return name, computed, key[1:]


def open_checkpoint(path, key, plain):
    """Origin, size and root, once the signature on them was checked."""
    name, key_id, public = key
    try:
        note = path.read_bytes().decode("utf-8", "strict")
    except UnicodeDecodeError:
        raise Wrong("the checkpoint is not UTF-8") from None
    text, gap, signatures = note.partition("\n\n")
    need(gap and signatures.endswith("\n"), "the checkpoint is not a signed note")
    text += "\n"
    good = False
    for line in signatures[:-1].split("\n"):
        parts = line.split(" ")
        need(len(parts) == 3 and parts[0] == "\u2014", "a line of signatures is malformed")
        signature = strict_base64(parts[2], "a signature")
        if parts[1] == name and signature[:4] == key_id:
            need(len(signature) == 68, "the signature has another length")
            good = verify_signature(public, text.encode(), signature[4:], plain)
            need(good, "the signature on the checkpoint is wrong")
    need(good, f"the checkpoint is not signed by {name}")
    origin, size, root = text.split("\n")[:3]
    need(origin == name, f"the checkpoint is of {origin}")
    need(size.isdigit() and str(int(size)) == size, "the checkpoint's size is no number")
    root = strict_base64(root, "the root")
    need(len(root) == 32, "the root is not 32 bytes long")
    return origin, int(size), root


# --- The tree ---------------------------------------------------------------------------------


def leaf(event):
    return hashlib.sha256(b"\0" + event).digest()


def node(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def tree_root(hashes):
    """RFC 6962, section 2.1, bottom up: what is left over at a level waits for the next."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    level = list(hashes)
    while len(level) > 1:
        above = [node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0]


def tile_path(kind, index, width):
    groups = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        groups.insert(0, f"x{index % 1000:03}")
    partial = "" if width == WIDTH else f".p/{width}"
    return f"tile/{kind}/{'/'.join(groups)}{partial}"


def read(directory, name):
    try:
        return (directory / name).read_bytes()
    except FileNotFoundError:
        raise Wrong(f"{name} is missing") from None


def bundle(data, count, name):
    events, at = [], 0
    for _ in range(count):
        need(at + 2 <= len(data), f"{name} ends too early")
        (length,) = struct.unpack_from(">H", data, at)
        need(at + 2 + length <= len(data), f"{name} ends inside an event")
        events.append(data[at + 2:at + 2 + length])
        at += 2 + length
    need(at == len(data), f"{name} goes on behind its events")
    return events


def verify(directory, key, plain):
    origin, size, root = open_checkpoint(directory / "checkpoint", key, plain)
    hashes = []
    for index in range((size + WIDTH - 1) // WIDTH):
        width = min(WIDTH, size - index * WIDTH)
        name = tile_path("entries", index, width)
        hashes += [leaf(event) for event in bundle(read(directory, name), width, name)]
    need(tree_root(hashes) == root, "the events have another root than the checkpoint says")
    level, tiles = 0, 0
    while hashes:
        for index in range((len(hashes) + WIDTH - 1) // WIDTH):
            part = hashes[index * WIDTH:(index + 1) * WIDTH]
            name = tile_path(level, index, len(part))
            need(read(directory, name) == b"".join(part), f"{name} is not of these events")
            tiles += 1
        full = len(hashes) // WIDTH
        hashes = [tree_root(hashes[i * WIDTH:(i + 1) * WIDTH]) for i in range(full)]
        level += 1
    return origin, size, root, tiles


def main():
    parser = argparse.ArgumentParser(description="Verifies a directory of tiles.")
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--key", required=True, help="the ledger's verifier key")
    parser.add_argument("--plain", action="store_true", help="use nothing but Python")
    args = parser.parse_args()
    try:
        key = parse_key(args.key)
        origin, size, root, tiles = verify(args.directory, key, args.plain)
    except OSError as error:
        parser.error(str(error))
    except Wrong as wrong:
        print(f"wrong: {wrong}", file=sys.stderr)
        return 3
    shown = base64.b64encode(root).decode()
    print(f"right: {origin}, {size} events, root {shown}, {tiles} tiles")
    return 0


if __name__ == "__main__":
    sys.exit(main())
