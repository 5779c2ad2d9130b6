#!/usr/bin/env python3
"""Writes the test vectors of this folder, by the text of ../../control.md alone.

Run it here, with no arguments, after a change of that document. It shares nothing with the Rust code.
"""

import os
import struct

# The files are written beside this one, wherever it is called from.
os.chdir(os.path.dirname(os.path.abspath(__file__)))


class F32(float):
    pass


def head(major, n):
    for size, info in ((0, None), (1, 24), (2, 25), (4, 26), (8, 27)):
        if size == 0 and n < 24:
            return bytes([major << 5 | n])
        if size and n < 1 << 8 * size:
            return bytes([major << 5 | info]) + n.to_bytes(size, "big")
    raise ValueError(n)


def cbor(x):
    if x is None:
        return b"\xf6"
    if x is True or x is False:
        return b"\xf5" if x else b"\xf4"
    if isinstance(x, F32):
        return b"\xfa" + struct.pack(">f", x)
    if isinstance(x, int):
        return head(0, x)
    if isinstance(x, bytes):
        return head(2, len(x)) + x
    if isinstance(x, str):
        return head(3, len(x.encode())) + x.encode()
    if isinstance(x, list):
        return head(4, len(x)) + b"".join(cbor(y) for y in x)
    return head(5, len(x)) + b"".join(cbor(k) + cbor(v) for k, v in x.items())


def diagnostic(x):
    if x is None or isinstance(x, bool):
        return {None: "null", True: "true", False: "false"}[x]
    if isinstance(x, bytes):
        return f"h'{x.hex()}'"
    if isinstance(x, str):
        return f'"{x}"'
    if isinstance(x, list):
        return "[" + ", ".join(map(diagnostic, x)) + "]"
    if isinstance(x, dict):
        return "{" + ", ".join(f"{k}: {diagnostic(v)}" for k, v in x.items()) + "}"
    return f"{x}"


class File:
    def __init__(self, name, about):
        self.name, self.out = name, [f"# {about}\n"]

    def valid(self, name, kind, number, body, again=None):
        """`again` is the body that an implementation writes which knows no more than version 2."""
        message = [number, body]
        text = diagnostic(message).replace("\\", "\\\\").replace('"', '\\"')
        lines = [f'[[valid]]\nname = "{name}"\ntype = "{kind}"', f'hex = "{cbor(message).hex()}"']
        if again is not None:
            lines.append(f'again = "{cbor([number, again]).hex()}"')
        self.out.append("\n".join(lines + [f'text = "{text}"\n']))

    def invalid(self, name, data, error):
        data = data if isinstance(data, bytes) else cbor(data)
        self.out.append(f'[[invalid]]\nname = "{name}"\nhex = "{data.hex()}"\nerror = "{error}"\n')

    def close(self):
        with open(self.name + ".toml", "w", encoding="utf-8") as f:
            f.write("\n".join(self.out))


HELLO, WELCOME, OPEN, ACCEPT, REFUSE, CLOSE, WAIT = range(7)
WANT, OFFER, MISSING, ASK, STATISTICS, DRAIN = range(7, 13)
DIGEST = bytes(range(32))

# Hello, Welcome

f = File("hello", "Hello and Welcome: sections 3.1 and 3.2 of control.md")
capabilities = {0: 0b1111, 1: 0b110, 2: 0b111}
hello = {0: 2, 1: 2, 2: capabilities}
welcome = {0: 2, 1: capabilities, 2: {0: 4194304, 1: 4, 2: 0, 3: 1000, 4: 1 << 32}}
f.valid("least", "Hello", HELLO, hello)
f.valid("with token and software", "Hello", HELLO, hello | {3: b"\x00secret\xff", 4: "edge 1.0"})
f.valid("longest token", "Hello", HELLO, hello | {3: bytes(256)})
f.valid("older and newer versions as well", "Hello", HELLO, {0: 0, 1: 4294967295, 2: capabilities})
f.valid("unknown capabilities", "Hello", HELLO, {0: 2, 1: 2, 2: {0: 1 << 31, 1: 1 << 31, 2: 1 << 31}})
f.valid("unknown key", "Hello", HELLO, hello | {77: [1, {2: "x"}]}, again=hello)
f.valid("absent written as null", "Hello", HELLO, hello | {3: None}, again=hello)
f.valid("least", "Welcome", WELCOME, welcome)
f.valid("with software and name", "Welcome", WELCOME, welcome | {3: "cloud 1.0", 4: "camera-7"})
f.invalid("only later versions", [HELLO, {0: 3, 1: 9, 2: "unheard of"}], "version")
f.invalid("only earlier versions", [HELLO, {0: 0, 1: 1}], "version")
f.invalid("an empty range", [HELLO, hello | {0: 3}], "version")
f.invalid("no versions", [HELLO, {2: capabilities}], "malformed")
f.invalid("no capabilities", [HELLO, {0: 2, 1: 2}], "malformed")
f.invalid("a token that is text", [HELLO, hello | {3: "secret"}], "malformed")
f.invalid("a token of 257 bytes", [HELLO, hello | {3: bytes(257)}], "malformed")
f.invalid("software of 65 bytes", [HELLO, hello | {4: "x" * 65}], "out-of-range")
f.invalid("no session allowed", [WELCOME, welcome | {2: {0: 1, 1: 0, 2: 0, 3: 0, 4: 1}}], "out-of-range")
f.invalid("statistics each 61 s", [WELCOME, welcome | {2: {0: 1, 1: 1, 2: 0, 3: 61000, 4: 1}}], "out-of-range")
f.close()

# Open, Accept, Refuse, Wait

f = File("session", "Open, Accept, Refuse and Wait: sections 3.3 to 3.6 of control.md")
stream = {
    0: 48, 1: 14, 2: 14, 3: "add_3", 4: DIGEST, 6: F32(-4), 7: F32(4), 8: 256, 9: [0, [7]], 10: [0, []],
    11: 0, 12: 1, 13: 0, 14: 1200, 15: 100, 16: False, 17: False, 18: 1,
}
rich = stream | {
    5: DIGEST[::-1], 9: [1, [7, 14]], 10: [1, [60]], 11: 3, 13: 1 << 63, 16: True, 17: True,
    19: bytes.fromhex("000100000002"), 20: [[256, [1, [60]]], [16, [0, []]]],
}
rich = dict(sorted(rich.items()))
mixed = stream | {9: [2, [5, 144]]}
opened = {0: 1, 1: stream, 2: 0xABCDEF, 3: 0, 4: 1}
f.valid("least", "Open", OPEN, opened)
f.valid("everything", "Open", OPEN, {0: 4294967295, 1: rich, 2: 0, 3: 3, 4: 0, 5: 33333, 6: 1})
f.valid("random map", "Open", OPEN, opened | {1: mixed})
f.valid("unknown carrier and cipher", "Open", OPEN, opened | {3: 9, 4: 9})
f.valid("unknown keys", "Open", OPEN, opened | {1: stream | {90: 1}, 7: "later"}, again=opened)
f.valid("granted", "Accept", ACCEPT, {0: 1, 1: 0xFFFFFF})
f.valid("of a session", "Refuse", REFUSE, {0: 1, 1: 2, 2: "no such model"})
f.valid("of the edge", "Refuse", REFUSE, {1: 13, 2: "this cloud wants a token"})
f.valid("unknown code", "Refuse", REFUSE, {0: 1, 1: 4711, 2: ""})
f.valid("longest words", "Refuse", REFUSE, {0: 1, 1: 6, 2: "x" * 512})
f.valid("busy with it", "Wait", WAIT, {0: 1, 1: "trying the model"})
f.invalid("no stream", [OPEN, {0: 1, 2: 0, 3: 0, 4: 0}], "malformed")
f.invalid("a digest of 31 bytes", [OPEN, opened | {1: stream | {4: DIGEST[1:]}}], "malformed")
f.invalid("a map that is none", [OPEN, opened | {1: stream | {9: [7, []]}}], "malformed")
f.invalid("a connection ID of 25 bits", [OPEN, opened | {2: 1 << 24}], "out-of-range")
f.invalid("a split with a name too long", [OPEN, opened | {1: stream | {3: "x" * 1025}}], "out-of-range")
f.invalid("a session number of 33 bits", [OPEN, opened | {0: 1 << 32}], "malformed")
f.invalid("granted with a connection ID of 25 bits", [ACCEPT, {0: 1, 1: 1 << 24}], "out-of-range")
f.invalid("granted without a connection ID", [ACCEPT, {0: 1}], "malformed")
f.invalid("words of 513 bytes", [REFUSE, {1: 6, 2: "x" * 513}], "out-of-range")
f.invalid("words that are no UTF-8", b"\x82\x04\xa2\x01\x06\x02\x61\xff", "malformed")
f.invalid("wait for no session", [WAIT, {1: ""}], "malformed")
f.close()

# Close, Drain

f = File("end", "Close and Drain: sections 3.7 and 3.11 of control.md")
f.valid("everything done", "Close", CLOSE, {1: 0, 2: ""})
f.valid("one session failed", "Close", CLOSE, {0: 2, 1: 1, 2: "the model failed: ü"})
f.valid("unknown code", "Close", CLOSE, {1: 99, 2: ""})
f.valid("five seconds", "Drain", DRAIN, {0: 5000, 1: "an update"})
f.invalid("no code", [CLOSE, {2: ""}], "malformed")
f.invalid("words of 513 bytes", [CLOSE, {1: 0, 2: "x" * 513}], "out-of-range")
f.invalid("no grace", [DRAIN, {1: ""}], "malformed")
f.close()

# Want, Offer, Missing

f = File("upload", "Want, Offer and Missing: section 3.8 to 3.10 of control.md")
f.valid("from the start", "Want", WANT, {0: 1, 1: DIGEST, 2: 0, 3: 0, 4: 1 << 30})
f.valid("the rest of a bundle", "Want", WANT, {0: 1, 1: DIGEST, 2: 1, 3: 1 << 33, 4: 1 << 34})
f.valid("unknown kind", "Want", WANT, {0: 1, 1: DIGEST, 2: 9, 3: 0, 4: 1})
f.valid("it comes", "Offer", OFFER, {0: DIGEST, 1: 12345678901})
f.valid("it does not", "Missing", MISSING, {0: DIGEST, 1: "no such file"})
f.invalid("an integer for the digest", [WANT, {0: 1, 1: 7, 2: 0, 3: 0, 4: 1}], "malformed")
f.invalid("no length", [OFFER, {0: DIGEST}], "malformed")
f.invalid("words of 513 bytes", [MISSING, {0: DIGEST, 1: "x" * 513}], "out-of-range")
f.close()

# Ask, Statistics

f = File("statistics", "Ask and Statistics: section 3.12 of control.md")
f.valid("now", "Ask", ASK, {})
f.valid("before anything happened", "Statistics", STATISTICS, {0: 1, 1: 0, 3: 1, 5: 0, 6: 0})
f.valid("at work", "Statistics", STATISTICS, {0: 1, 1: 3, 2: 12500, 3: 16, 4: 29970, 5: 1 << 40, 6: 7})
f.invalid("no sessions", [STATISTICS, {0: 1, 1: 0, 5: 0, 6: 0}], "malformed")
f.close()

# The envelope

f = File("envelope", "What goes for every message: section 2 of control.md")
f.valid("unknown type", "a message of an unknown type", 99, {0: [1, 2]}, again={})
f.invalid("nothing", b"", "malformed")
f.invalid("no array", {0: 1}, "malformed")
f.invalid("an array of one", [CLOSE], "malformed")
f.invalid("an array of three", [CLOSE, {1: 0, 2: ""}, 0], "malformed")
f.invalid("an array of unknown length", b"\x9f\x05\xa2\x01\x00\x02\x60\xff", "malformed")
f.invalid("a type that is no number", ["close", {}], "malformed")
f.invalid("bytes left over", cbor([CLOSE, {1: 0, 2: ""}]) + b"\x00", "malformed")
f.invalid("half of it", cbor([CLOSE, {1: 0, 2: "bye"}])[:-2], "malformed")
f.close()
