"""Writes cases for `sparrow parity` that compare our resamplers and the whole way from a frame to each network's input with
Pillow, OpenCV, torchvision, PyTorch and transformers themselves, on noise, on drawn edges and on pictures of one's own.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install "numpy<2" pillow==10.4.0 opencv-python-headless==4.10.0.84 \
        torch torchvision transformers==4.41.0
    /tmp/venv/bin/python tests/tools/pixels.py /tmp/cases [PICTURE…]
    cargo run --release -- parity /tmp/cases
"""

import io
import json
import struct
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
import torchvision.transforms.functional as TF
from PIL import Image
from transformers import CLIPImageProcessor

CLIP, VIDEO, LONG, DETECTOR = 336, 224, 1024, 448
SAM_MEAN, SAM_STD = ([[[v]] for v in t] for t in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)))
MEAN, STD = ([[[v]] for v in t] for t in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
# Of a normalised tensor, every seventh row and column is stored.
STEP = 7
CLIP_PROCESSOR = CLIPImageProcessor(size={"shortest_edge": CLIP}, crop_size={"height": CLIP, "width": CLIP})
SIZES = [(1, 1), (1, 7), (3, 2), (17, 40), (33, 65), (48, 64), (64, 64), (90, 160), (223, 225), (336, 336), (448, 447),
         (480, 854), (337, 335), (600, 401), (720, 1280), (1024, 768), (1080, 1920)]


def picture(kind, h, w, seed):
    r = np.random.default_rng(seed)
    if kind == "noise":
        return r.integers(0, 256, (h, w, 3), dtype=np.uint8)
    if kind == "extremes":
        return (r.integers(0, 2, (h, w, 3)) * 255).astype(np.uint8)
    y, x = np.mgrid[0:h, 0:w]
    return np.stack([x * 255 // max(w - 1, 1), y * 255 // max(h - 1, 1), (x // 8 + y // 8) % 2 * 255],
                    axis=-1).astype(np.uint8)


def clip(image):
    h, w = image.shape[:2]
    nw, nh = (CLIP, int(CLIP * h / w)) if w <= h else (int(CLIP * w / h), CLIP)
    out = np.asarray(Image.fromarray(image).resize((nw, nh), Image.BICUBIC))
    top, left = (nh - CLIP) // 2, (nw - CLIP) // 2
    return out[top:top + CLIP, left:left + CLIP]


def planes(image):
    return torch.from_numpy(image.copy()).permute(2, 0, 1).float()


def unit(image):
    """8 bits to the two towers' scale."""
    return (planes(image) / 255.0 - torch.tensor(MEAN)) / torch.tensor(STD)


def networks(image):
    """The released way to each network's input: 8-bit stages, then normalised tensors."""
    video = cv2.resize(image, (VIDEO, VIDEO), interpolation=cv2.INTER_LINEAR)
    out = {"internvideo.resized": video}
    tensors = {"internvideo.normalized": unit(video)}
    h, w = image.shape[:2]
    # Only where the shortest side becomes more than nothing.
    if max(h, w) < 40 * min(h, w):
        out["clip.resized_cropped"] = clip(image)
        tensors["clip.normalized"] = torch.tensor(
            np.asarray(CLIP_PROCESSOR(image, return_tensors="np", input_data_format="channels_last")["pixel_values"][0]))
    scale, levels = LONG / max(h, w), {}
    size = [int(h * scale + 0.5), int(w * scale + 0.5)]
    if min(size) > 0:
        # A PIL image goes through Pillow's own filter in there.
        longest = np.asarray(TF.resize(TF.to_pil_image(image), size))
        mean, std = torch.tensor(SAM_MEAN), torch.tensor(SAM_STD)
        x = (planes(longest) - mean) / std
        x = F.interpolate(x[None], (LONG, LONG), mode="bilinear", align_corners=False)[0]
        back = (x * std + mean).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
        small = np.asarray(Image.fromarray(back).resize((DETECTOR, DETECTOR)))
        out["sam.resized_longest"] = longest
        tensors["sam.normalized"] = x
        levels = {"detector.recovered_1024": planes(back), "detector.resized": planes(small)}
    sparse = {f"{k}.strided{STEP}": v for k, v in tensors.items()} | {f"{k}.levels{STEP}": v for k, v in levels.items()}
    return out, {k: v[:, ::STEP, ::STEP].contiguous().numpy().astype(np.float32) for k, v in sparse.items()}


def stages(name, image):
    out, tensors = networks(image)
    for h, w in [(40, 17), (17, 40), (LONG, LONG // 2), (DETECTOR, DETECTOR), (image.shape[0] // 2 or 1, image.shape[1] // 2 or 1)]:
        out[f"pil_bilinear_{h}x{w}"] = np.asarray(Image.fromarray(image).resize((w, h), Image.BILINEAR))
        out[f"pil_bicubic_{h}x{w}"] = np.asarray(Image.fromarray(image).resize((w, h), Image.BICUBIC))
        out[f"cv2_linear_{h}x{w}"] = cv2.resize(image, (w, h), interpolation=cv2.INTER_LINEAR)
    table = {f"{name}.{k}": {"shape_hwc": list(v.shape), "sum": int(v.astype(np.int64).sum()),
                             "crc32": zlib.crc32(np.ascontiguousarray(v).tobytes())} for k, v in out.items()}
    return table, {f"output.{name}.{k}": v for k, v in tensors.items()}


def write(folder, name, small, frame):
    png = io.BytesIO()
    Image.fromarray(frame).save(png, "PNG")
    tensors = {"input.small": small, "input.frame_png_bytes": np.frombuffer(png.getvalue(), np.uint8)}
    exact = {}
    for image, pixels in (("small", small), ("frame", frame)):
        table, outputs = stages(image, pixels)
        exact |= table
        tensors |= outputs
    header, at = {}, 0
    for key, value in tensors.items():
        kind = "U8" if value.dtype == np.uint8 else "F32"
        header[key] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [at, at + value.nbytes]}
        at += value.nbytes
    text = json.dumps(header).encode()
    (folder / f"{name}.safetensors").write_bytes(
        struct.pack("<Q", len(text)) + text + b"".join(np.ascontiguousarray(v).tobytes() for v in tensors.values()))
    case = {"case": "pixel preprocessing", "prefix": "(no weights)", "note": "the libraries themselves", "u8_exact": exact,
            "sam_side": LONG, "detector_side": DETECTOR}
    (folder / f"{name}.json").write_text(json.dumps(case))


def main(folder, paths):
    folder.mkdir(parents=True, exist_ok=True)
    print("pillow", Image.__version__, "opencv", cv2.__version__)
    for seed, (h, w) in enumerate(SIZES):
        write(folder, f"drawn_{h}x{w}", picture("noise", h, w, seed), picture("ramps", h, w, seed))
        write(folder, f"edges_{h}x{w}", picture("extremes", h, w, seed), picture("noise", w, h, seed))
    for i, path in enumerate(paths):
        image = np.asarray(Image.open(path).convert("RGB"))
        write(folder, f"real_{i:03d}", image[:image.shape[0] // 2, ::2], image)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
