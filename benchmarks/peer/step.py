"""One SimCLR training step: ResNet-18 of width 16, 128 views of 32x32."""

import common
import torch


def main():
    options = common.arguments(__doc__)
    torch.manual_seed(0)
    learner = common.Learner(common.ResNet([2, 2, 2, 2], 16, 1, 128, 128), 0.1, 0.5)
    views = torch.randn(128, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    common.measure(lambda: learner.step(views), "steps/s", 1, options.seconds)


main()
