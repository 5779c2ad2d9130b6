#!/usr/bin/env python3
"""Writes the test vectors of this folder and of ../fec, by the text of ../../wire-format.md alone.

Run it here, with no arguments, after a change of that document. It shares nothing with the Rust code.
"""

import os
import zlib

# The files are written beside this one, wherever it is called from.
os.chdir(os.path.dirname(os.path.abspath(__file__)))

CID = 0xABCDEF


def be(n, size):
    return n.to_bytes(size, "big")


def varint(n, size=None):
    shortest = 1 if n < 1 << 6 else 2 if n < 1 << 14 else 4 if n < 1 << 30 else 8
    size = size or shortest
    return be(n | {1: 0, 2: 1, 4: 2, 8: 3}[size] << size * 8 - 2, size)


def datagram(kind, body, flags=0, pn=7, cid=CID, form=0b10, version=0b01, key_phase=0):
    head = be(form << 6 | version << 4 | kind, 1) + be(key_phase << 7 | flags, 1)
    sealed = head + be(cid, 3) + be(pn & 0xFFFFFFFF, 4) + body
    return sealed + be(zlib.crc32(sealed), 4)


class File:
    def __init__(self, name, about):
        self.name, self.out = name, [f"# {about}\n\nconnection = {CID}\n"]

    def valid(self, name, data, text, pn=7):
        line = f"cid={CID} pn={pn} {text}".replace("\\", "\\\\").replace('"', '\\"')
        self.out.append(f'[[valid]]\nname = "{name}"\nhex = "{data.hex()}"\ntext = "{line}"\n')

    def invalid(self, name, data, refusal):
        self.out.append(
            f'[[invalid]]\nname = "{name}"\nhex = "{data.hex()}"\nrefusal = "{refusal}"\n'
        )

    def close(self):
        with open(self.name + ".toml", "w", encoding="utf-8") as f:
            f.write("\n".join(self.out))


# Section 3

END, FRAGMENT, WIDE, CODING, NOTICE = 0x40, 0x20, 0x10, 0x08, 0x04


def data(content, flags, tensor=3, frame=5, captured=1_000_000, index=0, last=2, coding=b"",
         notice=b"", position=0, pn=7, key_phase=0):
    size = 2 if flags & WIDE else 1
    body = be(tensor, 2) + be(frame, 2) + be(captured, 4) + be(index, size) + be(last, size)
    body += coding + notice + be(position, 2) + content
    return datagram(0, body, flags, pn=pn, key_phase=key_phase)


def slices(lengths, base=None, width=None):
    coded = lengths[:-1]
    out = varint(len(lengths))
    if coded:
        base = min(coded) if base is None else base
        width = max(n - base for n in coded).bit_length() if width is None else width
        out += varint(base * 32 + width)
        bits = "".join(f"{n - base:0{width}b}" for n in coded) if width else ""
        bits += "0" * (-len(bits) % 8)
        out += bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))
    return out + bytes(i % 251 for i in range(sum(lengths)))


def fragment(offset, length, payload):
    return varint(offset) + varint(length) + bytes(payload)


def notice(reason, first, count):
    return be(reason, 1) + be(first, 2) + be(count, 1)


def data_text(rest, packet="0/3", tensor=3, frame=5, captured=1_000_000, interleaver="Sequential"):
    return (f"DATA tensor={tensor} frame={frame} captured={captured} packet={packet} "
            f"interleaver={interleaver}{rest}")


f = File("data", "DATA (0x0), section 3")
f.valid("one slice, which carries no length", data(slices([5]), 0),
        data_text(" position=0 lengths=5"))
f.valid("one empty slice", data(slices([0]), 0, position=9), data_text(" position=9 lengths=0"))
f.valid("slices of one size", data(slices([4] * 6), 0, position=12),
        data_text(" position=12 lengths=4,4,4,4,4,4"))
f.valid("slices of one size but for the last", data(slices([6, 6, 6, 1]), 0),
        data_text(" position=0 lengths=6,6,6,1"))
f.valid("differences of three bits", data(slices([10, 13, 17, 10, 25]), 0),
        data_text(" position=0 lengths=10,13,17,10,25"))
f.valid("differences that fill their bytes", data(slices([3, 0, 2, 1, 9]), 0),
        data_text(" position=0 lengths=3,0,2,1,9"))
f.valid("nothing but empty slices", data(slices([0] * 5), 0),
        data_text(" position=0 lengths=0,0,0,0,0"))
f.valid("a slice count of two bytes", data(slices([1] * 64), 0),
        data_text(" position=0 lengths=" + ",".join("1" * 64)))
f.valid("a width larger than needed", data(slices([4, 5, 2], base=1, width=16), 0),
        data_text(" position=0 lengths=4,5,2"))
f.valid("a length code of four bytes", data(slices([600, 601, 3]), 0),
        data_text(" position=0 lengths=600,601,3"))
f.valid("end of tensor", data(slices([2, 2]), END, index=2, position=40),
        data_text(" end position=40 lengths=2,2", packet="2/3"))
f.valid("the only packet of its tensor", data(slices([1, 2]), END, last=0),
        data_text(" end position=0 lengths=1,2", packet="0/1"))
f.valid("stride", data(slices([7]), 1), data_text(" position=0 lengths=7", interleaver="Stride"))
f.valid("random", data(slices([7]), END | 2, index=2),
        data_text(" end position=0 lengths=7", packet="2/3", interleaver="Random"))
f.valid("priority", data(slices([7]), 3), data_text(" position=0 lengths=7", interleaver="Priority"))
f.valid("the second step of the ladder", data(slices([7]), CODING, coding=b"\x01"),
        data_text(" step=1 position=0 lengths=7"))
f.valid("the last step of the longest ladder", data(slices([7, 7]), CODING | END, index=2,
                                                    coding=b"\x7F"),
        data_text(" end step=127 position=0 lengths=7,7", packet="2/3"))
f.valid("delta", data(slices([7]), CODING, coding=b"\x80"),
        data_text(" delta position=0 lengths=7"))
f.valid("delta of the third step", data(slices([7]), CODING, coding=b"\x82"),
        data_text(" delta step=2 position=0 lengths=7"))
f.valid("256 packets are narrow", data(slices([3]), END, index=255, last=255),
        data_text(" end position=0 lengths=3", packet="255/256"))
f.valid("257 packets are wide", data(slices([3]), WIDE, index=255, last=256),
        data_text(" position=0 lengths=3", packet="255/257"))
f.valid("65,536 packets", data(slices([3]), WIDE | END, index=65_535, last=65_535),
        data_text(" end position=0 lengths=3", packet="65535/65536"))
f.valid("the greatest numbers",
        data(slices([3]), 0, tensor=65_535, frame=65_535, captured=0xFFFFFFFF, position=65_535,
             pn=0xFFFFFFFF),
        data_text(" position=65535 lengths=3", tensor=65_535, frame=65_535, captured=0xFFFFFFFF),
        pn=0xFFFFFFFF)
f.valid("the first fragment", data(fragment(0, 2_000, range(20)), FRAGMENT),
        data_text(" position=0 fragment=0+20/2000"))
f.valid("a fragment that ends its slice",
        data(fragment(1_990, 2_000, range(10)), FRAGMENT | END | 1, index=2, position=8),
        data_text(" end position=8 fragment=1990+10/2000", packet="2/3", interleaver="Stride"))
f.valid("a fragment of the longest slice",
        data(fragment(16_777_214, 16_777_215, [1]), FRAGMENT | WIDE, index=300, last=20_000),
        data_text(" position=0 fragment=16777214+1/16777215", packet="300/20001"))
f.valid("frames skipped", data(slices([5]), NOTICE, notice=notice(0x01, 3, 2)),
        data_text(" notice=FrameRate:3+2 position=0 lengths=5"))
f.valid("tensors abandoned", data(slices([5]), NOTICE, notice=notice(0x81, 1, 255)),
        data_text(" notice=TensorDeadline:1+255 position=0 lengths=5"))
f.valid("an unknown reason about tensors",
        data(slices([5, 5]), NOTICE | END, index=2, notice=notice(0xFE, 65_535, 1)),
        data_text(" end notice=Other(254):65535+1 position=0 lengths=5,5", packet="2/3"))
f.valid("a notice in a wide fragment",
        data(fragment(64, 600, [9] * 4), NOTICE | WIDE | FRAGMENT | 2, index=1, last=256,
             notice=notice(0x05, 4, 1)),
        data_text(" notice=FrameApplication:4+1 position=0 fragment=64+4/600", packet="1/257",
                  interleaver="Random"))

f.valid("a step and a notice in a wide fragment",
        data(fragment(64, 600, [9] * 4), CODING | NOTICE | WIDE | FRAGMENT, index=1, last=256,
             coding=b"\x05", notice=notice(0x01, 4, 1)),
        data_text(" step=5 notice=FrameRate:4+1 position=0 fragment=64+4/600", packet="1/257"))

bad = "malformed: "
f.invalid("empty body", datagram(0, b""), bad + "ends within tensor ID")
f.invalid("ends within the frame number", datagram(0, bytes(3)), bad + "ends within frame number")
f.invalid("ends within the timestamp", datagram(0, bytes(7)),
          bad + "ends within capture timestamp")
f.invalid("ends within the wide packet count", datagram(0, bytes(11), WIDE),
          bad + "ends within packet count")
f.invalid("no first position", datagram(0, bytes(8) + b"\0\2" + b"\0"),
          bad + "ends within first position")
f.invalid("no slices", data(b"", 0), bad + "ends within slice count")
f.invalid("END before the last packet", data(slices([5]), END),
          bad + "end of tensor contradicts another field")
f.invalid("the last packet without END", data(slices([5]), 0, index=2),
          bad + "end of tensor contradicts another field")
f.invalid("index beyond the count", data(slices([5]), 0, index=3),
          bad + "packet index out of range")
f.invalid("index beyond the count, with END", data(slices([5]), END, index=3),
          bad + "packet index out of range")
f.invalid("256 packets in the wide form", data(slices([5]), WIDE, last=255),
          bad + "packet count not in its shortest form")
f.invalid("no slice", data(varint(0), 0), bad + "slice count out of range")
f.invalid("16,384 slices", data(varint(16_384) + varint(0), 0), bad + "slice count out of range")
f.invalid("overlong slice count", data(varint(2, 2) + varint(32) + b"ab", 0),
          bad + "slice count not in its shortest form")
f.invalid("no length code", data(varint(2), 0), bad + "ends within length code")
f.invalid("overlong length code", data(varint(2) + varint(32, 4) + b"ab", 0),
          bad + "length code not in its shortest form")
f.invalid("width 17", data(varint(2) + varint(17) + bytes(9), 0),
          bad + "length width out of range")
f.invalid("base 65,536", data(varint(2) + varint(65_536 * 32) + bytes(9), 0),
          bad + "length code out of range")
f.invalid("a length code of eight bytes", data(varint(2) + varint(1 << 31) + bytes(9), 0),
          bad + "length code out of range")
f.invalid("differences cut short", data(varint(9) + varint(16) + bytes(15), 0),
          bad + "ends within length differences")
f.invalid("unused bits of the differences",
          data(varint(2) + varint(1 * 32 + 3) + bytes([0b010_00001]) + bytes(3), 0),
          bad + "length differences not zero")
f.invalid("lengths beyond the payload", data(varint(3) + varint(4 * 32) + bytes(7), 0),
          bad + "ends within slices")
f.invalid("a difference beyond the payload",
          data(varint(2) + varint(1 * 32 + 8) + bytes([200]) + bytes(200), 0),
          bad + "ends within slices")
f.invalid("fragment without offset", data(b"", FRAGMENT), bad + "ends within fragment offset")
f.invalid("fragment without slice length", data(varint(5), FRAGMENT),
          bad + "ends within slice length")
f.invalid("empty fragment", data(fragment(5, 100, b""), FRAGMENT), bad + "ends within fragment")
f.invalid("fragment that is the whole slice", data(fragment(0, 4, b"abcd"), FRAGMENT),
          bad + "slice length contradicts another field")
f.invalid("fragment beyond the end of its slice", data(fragment(98, 100, b"abc"), FRAGMENT),
          bad + "slice length contradicts another field")
f.invalid("fragment that starts beyond its slice", data(fragment(101, 100, b"a"), FRAGMENT),
          bad + "slice length contradicts another field")
f.invalid("fragment of a slice of no bytes", data(fragment(0, 0, b"a"), FRAGMENT),
          bad + "slice length contradicts another field")
f.invalid("overlong fragment offset", data(varint(5, 4) + varint(100) + b"abc", FRAGMENT),
          bad + "fragment offset not in its shortest form")
f.invalid("a slice of 2^24 bytes", data(fragment(0, 1 << 24, b"abc"), FRAGMENT),
          bad + "slice length out of range")
f.invalid("notice about none", data(slices([5]), NOTICE, notice=notice(1, 3, 0)),
          bad + "notice count out of range")
f.invalid("a coding byte that says nothing", data(slices([5]), CODING, coding=b"\0"),
          bad + "coding not in its shortest form")
f.invalid("ends before the coding byte", datagram(0, bytes(8) + b"\0\2", CODING),
          bad + "ends within coding")
f.invalid("ends within the notice", datagram(0, bytes(8) + b"\0\2" + b"\1\0\1", NOTICE),
          bad + "ends within notice count")
f.invalid("key phase 1", data(slices([5]), 0, key_phase=1), bad + "key phase not zero")
f.close()

# Section 4


def times(a, b):
    """The product of two elements of the field, digit by digit as in 4.4.1."""
    product = 0
    for bit in range(8):
        if b >> bit & 1:
            product ^= a << bit
    for bit in range(14, 7, -1):
        if product >> bit & 1:
            product ^= 0x11D << bit - 8
    return product


def inverse(a):
    return next(b for b in range(1, 256) if times(a, b) == 1)


def coefficients(points, x):
    """What the values at these points are multiplied by for the value at x (4.4.2)."""
    out = []
    for i in points:
        c = 1
        for j in points:
            if j != i:
                c = times(c, times(x ^ j, inverse(i ^ j)))
        out.append(c)
    return out


def combine(factors, symbols):
    out = bytearray(max(map(len, symbols)))
    for c, symbol in zip(factors, symbols):
        for n, byte in enumerate(symbol):
            out[n] ^= times(c, byte)
    return bytes(out)


def symbol_of(source):
    """The symbol of a DATA datagram (4.3)."""
    body = source[9:-4]
    return be(len(body), 2) + source[1:2] + body


def repair_symbol(symbols, index):
    k = len(symbols)
    return combine(coefficients(range(k), k + index), symbols)


def repair(symbol, tensor=300, span=1, block=0, blocks=1, k=10, index=0, ahead=2, counts=b"",
           flags=0, pn=7):
    body = be(tensor, 2) + bytes([span, block, blocks - 1, k, index, ahead]) + counts
    return datagram(1, body + symbol, flags, pn=pn)


def repair_text(symbol, tensor=300, span=1, block=0, blocks=1, k=10, index=0, ahead=2, counts=b""):
    sources = " sources=" + ",".join(map(str, counts)) if counts else ""
    return (f"REPAIR tensor={tensor} span={span} block={block}/{blocks} k={k} "
            f"repair={index}/{ahead}{sources} symbol={len(symbol)}B")


def both(file, name, symbol, **fields):
    file.valid(name, repair(symbol, **fields), repair_text(symbol, **fields))


three = [data(slices([4, 4]), 0, tensor=300, position=0),
         data(slices([5, 2, 9]), 0, tensor=300, index=1, position=2),
         data(slices([1]), END, tensor=300, index=2, position=5)]
three_symbols = [symbol_of(source) for source in three]

f = File("repair", "REPAIR (0x1), section 4")
both(f, "the least", b"\0\1\0\x5A", k=1, ahead=0)
both(f, "the first of three packets", repair_symbol(three_symbols, 0), k=3, ahead=1)
both(f, "one on demand", repair_symbol(three_symbols, 1), k=3, index=1, ahead=1)
both(f, "the last block of the largest tensor", bytes(range(30)), tensor=65_535, block=255,
     blocks=256, k=64, ahead=16)
both(f, "the last row for the greatest k", bytes(range(30)), k=64, index=190, ahead=191)
both(f, "the last row for the least k", bytes(range(30)), k=1, index=253, ahead=254)
both(f, "a span of three tensors", bytes(range(40)), span=3, k=9, counts=bytes([4, 0, 5]))
both(f, "the longest span", bytes(range(40)), span=16, k=64, counts=bytes([4] * 16))
both(f, "the last symbol of the longest span", bytes(range(40)), span=16, k=64, index=10,
     ahead=11, counts=bytes([4] * 16))
both(f, "a span with the newest tensor alone", bytes(range(40)), span=2, k=64,
     counts=bytes([0, 64]))
symbol = bytes(range(9))
f.invalid("empty body", datagram(1, b""), bad + "ends within tensor ID")
f.invalid("ends within the repair count", datagram(1, b"\1\x2C\1\0\0\x0A\0"),
          bad + "ends within repair count")
f.invalid("span 0", repair(symbol, span=0), bad + "span out of range")
f.invalid("span 17", repair(symbol, span=17, counts=bytes(16) + b"\x0A"), bad + "span out of range")
f.invalid("row of another tensor's block", repair(symbol, span=16, index=11, counts=bytes(15) + b"\x0A"),
          bad + "repair index out of range")
f.invalid("more repair packets than rows of a span",
          repair(symbol, span=16, ahead=12, counts=bytes(15) + b"\x0A"), bad + "repair count out of range")
f.invalid("block beyond the count", repair(symbol, block=1), bad + "block index out of range")
f.invalid("k 0", repair(symbol, k=0), bad + "k out of range")
f.invalid("k 65", repair(symbol, k=65), bad + "k out of range")
f.invalid("row beyond the matrix", repair(symbol, k=64, index=191),
          bad + "repair index out of range")
f.invalid("row far beyond the matrix", repair(symbol, k=10, index=255),
          bad + "repair index out of range")
f.invalid("more repair packets than rows", repair(symbol, k=64, ahead=192),
          bad + "repair count out of range")
f.invalid("a span of more than one block", repair(symbol, span=2, blocks=2, counts=bytes([4, 6])),
          bad + "block count contradicts another field")
f.invalid("ends within the counts", repair(b"", span=3, counts=bytes([4, 6])),
          bad + "ends within source packet counts")
f.invalid("a tensor of 65 packets", repair(symbol, span=2, counts=bytes([65, 6])),
          bad + "source packet counts out of range")
f.invalid("nothing of the newest tensor", repair(symbol, span=2, counts=bytes([10, 0])),
          bad + "source packet counts out of range")
f.invalid("counts of fewer than k packets", repair(symbol, span=2, counts=bytes([4, 5])),
          bad + "k contradicts another field")
f.invalid("counts of k + 256 packets", repair(symbol, span=5, counts=bytes([64, 64, 64, 64, 10])),
          bad + "k contradicts another field")
f.invalid("no symbol", repair(b""), bad + "ends within symbol")
f.invalid("a symbol of three bytes", repair(b"\0\0\0"), bad + "ends within symbol")
f.invalid("no symbol after the counts", repair(b"abc", span=2, counts=bytes([4, 6])),
          bad + "ends within symbol")
f.invalid("undefined flag", repair(symbol, flags=1), bad + "flags not zero")
f.invalid("end of tensor", repair(symbol, flags=END), bad + "flags not zero")
f.close()

# Section 4.4.1

exp = [1]
while len(exp) < 255:
    exp.append(times(exp[-1], 2))
products = [(2, 0x80), (0x8E, 2), (0x53, 0xCA), (0xFF, 0xFF), (0x1D, 0x1D), (3, 7), (0, 0xA5)]
with open("../fec/field.toml", "w", encoding="utf-8") as out:
    out.write("# The field, wire-format.md 4.4.1\n\n")
    out.write("# 2 to the powers 0 to 254.\n")
    out.write(f'powers = "{bytes(exp).hex()}"\n')
    for a, b in products:
        out.write(f"\n[[products]]\na = {a}\nb = {b}\nproduct = {times(a, b)}\n")

# Section 4.4.2

with open("../fec/matrix.toml", "w", encoding="utf-8") as out:
    out.write("# Rows of the generator matrix for repair symbols, wire-format.md 4.4.2\n")
    for k, indices in [(1, [0, 1, 253]), (2, [0, 1, 2, 252]), (3, [0, 1, 2, 251]),
                       (8, [0, 1, 2, 3, 4, 5, 6, 7, 246]), (64, [0, 1, 15, 190])]:
        for index in indices:
            row = bytes(coefficients(range(k), k + index)).hex()
            out.write(f'\n[[rows]]\nk = {k}\nrepair_index = {index}\nrow = "{row}"\n')

# Sections 4.1 and 4.3: whole blocks


def first_row(span=1, tensor=300, **_):
    return tensor % span * (190 // span) if span > 1 else 0


class Blocks:
    def __init__(self):
        self.out = [f"# Source blocks and their REPAIR packets, wire-format.md 4\n\n"
                    f"connection = {CID}\n"]

    def block(self, name, sources, indices, **fields):
        self.out.append(f'\n[[blocks]]\nname = "{name}"\n')
        symbols = [symbol_of(source) for source in sources]
        for source, symbol in zip(sources, symbols):
            self.out.append(f'\n[[blocks.sources]]\ndatagram = "{source.hex()}"\n'
                            f'symbol = "{symbol.hex()}"\n')
        for index in indices:
            row = first_row(**fields) + index
            symbol = repair_symbol(symbols, row)
            given = dict(fields, k=len(sources), index=index)
            self.out.append(f'\n[[blocks.repairs]]\nindex = {index}\nrow = {row}\nsymbol = "{symbol.hex()}"\n'
                            f'datagram = "{repair(symbol, **given).hex()}"\n')

    def lie(self, name, symbol, why):
        self.out.append(f'\n[[lies]]\nname = "{name}"\nsymbol = "{symbol.hex()}"\n'
                        f'error = "{why}"\n')

    def close(self):
        with open("../fec/blocks.toml", "w", encoding="utf-8") as f:
            f.write("".join(self.out))


def tensor_of(lengths, tensor):
    """The packets of a tensor: a list of slice lengths for each."""
    last, out, position = len(lengths) - 1, [], 0
    for index, packet in enumerate(lengths):
        flags = END if index == last else 0
        out.append(data(slices(packet), flags, tensor=tensor, index=index, last=last,
                        position=position, pn=index))
        position += len(packet)
    return out


f = Blocks()
f.block("the only packet of its tensor", tensor_of([[7, 3]], 300), [0, 1, 253], ahead=1)
f.block("three packets of different lengths", three, [0, 1, 2, 3], ahead=3)
five = tensor_of([[9, 9], [12], [4, 4, 4], [1], [17]], 301)
f.block("the first of two interleaved blocks", five[0::2], [0, 1, 2], tensor=301, block=0,
        blocks=2, ahead=2)
f.block("the second of two interleaved blocks", five[1::2], [0, 1], tensor=301, block=1, blocks=2,
        ahead=1)
f.block("the two most important of five packets", five[:2], [0, 1], tensor=301, ahead=2)
noticed = [data(slices([6]), NOTICE | 2, tensor=302, notice=notice(0x82, 300, 1), last=1),
           data(slices([6]), END | 2, tensor=302, index=1, last=1, position=1)]
f.block("a notice is protected like the rest", noticed, [0, 1], tensor=302, ahead=1)
fragments = [data(fragment(at, 100, range(at, end)), FRAGMENT | (END if end == 100 else 0),
                  tensor=303, index=index)
             for index, (at, end) in enumerate([(0, 40), (40, 80), (80, 100)])]
f.block("fragments of a slice", fragments, [0, 5, 251], tensor=303, ahead=1)
f.block("a span of three tensors, of which the second had more packets than fit",
        tensor_of([[9, 9], [12]], 305) + tensor_of([[8], [3, 3], [20]], 307), [0, 1, 2, 3, 4],
        tensor=307, span=3, counts=bytes([2, 0, 3]), ahead=2)
f.block("sixty-four packets", tensor_of([[n % 5 + 1] for n in range(64)], 308),
        [0, 1, 2, 3, 15, 190], tensor=308, ahead=16)
body = three_symbols[2]
f.lie("the length is one more than there is", be(len(body) - 2, 2) + body[2:], "length")
f.lie("the greatest length", b"\xFF\xFF" + body[2:], "length")
f.lie("the last byte of the padding is not zero", body + bytes(8) + b"\1", "padding")
f.lie("the body is a byte longer than its length says", body + b"\x80", "padding")
f.close()

# Section 5


def report(age, ecn=0):
    return be(1 << 15 | ecn << 13 | age, 2)


def release(tensor, reason, missing):
    return be(tensor, 2) + be(reason << 12 | missing, 2)


def feedback(packets=(), releases=(), load=None, begin=100, flags=None, p=None, r=None, tail=b""):
    p, r = len(packets) if p is None else p, len(releases) if r is None else r
    body = be(2_000_000, 4) + be(begin, 4) + be(p, 2) + be(r, 1)
    if load:
        body += be(load[0], 2) + be(load[1], 4) + be(load[2], 4)
    body += b"".join(packets) + b"".join(releases) + tail
    return datagram(2, body, (1 if load else 0) if flags is None else flags)


f = File("feedback", "FEEDBACK (0x2), section 5")
f.valid("nothing to report", feedback(), "FEEDBACK timestamp=2000000 begin=100 packets= releases=")
f.valid("arrived, missing, each codepoint",
        feedback([report(0), be(0, 2), report(1, 1), report(156, 2), report(0x1FFD, 3)],
                 begin=0xFFFFFFFE),
        "FEEDBACK timestamp=2000000 begin=4294967294 "
        "packets=0us:0,-,64us:1,9984us:2,524096us:3 releases=")
f.valid("ages that are long or unknown", feedback([report(0x1FFE), report(0x1FFF, 3)]),
        "FEEDBACK timestamp=2000000 begin=100 packets=old:0,old:3 releases=")
f.valid("releases", feedback([report(2)], [release(3, 0, 0), release(65_535, 5, 4_095),
                                          release(4, 15, 1)]),
        "FEEDBACK timestamp=2000000 begin=100 packets=128us:0 "
        "releases=3:0:0,65535:5:4095,4:15:1")
f.valid("load", feedback(load=(3, 12_000, 33_333)),
        "FEEDBACK timestamp=2000000 begin=100 packets= releases= "
        "queue=3 service=12000us admission=33333us")
f.valid("load and reports",
        feedback([be(0, 2), report(5)], [release(9, 2, 410)], (65_535, 0xFFFFFFFF, 0)),
        "FEEDBACK timestamp=2000000 begin=100 packets=-,320us:0 releases=9:2:410 "
        "queue=65535 service=4294967295us admission=0us")
f.valid("512 packets and 64 releases", feedback([report(0)] * 512, [release(1, 0, 0)] * 64),
        "FEEDBACK timestamp=2000000 begin=100 packets=" + ",".join(["0us:0"] * 512)
        + " releases=" + ",".join(["1:0:0"] * 64))
f.invalid("ends within begin", datagram(2, bytes(7)), bad + "ends within begin")
f.invalid("513 packets", feedback([report(0)] * 513), bad + "packet count out of range")
f.invalid("65 releases", feedback(releases=[release(1, 0, 0)] * 65),
          bad + "release count out of range")
f.invalid("a missing packet with an age", feedback([be(5, 2)]),
          bad + "report of a missing packet not zero")
f.invalid("a missing packet with a codepoint", feedback([report(0), be(3 << 13, 2)]),
          bad + "report of a missing packet not zero")
f.invalid("packet reports cut short", feedback([report(0)], p=2), bad + "ends within packet reports")
f.invalid("release reports cut short", feedback(releases=[release(1, 0, 0)], r=2),
          bad + "ends within release reports")
f.invalid("load announced and absent", feedback(flags=1), bad + "ends within queue length")
f.invalid("load present and not announced", feedback(load=(1, 2, 3), flags=0),
          bad + "trailing bytes")
f.invalid("undefined flag", feedback(flags=2), bad + "flags not zero")
f.close()

# Section 6


def result(payload=b"", tensor=3, frame=5, reason=0, missing=0, status=0, compute=4_000,
           length=None):
    length = len(payload) if length is None else length
    return (be(tensor, 2) + be(frame, 2) + be(reason << 12 | missing, 2) + bytes([status])
            + be(compute, 4) + be(length, 2) + payload)


def results(*entries, count=None, flags=0, tail=b""):
    count = len(entries) if count is None else count
    return datagram(3, bytes([count]) + b"".join(entries) + tail, flags)


f = File("result", "RESULT (0x3), section 6")
f.valid("one without a payload", results(result()),
        "RESULT [tensor=3 frame=5 reason=0 missing=0 status=0 compute=4000us payload=0B]")
f.valid("two, newest first",
        results(result(b"cat", 4, 9, 2, 410), result(b"", 3, 5, 5, 4_095, 2, 0)),
        "RESULT [tensor=4 frame=9 reason=2 missing=410 status=0 compute=4000us payload=3B]"
        " [tensor=3 frame=5 reason=5 missing=4095 status=2 compute=0us payload=0B]")
f.valid("an unknown status and reason", results(result(b"x", 65_535, 65_535, 15, 1, 200, 0xFFFFFFFF)),
        "RESULT [tensor=65535 frame=65535 reason=15 missing=1 status=200 compute=4294967295us "
        "payload=1B]")
f.valid("the longest payload", results(result(bytes(1_024))),
        "RESULT [tensor=3 frame=5 reason=0 missing=0 status=0 compute=4000us payload=1024B]")
f.valid("sixteen", results(*[result()] * 16), "RESULT" + (
    " [tensor=3 frame=5 reason=0 missing=0 status=0 compute=4000us payload=0B]" * 16))
f.invalid("empty body", datagram(3, b""), bad + "ends within result count")
f.invalid("none", results(), bad + "result count out of range")
f.invalid("seventeen", results(*[result()] * 17), bad + "result count out of range")
f.invalid("a payload of 1,025 bytes", results(result(bytes(1_025))),
          bad + "payload length out of range")
f.invalid("payload cut short", results(result(b"cat", length=4)), bad + "ends within payload")
f.invalid("fewer than counted", results(result(), count=2), bad + "ends within tensor ID")
f.invalid("bytes after the last", results(result(), tail=b"\0"), bad + "trailing bytes")
f.invalid("undefined flag", results(result(), flags=0x40), bad + "flags not zero")
f.close()

# Section 7

f = File("ping", "PING (0x4), section 7.1")
f.valid("without padding", datagram(4, be(123_456, 4)), "PING timestamp=123456 padding=0")
f.valid("64 bytes in all", datagram(4, be(0xFFFFFFFF, 4) + bytes(47)),
        "PING timestamp=4294967295 padding=47")
f.invalid("empty body", datagram(4, b""), bad + "ends within report timestamp")
f.invalid("ends within the timestamp", datagram(4, bytes(3)), bad + "ends within report timestamp")
f.invalid("padding that is not zero", datagram(4, bytes(9) + b"\1"), bad + "padding not zero")
f.invalid("undefined flag", datagram(4, bytes(4), 1), bad + "flags not zero")
f.invalid("key phase 1", datagram(4, bytes(4), key_phase=1), bad + "key phase not zero")
f.close()

f = File("padding", "PADDING (0x5), section 7.2")
f.valid("none", datagram(5, b""), "PADDING padding=0")
f.valid("forty bytes", datagram(5, bytes(40)), "PADDING padding=40")
f.invalid("not zero", datagram(5, b"\1"), bad + "padding not zero")
f.invalid("the last byte not zero", datagram(5, bytes(39) + b"\x80"), bad + "padding not zero")
f.invalid("undefined flag", datagram(5, bytes(3), 0x10), bad + "flags not zero")
f.close()

for kind, name, title in [(6, "path-challenge", "PATH_CHALLENGE"), (7, "path-response", "PATH_RESPONSE")]:
    f = File(name, f"{title} (0x{kind}), section 7.3")
    f.valid("some data", datagram(kind, bytes(range(1, 9))), f"{title} data=0102030405060708")
    f.valid("zeros", datagram(kind, bytes(8)), f"{title} data=0000000000000000")
    f.invalid("empty body", datagram(kind, b""), bad + "ends within path data")
    f.invalid("seven bytes", datagram(kind, bytes(7)), bad + "ends within path data")
    f.invalid("nine bytes", datagram(kind, bytes(9)), bad + "trailing bytes")
    f.invalid("undefined flag", datagram(kind, bytes(8), 1), bad + "flags not zero")
    f.close()


def close(code, reason=b"", flags=0):
    return datagram(8, be(code, 2) + reason, flags)


f = File("close", "CLOSE (0x8), section 7.4")
f.valid("done", close(0), 'CLOSE code=0 reason=""')
f.valid("application error, with a reason", close(1, "modèle absent".encode()),
        'CLOSE code=1 reason="modèle absent"')
f.valid("an unknown code", close(65_535, b"x"), 'CLOSE code=65535 reason="x"')
f.valid("the longest reason", close(3, b"a" * 256), 'CLOSE code=3 reason="' + "a" * 256 + '"')
f.invalid("empty body", datagram(8, b""), bad + "ends within close code")
f.invalid("ends within the code", datagram(8, b"\0"), bad + "ends within close code")
f.invalid("a reason of 257 bytes", close(1, b"a" * 257), bad + "close reason out of range")
f.invalid("not UTF-8", close(1, b"ab\xff"), bad + "close reason out of range")
f.invalid("half a character", close(1, "è".encode()[:1]), bad + "close reason out of range")
f.invalid("undefined flag", close(0, flags=2), bad + "flags not zero")
f.close()

# Section 2

f = File("header", "Common header and trailer, sections 2.3 to 2.6; checks in their order")
f.valid("packet number 0", datagram(5, b"", pn=0), "PADDING padding=0", pn=0)
f.valid("the greatest packet number", datagram(5, b"", pn=0xFFFFFFFF), "PADDING padding=0",
        pn=0xFFFFFFFF)
good = datagram(5, bytes(3))
f.invalid("nothing", b"", "length")
f.invalid("one byte", good[:1], "length")
f.invalid("a byte less than header and trailer", datagram(5, b"")[:12], "length")
for form in (0b00, 0b01, 0b11):
    f.invalid(f"form {form:02b}", datagram(5, b"", form=form), "form")
for version in (0b00, 0b10, 0b11):
    f.invalid(f"version {version:02b}", datagram(5, b"", version=version), "version")
f.invalid("connection ID of another session", datagram(5, b"", cid=CID ^ 1), "connection")
f.invalid("connection ID of another session, first byte", datagram(5, b"", cid=CID ^ 1 << 23),
          "connection")
f.invalid("last bit of the trailer", good[:-1] + bytes([good[-1] ^ 1]), "integrity")
f.invalid("trailer in the other byte order", good[:-4] + good[:-5:-1], "integrity")
f.invalid("a bit of the body", good[:9] + b"\1" + good[10:], "integrity")
f.invalid("cut by a byte", good[:-1], "integrity")
for kind in range(9, 16):
    f.invalid(f"type 0x{kind:X}", datagram(kind, bytes(4)), "type")
f.invalid("unassigned type before key phase and flags",
          datagram(15, bytes(4), flags=0x7F, key_phase=1), "type")
f.invalid("key phase before flags", datagram(5, b"", flags=1, key_phase=1),
          bad + "key phase not zero")
f.invalid("flags before the body", datagram(5, b"\1", flags=1), bad + "flags not zero")
f.invalid("form before version and integrity",
          datagram(5, b"", form=0b01, version=0b11)[:-1] + b"\0", "form")
f.invalid("version before connection", datagram(5, b"", version=0b10, cid=1), "version")
f.invalid("connection before integrity", datagram(5, b"", cid=1)[:-4] + bytes(4), "connection")
f.close()
