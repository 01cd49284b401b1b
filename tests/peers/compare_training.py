"""Trains one small network on the same batches here (float and double build) and in PyTorch (float64), and compares the
loss curves: the double build's must agree to 1e-6 at every step. Needs PyTorch; a development aid, no test needs it.

    python3 tests/peers/compare_training.py --build build [--steps 120] [--picture curves.svg]"""
import argparse
import json
import math
import struct
import subprocess
import sys
import tempfile

import torch
from torch.nn import functional as F

from torch_net import Net

BATCH, SIDE, CLASSES = 12, 32, 7
MASK = (1 << 64) - 1


def fill(name, seed, count, low, high):
    """The golden files' fill: float32 values that both sides make from a name and a number."""
    base = 0xCBF29CE484222325
    for byte in name.encode():
        base = (base ^ byte) * 0x100000001B3 & MASK
    base ^= seed
    out = []
    for i in range(1, count + 1):
        z = (base + i * 0x9E3779B97F4A7C15) & MASK
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
        z ^= z >> 31
        out.append(low + (high - low) * (z >> 40) / (1 << 24))
    return torch.tensor(out, dtype=torch.float32).double()


def read_model(path):
    """Tensors and metadata of a safetensors file."""
    data = open(path, "rb").read()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    metadata = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        dtype = {"F32": torch.float32, "F64": torch.float64}[entry["dtype"]]
        tensors[name] = torch.frombuffer(bytearray(data[8 + size + begin:8 + size + end]), dtype=dtype).reshape(entry["shape"]).double()
    return tensors, metadata


def batch(step):
    x = fill("batch", step, BATCH * 3 * SIDE * SIDE, -2, 2).reshape(BATCH, 3, SIDE, SIDE)
    labels = torch.tensor([(step + 5 * i) % CLASSES for i in range(BATCH)])
    x[:, 0] += 0.25 * labels.double().reshape(-1, 1, 1)
    return x, 0.9 * F.one_hot(labels, CLASSES).double() + 0.1 / CLASSES


def rate(step, steps, lr=0.05, warm=0.05):
    n, total = (step + 1) * BATCH, steps * BATCH
    warm *= total
    return lr * (n + 1) / warm if n < warm else lr - lr * (1 - math.cos(math.pi * (n - warm + 1) / (total - warm))) / 2


def torch_curve(model, steps):
    tensors, metadata = read_model(model)
    net = Net(metadata["structure"], CLASSES, metadata["attention"]).double()
    net.load_state_dict(tensors, strict=False)
    missing = [name for name in net.state_dict() if name not in tensors and not name.endswith("num_batches_tracked")]
    if missing:
        sys.exit(f"not in the model file: {missing}")
    decays = [p for n, p in net.named_parameters() if n.endswith(".weight") and p.dim() > 1]
    others = [p for n, p in net.named_parameters() if not (n.endswith(".weight") and p.dim() > 1)]
    sgd = torch.optim.SGD([{"params": decays, "weight_decay": 5e-4}, {"params": others}], lr=1, momentum=0.9, nesterov=True)
    losses = []
    for step in range(steps):
        x, target = batch(step)
        loss = -(target * F.log_softmax(net(x), 1)).sum(1).mean()
        losses.append(loss.item())
        sgd.zero_grad()
        loss.backward()
        for group in sgd.param_groups:
            group["lr"] = rate(step, steps)
        sgd.step()
    return losses


def our_curve(program, model, steps):
    return [float(line) for line in subprocess.run([program, model, str(steps)], check=True, capture_output=True, text=True).stdout.split()]


def draw(path, curves):
    """The curves as SVG."""
    colors = {"PyTorch float64": "#e8590c", "double": "#2563eb", "float": "#0d9488"}
    high = max(max(c) for c in curves.values())
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 360" font-family="sans-serif" font-size="12"><rect width="640" height="360" fill="white"/>']
    for tick in range(5):
        y = 330 - 300 * tick / 4
        parts.append(f'<path d="M50 {y}H630" stroke="#ddd"/><text x="44" y="{y + 4}" text-anchor="end">{high * tick / 4:.2f}</text>')
    for k, (name, curve) in enumerate(curves.items()):
        points = " ".join(f"{50 + 580 * i / (len(curve) - 1):.1f},{330 - 300 * v / high:.1f}" for i, v in enumerate(curve))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colors[name]}" stroke-width="{6 - 2 * k}" opacity="0.8"/>')
        parts.append(f'<text x="{440}" y="{50 + 18 * k}" fill="{colors[name]}">{name}</text>')
    open(path, "w").write("\n".join(parts) + "</svg>\n")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", default="build")
    p.add_argument("--steps", type=int, default=120)
    p.add_argument("--picture", help="write the curves as SVG")
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = f"{folder}/model.safetensors"
        double = our_curve(f"{a.build}/tests/curve_double", model, a.steps)
        single = our_curve(f"{a.build}/tests/curve", model, a.steps)
        peer = torch_curve(model, a.steps)
    errors = [max(abs(o - t) / abs(t) for o, t in zip(ours, peer)) for ours in (double, single)]
    print(f"loss {peer[0]:.4f} to {peer[-1]:.4f} in {a.steps} steps; worst relative difference from PyTorch float64: double {errors[0]:.2e}, float {errors[1]:.2e}")
    if a.picture:
        draw(a.picture, {"PyTorch float64": peer, "double": double, "float": single})
    sys.exit(errors[0] > 1e-6)


main()
