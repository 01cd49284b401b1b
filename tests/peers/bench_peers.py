#!/usr/bin/env python3
"""Times zennet.h against ONNX Runtime and PyTorch, whichever are installed, on the same networks in one run.

    python3 tests/peers/bench_peers.py --arch zennet-m,zennet-r --batches 1,16 --threads 1,2 --mode infer,train

Every contender lives in a process of its own, bound to the same cores and given the same number of threads. They take
turns of --seconds each, --rounds times, so that whatever else the machine does hits all alike. A figure is the median over
the rounds of a turn's median, in ms per batch; the spread is the lowest and highest turn. Ratio = ours / theirs. MB is the
most that the process held, its libraries included. Before timing, the peers' logits are compared: ONNX Runtime runs what to_onnx exports, PyTorch the network of torch_net.py with
the weights of that file.

    zennet       build/examples/benchmark --json (its median_ms)
    onnxruntime  the exported graph, all optimisations
    torch        inference: traced and frozen; training: forward, backward, SGD with Nesterov momentum; zen: a Zen-score
                 with its draws (links and attention off, whatever --attention says)
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

HERE = os.path.dirname(os.path.abspath(__file__))


def timed(step, seconds):
    """Times in ms of repeated steps."""
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        begin = time.perf_counter()
        step()
        times.append((time.perf_counter() - begin) * 1e3)
    return times


# ---- workers: warm up and print the logits; then for each line with seconds that is read, the turn's median and peak memory ----
def onnxruntime_steps(job, x):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job["threads"]
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(job["onnx"], options, providers=["CPUExecutionProvider"])

    def step():
        return session.run(["logits"], {"input": x})[0]
    return step, step


def torch_net(job):
    """The network of an ONNX file; the folded spatial gates of attention are told apart into weight 1 and the rest."""
    import onnx
    import torch
    from onnx import numpy_helper
    from torch_net import Net

    model = onnx.load(job["onnx"])
    structure = next(p.value for p in model.metadata_props if p.key == "structure")
    net = Net(structure, attention=job["attention"])
    weights = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer}
    gates = iter([[weights[i] for i in node.input[1:]] for node in model.graph.node if node.op_type == "InstanceNormalization"])
    state = net.state_dict()
    with torch.no_grad():
        for name, tensor in state.items():
            if name in weights:
                tensor.copy_(weights[name])
            elif name.endswith(".sweight"):
                scale, shift = next(gates)
                tensor.fill_(1)
                state[name[:-7] + "gn.weight"].copy_(scale)
                state[name[:-7] + "gn.bias"].copy_(shift)
            elif name.endswith(".sbias"):
                tensor.zero_()
    return net


def torch_steps(job, x):
    import numpy
    import torch
    from torch_net import zen_score

    torch.set_num_threads(job["threads"])
    torch.set_num_interop_threads(1)
    x = torch.from_numpy(x)
    net = torch_net(job).eval()
    if job["mode"] == "zen":
        def score():
            return zen_score(net, job["batch"], job["resolution"])
        return lambda: numpy.array([score()]), score

    def logits():
        with torch.no_grad():
            return net(x).numpy()
    if job["mode"] == "infer":
        with torch.no_grad():
            frozen = torch.jit.freeze(torch.jit.trace(net, x))

        def step():
            with torch.no_grad():
                frozen(x)
        return logits, step
    target = torch.nn.functional.one_hot(torch.arange(len(x)) % 7, 7) * 0.9 + 0.1 / 7
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def train():
        net.train()
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(net(x), target).backward()
        optimizer.step()
    return logits, train


def worker(job):
    import numpy

    sys.path.insert(0, HERE)
    warnings.simplefilter("ignore")
    x = numpy.random.default_rng(1).standard_normal((job["batch"], 3, job["resolution"], job["resolution"])).astype(numpy.float32)
    logits, step = {"onnxruntime": onnxruntime_steps, "torch": torch_steps}[job["peer"]](job, x)
    first = json.dumps(logits().tolist())
    for _ in range(3):
        step()
    print(first, flush=True)  # nobody's turn begins before all are warm
    for line in sys.stdin:
        print(json.dumps([statistics.median(timed(step, float(line))), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]), flush=True)


class Peer:
    def __init__(self, job, cores):
        environment = dict(os.environ, OMP_NUM_THREADS=str(job["threads"]))
        self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--worker", json.dumps(job)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=environment, preexec_fn=lambda: os.sched_setaffinity(0, cores))
        self.logits = json.loads(self.process.stdout.readline())

    def turn(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Ours:
    def __init__(self, job, cores, build):
        self.command = [os.path.join(build, "examples/benchmark"), "--arch", job["arch"], "--attention", job["attention"], "--resolution", str(job["resolution"]), "--batch",
                        str(job["batch"]), "--threads", str(job["threads"]), "--mode", job["mode"], "--json"]
        self.cores = cores
        self.environment = dict(os.environ, OMP_NUM_THREADS=str(job["threads"]))

    def turn(self, seconds):
        process = subprocess.Popen(self.command + ["--seconds", str(seconds)], stdout=subprocess.PIPE, text=True, env=self.environment,
                                   preexec_fn=lambda: os.sched_setaffinity(0, self.cores))
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            sys.exit(f"bench_peers: {' '.join(self.command)} failed")
        return json.loads(out)["median_ms"], usage.ru_maxrss / 1024

    def close(self):
        pass


def installed(name):
    """Its version, or None. PyTorch needs onnx too, to read the weights."""
    code = f"import {name}; {'import onnx; ' if name == 'torch' else ''}print({name}.__version__)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return run.stdout.strip() if run.returncode == 0 else None


def compare(peers):
    """Largest difference between the peers' logits, relative to the largest logit."""
    import numpy

    all_logits = [numpy.array(p.logits) for p in peers]
    return max((abs(z - all_logits[0]).max() / abs(all_logits[0]).max() for z in all_logits), default=0.0)


def measure(job, args, folder):
    cores = set(sorted(os.sched_getaffinity(0))[:job["threads"]])
    job["onnx"] = os.path.join(folder, "net.onnx")
    subprocess.run([os.path.join(args.build, "data_tools/to_onnx"), job["arch"], job["onnx"], "--attention", job["attention"], "--resolution", str(job["resolution"]),
                    "--batch", str(job["batch"])], check=True)
    names = [name for name in args.versions if name != "onnxruntime" or job["mode"] == "infer"]
    contenders = {"zennet": Ours(job, cores, args.build)}
    for name in names:
        contenders[name] = Peer(dict(job, peer=name), cores)
    apart = compare([contenders[name] for name in names])
    if apart > 1e-4:
        sys.exit(f"bench_peers: {job['arch']}: the peers' logits differ by {apart:.1e}: they do not run the same network")
    turns = {name: [] for name in contenders}
    for _ in range(args.rounds):
        for name, contender in contenders.items():
            turns[name].append(contender.turn(args.seconds))
    for contender in contenders.values():
        contender.close()
    result = {}
    for name, pairs in turns.items():
        times = [ms for ms, _ in pairs]
        result[name] = {"ms": statistics.median(times), "low": min(times), "high": max(times), "peak_mb": max(mb for _, mb in pairs)}
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="zennet-m,zennet-r", help="built-in names or structures; names may be listed")
    parser.add_argument("--attention", default="sa", choices=["none", "se", "sa"])
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--batches", default="1,16")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--mode", default="infer", help="infer, train, zen, separated by commas (infer alone at batch 1)")
    parser.add_argument("--peers", default="onnxruntime,torch")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--build", default="build")
    parser.add_argument("--json", action="store_true", help="a line of JSON per row")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(json.loads(args.worker))
    for program in ("examples/benchmark", "data_tools/to_onnx"):
        if not os.path.exists(os.path.join(args.build, program)):
            sys.exit(f"bench_peers: {args.build}/{program} is not there: make it first")
    args.versions = {name: installed(name) for name in args.peers.split(",") if installed(name)}
    if not args.versions:
        sys.exit("bench_peers: none of the peers is installed (pip install onnxruntime torch onnx)")
    archs = [args.arch] if "(" in args.arch else args.arch.split(",")
    rows = [(mode, arch, int(batch), int(threads)) for mode in args.mode.split(",") for arch in archs for batch in args.batches.split(",")
            for threads in args.threads.split(",") if mode == "infer" or int(batch) > 1]
    if not args.json:
        print(", ".join(f"{name} {version}" for name, version in args.versions.items()), f"on {os.cpu_count()} cores", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for mode, arch, batch, threads in rows:
            job = {"mode": mode, "arch": arch, "attention": "none" if mode == "zen" else args.attention, "resolution": args.resolution, "batch": batch, "threads": threads}
            result = measure(dict(job), args, folder)
            if args.json:
                print(json.dumps(dict(job, results=result)), flush=True)
                continue
            ours = result["zennet"]["ms"]
            print(f"{mode:5} {arch[:24]:10} batch {batch:3} threads {threads:2}", end="")
            for name, r in result.items():
                ratio = "" if name == "zennet" else f", ratio {ours / r['ms']:.2f}"
                print(f"   {name} {r['ms']:.2f} ms ({r['low']:.2f} to {r['high']:.2f}, {r['peak_mb']:.0f} MB){ratio}", end="")
            print(flush=True)


if __name__ == "__main__":
    main()
