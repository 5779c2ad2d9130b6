#!/usr/bin/env python3
"""Writes the test vectors of this folder, by the text of ../../wire-format.md alone.

Run it here, with no arguments, after a change of that document. It shares nothing with the Rust code and
needs nothing but Python: both ciphers are below, checked against the samples of their specifications.
"""

import hashlib
import hmac
import os
import struct

# The files are written beside this one, wherever it is called from.
os.chdir(os.path.dirname(os.path.abspath(__file__)))

CID = 0xABCDEF


# AES-128-GCM (FIPS 197, NIST SP 800-38D)

def sbox():
    box, p, q = [0x63] * 256, 1, 1
    while True:
        p = p ^ (p << 1) ^ (0x11B if p & 0x80 else 0)
        q ^= q << 1
        q ^= q << 2
        q ^= q << 4
        q &= 0xFF
        if q & 0x80:
            q ^= 0x09
        x = q
        for turn in range(1, 5):
            x ^= (q << turn | q >> 8 - turn) & 0xFF
        box[p] = x ^ 0x63
        if p == 1:
            return box


SBOX = sbox()


def double(b):
    return (b << 1 ^ (0x1B if b & 0x80 else 0)) & 0xFF


def aes_block(key, block):
    words = [list(key[i:i + 4]) for i in range(0, 16, 4)]
    rcon = 1
    for i in range(4, 44):
        word = list(words[i - 1])
        if i % 4 == 0:
            word = [SBOX[b] for b in word[1:] + word[:1]]
            word[0] ^= rcon
            rcon = double(rcon)
        words.append([a ^ b for a, b in zip(word, words[i - 4])])
    rounds = [sum(words[4 * r:4 * r + 4], []) for r in range(11)]
    state = [a ^ b for a, b in zip(block, rounds[0])]
    for r in range(1, 11):
        state = [SBOX[b] for b in state]
        state = [state[(i + 4 * (i % 4)) % 16] for i in range(16)]
        if r < 10:
            mixed = []
            for c in range(0, 16, 4):
                a = state[c:c + 4]
                for i in range(4):
                    mixed.append(double(a[i]) ^ double(a[(i + 1) % 4]) ^ a[(i + 1) % 4]
                                 ^ a[(i + 2) % 4] ^ a[(i + 3) % 4])
            state = mixed
        state = [a ^ b for a, b in zip(state, rounds[r])]
    return bytes(state)


def times(x, y):
    z = 0
    for i in range(127, -1, -1):
        if y >> i & 1:
            z ^= x
        x = x >> 1 ^ (0xE1 << 120 if x & 1 else 0)
    return z


def padded(data):
    return data + bytes(-len(data) % 16)


def aes_128_gcm(key, nonce, aad, plain):
    def stream(counter):
        return aes_block(key, nonce + struct.pack(">I", counter))

    blocks = range(0, len(plain), 16)
    pads = b"".join(stream(2 + i // 16) for i in blocks)
    sealed = bytes(a ^ b for a, b in zip(plain, pads))
    h = int.from_bytes(aes_block(key, bytes(16)), "big")
    y = 0
    hashed = padded(aad) + padded(sealed) + struct.pack(">QQ", 8 * len(aad), 8 * len(sealed))
    for i in range(0, len(hashed), 16):
        y = times(y ^ int.from_bytes(hashed[i:i + 16], "big"), h)
    tag = bytes(a ^ b for a, b in zip(y.to_bytes(16, "big"), stream(1)))
    return sealed + tag


# ChaCha20-Poly1305 (RFC 8439)

def turn(n, by):
    return (n << by | n >> 32 - by) & 0xFFFFFFFF


def chacha_block(key, counter, nonce):
    begin = list(struct.unpack("<4I", b"expand 32-byte k") + struct.unpack("<8I", key)
                 + (counter,) + struct.unpack("<3I", nonce))
    s = list(begin)

    def quarter(a, b, c, d):
        s[a] = (s[a] + s[b]) & 0xFFFFFFFF
        s[d] = turn(s[d] ^ s[a], 16)
        s[c] = (s[c] + s[d]) & 0xFFFFFFFF
        s[b] = turn(s[b] ^ s[c], 12)
        s[a] = (s[a] + s[b]) & 0xFFFFFFFF
        s[d] = turn(s[d] ^ s[a], 8)
        s[c] = (s[c] + s[d]) & 0xFFFFFFFF
        s[b] = turn(s[b] ^ s[c], 7)

    for _ in range(10):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return struct.pack("<16I", *[(a + b) & 0xFFFFFFFF for a, b in zip(s, begin)])


def chacha20_poly1305(key, nonce, aad, plain):
    pads = b"".join(chacha_block(key, 1 + i // 64, nonce) for i in range(0, len(plain), 64))
    sealed = bytes(a ^ b for a, b in zip(plain, pads))
    once = chacha_block(key, 0, nonce)
    r = int.from_bytes(once[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    s = int.from_bytes(once[16:32], "little")
    hashed = padded(aad) + padded(sealed) + struct.pack("<QQ", len(aad), len(sealed))
    a = 0
    for i in range(0, len(hashed), 16):
        a = (a + int.from_bytes(hashed[i:i + 16] + b"\1", "little")) * r % (2 ** 130 - 5)
    return sealed + ((a + s) & (1 << 128) - 1).to_bytes(16, "little")


# The samples: FIPS 197 appendix C.1, test case 4 of the GCM specification, RFC 8439 section 2.8.2.
assert aes_block(bytes(range(16)), bytes.fromhex("00112233445566778899aabbccddeeff")).hex() == \
    "69c4e0d86a7b0430d8cdb78070b4c55a"
assert aes_128_gcm(
    bytes.fromhex("feffe9928665731c6d6a8f9467308308"), bytes.fromhex("cafebabefacedbaddecaf888"),
    bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2"),
    bytes.fromhex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c9595680953"
                  "2fcf0e2449a6b525b16aedf5aa0de657ba637b39"))[-16:].hex() == \
    "5bc94fbc3221a5db94fae95ae7121a47"
assert chacha20_poly1305(
    bytes(range(0x80, 0xA0)), bytes.fromhex("070000004041424344454647"),
    bytes.fromhex("50515253c0c1c2c3c4c5c6c7"),
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
    b"sunscreen would be it.")[-16:].hex() == "1ae10b594f09e26a7e902ecbd0600691"


# Section 10

CIPHERS = {"aes-128-gcm": (1, 16, aes_128_gcm), "chacha20-poly1305": (2, 32, chacha20_poly1305)}


def expand(secret, label, code, length):
    return hmac.new(secret, label + bytes([code, 1]), hashlib.sha256).digest()[:length]


class Keys:
    def __init__(self, cipher, secret, updates=0):
        self.cipher, self.updates = cipher, updates
        self.code, size, self.seal_with = CIPHERS[cipher]
        for _ in range(updates):
            secret = expand(secret, b"tsp1 next", self.code, 32)
        self.secret = secret
        self.key = expand(secret, b"tsp1 key", self.code, size)
        self.iv = expand(secret, b"tsp1 iv", self.code, 12)

    def seal(self, kind, number, body, flags=0, phase=None, version=0b01):
        phase = self.updates % 2 if phase is None else phase
        head = bytes([0b10 << 6 | version << 4 | kind, phase << 7 | flags])
        head += CID.to_bytes(3, "big") + (number & 0xFFFFFFFF).to_bytes(4, "big")
        nonce = bytes(a ^ b for a, b in zip(self.iv, number.to_bytes(12, "big")))
        return head + self.seal_with(self.key, nonce, head, body)


SECRET = hashlib.sha256(b"a secret of the test vectors").digest()

# One body of each type, sections 3 to 7.
END = 0x40
BODIES = [
    ("DATA", 0x0, END, "0003 0005 000f4240 00 00 0000 01 68656c6c6f"),
    ("REPAIR", 0x1, 0, None),
    ("FEEDBACK", 0x2, 0, "00100000 00000000 0002 00 8001 0000"),
    ("RESULT", 0x3, 0, "01 0003 0005 0000 00 000003e8 0004 64617461"),
    ("PING", 0x4, 0, "000f4240" + "00" * 35),
    ("PADDING", 0x5, 0, "00" * 20),
    ("PADDING of no bytes", 0x5, 0, ""),
    ("PATH_CHALLENGE", 0x6, 0, "0102030405060708"),
    ("PATH_RESPONSE", 0x7, 0, "0102030405060708"),
    ("CLOSE", 0x8, 0, "0003" + b"bye".hex()),
]


def repair_body():
    # Taken from the vectors of plain mode, the trailer cut off.
    with open("../wire/repair.toml", encoding="utf-8") as f:
        line = next(line for line in f if line.startswith("hex = "))
    return line.split('"')[1][18:-8]


def table(of, **fields):
    lines = [f"[[{of}]]"]
    for field, value in fields.items():
        value = f'"{value.hex()}"' if isinstance(value, bytes) else (
            f'"{value}"' if isinstance(value, str) else value)
        lines.append(f"{field} = {value}")
    return "\n".join(lines) + "\n"


out = ["# Keys of one secret, and after key updates, section 10.2\n"]
for cipher in CIPHERS:
    for updates in range(3):
        keys = Keys(cipher, SECRET, updates)
        following = Keys(cipher, SECRET, updates + 1).secret
        out.append(table("keys", cipher=cipher, updates=updates, secret=keys.secret, key=keys.key,
                         iv=keys.iv, next=following))
with open("keys.toml", "w", encoding="utf-8") as f:
    f.write("\n".join(out))

out = [f"# Sealed datagrams, sections 10.3 and 10.4\n\nconnection = {CID}\nsecret = \"{SECRET.hex()}\"\n"]
for cipher in CIPHERS:
    number = 0
    for updates in range(3):
        keys = Keys(cipher, SECRET, updates)
        for name, kind, flags, body in BODIES:
            body = bytes.fromhex(repair_body() if body is None else body)
            # After a key update two of them are enough, and after a CLOSE there is nothing.
            if kind == 0x8 or updates and kind not in (0x0, 0x5):
                continue
            out.append(table("valid", name=name, cipher=cipher, updates=updates, number=number,
                             body=body, hex=keys.seal(kind, number, body, flags)))
            number += 1
    keys = Keys(cipher, SECRET, 2)
    name, kind, _, body = BODIES[-1]
    body = bytes.fromhex(body)
    out.append(table("valid", name=name, cipher=cipher, updates=2, number=number, body=body,
                     hex=keys.seal(kind, number, body)))
    first = Keys(cipher, SECRET)
    far = (7 << 32) + 5
    out.append(table("far", name="a packet number beyond 32 bits", cipher=cipher, updates=0, number=far,
                     body=bytes(20), hex=first.seal(0x5, far, bytes(20))))

    # What a receiver that has received nothing yet refuses.
    def bad(name, data, refusal):
        out.append(table("invalid", name=name, cipher=cipher, hex=data, refusal=refusal))

    good = first.seal(0x5, 3, bytes(20))

    def with_bit(data, byte, bit):
        return data[:byte] + bytes([data[byte] ^ 1 << bit]) + data[byte + 1:]

    bad("a bit of the tag", with_bit(good, -1 % len(good), 0), "integrity")
    bad("a bit of the body", with_bit(good, 12, 3), "integrity")
    bad("another type", with_bit(good, 0, 0), "integrity")
    bad("another flag", with_bit(good, 1, 2), "integrity")
    bad("another packet number", with_bit(good, 8, 1), "integrity")
    bad("the other key phase", with_bit(good, 1, 7), "integrity")
    bad("the next key without its phase", Keys(cipher, SECRET, 1).seal(0x5, 3, bytes(20), phase=0),
        "integrity")
    bad("the first key with the next phase", first.seal(0x5, 3, bytes(20), phase=1), "integrity")
    bad("two keys on", Keys(cipher, SECRET, 2).seal(0x5, 3, bytes(20)), "integrity")
    bad("three keys on", Keys(cipher, SECRET, 3).seal(0x5, 3, bytes(20)), "integrity")
    bad("sealed for the other direction", Keys(cipher, bytes(32)).seal(0x5, 3, bytes(20)), "integrity")
    bad("a byte less", good[:-1], "integrity")
    bad("a byte more", good + b"\0", "integrity")
    bad("nothing but a header and 15 bytes", good[:24], "length")
    bad("another version", first.seal(0x5, 3, bytes(20), version=0b10), "version")
    bad("an unassigned type", first.seal(0x9, 3, bytes(20)), "type")
    bad("padding that is not zero", first.seal(0x5, 3, b"\1"), "malformed: padding not zero")
    bad("a flag that the type does not define", first.seal(0x5, 3, bytes(20), flags=1),
        "malformed: flags not zero")
    bad("a challenge of seven bytes", first.seal(0x6, 3, bytes(7)),
        "malformed: ends within path data")
with open("sealed.toml", "w", encoding="utf-8") as f:
    f.write("\n".join(out))
