#!/usr/bin/env python3
"""Runs the golden networks in ONNX Runtime: the case's weights become a plain safetensors file, to_onnx turns that into a
graph, and the logits must be the golden ones to 1e-5 of the largest. Needs numpy, onnx, onnxruntime.

    python3 tests/peers/check_onnx.py [--build build] tests/golden/*.txt
"""
import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile

import numpy
import onnx
import onnxruntime


def fill(name, seed, count, low, high):
    """The golden files' deterministic values."""
    base = 0xCBF29CE484222325
    for byte in name.encode():
        base = ((base ^ byte) * 0x100000001B3) % 2**64
    u64 = numpy.uint64
    with numpy.errstate(over="ignore"):
        z = u64(base ^ seed) + numpy.arange(1, count + 1, dtype=u64) * u64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> u64(30))) * u64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> u64(27))) * u64(0x94D049BB133111EB)
        z = z ^ (z >> u64(31))
    return (low + (high - low) * ((z >> u64(40)).astype(numpy.float64) * 2.0**-24)).astype(numpy.float32)


def write_safetensors(path, tensors):
    header, at = {}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [at, at + values.nbytes]}
        at += values.nbytes
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(v.tobytes() for v in tensors.values()))


def shapes_of(build, case, folder, options):
    """A fill line has a count only: shapes come from a graph of the same structure with random weights."""
    path = os.path.join(folder, "shapes.onnx")
    export(build, [case["structure"][0], path] + options)
    return {t.name: list(t.dims) for t in onnx.load(path).graph.initializer}


def export(build, words):
    subprocess.run([os.path.join(build, "data_tools/to_onnx")] + words, check=True)


def shape(name, count, known):
    if name in known:
        return known[name]
    return [1, count, 1, 1] if name.endswith(("sweight", "sbias")) else [count]  # folded into others by the export


def check(build, path, folder):
    lines = [line.split() for line in open(path) if line.strip()]
    case = {words[0]: words[1:] for words in lines}
    seed, batch, side = (int(case[key][0]) for key in ("seed", "batch", "resolution"))
    options = ["--attention", case["attention"][0], "--classes", case["classes"][0], "--resolution", str(side)]
    options += ["--lw-att"] * (case["lw_att"] == ["1"]) + ["--no-reslink"] * (case["reslink"] == ["0"])
    known = shapes_of(build, case, folder, options)
    tensors = {w[1]: fill(w[1], seed, int(w[2]), float(w[3]), float(w[4])).reshape(shape(w[1], int(w[2]), known)) for w in lines if w[0] == "fill"}
    weights, graph = os.path.join(folder, "net.safetensors"), os.path.join(folder, "net.onnx")
    write_safetensors(weights, tensors)
    export(build, [weights, graph, "--arch", case["structure"][0]] + options)
    onnx.checker.check_model(graph, full_check=True)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    got = session.run(["logits"], {"input": fill("input", seed, batch * 3 * side * side, -2, 2).reshape(batch, 3, side, side)})[0]
    want = numpy.array([[float(v) for v in words[2:]] for words in lines if words[0] == "eval_logits"])
    return abs(got - want).max() / abs(want).max()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("cases", nargs="+", help="golden network cases; other files are left alone")
    args = parser.parse_args()
    passed = failed = 0
    for path in args.cases:
        if "eval_logits" not in open(path).read():
            continue
        with tempfile.TemporaryDirectory() as folder:
            error = check(args.build, path, folder)
        good = error <= 1e-5
        passed, failed = passed + good, failed + (not good)
        print(f"{path}: logits {error:.1e} {'PASS' if good else 'FAIL'}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
