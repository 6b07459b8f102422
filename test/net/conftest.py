"""Networks that many tests only look at."""

import pytest
import torch
import torchvision
from nets import BOX, LABELS, example_image, network


@pytest.fixture(scope="session")
def model():
    return network()


@pytest.fixture(scope="session")
def output(model):
    with torch.no_grad():
        return model(example_image(), LABELS, BOX)


@pytest.fixture(scope="session")
def resnet18():
    """torchvision's resnet18 with running statistics unlike those of a new one."""
    torch.manual_seed(1)
    network = torchvision.models.resnet18()
    for _name, value in network.named_buffers():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)
    return network.eval()
