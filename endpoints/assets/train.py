#!/usr/bin/env python3
"""Train Tensorwire's embedded default model on Fashion-MNIST and write its assets.

Needs Python 3.11 and these packages (the versions the shipped files were made with):

    torch==2.6.0   numpy==2.4.6   onnx==1.23.2

The data are the four gzip-compressed IDX files of Fashion-MNIST; on Debian they
come with the package `dataset-fashion-mnist`.

The network is a small residual classifier in which every sum is LINEAR: no
activation follows an Add inside its block, and each block begins with its own
ReLU.  Two things follow.  The tensor leaving `add_k` is the only one that later
nodes read, so each Add is a clean place to cut the network in two.  And every
batch norm sits directly behind a convolution, so all of them fold away and the
exported graph holds only Conv, Relu, Add, GlobalAveragePool, Flatten and Gemm.

There is no selection of any kind: the schedule is fixed, all 60,000 training
images are used, and nothing is chosen by the test images.
"""

import argparse
import copy
import gzip
import math
import os
import pathlib
import platform
import struct
import sys
import time

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import nn

MEAN, STD = 0.2860, 0.3530  # grey/255 over the training images
SHIPPED = 1000              # how many test images travel with the program
OPSET = 13

# (input channels, middle channels, output channels, stride) of each block.
# The middle is narrower than the trunk: it keeps a 48-channel tensor at the
# 14x14 cuts while the whole network stays near 20 million multiply-adds.
STEM = 16
BLOCKS = [
    (16, 16, 16, 1),  # add_1: 16x28x28
    (16, 32, 48, 2),  # add_2: 48x14x14
    (48, 32, 48, 1),  # add_3: 48x14x14, the default split
    (48, 48, 96, 2),  # add_4: 96x7x7
    (96, 48, 96, 1),  # add_5: 96x7x7
]
DEFAULT_SPLIT = "add_3"


# --------------------------------------------------------------------- data

def read_idx(path):
    """Read one gzip-compressed IDX file of unsigned bytes."""
    raw = gzip.decompress(pathlib.Path(path).read_bytes())
    zero, kind, rank = struct.unpack(">HBB", raw[:4])
    if zero != 0 or kind != 8:
        raise SystemExit(f"{path}: not an IDX file of unsigned bytes")
    shape = struct.unpack(f">{rank}I", raw[4:4 + 4 * rank])
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def write_idx(path, array):
    """Write unsigned bytes as gzip-compressed IDX, the same bytes every time."""
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    with open(path, "wb") as file:
        # No file name and no time stamp in the gzip header, so that two runs agree.
        with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=file, mtime=0) as packed:
            packed.write(head + array.tobytes())


def to_input(grey):
    """Grey bytes [N,28,28] to the network's input [N,1,28,28]."""
    return torch.from_numpy((grey.astype(np.float32) / 255 - MEAN) / STD).unsqueeze(1)


def augment(batch, rng):
    """Random flip, random shift by up to two pixels, and now and then an erased patch."""
    count, side = batch.shape[0], batch.shape[2]
    background = (0 - MEAN) / STD
    padded = F.pad(batch, (2, 2, 2, 2), value=background)
    span = torch.arange(side)
    rows = torch.randint(0, 5, (count, 1), generator=rng) + span
    cols = torch.randint(0, 5, (count, 1), generator=rng) + span
    flip = torch.rand(count, 1, generator=rng) < 0.5
    cols = torch.where(flip, cols.flip(1), cols)
    out = padded[torch.arange(count)[:, None, None], 0, rows[:, :, None], cols[:, None, :]]
    # Erasing: a rectangle of 4 to 10 pixels a side, in a quarter of the images.
    size = torch.randint(4, 11, (count, 2, 1), generator=rng)
    at = (torch.rand(count, 2, 1, generator=rng) * (side - size + 1)).long()
    inside = (span >= at) & (span < at + size)
    chosen = torch.rand(count, 1, 1, generator=rng) < 0.25
    erased = inside[:, 0, :, None] & inside[:, 1, None, :] & chosen
    return out.masked_fill(erased, 0.0).unsqueeze(1)


# ------------------------------------------------------------------ network

class Block(nn.Module):
    """ReLU, 3x3, BN, ReLU, 3x3, BN, then a linear sum with the shortcut."""

    def __init__(self, cin, mid, cout, stride):
        super().__init__()
        self.conv_a = nn.Conv2d(cin, mid, 3, stride, 1, bias=False)
        self.norm_a = nn.BatchNorm2d(mid)
        self.conv_b = nn.Conv2d(mid, cout, 3, 1, 1, bias=False)
        self.norm_b = nn.BatchNorm2d(cout)
        self.project = stride != 1 or cin != cout
        if self.project:
            self.conv_s = nn.Conv2d(cin, cout, 1, stride, 0, bias=False)
            self.norm_s = nn.BatchNorm2d(cout)

    def forward(self, x):
        r = F.relu(x)
        y = F.relu(self.norm_a(self.conv_a(r)))
        y = self.norm_b(self.conv_b(y))
        return y + (self.norm_s(self.conv_s(r)) if self.project else x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, STEM, 3, 1, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(STEM)
        self.blocks = nn.ModuleList(Block(*spec) for spec in BLOCKS)
        self.head = nn.Linear(BLOCKS[-1][2], 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x, sums=None):
        """The logits; if `sums` is a list, each block's sum is appended to it."""
        x = self.stem_norm(self.stem(x))
        for block in self.blocks:
            x = block(x)
            if sums is not None:
                sums.append(x)
        return self.head(F.relu(x).mean((2, 3)))


def folded(conv, norm):
    """One convolution with a bias that does what `conv` then `norm` do at inference."""
    out = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding)
    with torch.no_grad():
        # Double precision: the folded weights are then rounded only once.
        scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        out.weight.copy_(conv.weight.double() * scale[:, None, None, None])
        out.bias.copy_(norm.bias.double() - norm.running_mean.double() * scale)
    return out


def fold(net):
    """A copy of `net` for inference, without batch norms."""
    net = copy.deepcopy(net).eval()
    net.stem, net.stem_norm = folded(net.stem, net.stem_norm), nn.Identity()
    for block in net.blocks:
        for part in "abs" if block.project else "ab":
            conv, norm = f"conv_{part}", f"norm_{part}"
            setattr(block, conv, folded(getattr(block, conv), getattr(block, norm)))
            setattr(block, norm, nn.Identity())
    return net.to(memory_format=torch.contiguous_format).eval()


# ----------------------------------------------------------------- training

def train(net, images, labels, args):
    rng = torch.Generator().manual_seed(args.seed)
    # Weight decay on the weights only: on norms and biases it does no good.
    decay = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    optimiser = torch.optim.SGD(
        [{"params": decay, "weight_decay": 5e-4}, {"params": plain, "weight_decay": 0.0}],
        lr=args.rate, momentum=0.9, nesterov=True)
    steps_each = len(images) // args.batch
    total = max(1, args.epochs * steps_each)
    warm = max(1, total * 15 // 100)
    # One rise and one cosine fall to zero, so the last weights are the ones to keep.
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: (
        (step + 1) / warm if step < warm
        else 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))))
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.1)
    net.train()
    begun = time.time()
    for epoch in range(args.epochs):
        order = torch.randperm(len(images), generator=rng)
        loss_sum = right = 0.0
        for step in range(steps_each):
            pick = order[step * args.batch:(step + 1) * args.batch]
            x = augment(images[pick], rng).to(memory_format=torch.channels_last)
            y = labels[pick]
            with torch.autocast("cpu", torch.bfloat16, enabled=not args.float32):
                logits = net(x)
            loss = loss_of(logits.float(), y)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            loss_sum += loss.item()
            right += (logits.argmax(1) == y).sum().item()
            if epoch == 0 and step == 99:
                print(f"  first 100 batches took {time.time() - begun:.1f} s", flush=True)
        print(f"epoch {epoch + 1:3d}/{args.epochs}  loss {loss_sum / max(1, steps_each):.4f}  "
              f"augmented training top-1 {100 * right / max(1, steps_each * args.batch):.2f} %  "
              f"{time.time() - begun:.0f} s", flush=True)
    return time.time() - begun


@torch.no_grad()
def logits_of(net, images):
    return torch.cat([net(part) for part in images.split(500)])


@torch.no_grad()
def sums_of(net, images):
    """The values at every add, one tensor for each, over `images`."""
    parts = []
    for part in images.split(500):
        sums = []
        net(part, sums)
        parts.append(sums)
    return [torch.cat(column) for column in zip(*parts)]


# ------------------------------------------------------------------- export

def export(net, path):
    """Write the folded `net` as ONNX.

    The graph is built by hand, not traced: that fixes the names of the nodes and
    tensors (`add_k` names a public place to split) and keeps paths out of the file.
    """
    nodes, weights = [], []

    def put(name, tensor):
        weights.append(numpy_helper.from_array(np.ascontiguousarray(tensor.detach().numpy()), name))
        return name

    def node(kind, name, inputs, **attributes):
        nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def conv(name, module, source):
        pad, size, stride = module.padding[0], module.kernel_size[0], module.stride[0]
        return node("Conv", name, [source, put(f"{name}.weight", module.weight), put(f"{name}.bias", module.bias)],
                    kernel_shape=[size, size], strides=[stride, stride], pads=[pad] * 4,
                    dilations=[1, 1], group=1)

    x = conv("stem", net.stem, "input")
    for k, block in enumerate(net.blocks, 1):
        r = node("Relu", f"relu_{k}_in", [x])
        y = conv(f"conv_{k}_a", block.conv_a, r)
        y = node("Relu", f"relu_{k}_mid", [y])
        y = conv(f"conv_{k}_b", block.conv_b, y)
        shortcut = conv(f"conv_{k}_s", block.conv_s, r) if block.project else x
        x = node("Add", f"add_{k}", [y, shortcut])
    x = node("Relu", "relu_out", [x])
    x = node("GlobalAveragePool", "pool", [x])
    x = node("Flatten", "flatten", [x], axis=1)
    node("Gemm", "logits", [x, put("head.weight", net.head.weight), put("head.bias", net.head.bias)], transB=1)

    graph = helper.make_graph(
        nodes, "fashion",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        initializer=weights)
    # IR version 7 is the one that came with opset 13; older readers accept it.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)],
                              ir_version=7, producer_name="tensorwire", producer_version="1")
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return model


def check_cuts(model):
    """Stop unless every Add is a clean cut: later nodes read nothing earlier but its output."""
    constant = {w.name for w in model.graph.initializer}
    nodes = list(model.graph.node)  # in topological order, as ONNX demands
    for at, add in enumerate(nodes):
        if add.op_type != "Add":
            continue
        late = {out for n in nodes[at + 1:] for out in n.output}
        crossing = {name for n in nodes[at + 1:] for name in n.input} - late - constant
        if add.name != add.output[0] or crossing != {add.name}:
            raise SystemExit(f"{add.name} is no clean cut: {sorted(crossing)} cross it")


def cost(model):
    """Parameters and multiply-adds for one image, counted from the graph itself."""
    shape = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
             for v in [*model.graph.value_info, *model.graph.output]}
    size = {w.name: list(w.dims) for w in model.graph.initializer}
    macs = 0
    for n in model.graph.node:
        if n.op_type == "Conv":
            macs += math.prod(size[n.input[1]]) * math.prod(shape[n.output[0]][2:])
        elif n.op_type == "Gemm":
            macs += math.prod(size[n.input[1]])
    return sum(math.prod(dims) for dims in size.values()), macs


# ------------------------------------------------------------------- notice

NOTICE = """\
# Fashion-MNIST: attribution and what was made from it

Fashion-MNIST is Copyright (c) 2017 Zalando SE, <https://tech.zalando.com>;
its home is <https://github.com/zalandoresearch/fashion-mnist>. It is distributed
under the MIT licence, given in full below. The copy used here is the one in the
Debian package `dataset-fashion-mnist`.

## What this directory holds

| file | what it is |
| --- | --- |
| `images.idx3.gz`, `labels.idx1.gz` | the first {shipped:,} of the 10,000 Fashion-MNIST test images and their labels, unaltered, in IDX format |
| `model.onnx` | a residual classifier trained on Fashion-MNIST by `../train.py` (ONNX opset {opset}, batch norm folded) |
| `add_3.twb` | the side-information bundle of `add_3`, made from the first 5,000 training images: `tw-lab calibrate --images train-images-idx3-ubyte.gz --rows 0..5000 --out endpoints/assets/fashion/add_3.twb` |
| `reference-logits.npy` | that network's logits on those {shipped:,} images, float32, computed by PyTorch with batch norm folded |

The network is Tensorwire's own design and its weights were trained from random
initial values; it uses no pretrained weights.

## How it was trained

Command, from the repository root:

    {command}

- Training images: {trained:,} of the 60,000 (28x28 grey; no other data).
- Fixed schedule of {epochs} epochs, batch {batch}, seed {seed}; nothing was selected on the test
  images. Augmentation: horizontal flip, shifts of up to two pixels, small erased patches.
  No augmentation at test time.
- Input: `(grey/255 - {mean:.4f}) / {std:.4f}`, shape `[N,1,28,28]`.
- Size: {parameters:,} parameters, {macs:,} multiply-adds for one image.
- Machine: {machine}; {threads}; {arithmetic} arithmetic in training,
  float32 in every figure below. Training took {minutes:.1f} minutes.
- Versions: Python {python}, torch {torch}, numpy {numpy}, onnx {onnx}.

## Measured

| test images | right | top-1 |
| --- | --- | --- |
| all {all_count:,} | {all_right:,} | {all_percent:.2f} % |
| the {shipped:,} shipped here | {some_right:,} | {some_percent:.2f} % |

Values at each place where the network can be split, over the {shipped:,} shipped images:

| tensor | C x H x W | min | max | mean | standard deviation |
| --- | --- | --- | --- | --- | --- |
{values}

## Licence of Fashion-MNIST

The MIT License (MIT)

Copyright (c) 2017 Zalando SE, https://tech.zalando.com

Permission is hereby granted, free of charge, to any person obtaining a copy of
this software and associated documentation files (the "Software"), to deal in the
Software without restriction, including without limitation the rights to use, copy,
modify, merge, publish, distribute, sublicense, and/or sell copies of the Software,
and to permit persons to whom the Software is furnished to do so, subject to the
following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED,
INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A
PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT
HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF
CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE
OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def main():
    parser = argparse.ArgumentParser(
        description="Train the embedded Fashion-MNIST classifier and write its assets.",
        epilog="example: python3 endpoints/assets/train.py --epochs 24 --threads 1\n"
               "a quick trial: python3 endpoints/assets/train.py --epochs 1 --out /tmp/trial",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    here = pathlib.Path(__file__).resolve().parent
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("/usr/share/datasets/fashion-mnist"),
                        metavar="DIR", help="folder of the four IDX .gz files (default: %(default)s)")
    parser.add_argument("--out", type=pathlib.Path, default=here / "fashion", metavar="DIR",
                        help="folder to write to (default: fashion/ beside this script)")
    parser.add_argument("--epochs", type=int, default=24, help="passes over the training images (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1,
                        help="CPU threads; other counts round differently (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=128, help="images a step (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=0.1, help="peak learning rate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of every random choice (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=60000, metavar="COUNT",
                        help="train on the first COUNT images only, for trials (default: %(default)s)")
    parser.add_argument("--float32", action="store_true",
                        help="train in float32, not in bfloat16: for a CPU without bfloat16 instructions")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    # The same seed, threads and versions then give the same weights on one kind of CPU.
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # a debugging aid, and a slow one

    grey = read_idx(args.data / "train-images-idx3-ubyte.gz")[:args.limit]
    train_labels = read_idx(args.data / "train-labels-idx1-ubyte.gz")[:args.limit]
    test_grey = read_idx(args.data / "t10k-images-idx3-ubyte.gz")
    test_labels = read_idx(args.data / "t10k-labels-idx1-ubyte.gz")

    net = Net().to(memory_format=torch.channels_last)
    seconds = train(net, to_input(grey), torch.from_numpy(train_labels.astype(np.int64)), args)

    args.out.mkdir(parents=True, exist_ok=True)
    net = fold(net)
    model = export(net, args.out / "model.onnx")
    check_cuts(model)
    parameters, macs = cost(model)

    logits = logits_of(net, to_input(test_grey))
    right = logits.argmax(1).numpy() == test_labels
    np.save(args.out / "reference-logits.npy", logits[:SHIPPED].numpy())
    write_idx(args.out / "images.idx3.gz", test_grey[:SHIPPED])
    write_idx(args.out / "labels.idx1.gz", test_labels[:SHIPPED])

    rows = []
    for k, value in enumerate(sums_of(net, to_input(test_grey[:SHIPPED])), 1):
        note = " (default split)" if f"add_{k}" == DEFAULT_SPLIT else ""
        rows.append(f"| `add_{k}`{note} | {' x '.join(map(str, value.shape[1:]))} | {value.min():.3f} "
                    f"| {value.max():.3f} | {value.mean():.3f} | {value.std():.3f} |")

    command = "python3 endpoints/assets/train.py"
    for name in ("epochs", "threads", "batch", "rate", "seed", "limit", "float32"):
        value = getattr(args, name)
        # The first two are always written: they decide what comes out and how soon.
        if name in ("epochs", "threads") or value != parser.get_default(name):
            command += f" --{name}" if value is True else f" --{name} {value}"
    all_right, some_right = int(right.sum()), int(right[:SHIPPED].sum())
    (args.out / "NOTICE.md").write_text(NOTICE.format(
        shipped=SHIPPED, opset=OPSET, command=command, trained=len(grey), epochs=args.epochs,
        batch=args.batch, seed=args.seed, mean=MEAN, std=STD, parameters=parameters, macs=macs,
        machine=f"{os.cpu_count()}-core {platform.machine().replace('_', '-')} CPU", threads=f"{args.threads} thread" + "s" * (args.threads != 1),
        arithmetic="float32" if args.float32 else "bfloat16 (autocast)", minutes=seconds / 60,
        python=platform.python_version(), torch=torch.__version__.split("+")[0], numpy=np.__version__,
        onnx=onnx.__version__, all_count=len(right), all_right=all_right, all_percent=100 * right.mean(),
        some_right=some_right, some_percent=100 * right[:SHIPPED].mean(), values="\n".join(rows)))

    print(f"{parameters:,} parameters, {macs:,} multiply-adds an image")
    print("\n".join(rows))
    print(f"test top-1: {all_right} of {len(right)} ({100 * right.mean():.2f} %); "
          f"first {SHIPPED}: {some_right} ({100 * right[:SHIPPED].mean():.2f} %)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
