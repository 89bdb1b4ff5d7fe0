"""torchvision on PIL images: the full SimCLR pipeline, one view an image, one core."""

import random

import common
from PIL import Image, ImageFilter
from torchvision import transforms


class PilBlur:
    """GaussianBlur of the reference implementations (MoCo v2, SimSiam)."""

    def __call__(self, image):
        return image.filter(ImageFilter.GaussianBlur(radius=random.uniform(0.1, 2.0)))


def main():
    options = common.arguments(__doc__, output=["32", "224"])
    images = common.load(options)
    pipeline = transforms.Compose(
        [
            transforms.RandomResizedCrop(int(options.output), scale=(0.2, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            transforms.RandomGrayscale(p=0.2),
            transforms.RandomApply([PilBlur()], p=0.5),
            transforms.ToTensor(),
            transforms.Normalize(common.MEAN, common.STD),
        ]
    )
    position = 0

    def step():
        nonlocal position
        pipeline(Image.fromarray(images[position % len(images)]))
        position += 1

    common.measure(step, "views/s", 1, options.seconds)


main()
