#!/usr/bin/env python3
"""Verifies an exported ledger, written from ledger/FORMAT.md alone: the lines of a complete export
(`ledger export --format jsonl`), or a raw block stream (fixtures/v1/events.blocks is one).

    verify_export.py FILE [--ledger UUID] [--head SEQ:HASH]

Prints what the ledger holds and exits with 0, or says what is wrong and exits with 3; 2 means that
it was called wrongly, or that the file is an export of a part, which is no ledger. The signature in
an export is not looked at: hold the head against one that is known. It needs nothing but Python; if the package `blake3` is there, it is used,
and checking is much faster.
"""

import argparse
import datetime
import json
import re
import struct
import sys
import uuid

CONTEXT = "opsledger 2026 event chain v1"
MAX_EVENT = 65535
MAX_TIME = 253402207200999999
BLOCK_HEADER = 80
BLOCK_LIMIT = 65024
MAX_BLOCK = 65619

KIND = rb"[a-z0-9_.]{1,64}"
ID = rb"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
NAMES = {
    "kind": re.compile(KIND),
    "id": re.compile(ID),
    "entity": re.compile(KIND + rb"/" + ID),
    "traceparent": re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"),
}


# Section 4: what is around the payload, whose exact bytes are hashed. No field before `data` can hold
# a quotation mark, and what is behind it has a fixed length.
LINE = re.compile(
    rb'(\{.*?),"data":(\{.*\}),"prev_hash":"([0-9a-f]{64})","hash":"([0-9a-f]{64})"\}', re.DOTALL
)
MAX_LINE = 1024 * 1024
NEEDED = ("seq", "term", "recorded_at", "event_id", "kind", "version", "subject", "actor")
EPOCH = datetime.datetime(1970, 1, 1)


class Damaged(Exception):
    """The ledger is not what was written."""


class Part(Exception):
    """The export is one of a part of a ledger."""


# --- BLAKE3, for where the package is missing ------------------------------------------------

IV = (
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
    0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
MIXES = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED, DERIVE_CONTEXT, DERIVE_MATERIAL = (
    1, 2, 4, 8, 16, 32, 64,
)
MASK = 0xFFFFFFFF


def compress(cv, words, counter, length, flags):
    """The compression function; returns the first half of its output, eight words."""
    v = list(cv) + list(IV[:4]) + [counter & MASK, counter >> 32, length, flags]
    m = list(words)
    for turn in range(7):
        for n, (a, b, c, d) in enumerate(MIXES):
            for word, right_d, right_b in ((m[2 * n], 16, 12), (m[2 * n + 1], 8, 7)):
                v[a] = (v[a] + v[b] + word) & MASK
                x = v[d] ^ v[a]
                v[d] = (x >> right_d) | (x << (32 - right_d)) & MASK
                v[c] = (v[c] + v[d]) & MASK
                x = v[b] ^ v[c]
                v[b] = (x >> right_b) | (x << (32 - right_b)) & MASK
        if turn < 6:
            m = [m[p] for p in PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)]


def chunk_node(key, chunk, counter, flags):
    """The last block of a chunk, as the arguments of `compress`."""
    cv = key
    blocks = [chunk[i:i + 64] for i in range(0, len(chunk), 64)] or [b""]
    for n, block in enumerate(blocks):
        f = flags | (CHUNK_START if n == 0 else 0)
        words = struct.unpack("<16I", block.ljust(64, b"\0"))
        if n == len(blocks) - 1:
            return cv, words, counter, len(block), f | CHUNK_END
        cv = compress(cv, words, counter, 64, f)


def tree_node(key, data, first, flags):
    """The top of the tree over `data`, whose first chunk is number `first`."""
    if len(data) <= 1024:
        return chunk_node(key, data, first, flags)
    chunks = (len(data) + 1023) // 1024
    left = 1 << ((chunks - 1).bit_length() - 1)
    cut = left * 1024
    a = compress(*tree_node(key, data[:cut], first, flags))
    b = compress(*tree_node(key, data[cut:], first + left, flags))
    return key, tuple(a + b), 0, 64, flags | PARENT


def blake3_plain(key, data, flags):
    cv, words, counter, length, f = tree_node(key, data, 0, flags)
    return struct.pack("<8I", *compress(cv, words, counter, length, f | ROOT))


def own_derive_key(context, material):
    key = blake3_plain(IV, context.encode(), DERIVE_CONTEXT)
    return blake3_plain(struct.unpack("<8I", key), material, DERIVE_MATERIAL)


def own_keyed_hash(key, data):
    return blake3_plain(struct.unpack("<8I", key), data, KEYED)


try:
    from blake3 import blake3

    def derive_key(context, material):
        return blake3(material, derive_key_context=context).digest()

    def keyed_hash(key, data):
        return blake3(data, key=key).digest()
except ImportError:
    derive_key, keyed_hash = own_derive_key, own_keyed_hash


# --- The format ------------------------------------------------------------------------------


def need(condition, text):
    if not condition:
        raise Damaged(text)


def decode(event, where):
    """Section 1; returns what the chain's rules need to know."""
    need(44 <= len(event) <= MAX_EVENT, f"{where}: an event of {len(event)} bytes")
    encoding, flags, version, seq, term, at = struct.unpack_from("<BBHQQQ", event)
    need(encoding == 1, f"{where}: unknown event encoding {encoding}")
    need(flags < 32, f"{where}: unknown flags {flags:#x}")
    need(at <= MAX_TIME, f"{where}: the time is after the year 9999")
    position = 44

    def text(rule):
        nonlocal position
        need(position < len(event), f"{where}: the event ends inside its header")
        end = position + 1 + event[position]
        need(end <= len(event), f"{where}: the event ends inside its header")
        value = event[position + 1:end]
        need(NAMES[rule].fullmatch(value), f"{where}: malformed {rule} {value!r}")
        position = end
        return value.decode()

    kind, subject, actor = text("kind"), text("entity"), text("entity")
    if flags & 1:
        text("entity")
    if flags & 2:
        position += 8
        need(position <= len(event), f"{where}: the event ends inside its header")
    for bit, rule in ((4, "id"), (8, "traceparent"), (16, "id")):
        if flags & bit:
            text(rule)
    data = event[position:]
    need(
        len(data) >= 2 and data[:1] == b"{" and data[-1:] == b"}",
        f"{where}: the payload is not a JSON object",
    )
    try:
        payload = data.decode("utf-8", "strict")
    except UnicodeDecodeError:
        raise Damaged(f"{where}: the payload is not UTF-8") from None
    return {
        "seq": seq, "term": term, "at": at, "kind": kind, "version": version,
        "subject": subject, "actor": actor, "data": payload,
    }


def blocks(stream):
    """Section 3: the raw block stream, cut into blocks."""
    offset = 0
    while True:
        prefix = stream.read(4)
        if not prefix:
            return
        need(len(prefix) == 4, f"byte {offset}: the stream ends inside a length")
        (length,) = struct.unpack("<I", prefix)
        need(
            BLOCK_HEADER <= length <= MAX_BLOCK,
            f"byte {offset}: a block of {length} bytes",
        )
        block = stream.read(length)
        need(len(block) == length, f"byte {offset}: the stream ends inside a block")
        yield offset, block
        offset += 4 + length


def events(block, offset):
    """A block's events; they fill it exactly."""
    count, zero = struct.unpack_from("<II", block)
    need(count > 0 and zero == 0, f"byte {offset}: a malformed block header")
    need(
        len(block) <= BLOCK_LIMIT or count == 1,
        f"byte {offset}: a block of {len(block)} bytes with {count} events",
    )
    at = BLOCK_HEADER
    for _ in range(count):
        need(at + 4 <= len(block), f"byte {offset + at}: the block ends inside a frame")
        (length,) = struct.unpack_from("<I", block, at)
        at += 4
        need(at + length <= len(block), f"byte {offset + at}: the block ends inside an event")
        yield block[at:at + length]
        at += length
    need(at == len(block), f"byte {offset + at}: bytes behind the last event")


def first_event(event):
    """Section 7, rule 1; returns the ledger id."""
    need(event["kind"] == "ledger.created", f"seq 1 is {event['kind']}")
    need(event["version"] == 1, f"seq 1 has payload version {event['version']}")
    need(event["term"] == 0, f"seq 1 is of term {event['term']}")
    try:
        created = json.loads(event["data"])
        ledger = uuid.UUID(created["ledger_id"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Damaged("seq 1 does not name the ledger id") from None
    need(created.get("format") == 1, f"the ledger is in format {created.get('format')}")
    return ledger


class Chain:
    """Sections 2 and 7: what each event must be after the one before it."""

    def __init__(self, ledger, known):
        self.ledger, self.known = ledger, known
        self.key, self.last, self.hash = None, None, bytes(32)
        self.terms, self.count = set(), 0

    def expected(self):
        return self.last["seq"] + 1 if self.last else 1

    def take(self, event):
        seq = self.expected()
        here = decode(event, f"seq {seq}")
        need(here["seq"] == seq, f"seq {seq} says it is seq {here['seq']}")
        if self.last is None:
            found = first_event(here)
            need(self.ledger in (None, found), f"this is ledger {found}")
            self.ledger = found
            self.key = derive_key(CONTEXT, found.bytes)
        else:
            need(here["term"] > 0, f"seq {seq} is of term 0")
            need(here["term"] >= self.last["term"], f"seq {seq}: the term goes down")
            need(here["at"] >= self.last["at"], f"seq {seq}: time runs backwards")
        self.hash = keyed_hash(self.key, self.hash + event)
        if self.known and self.known[0] == seq:
            need(
                self.hash.hex() == self.known[1],
                f"seq {seq} has hash {self.hash.hex()}, not {self.known[1]}",
            )
        self.last, self.count = here, self.count + 1
        self.terms.add(here["term"])

    def end(self):
        need(self.last is not None, "there are no events")
        need(
            self.known is None or self.known[0] <= self.last["seq"],
            f"the ledger ends at seq {self.last['seq']}, before the head that is known",
        )


def verify_blocks(stream, chain):
    """Section 3: both edges of each block, and the events between them."""
    for offset, block in blocks(stream):
        (seq,) = struct.unpack_from("<Q", block, 8)
        expected = chain.expected()
        need(seq == expected, f"byte {offset}: seq {seq} where seq {expected} belongs")
        need(block[16:48] == chain.hash, f"seq {seq}: the chain is broken before it")
        for event in events(block, offset):
            chain.take(event)
        need(
            block[48:80] == chain.hash,
            f"the events up to seq {chain.last['seq']} hash to {chain.hash.hex()}, "
            f"the block says {block[48:80].hex()}",
        )
    chain.end()


def microseconds(text, where):
    """A time as section 4 writes it, as section 1 stores it."""
    need(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text), f"{where}: malformed time")
    try:
        since = datetime.datetime.fromisoformat(text[:-1]) - EPOCH
    except ValueError:
        raise Damaged(f"{where}: malformed time") from None
    return (since.days * 86400 + since.seconds) * 1000000 + since.microseconds


def encode(fields, data, where):
    """Section 1, from the fields of section 4."""
    need(all(name in fields for name in NEEDED), f"{where}: a field is missing")
    optional = ("claimed_actor", "cause", "correlation", "traceparent", "idempotency_key")
    flags = sum(1 << bit for bit, name in enumerate(optional) if name in fields)
    try:
        out = struct.pack(
            "<BBHQQQ", 1, flags, fields["version"], fields["seq"], fields["term"],
            microseconds(fields["recorded_at"], where),
        )
        # RFC 9562: the bytes stand as the text has them.
        out += uuid.UUID(fields["event_id"]).bytes
        for name in ("kind", "subject", "actor", *optional):
            if name == "cause" and name in fields:
                out += struct.pack("<Q", fields[name])
            elif name in fields:
                text = fields[name].encode()
                out += struct.pack("<B", len(text)) + text
    except (struct.error, TypeError, ValueError, AttributeError) as error:
        raise Damaged(f"{where}: {error}") from None
    return out + data


def verify_lines(stream, chain):
    """Section 12: the events of the lines made again, then what the last line says of them."""
    # A line ends with a line feed and nothing else.
    for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE + 1), b""), 1):
        where = f"line {number}"
        need(len(line) <= MAX_LINE and line.endswith(b"\n"), f"{where} is cut off")
        line = line[:-1]
        if line.startswith(b'{"export":'):
            need(stream.read(1) == b"", f"there is something behind {where}, which ends the export")
            return verify_end(line, where, chain)
        match = LINE.fullmatch(line)
        need(match, f"{where} is not a line of an export")
        before, data, prev_hash, digest = match.groups()
        try:
            fields = json.loads(before + b"}")
            json.loads(data)
        except ValueError as error:
            raise Damaged(f"{where}: {error}") from None
        if chain.last is None and fields.get("seq") != 1:
            raise Part()
        need(prev_hash.decode() == chain.hash.hex(), f"{where}: the chain is broken before it")
        chain.take(encode(fields, data, where))
        need(
            digest.decode() == chain.hash.hex(),
            f"seq {chain.last['seq']} hashes to {chain.hash.hex()}, {where} says {digest.decode()}",
        )
    raise Damaged("the export was cut: its last line is missing")


def verify_end(line, where, chain):
    """The line that ends an export."""
    try:
        said = json.loads(line)["export"]
        complete = said["complete"]
        told = (said["format"], said["ledger_id"], said["events"], said["seq"], said["hash"])
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{where}: {error}") from None
    if complete is not True:
        raise Part()
    chain.end()
    found = (1, str(chain.ledger), chain.count, chain.last["seq"], chain.hash.hex())
    need(told == found, f"{where} says {told}, the events are {found}")


def verify(stream, ledger=None, known=None):
    """Checks everything; returns the chain."""
    chain = Chain(ledger, known)
    start = stream.read(2)
    stream.seek(0)
    # No block is so long that its length begins like this.
    check = verify_lines if start == b'{"' else verify_blocks
    check(stream, chain)
    return chain


def head(text):
    seq, _, digest = text.partition(":")
    if not seq.isdigit() or not re.fullmatch("[0-9a-f]{64}", digest):
        raise argparse.ArgumentTypeError("a head is SEQ:HASH")
    return int(seq), digest


def main():
    parser = argparse.ArgumentParser(description="Verifies an exported ledger.")
    parser.add_argument("file", help="exported lines, or a raw block stream")
    parser.add_argument("--ledger", type=uuid.UUID, help="the ledger that it must be")
    parser.add_argument("--head", type=head, help="SEQ:HASH that it must hold")
    args = parser.parse_args()
    try:
        with open(args.file, "rb") as stream:
            chain = verify(stream, args.ledger, args.head)
    except OSError as error:
        parser.error(str(error))
    except Part:
        parser.error("it is an export of a part of a ledger: only a complete one can be verified")
    except Damaged as damage:
        print(f"damaged: {damage}", file=sys.stderr)
        return 3
    print(f"intact: ledger {chain.ledger}, {chain.count} events, {len(chain.terms)} terms")
    print(f"head: {chain.last['seq']}:{chain.hash.hex()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
