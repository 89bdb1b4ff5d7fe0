"""SimCLR pretraining end to end at the CPU-scale preset, augmentation included.

pil: torchvision transforms on PIL images in two DataLoader workers.
batched: everything as tensor operations on the whole batch, drawn per sample.
"""

import math

import common
import torch
from PIL import Image
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms

BATCH = 256
SIDE = 24


class TwoViews(Dataset):
    def __init__(self, images):
        self.images = images
        self.pipeline = transforms.Compose(
            [
                transforms.RandomResizedCrop(SIDE, scale=(0.2, 1.0)),
                transforms.RandomHorizontalFlip(),
                transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
                transforms.RandomGrayscale(p=0.2),
                transforms.ToTensor(),
                transforms.Normalize(common.MEAN, common.STD),
            ]
        )

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = Image.fromarray(self.images[index])
        return self.pipeline(image), self.pipeline(image)


def pil_batches(images):
    data = TwoViews(images)
    endless = RandomSampler(data, replacement=True, num_samples=1 << 40)
    for first, second in DataLoader(data, BATCH, sampler=endless, num_workers=2, drop_last=True):
        yield torch.cat([first, second])


class BatchedAugmentation:
    """Crop, flip, jitter, gray and normalisation with one draw per sample, (B, 3, H, W) uint8 to (B, 3, SIDE, SIDE) float32."""

    GRAY = torch.tensor([0.2989, 0.587, 0.114]).view(1, 3, 1, 1)
    TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    FROM_YIQ = torch.linalg.inv(TO_YIQ)

    def __call__(self, images):
        x = self.crop(images.float().div_(255))
        x = self.jitter(x)
        gray = torch.rand(len(x)) < 0.2
        x[gray] = self.luma(x[gray]).expand(-1, 3, -1, -1)
        mean = torch.tensor(common.MEAN).view(1, 3, 1, 1)
        std = torch.tensor(common.STD).view(1, 3, 1, 1)
        return x.sub_(mean).div_(std)

    def luma(self, x):
        return (x * self.GRAY).sum(1, keepdim=True)

    def crop(self, x):
        n = len(x)
        area = torch.empty(n).uniform_(0.2, 1.0)
        ratio = torch.empty(n).uniform_(math.log(3 / 4), math.log(4 / 3)).exp()
        width = (area * ratio).sqrt().clamp(max=1)
        height = (area / ratio).sqrt().clamp(max=1)
        flip = torch.where(torch.rand(n) < 0.5, -1.0, 1.0)
        theta = torch.zeros(n, 2, 3)
        theta[:, 0, 0] = width * flip
        theta[:, 1, 1] = height
        theta[:, 0, 2] = (torch.rand(n) * 2 - 1) * (1 - width)
        theta[:, 1, 2] = (torch.rand(n) * 2 - 1) * (1 - height)
        grid = functional.affine_grid(theta, [n, 3, SIDE, SIDE], align_corners=False)
        return functional.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    def factor(self, n, strength, chosen):
        value = torch.empty(n).uniform_(1 - strength, 1 + strength)
        return torch.where(chosen, value, torch.ones(n)).view(n, 1, 1, 1)

    def jitter(self, x):
        n = len(x)
        chosen = torch.rand(n) < 0.8
        for operation in torch.randperm(4).tolist():
            if operation == 0:
                x = x.mul_(self.factor(n, 0.4, chosen)).clamp_(0, 1)
            elif operation == 1:
                mean = self.luma(x).mean(dim=(2, 3), keepdim=True)
                x = torch.lerp(mean, x, self.factor(n, 0.4, chosen)).clamp_(0, 1)
            elif operation == 2:
                x = torch.lerp(self.luma(x), x, self.factor(n, 0.4, chosen)).clamp_(0, 1)
            else:
                x = self.hue(x, chosen)
        return x

    def hue(self, x, chosen):
        """A turn of the chroma plane: one 3x3 matrix per sample."""
        n, _, h, w = x.shape
        angle = torch.where(chosen, torch.empty(n).uniform_(-0.1, 0.1), torch.zeros(n)) * (2 * math.pi)
        turn = torch.zeros(n, 3, 3)
        turn[:, 0, 0] = 1
        turn[:, 1, 1] = turn[:, 2, 2] = angle.cos()
        turn[:, 1, 2] = -angle.sin()
        turn[:, 2, 1] = angle.sin()
        matrix = self.FROM_YIQ @ turn @ self.TO_YIQ
        return torch.bmm(matrix, x.reshape(n, 3, h * w)).view(n, 3, h, w).clamp_(0, 1)


def batched_batches(images):
    stored = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    augment = BatchedAugmentation()
    while True:
        order = torch.randperm(len(stored))
        for start in range(0, len(stored) - BATCH + 1, BATCH):
            batch = stored[order[start : start + BATCH]]
            yield augment(torch.cat([batch, batch]))


def main():
    options = common.arguments(__doc__, augmentation=["pil", "batched"])
    torch.manual_seed(0)
    images = common.load(options)
    batches = pil_batches(images) if options.augmentation == "pil" else batched_batches(images)
    learner = common.preset()
    common.measure(lambda: learner.step(next(batches)), "images/s", BATCH, options.seconds)


main()
