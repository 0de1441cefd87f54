"""The loss of each distiller in plain NumPy, float64, image by image and pair by pair.

Written from the formulas, not from the package. The function of a method has the method's name, by
which tests find it, and `@reads` says which outputs of the student it takes. Its arguments are the
started method, the batch, and the outputs of student and teacher: dicts of arrays, with the
features by their names and the `logits`. It returns

- the method's own loss without its weight, for a `FeatureDistiller`;
- the whole loss, cross-entropy included, for a method that reads the logits alone.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

FORMULAS = {}
"""Method name to its formula."""
READS = {}
"""Method name to the outputs of the student that the formula takes."""
STAGES = ("stage1", "stage2", "stage3")


def reads(*outputs):
    """Function decorator: the formula of the method of that name, which takes these outputs."""

    def noted(formula):
        FORMULAS[formula.__name__], READS[formula.__name__] = formula, outputs
        return formula

    return noted


def array(tensor):
    return tensor.detach().numpy()


def average_down(maps, height, width):
    """(B, C, H, W) to the size, by means over blocks: whole numbers of times smaller only."""
    n, c, h, w = maps.shape
    assert h % height == 0 and w % width == 0
    return maps.reshape(n, c, height, h // height, width, w // width).mean(axis=(3, 5))


def like_sized(student, teacher):
    height, width = np.minimum(student.shape[2:], teacher.shape[2:])
    return average_down(student, height, width), average_down(teacher, height, width)


def unit(vector):
    length = math.sqrt((vector * vector).sum())
    return vector / length if length > 1e-12 else 0 * vector


def convolved(maps, weight, bias, stride=1, padding=0):
    """A convolution, output pixel by output pixel."""
    n, _, h, w = maps.shape
    out, _, kh, kw = weight.shape
    padded = np.pad(maps, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    height, width = (h + 2 * padding - kh) // stride + 1, (w + 2 * padding - kw) // stride + 1
    made = np.zeros((n, out, height, width))
    for y, x in np.ndindex(height, width):
        seen = padded[:, :, y * stride : y * stride + kh, x * stride : x * stride + kw]
        made[:, :, y, x] = np.einsum("nchw,ochw->no", seen, weight)
    return made if bias is None else made + bias[:, None, None]


def spread(maps, weight, bias, stride, padding):
    """A transposed convolution: every pixel leaves its kernel in the output."""
    n, _, h, w = maps.shape
    _, out, kh, kw = weight.shape
    whole = np.zeros((n, out, (h - 1) * stride + kh, (w - 1) * stride + kw))
    for y, x in np.ndindex(h, w):
        part = np.einsum("nc,cohw->nohw", maps[:, :, y, x], weight)
        whole[:, :, y * stride : y * stride + kh, x * stride : x * stride + kw] += part
    inner = whole[:, :, padding : whole.shape[2] - padding, padding : whole.shape[3] - padding]
    return inner + bias[:, None, None]


def batch_normed(maps, norm):
    """As in training: by the batch's own mean and (biased) variance."""
    mean, variance = (f(maps, axis=(0, 2, 3))[:, None, None] for f in (np.mean, np.var))
    scaled = (maps - mean) / np.sqrt(variance + norm.eps)
    return scaled * array(norm.weight)[:, None, None] + array(norm.bias)[:, None, None]


@reads("stage2")
def fitnet(method, batch, student, teacher):
    conv, norm, _ = method.modules["regressor"]
    maps, weight, bias = student["stage2"], array(conv.weight), array(conv.bias)
    transposed = type(conv).__name__ == "ConvTranspose2d"
    made = spread(maps, weight, bias, 2, 1) if transposed else convolved(maps, weight, bias)
    return ((np.maximum(batch_normed(made, norm), 0) - teacher["stage2"]) ** 2).mean()


def attention_of(image):
    """Of one image's map (C, H, W): where its channels are large, of length 1."""
    return unit(np.mean([channel**2 for channel in image], axis=0).ravel())


@reads(*STAGES)
def at(method, batch, student, teacher):
    total = 0.0
    for stage in STAGES:
        pairs = zip(*like_sized(student[stage], teacher[stage]), strict=True)
        total += np.mean([(attention_of(s) - attention_of(t)) ** 2 for s, t in pairs])
    return total


@reads("stage3")
def sp(method, batch, student, teacher):
    def rows(maps):
        flat = [image.ravel() for image in maps]
        return [unit(np.array([one @ other for other in flat])) for one in flat]

    pairs = zip(rows(student["stage3"]), rows(teacher["stage3"]), strict=True)
    return sum(((s - t) ** 2).sum() for s, t in pairs) / len(student["stage3"]) ** 2


def linear(layer, rows):
    return rows @ array(layer.weight).T + array(layer.bias)


def embedded(method, student, teacher):
    modules = method.modules
    ours = linear(modules["student_embedding"], student["pooled"])
    return ours, linear(modules["teacher_embedding"], teacher["pooled"])


@reads("pooled")
def cc(method, batch, student, teacher):
    ours, theirs = embedded(method, student, teacher)
    apart = [np.abs(s - t) for s, t in zip(ours, theirs, strict=True)]
    return np.mean([one @ following for one, following in itertools.pairwise(apart)])


@reads(*STAGES)
def vid(method, batch, student, teacher):
    total = 0.0
    for stage in STAGES:
        maps, wanted = like_sized(student[stage], teacher[stage])
        first, _, second, _, third = method.modules["means"][stage]
        for layer, last in ((first, False), (second, False), (third, True)):
            maps = np.einsum("nchw,oc->nohw", maps, array(layer.weight)[:, :, 0, 0])
            maps = maps if last else np.maximum(maps, 0)
        scales = array(method.modules["scales"][stage])
        variances = (np.log(1 + np.exp(scales)) + 1e-5)[:, None, None]
        total += np.mean(0.5 * ((maps - wanted) ** 2 / variances + np.log(variances)))
    return total


def smooth_l1(differences):
    size = np.abs(differences)
    return np.where(size < 1, 0.5 * size**2, size - 0.5).mean()


@reads("pooled")
def rkd(method, batch, student, teacher):
    def distances(rows):
        apart = np.array([[np.linalg.norm(a - b) for b in rows] for a in rows])
        return apart / apart[apart > 0].mean()

    def angles(rows):
        return np.array([[[unit(a - c) @ unit(b - c) for b in rows] for a in rows] for c in rows])

    ours, theirs = student["pooled"], teacher["pooled"]
    distance = smooth_l1(distances(ours) - distances(theirs))
    return 25 * distance + 50 * smooth_l1(angles(ours) - angles(theirs))


@reads("pooled")
def pkt(method, batch, student, teacher):
    def probabilities(rows):
        likeness = np.array([[(unit(a) @ unit(b) + 1) / 2 for b in rows] for a in rows])
        return [row / row.sum() for row in likeness]

    total = 0.0
    both = (probabilities(features["pooled"]) for features in (student, teacher))
    for ours, theirs in zip(*both, strict=True):
        for p_s, p_t in zip(ours, theirs, strict=True):
            total += p_t * math.log((p_t + 1e-7) / (p_s + 1e-7))
    return total / len(student["pooled"]) ** 2


@reads(*STAGES)
def nst(method, batch, student, teacher):
    def kernel(first, second):
        pairs = itertools.product(first, second)
        return np.mean([(unit(a.ravel()) @ unit(b.ravel())) ** 2 for a, b in pairs])

    total = 0.0
    for stage in STAGES:
        pairs = list(zip(*like_sized(student[stage], teacher[stage]), strict=True))
        found = [kernel(t, t) + kernel(s, s) - 2 * kernel(s, t) for s, t in pairs]
        total += np.mean(found)
    return total


def leaky(maps):
    return np.where(maps > 0, maps, 0.1 * maps)


@reads("stage3")
def ft(method, batch, student, teacher):
    maps = student["stage3"]
    layers = list(method.modules["translator"])
    for conv, norm in zip(layers[0::3], layers[1::3], strict=True):
        maps = convolved(maps, array(conv.weight), array(conv.bias), padding=1)
        maps = leaky(batch_normed(maps, norm))
    factor = teacher["stage3"]
    for conv in list(method.term._prepared["encoder"])[0::2]:
        factor = leaky(convolved(factor, array(conv.weight), array(conv.bias), padding=1))
    pairs = zip(*like_sized(maps, factor), strict=True)
    return np.mean([np.abs(attention_of(s) - attention_of(t)) for s, t in pairs])


@reads("pooled")
def crd(method, batch, student, teacher):
    term = method.term
    ours, theirs = ([unit(row) for row in rows] for rows in embedded(method, student, teacher))
    negatives = array(term.drawn(batch))
    n, m = len(term._context.labels), negatives.shape[1]
    total = 0.0
    sides = ((ours, "teacher_memory"), (theirs, "student_memory"))
    for number, (anchors, name) in enumerate(sides):
        memory = array(term.buffers()[name])
        scores = [
            [math.exp(anchor @ memory[place] / 0.07) for place in (index, *others)]
            for anchor, index, others in zip(anchors, array(batch.indices), negatives, strict=True)
        ]
        known = term.buffers()["constants"][number].item()
        z = known or float(
            np.float32(n * np.mean(scores))
        )  # kept as float32; of the first batch: this one, if none came before
        for positive, *others in scores:
            noise = m / n
            total -= math.log(positive / z / (positive / z + noise + 1e-7))
            total -= sum(math.log(noise / (other / z + noise + 1e-7)) for other in others)
    return total / len(ours)


def softmax(logits):
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def cross_entropy(batch, logits):
    """Of the upright images: all but the first B rows of logits are turned ones."""
    pairs = zip(softmax(logits), array(batch.labels), strict=False)
    return np.mean([-math.log(shares[label]) for shares, label in pairs])


def divergences(student, teacher, temperature):
    """T^2 KL(teacher || student) of softened predictions, of each image."""
    pairs = zip(softmax(student / temperature), softmax(teacher / temperature), strict=True)
    return [temperature**2 * sum(q * (np.log(q) - np.log(p))) for p, q in pairs]


@reads("logits")
def kd(method, batch, student, teacher):
    found = np.mean(divergences(student["logits"], teacher["logits"], 4))
    return 0.5 * cross_entropy(batch, student["logits"]) + 0.5 * found


@reads("logits")
def rco(method, batch, student, teacher):
    return kd(method, batch, student, teacher)


@reads("logits")
def dkd(method, batch, student, teacher):
    """T 4, weights 1 and 8, which grow over 20 epochs."""
    target = others = 0.0
    ours, theirs = (softmax(output["logits"] / 4) for output in (student, teacher))
    for s, t, label in zip(ours, theirs, array(batch.labels), strict=True):
        binary = zip((t[label], 1 - t[label]), (s[label], 1 - s[label]), strict=True)
        target += sum(p * math.log(p / q) for p, q in binary)
        rest = [k for k in range(len(t)) if k != label]
        shares = [(t[k] / (1 - t[label]), s[k] / (1 - s[label])) for k in rest]
        others += sum(p * math.log(p / q) for p, q in shares)
    scale = 16 / len(student["logits"]) * min(1, (batch.cursor.epoch + 1) / 20)
    return cross_entropy(batch, student["logits"]) + scale * (target + 8 * others)


@reads("logits")
def dist(method, batch, student, teacher):
    ours, theirs = (softmax(output["logits"] / 4) for output in (student, teacher))

    def distance(some, other):
        pairs = zip(some, other, strict=True)
        return 1 - np.mean([np.corrcoef(one, two)[0, 1] for one, two in pairs])

    by_both = distance(ours, theirs) + distance(ours.T, theirs.T)
    return cross_entropy(batch, student["logits"]) + 16 * by_both


@reads("logits")
def logit_standardization(method, batch, student, teacher):
    ours, theirs = (
        np.array([(row - row.mean()) / row.std(ddof=1) for row in output["logits"]])
        for output in (student, teacher)
    )
    found = np.mean(divergences(ours, theirs, 2))
    return 0.1 * cross_entropy(batch, student["logits"]) + 9 * found
