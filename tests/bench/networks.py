"""The networks in PyTorch, at any sizes: for `peer.py`, which times them beside ours.

Each function takes what `sparrow bench --json` says of its sizes, makes random weights and inputs, and returns what is to be
timed. Written as one would write them for speed; correctness beyond shapes is nobody's concern here.
"""

import math

import torch
import torch.nn.functional as F


def narrow(x):
    """In the type that weights are made in."""
    return x.to(torch.get_default_dtype())


def attention(q, k, v, mask=None):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def parameter(*shape):
    fan = shape[-1] if len(shape) > 1 else 1
    return torch.randn(*shape) / math.sqrt(fan)


class Linear:
    def __init__(self, i, o, bias=True):
        self.w, self.b = parameter(o, i), (torch.zeros(o) if bias else None)

    def __call__(self, x):
        return F.linear(x, self.w, self.b)


class Norm:
    def __init__(self, d, eps=1e-6):
        self.d, self.w, self.b, self.eps = d, torch.ones(d), torch.zeros(d), eps

    def __call__(self, x):
        return F.layer_norm(x, (self.d,), self.w, self.b, self.eps)


class Norm2d:
    def __init__(self, c):
        self.norm = Norm(c)

    def __call__(self, x):
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Conv:
    def __init__(self, i, o, k, stride=1, padding=0, groups=1):
        self.w, self.b = torch.randn(o, i // groups, k, k) / math.sqrt(i * k * k), torch.zeros(o)
        self.how = dict(stride=stride, padding=padding, groups=groups)

    def __call__(self, x):
        return F.conv2d(x, self.w, self.b, **self.how)


def heads(x, h):
    b, n, d = x.shape
    return x.view(b, n, h, d // h).transpose(1, 2)


def joined(y):
    b, h, n, d = y.shape
    return y.transpose(1, 2).reshape(b, n, h * d)


def clip(s):
    c = s["config"]["clip"]
    d, n = c["dim"], s["inputs"]["images"]
    grid = c["image_size"] // c["patch_size"]
    patch = torch.randn(d, 3, c["patch_size"], c["patch_size"]) * 0.02
    place, cls, pre = torch.randn(grid * grid + 1, d), torch.randn(1, 1, d), Norm(d, 1e-5)
    layers = [
        dict(n1=Norm(d, 1e-5), q=Linear(d, d), k=Linear(d, d), v=Linear(d, d), o=Linear(d, d),
             n2=Norm(d, 1e-5), up=Linear(d, c["mlp"]), down=Linear(c["mlp"], d))
        for _ in range(c["layers"] - 1)
    ]
    x0 = torch.rand(n, 3, c["image_size"], c["image_size"])

    def run():
        x = F.conv2d(x0, patch, stride=c["patch_size"]).flatten(2).transpose(1, 2)
        x = pre(torch.cat([cls.expand(n, 1, d), x], 1) + place)
        for l in layers:
            y = l["n1"](x)
            y = attention(*(heads(l[p](y), c["heads"]) for p in "qkv"))
            x = x + l["o"](joined(y))
            y = l["up"](l["n2"](x))
            x = x + l["down"](y * torch.sigmoid(1.702 * y))
        return x

    return run


def internvideo2(s):
    c = s["config"]["internvideo2"]
    d, b, t = c["dim"], s["inputs"]["chunks"], c["num_frames"]
    hidden = c["mlp_hidden"] or d * 48 // 11
    grid = c["img_size"] // c["patch_size"]
    patch, bias = torch.randn(d, 3, c["patch_size"], c["patch_size"]) * 0.02, torch.zeros(d)
    place, cls = torch.randn(1, t * grid * grid + 1, d), torch.randn(1, 1, d)
    ones = torch.ones(d)
    blocks = [
        dict(qkv=Linear(d, 3 * d, False), o=Linear(d, d), up=Linear(d, hidden), down=Linear(hidden, d))
        for _ in range(c["depth"] - 1)
    ]
    x0 = torch.rand(b * t, 3, c["img_size"], c["img_size"])

    def rms(x):
        return F.rms_norm(x, (d,), ones, 1e-6)

    def run():
        x = F.conv2d(x0, patch, bias, stride=c["patch_size"]).flatten(2).transpose(1, 2)
        x = torch.cat([cls.expand(b, 1, d), x.reshape(b, t * grid * grid, d)], 1) + place
        for l in blocks:
            q, k, v = l["qkv"](rms(x)).chunk(3, -1)
            y = attention(heads(rms(q), c["heads"]), heads(rms(k), c["heads"]), heads(v, c["heads"]))
            x = x + l["o"](joined(y)) * ones
            x = x + l["down"](F.gelu(l["up"](rms(x)))) * ones
        return x

    return run


class Phi3:
    def __init__(self, s):
        c = self.c = s["config"]["phi3"]
        d, f = c["hidden_size"], c["intermediate_size"]
        self.h, self.kv = c["num_attention_heads"], c["num_key_value_heads"]
        self.head, self.d, self.f = d // self.h, d, f
        self.ones = torch.ones(d)
        kv = self.kv * self.head
        self.layers = [
            dict(qkv=Linear(d, d + 2 * kv, False), o=Linear(d, d, False), up=Linear(d, 2 * f, False),
                 down=Linear(f, d, False))
            for _ in range(c["num_hidden_layers"])
        ]
        self.lm_head = Linear(d, c["vocab_size"], False)

    def rms(self, x):
        return F.rms_norm(x, (self.d,), self.ones, self.c["rms_norm_eps"])

    def tables(self, at):
        inv = 1.0 / self.c["rope_theta"] ** (torch.arange(0, self.head, 2) / self.head)
        angle = at.float()[:, None] * inv.float()
        return narrow(torch.cat([angle, angle], -1).cos()), narrow(torch.cat([angle, angle], -1).sin())

    def layer(self, l, x, table, attend):
        cos, sin = table
        kv = self.kv * self.head
        q, k, v = l["qkv"](self.rms(x)).split([self.d, kv, kv], -1)
        q, k, v = heads(q, self.h), heads(k, self.kv), heads(v, self.kv)

        def turn(t):
            a, b = t.chunk(2, -1)
            return t * cos + torch.cat([-b, a], -1) * sin

        x = x + l["o"](joined(attend(turn(q), turn(k), v)))
        gate, up = l["up"](self.rms(x)).chunk(2, -1)
        return x + l["down"](up * F.silu(gate))


def prefill(s, net=None):
    net, n = net or Phi3(s), s["inputs"]["tokens"]
    x0, table = torch.randn(1, n, net.d), net.tables(torch.arange(n))
    window = net.c["sliding_window"]
    mask = None
    if window is not None and window < n:
        i = torch.arange(n)
        ago = i[:, None] - i[None, :]
        mask = (ago >= 0) & (ago <= window)

    def attend(q, k, v):
        if mask is None:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return attention(q, k, v, mask)

    def run():
        x = x0
        for l in net.layers:
            x = net.layer(l, x, table, attend)
        return net.rms(x)

    return run


def token(s, net=None):
    net, n = net or Phi3(s), s["inputs"]["tokens"]
    x0, table = torch.randn(1, 1, net.d), net.tables(torch.tensor([n]))
    window = net.c["sliding_window"]
    first = max(0, n - window) if window is not None else 0
    caches = [[torch.randn(1, net.kv, n + 1, net.head) for _ in range(2)] for _ in net.layers]

    def run():
        x = x0
        for l, (keys, values) in zip(net.layers, caches):
            def attend(q, k, v):
                keys[:, :, n:] = k
                values[:, :, n:] = v
                return attention(q, keys[:, :, first:], values[:, :, first:])

            x = net.layer(l, x, table, attend)
        return net.lm_head(net.rms(x))

    return run


def hiera(s):
    c = s["config"]["sam2"]
    side, d = c["image_size"], c["embed_dim"]
    patch = Conv(3, d, 7, 4, 3)
    place = torch.randn(1, side // 4, side // 4, d)
    blocks, h, ends = [], c["num_heads"], []
    for stage, depth in enumerate(c["stages"]):
        for within in range(depth):
            pools = stage > 0 and within == 0
            window = c["window_spec"][stage - 1 if pools else stage]
            if len(blocks) in c["global_att_blocks"]:
                window = 0
            out = 2 * d if pools else d
            h = 2 * h if pools else h
            blocks.append(dict(n1=Norm(d), qkv=Linear(d, 3 * out), o=Linear(out, out), n2=Norm(out),
                               up=Linear(out, 4 * out), down=Linear(4 * out, out), h=h, w=window,
                               proj=Linear(d, out) if pools else None))
            d = out
        ends.append(len(blocks) - 1)
    laterals = [Conv(c["embed_dim"] << i, c["d_model"], 1) for i in range(len(c["stages"]))]
    s0, s1 = Conv(c["d_model"], c["d_model"] // 8, 1), Conv(c["d_model"], c["d_model"] // 4, 1)
    x0 = torch.rand(s["inputs"].get("batch", 1), 3, side, side)

    def pool(x):
        return F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)

    def block(l, x):
        b, height, width, _ = x.shape
        y, w = l["n1"](x), l["w"]
        shortcut = x if l["proj"] is None else pool(l["proj"](y))
        if w:
            down, right = -height % w, -width % w
            if down or right:
                y = F.pad(y, (0, 0, 0, right, 0, down))
            rows, columns = (height + down) // w, (width + right) // w
            y = y.view(b, rows, w, columns, w, -1).transpose(2, 3).reshape(b * rows * columns, w, w, -1)
        n, wh, ww, _ = y.shape
        q, k, v = l["qkv"](y).view(n, wh * ww, 3, l["h"], -1).unbind(2)
        if l["proj"] is not None:
            q = pool(q.reshape(n, wh, ww, -1))
            wh, ww = wh // 2, ww // 2
            q = q.reshape(n, wh * ww, l["h"], -1)
        y = joined(attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)))
        y = l["o"](y.view(n, wh, ww, -1))
        height, width = shortcut.shape[1:3]
        if w:
            rows, columns = -(-height // wh), -(-width // ww)
            y = y.view(b, rows, columns, wh, ww, -1).transpose(2, 3).reshape(b, rows * wh, columns * ww, -1)
            y = y[:, :height, :width]
        x = shortcut + y
        return x + l["down"](F.gelu(l["up"](l["n2"](x))))

    def run():
        x = patch(x0).permute(0, 2, 3, 1) + place
        maps = []
        for i, l in enumerate(blocks):
            x = block(l, x)
            if i in ends:
                maps.append(x.permute(0, 3, 1, 2))
        levels = [lateral(m) for lateral, m in zip(laterals, maps)]
        coarse = F.interpolate(levels[-1], scale_factor=2.0, mode="nearest")
        return s0(levels[0]), s1(levels[1]), levels[-2] + coarse

    return run


class Deformable:
    def __init__(self, d, h, levels, points):
        self.h, self.l, self.p = h, levels, points
        self.offsets, self.weights = Linear(d, h * levels * points * 2), Linear(d, h * levels * points)
        self.value, self.out = Linear(d, d), Linear(d, d)

    def __call__(self, x, place, reference, memory, shapes, boxes):
        b, q, d = x.shape
        asked = x + place
        offset = self.offsets(asked).view(b, q, self.h, self.l, self.p, 2)
        weight = self.weights(asked).view(b, q, self.h, self.l * self.p).softmax(-1)
        if boxes:
            at = reference[:, :, None, None, None, :2]
            at = at + offset * reference[:, :, None, None, None, 2:] * (0.5 / self.p)
        else:
            size = torch.tensor([[w, h] for h, w in shapes], dtype=x.dtype).view(1, 1, 1, self.l, 1, 2)
            at = reference[:, :, None, None, None, :] + offset / size
        value = self.value(memory).view(b, -1, self.h, d // self.h)
        parts, begin = [], 0
        for level, (h, w) in enumerate(shapes):
            one = value[:, begin:begin + h * w].permute(0, 2, 3, 1).reshape(b * self.h, d // self.h, h, w)
            grid = (2 * at[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)
            parts.append(F.grid_sample(one, grid, align_corners=False))
            begin += h * w
        weight = weight.transpose(1, 2).reshape(b * self.h, 1, q, self.l * self.p)
        y = (torch.cat(parts, -1) * weight).sum(-1).view(b, d, q).transpose(1, 2)
        return self.out(y)


def proposer(s):
    c = s["config"]["proposer"]
    d, levels, grid = c["d_model"], c["num_feature_levels"], s["inputs"]["proposer_grid"]
    channels = c["in_channels"] or d
    project = [(Conv(channels, d, 1), Norm2d(d)) for _ in range(levels)]
    sides = [grid << (levels - 1 - l) for l in range(levels)]
    shapes = [(side, side) for side in sides]
    cells = sum(side * side for side in sides)
    place, points = torch.randn(1, cells, d), torch.rand(1, cells, 2)
    anchors, queries = torch.randn(1, cells, 4), torch.randn(1, c["num_queries"], d)

    def ffn(hidden):
        return Linear(d, hidden), Linear(hidden, d), Norm(d, 1e-5)

    encoder = [
        (Deformable(d, c["encoder_attention_heads"], levels, c["encoder_n_points"]), Norm(d, 1e-5),
         ffn(c["encoder_ffn_dim"])) for _ in range(c["encoder_layers"])
    ]
    decoder = [
        dict(q=Linear(d, d), k=Linear(d, d), v=Linear(d, d), o=Linear(d, d), n1=Norm(d, 1e-5),
             cross=Deformable(d, c["decoder_attention_heads"], levels, c["decoder_n_points"]), n2=Norm(d, 1e-5),
             ffn=ffn(c["decoder_ffn_dim"])) for _ in range(c["decoder_layers"])
    ]
    hidden = c["box_mlp_hidden"] or d
    boxes = [(Linear(d, hidden), Linear(hidden, hidden), Linear(hidden, 4)) for _ in range(c["decoder_layers"] + 1)]
    classes = [(Linear(d, 1), Linear(d, 1)) for _ in range(c["decoder_layers"])]
    enc_class, enc_out, enc_norm = Linear(d, 1), Linear(d, d), Norm(d, 1e-5)
    trans, trans_norm = Linear(2 * d, 2 * d), Norm(2 * d, 1e-5)
    wave = 10000 ** (2 * (torch.arange(d // 2) // 2) / (d // 2))
    maps = [torch.rand(1, channels, side, side) for side in sides]

    def feed(f, x):
        return f[2](x + f[1](F.relu(f[0](x))))

    def box(m, x):
        return m[2](F.relu(m[1](F.relu(m[0](x)))))

    def run():
        x = torch.cat([n(p(m)).flatten(2).transpose(1, 2) for (p, n), m in zip(project, maps)], 1)
        for attend, norm, f in encoder:
            x = feed(f, norm(x + attend(x, place, points, x, shapes, False)))
        memory = x
        seen = enc_norm(enc_out(memory))
        scores, deltas = enc_class(seen), box(boxes[-1], seen) + anchors
        best = scores[..., 0].topk(min(c["num_queries"], cells), 1).indices
        reference = deltas.gather(1, best[..., None].expand(-1, -1, 4)).sigmoid()
        code = reference[..., None] * 2 * math.pi / wave
        code = torch.stack([code[..., 0::2].sin(), code[..., 1::2].cos()], -1).flatten(2)
        at = trans_norm(trans(code))[..., :d]
        x, states = queries[:, :at.shape[1]], []
        for l in decoder:
            h = c["decoder_attention_heads"]
            y = attention(heads(l["q"](x + at), h), heads(l["k"](x + at), h), heads(l["v"](x), h))
            x = l["n1"](x + l["o"](joined(y)))
            x = l["n2"](x + l["cross"](x, at, reference, memory, shapes, True))
            x = feed(l["ffn"], x)
            states.append(x)
        found = [(box(m, x), a(x), b(x)) for m, x, (a, b) in zip(boxes, states, classes)]
        return found

    return run


def filtration(s):
    try:
        from torchvision.ops import roi_align
    except ImportError:
        return None
    c, sam = s["config"]["filtration"], s["config"]["sam2"]
    m, d, r = s["inputs"]["proposals"], c["roi_hidden"], c["roi_size"]
    grid, width = sam["image_size"] // 16, sam["d_model"]
    pyramid = [torch.rand(1, width // 8, 4 * grid, 4 * grid), torch.rand(1, width // 4, 2 * grid, 2 * grid),
               torch.rand(1, width, grid, grid)]
    at = torch.arange(m) * (0.7 / m)
    boxes = torch.stack([at, 0.7 - at, at + 0.25, 0.95 - at], 1) * sam["image_size"]
    features, score, query = torch.randn(m, c["prop_dim"]), torch.ones(m), torch.randn(1, c["seg_dim"])
    seg, prop, fuse = (Linear(c["seg_dim"], c["selector_hidden"]), Linear(c["prop_dim"], c["selector_hidden"]),
                       Linear(c["prop_dim"], c["seg_dim"]))
    token_proj = [Linear(i, d) for i in c["level_in_dims"]]
    pool_proj = [Linear(i, d) for i in c["level_in_dims"]]
    query_proj, seg_proj = Linear(c["seg_dim"], d), Linear(c["seg_dim"], d)
    head = Linear(3 * d, d), Linear(d, 1)

    def run():
        logits = seg(query) @ prop(features).T / math.sqrt(c["selector_hidden"]) + score.clamp(min=1e-6).log()
        refined = query + fuse(logits.softmax(-1) @ features)
        tokens, pooled = [], 0
        for level, token, pool in zip(pyramid, token_proj, pool_proj):
            # torchvision knows no bf16 here, and goes to f32 by itself where a program asks for halves.
            grid = roi_align(level.float(), [boxes.float()], r, level.shape[2] / sam["image_size"], -1, True)
            grid = narrow(grid).flatten(2).transpose(1, 2)
            tokens.append(token(grid))
            pooled = pooled + pool(grid.mean(1))
        tokens, pooled = torch.cat(tokens, 1), pooled / len(pyramid)
        seen = (query_proj(query) @ tokens.transpose(1, 2) / math.sqrt(d)).softmax(-1) @ tokens
        x = torch.cat([seen[:, 0], pooled, seg_proj(query).expand(m, d)], -1)
        return (logits + 0.1 * head[1](F.relu(head[0](x))).T).sigmoid(), refined

    return run


class Attention:
    def __init__(self, d, inner, h):
        self.h = h
        self.q, self.k, self.v, self.o = Linear(d, inner), Linear(d, inner), Linear(d, inner), Linear(inner, d)

    def __call__(self, q, k, v):
        return self.o(joined(attention(heads(self.q(q), self.h), heads(self.k(k), self.h), heads(self.v(v), self.h))))


def mlp3(i, hidden, o):
    a, b, c = Linear(i, hidden), Linear(hidden, hidden), Linear(hidden, o)
    return lambda x: c(F.relu(b(F.relu(a(x)))))


def mask_decoder(s):
    c, k = s["config"]["sam2"], s["inputs"]["objects"]
    d, h, grid = c["d_model"], c["decoder_heads"], c["image_size"] // 16
    inner = d // c["attention_downsample"]
    own, prompt = torch.randn(1, 6, d), torch.randn(k, 3, d)
    embed, code = torch.rand(1, d, grid, grid), torch.randn(1, grid * grid, d)
    high0, high1 = torch.rand(1, d // 8, 4 * grid, 4 * grid), torch.rand(1, d // 4, 2 * grid, 2 * grid)
    layers = [
        dict(own=Attention(d, d, h), n1=Norm(d, 1e-5), look=Attention(d, inner, h), n2=Norm(d, 1e-5),
             up=Linear(d, c["decoder_mlp_dim"]), down=Linear(c["decoder_mlp_dim"], d), n3=Norm(d, 1e-5),
             back=Attention(d, inner, h), n4=Norm(d, 1e-5)) for _ in range(c["decoder_depth"])
    ]
    last, last_norm = Attention(d, inner, h), Norm(d, 1e-5)
    up0, up1 = torch.randn(d, d // 4, 2, 2) / 16, torch.randn(d // 4, d // 8, 2, 2) / 8
    up0b, up1b, up_norm = torch.zeros(d // 4), torch.zeros(d // 8), Norm2d(d // 4)
    hyper = [mlp3(d, d, d // 8) for _ in range(4)]
    iou, there = mlp3(d, c["iou_head_hidden_dim"], 4), mlp3(d, d, 1)

    def run():
        tokens0 = torch.cat([own.expand(k, -1, -1), prompt], 1)
        tokens, image = tokens0, embed.expand(k, -1, -1, -1).flatten(2).transpose(1, 2)
        for i, l in enumerate(layers):
            if i == 0:
                tokens = l["own"](tokens, tokens, tokens)
            else:
                placed = tokens + tokens0
                tokens = tokens + l["own"](placed, placed, tokens)
            tokens = l["n1"](tokens)
            keys = image + code
            tokens = l["n2"](tokens + l["look"](tokens + tokens0, keys, image))
            tokens = l["n3"](tokens + l["down"](F.relu(l["up"](tokens))))
            image = l["n4"](image + l["back"](keys, tokens + tokens0, tokens))
        tokens = last_norm(tokens + last(tokens + tokens0, image + code, image))
        x = image.transpose(1, 2).view(k, d, grid, grid)
        x = F.gelu(up_norm(F.conv_transpose2d(x, up0, up0b, stride=2) + high1))
        x = F.gelu(F.conv_transpose2d(x, up1, up1b, stride=2) + high0)
        weights = torch.stack([m(tokens[:, 2 + i]) for i, m in enumerate(hyper)], 1)
        masks = (weights @ x.flatten(2)).view(k, 4, 4 * grid, 4 * grid)
        inner_area, outer_area = (masks[:, 0] > 0.05).sum(), (masks[:, 0] > -0.05).sum()
        return masks, iou(tokens[:, 1]).sigmoid(), there(tokens[:, 0]), inner_area / outer_area

    return run


def memory_encoder(s):
    c, k = s["config"]["sam2"], s["inputs"]["objects"]
    d, grid, stride = c["d_model"], c["image_size"] // 16, c["mask_downsampler_stride"]
    steps, channels = [], 1
    for _ in range(int(math.log2(stride))):
        steps.append((Conv(channels, 4 * channels, 3, 2, 1), Norm2d(4 * channels)))
        channels *= 4
    last, pix, out = Conv(channels, d, 1), Conv(d, d, 1), Conv(d, c["mem_dim"], 1)
    fuser = [(Conv(d, d, 7, 1, 3, d), Norm2d(d), Linear(d, 4 * d), Linear(4 * d, d), torch.ones(d)) for _ in range(2)]
    logits, embed = torch.randn(k, 1, 4 * grid, 4 * grid), torch.rand(1, d, grid, grid)

    def run():
        x = F.interpolate(logits, (grid * stride, grid * stride), mode="bilinear", align_corners=False)
        x = x.sigmoid() * 20 - 10
        for conv, norm in steps:
            x = F.gelu(norm(conv(x)))
        x = last(x) + pix(embed)
        for depthwise, norm, up, down, scale in fuser:
            y = norm(depthwise(x)).permute(0, 2, 3, 1)
            x = x + (down(F.gelu(up(y))) * scale).permute(0, 3, 1, 2)
        return out(x)

    return run


def memory_attention(s):
    c, k, m = s["config"]["sam2"], s["inputs"]["objects"], s["inputs"]["memories"]
    d, mem, grid = c["d_model"], c["mem_dim"], c["image_size"] // 16
    n = grid * grid
    pointers = m * d // mem
    layers = [
        dict(n1=Norm(d, 1e-5), sq=Linear(d, d), sk=Linear(d, d), sv=Linear(d, d), so=Linear(d, d), n2=Norm(d, 1e-5),
             cq=Linear(d, d), ck=Linear(mem, d), cv=Linear(mem, d), co=Linear(d, d), n3=Norm(d, 1e-5),
             up=Linear(d, c["memory_attention_ff"]), down=Linear(c["memory_attention_ff"], d))
        for _ in range(c["memory_attention_layers"])
    ]
    norm = Norm(d, 1e-5)
    frame, place = torch.randn(1, n, d), torch.randn(1, n, d)
    memories, code = torch.randn(k, m * n + pointers, mem), torch.randn(1, m * n + pointers, mem)
    turns = torch.polar(torch.ones(n, d // 2, dtype=torch.float32), torch.rand(n, d // 2, dtype=torch.float32))
    turns_m = turns.repeat(m, 1)

    def turn(x, by):
        x = x.float().view(*x.shape[:-1], -1, 2)
        return narrow(torch.view_as_real(torch.view_as_complex(x) * by).flatten(-2))

    def one(q, k, v):
        return attention(q[:, None], k[:, None], v[:, None])[:, 0]

    def run():
        x = (frame + 0.1 * place).expand(k, -1, -1)
        for l in layers:
            y = l["n1"](x)
            x = x + l["so"](one(turn(l["sq"](y), turns), turn(l["sk"](y), turns), l["sv"](y)))
            q, keys = turn(l["cq"](l["n2"](x)), turns), l["ck"](memories + code)
            keys = torch.cat([turn(keys[:, :m * n], turns_m), keys[:, m * n:]], 1)
            x = x + l["co"](one(q, keys, l["cv"](memories)))
            x = x + l["down"](F.relu(l["up"](l["n3"](x))))
        return norm(x)

    return run


def projectors(s):
    """Both vision-to-language projections with their pooling."""
    c, d = s["config"], s["config"]["phi3"]["hidden_size"]
    frames, visual = s["inputs"]["images"], c["visual"]

    def stream(width, grid, pool):
        up, down = Linear(width, d), Linear(d, d)
        x0 = torch.randn(frames, grid * grid, width)

        def run():
            x = down(F.gelu(up(x0))).transpose(1, 2).view(frames, d, grid, grid)
            return F.avg_pool2d(x, pool).flatten(2).transpose(1, 2)

        return run

    both = [stream(c[n]["dim"], c[n][side] // c[n]["patch_size"], visual[pool]) for n, side, pool in
            (("clip", "image_size", "spatial_pool"), ("internvideo2", "img_size", "video_pool"))]
    return lambda: [run() for run in both]


PEERS = {
    "clip": clip, "internvideo2": internvideo2, "prefill": prefill, "token": token, "hiera": hiera,
    "proposer": proposer, "filtration": filtration, "mask decoder": mask_decoder,
    "memory encoder": memory_encoder, "memory attention": memory_attention,
}
