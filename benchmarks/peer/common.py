"""What the peer scripts share: threads, a check of the BLAS, images, the model of the comparison, and the form of the answer.

Every script prints one JSON line: {"rate": median of the windows, "unit": ..., "windows": [...]}.
"""

import argparse
import json
import platform
import statistics
import sys
import time

MISSING = 3  # exit code: this machine lacks something; the message says what
ADVICE = "install python3-torch python3-torchvision python3-pil libopenblas0-openmp"

try:
    import numpy
    import PIL
    import torch
    import torchvision
    from torch import nn
    from torch.nn import functional
except ImportError as error:
    print(f"{ADVICE} ({error})", file=sys.stderr)
    sys.exit(MISSING)

# Mean and deviation of normalised images: the values do not matter for speed.
MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)


def arguments(description, **more):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--images", help="raw file: count * size * size * 3 bytes")
    parser.add_argument("--size", type=int, default=32, help="side of the stored images")
    parser.add_argument("--seconds", type=float, default=10.0, help="time to measure, after the warm-up")
    parser.add_argument("--threads", type=int, default=2)
    for name, choices in more.items():
        parser.add_argument(f"--{name}", choices=choices, default=choices[0])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    check_blas()
    return options


def check_blas():
    """Reference BLAS is some twenty times slower than what any PyTorch user would have: no fair peer."""
    torch.mm(torch.ones(64, 64), torch.ones(64, 64))
    with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
        loaded = maps.read()
    if not any(name in loaded for name in ("openblas", "libmkl", "libblis")):
        print(f"{ADVICE} (PyTorch runs on reference BLAS here)", file=sys.stderr)
        sys.exit(MISSING)


def versions():
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "pillow": PIL.__version__,
    }


def load(options):
    """(N, H, W, 3) uint8."""
    flat = numpy.fromfile(options.images, dtype=numpy.uint8)
    return flat.reshape(-1, options.size, options.size, 3)


def measure(step, unit, count, seconds, warmup=2.0, windows=5):
    """Calls step() for the given time and answers with things per second; step() handles `count` of them."""
    end = time.perf_counter() + warmup
    step()
    while time.perf_counter() < end:
        step()
    rates = []
    for _ in range(windows):
        done, start = 0, time.perf_counter()
        while True:
            step()
            done += count
            spent = time.perf_counter() - start
            if spent >= seconds / windows:
                break
        rates.append(done / spent)
    print(json.dumps({"rate": statistics.median(rates), "unit": unit, "windows": rates}), flush=True)


class Block(nn.Module):
    """Basic residual block with a 1x1 shortcut where shapes change."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        return functional.relu(y + self.shortcut(x), inplace=True)


class ResNet(nn.Module):
    """CIFAR ResNet of basic blocks with a SimCLR projector."""

    def __init__(self, blocks, width, stem_stride, hidden, outputs):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, stem_stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        stages, inputs = [], width
        for stage, count in enumerate(blocks):
            channels = width << stage
            for index in range(count):
                stages.append(Block(inputs, channels, 2 if stage > 0 and index == 0 else 1))
                inputs = channels
        self.stages = nn.Sequential(*stages)
        self.projector = nn.Sequential(
            nn.Linear(inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, outputs)
        )

    def forward(self, x):
        h = self.stages(self.stem(x)).mean(dim=(2, 3))
        return self.projector(h)


def nt_xent(z, temperature):
    z = functional.normalize(z, dim=1)
    similarity = z @ z.t() / temperature
    similarity.fill_diagonal_(float("-inf"))
    n = z.shape[0] // 2
    targets = torch.cat([torch.arange(n, 2 * n), torch.arange(n)])
    return functional.cross_entropy(similarity, targets)


class Learner:
    """One SimCLR step on a batch of views, in channels_last."""

    def __init__(self, model, rate, temperature):
        self.model = model.to(memory_format=torch.channels_last)
        self.temperature = temperature
        self.optimiser = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4, foreach=True)

    def step(self, views):
        z = self.model(views.contiguous(memory_format=torch.channels_last))
        loss = nt_xent(z, self.temperature)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return loss.item()


def preset():
    """The CPU-scale preset: three stages of one block, width 32, stem with stride 2."""
    return Learner(ResNet([1, 1, 1], 32, 2, 256, 128), 0.12, 0.2)


if __name__ == "__main__":
    torch.set_num_threads(2)
    check_blas()
    print(json.dumps(versions()))
