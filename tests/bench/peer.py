#!/usr/bin/env python3
"""The networks beside PyTorch: the same sizes, the same machine, the same number of threads, in turns.

    pip install torch torchvision
    cargo build --release && python3 tests/bench/peer.py --sizes released-layers --threads 2
    python3 tests/bench/peer.py --sizes released --device cuda --precision f16 --end-to-end

For each stage `sparrow bench --random SIZES --stage STAGE --json -` and the PyTorch form in `networks.py` run alternately, `--pairs`
times; of each side the quickest run counts. Printed is PyTorch's time over ours: above 1, ours is the faster. "wall" is
the clock, "cpu" the processor time of all threads, which other programs on the machine disturb less. The PyTorch forms
are written as one would write them for speed: fused attention, no gradient, constants made beforehand. Weights are
random on both sides; only the sizes are compared. Never a test, never a gate.

`--device` and `--precision` hold for both sides. On a GPU each timed run is waited for (`torch.cuda.synchronize`) and three
untimed ones come before. In f16 and bf16 PyTorch has all of the network in that type, as the authors' program does; ours has its
weights and products in it and sums in f32.

`--end-to-end` times one phrase on `--frames` frames from pixels to the masks of all of them, in two ways on each side: with
what one token needs of those before it kept, and as the authors' program does it, towers and whole sequence anew for every
token and once before. Tokens and boxes are counted as our program reports them, so both sides do the same work. What PyTorch
does there is every network as often as it must run, on inputs of the right size rather than on each other's outputs; the boxes
that ours decodes to see which are credible are left out of it, and so is what nano has beyond the released graph.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time

import torch
import torch.nn.functional as F

from networks import PEERS, Phi3, clip, filtration, hiera, internvideo2, mask_decoder, narrow, prefill, projectors, proposer, token

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def with_inputs(s, sam_side=None, **inputs):
    s = dict(s, inputs=dict(s["inputs"], **inputs))
    if sam_side:
        s["config"] = dict(s["config"], sam2=dict(s["config"]["sam2"], image_size=sam_side))
    return s


def whole(told, device):
    """One phrase from pixels to all masks: with the past kept, and as the authors' program does it."""
    s, frames, boxes = told["sizes"], told["frames"], max(told["first"]["boxes"], 1)
    c, tokens = s["config"], told["prompt_tokens"]
    images = c["visual"]["num_frames"]
    s = with_inputs(s, images=images, chunks=images // c["internvideo2"]["num_frames"], tokens=tokens, objects=boxes)
    net = Phi3(s)
    towers, read, say = [clip(s), internvideo2(s), projectors(s)], prefill(s, net), token(s, net)
    # As many images together as ours takes on such a device.
    batch = min(frames, 4 if device == "cuda" else 1)
    look = {n: hiera(with_inputs(s, batch=n)) for n in {1, batch}}
    propose, choose, decode = proposer(s), filtration(s), mask_decoder(s)
    if choose is None:
        sys.exit("the whole graph needs torchvision for the filtration head: pip install torchvision")
    own = None if c["proposer"]["shared_trunk"] else hiera(with_inputs(s, sam_side=c["proposer"]["image_size"]))
    height, width, side = told["height"], told["width"], c["sam2"]["image_size"]
    clip_px = torch.randint(0, 256, (frames, height, width, 3), dtype=torch.uint8, device="cpu")

    def input_of(at, to):
        x = clip_px[at].to(device).permute(2, 0, 1)[None].float() / 255
        return narrow((F.interpolate(x, (to, to), mode="bilinear", antialias=True) - 0.45) / 0.225)

    def encode_clip():
        return [run() for run in towers]

    def prepare():
        at = [i * max(frames - 1, 0) // max(images - 1, 1) for i in range(images)]
        return [input_of(i, to) for i in at for to in (c["clip"]["image_size"], c["internvideo2"]["img_size"])]

    def answer():
        prepare()
        encode_clip()
        net.lm_head(read()[:, -1:]).argmax(-1).item()
        for _ in range(told["answer_tokens"] - 1):
            say().argmax(-1).item()

    def answer_as_authors():
        prepare()
        for _ in range(told["answer_tokens"] + 1):
            encode_clip()
            net.lm_head(read()[:, -1:]).argmax(-1).item()

    def masks(batch):
        out = []
        for first in range(0, frames, batch):
            n = min(batch, frames - first)
            for i in range(n):
                input_of(first + i, side)
            if n == batch:
                look[batch]()
            else:
                for _ in range(n):
                    look[1]()
            for i in range(n):
                if first + i == 0:
                    if own:
                        own()
                    propose()
                    choose()
                logits = decode()[0][:, :1].amax(0, keepdim=True)
                mask = F.interpolate(logits, (height, width), mode="bilinear", align_corners=False) > 0
                out.append(mask.cpu())
        return out

    return lambda: (answer(), masks(batch)), lambda: (answer_as_authors(), masks(1))


def ours(args, *more):
    command = [args.sparrow, "bench", "--random", args.sizes, *more, "--device", args.device, "--precision", args.precision]
    environment = dict(os.environ)
    if args.device == "cpu":
        environment.update(RAYON_NUM_THREADS=str(args.threads), CANDLE_NUM_THREADS="1")
    done = subprocess.run([*command, "--json", "-"], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def wait(args):
    if args.device == "cuda":
        torch.cuda.synchronize()


def theirs(args, run, least, fill):
    for _ in range(3 if args.device == "cuda" else 1):
        run()
    wait(args)
    wall, cpu, started, runs = math.inf, math.inf, time.perf_counter(), 0
    while runs < least or time.perf_counter() - started < fill:
        t, c = time.perf_counter(), time.process_time()
        run()
        wait(args)
        wall, cpu = min(wall, time.perf_counter() - t), min(cpu, time.process_time() - c)
        runs += 1
    return wall, cpu


def end_to_end(args):
    """Seconds of both ways on both sides, and their ratios."""
    more = ["--end-to-end", "--as-authors", "--frames", str(args.frames), "--tokens", str(args.tokens)]
    row, run = dict(ours=math.inf, ours_as_authors=math.inf, torch=math.inf, torch_as_authors=math.inf), None
    row["ours_second_phrase_to_mask"] = math.inf
    with torch.inference_mode():
        for _ in range(args.pairs):
            told = ours(args, *more)
            row["ours"] = min(row["ours"], told["first"]["to_all_masks_secs"])
            row["ours_as_authors"] = min(row["ours_as_authors"], told["as_authors"]["to_all_masks_secs"])
            second = told["second"]["to_mask_secs"]
            row["ours_second_phrase_to_mask"] = min(row["ours_second_phrase_to_mask"], second)
            run = run or whole(told, args.device)
            row["torch"] = min(row["torch"], theirs(args, run[0], 1, 0)[0])
            row["torch_as_authors"] = min(row["torch_as_authors"], theirs(args, run[1], 1, 0)[0])
    row.update({key: told[key] for key in ("frames", "prompt_tokens", "answer_tokens")})
    print(f"one phrase, {row['frames']} frames, {row['prompt_tokens']} tokens of prompt, {row['answer_tokens']} of answer")
    for what, key in (("ours", "ours"), ("PyTorch", "torch"), ("ours, as the authors", "ours_as_authors"),
                      ("PyTorch, as the authors", "torch_as_authors")):
        print(f"{what:<26}{row[key]:>10.3f} s{row['frames'] / row[key]:>10.2f} frames/s{row[key] / row['ours']:>9.2f} times ours")
    print(f"{'ours, a second phrase to its mask':<36}{row['ours_second_phrase_to_mask'] * 1e3:.1f} ms")
    return row


def machine(args):
    if args.device == "cuda":
        return f"{torch.cuda.get_device_name()}, {args.precision}"
    return f"{args.threads} threads, {args.precision}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sparrow", default="target/release/sparrow", help="the program")
    parser.add_argument("--sizes", default="released-layers", help="as in `sparrow bench --random`")
    parser.add_argument("--stage", action="append", choices=PEERS, help="this stage only; may be given several times")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="of both sides")
    parser.add_argument("--precision", default="f32", choices=DTYPES, help="of both sides")
    parser.add_argument("--end-to-end", action="store_true", help="one phrase from pixels to masks, in place of the stages")
    parser.add_argument("--frames", type=int, default=64, help="with --end-to-end")
    parser.add_argument("--tokens", type=int, default=8, help="with --end-to-end: tokens of the answer, its end among them")
    parser.add_argument("--threads", type=int, default=1, help="on the CPU")
    parser.add_argument("--pairs", type=int, default=3, help="turns of each side")
    parser.add_argument("--json", help="file for the result")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("PyTorch finds no CUDA GPU here: leave --device out, or install a build of it for CUDA")
    torch.set_default_device(args.device)
    torch.set_default_dtype(DTYPES[args.precision])
    print(f"PyTorch {torch.__version__} over Sparrow, sizes {args.sizes}, {machine(args)}, {args.pairs} pairs")
    if args.end_to_end:
        write(args, end_to_end=end_to_end(args))
        return
    print(f"{'stage':<18}{'GFLOP':>9}{'ours ms':>10}{'torch ms':>10}{'wall':>7}{'cpu':>7}{'GFLOP/s':>9}{'of best':>9}")
    rows = []
    for stage in args.stage or PEERS:
        row = dict(stage=stage, ours=math.inf, torch=math.inf, ours_cpu=math.inf, torch_cpu=math.inf)
        with torch.inference_mode():
            run = None
            for _ in range(args.pairs):
                answer = ours(args, "--stage", stage)
                mine = answer["stages"][0]
                row["ours"] = min(row["ours"], mine["secs"])
                row["ours_cpu"] = min(row["ours_cpu"], mine["cpu_secs"] or math.inf)
                row["gflop"], best = mine["gflop"], answer["ceiling"]["gflops"]
                row["best_gflops"] = max(row.get("best_gflops", 0), best)
                run = run or PEERS[stage](answer["sizes"])
                if run is None:
                    break
                wall, cpu = theirs(args, run, 3, 0.3)
                row["torch"], row["torch_cpu"] = min(row["torch"], wall), min(row["torch_cpu"], cpu)
        if run is None:
            print(f"{stage:<18} no peer here (torchvision is missing)")
            continue
        row["wall_ratio"], row["cpu_ratio"] = row["torch"] / row["ours"], row["torch_cpu"] / row["ours_cpu"]
        rate = row["gflop"] / row["ours"]
        rows.append(row)
        print(f"{stage:<18}{row['gflop']:>9.2f}{row['ours'] * 1e3:>10.2f}{row['torch'] * 1e3:>10.2f}"
              f"{row['wall_ratio']:>7.2f}{row['cpu_ratio']:>7.2f}{rate:>9.1f}{rate / row['best_gflops']:>9.0%}", flush=True)
    write(args, stages=rows)


def write(args, **found):
    if args.json:
        about = dict(sizes=args.sizes, machine=machine(args), threads=args.threads, torch=torch.__version__)
        with open(args.json, "w") as file:
            json.dump(dict(about, **found), file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
