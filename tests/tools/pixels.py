"""Writes cases for `sparrow parity` that compare our resamplers with Pillow and OpenCV themselves, on noise, on drawn edges
and on pictures of one's own.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install "numpy<2" pillow==10.4.0 opencv-python-headless==4.10.0.84
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
from PIL import Image

CLIP, VIDEO, LONG, DETECTOR = 336, 224, 1024, 448
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


def stages(name, image):
    out = {"internvideo.resized": cv2.resize(image, (VIDEO, VIDEO), interpolation=cv2.INTER_LINEAR),
           "clip.resized_cropped": clip(image)}
    for h, w in [(40, 17), (17, 40), (LONG, LONG // 2), (DETECTOR, DETECTOR), (image.shape[0] // 2 or 1, image.shape[1] // 2 or 1)]:
        out[f"pil_bilinear_{h}x{w}"] = np.asarray(Image.fromarray(image).resize((w, h), Image.BILINEAR))
        out[f"pil_bicubic_{h}x{w}"] = np.asarray(Image.fromarray(image).resize((w, h), Image.BICUBIC))
        out[f"cv2_linear_{h}x{w}"] = cv2.resize(image, (w, h), interpolation=cv2.INTER_LINEAR)
    return {f"{name}.{k}": {"shape_hwc": list(v.shape), "sum": int(v.astype(np.int64).sum()),
                            "crc32": zlib.crc32(np.ascontiguousarray(v).tobytes())} for k, v in out.items()}


def write(folder, name, small, frame):
    png = io.BytesIO()
    Image.fromarray(frame).save(png, "PNG")
    tensors = {"input.small": small, "input.frame_png_bytes": np.frombuffer(png.getvalue(), np.uint8)}
    header, at = {}, 0
    for key, value in tensors.items():
        header[key] = {"dtype": "U8", "shape": list(value.shape), "data_offsets": [at, at + value.nbytes]}
        at += value.nbytes
    text = json.dumps(header).encode()
    (folder / f"{name}.safetensors").write_bytes(
        struct.pack("<Q", len(text)) + text + b"".join(np.ascontiguousarray(v).tobytes() for v in tensors.values()))
    case = {"case": "pixel preprocessing", "prefix": "(no weights)", "note": "pillow and opencv themselves",
            "u8_exact": stages("small", small) | stages("frame", frame)}
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
