"""The paper's two penalties in a training loop of your own, on 8x8 images of digits: seconds.

    pip install .                (in a clone of the repository)
    python examples/own_loop.py

The three numbered lines turn a usual loop into SoTeacher. Each image comes with its row in the
training set, `indices`: the consistency penalty remembers what was predicted for the image.
"""

from __future__ import annotations

import argparse
import time

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from soteacher import ConsistencyPenalty, LipschitzPenalty

EPOCHS = 10


def digits() -> tuple[TensorDataset, torch.Tensor, torch.Tensor]:
    """1,348 training images with labels and rows; 449 test images, and their labels."""
    found = load_digits()
    images = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(found.target)
    test = torch.arange(len(images)) % 4 == 3
    rows = torch.arange(int((~test).sum()))
    return TensorDataset(images[~test], labels[~test], rows), images[test], labels[test]


def network() -> nn.Module:
    """Any network with convolutions or linear layers works; this one has 6,186 parameters."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10)),
    )


def train(soteacher: bool, device: str) -> tuple[float, float]:
    """Return the test accuracy, and the mean confidence of the predictions."""
    torch.manual_seed(0)
    train_set, test_images, test_labels = digits()
    loader = DataLoader(train_set, batch_size=64, shuffle=True)
    teacher = network().to(device)
    optimizer = torch.optim.SGD(teacher.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    lipschitz = LipschitzPenalty(weight=1e-4)  # 1
    consistency = ConsistencyPenalty(len(train_set), n_classes=10, epochs=EPOCHS).to(device)  # 2
    for epoch in range(EPOCHS):
        for batch in loader:
            images, labels, indices = (part.to(device) for part in batch)
            with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                logits = teacher(images)
                loss = nn.functional.cross_entropy(logits, labels)
                if soteacher:
                    loss = loss + lipschitz(teacher) + consistency(logits, indices, epoch)  # 3
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    # to resume later, save consistency.state_dict() with those of the network and the optimizer
    with torch.no_grad():
        probabilities = teacher.eval()(test_images.to(device)).softmax(dim=1).cpu()
    right = (probabilities.argmax(dim=1) == test_labels).float().mean()
    return right.item(), probabilities.amax(dim=1).mean().item()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    device = parser.parse_args().device
    torch.set_num_threads(1)  # more threads do not speed up a network of this size
    for name, soteacher in (("Standard", False), ("SoTeacher", True)):
        start = time.perf_counter()
        accuracy, confidence = train(soteacher, device)
        seconds = time.perf_counter() - start
        print(
            f"{name:9}  test accuracy {accuracy:.1%}, mean confidence {confidence:.1%}, "
            f"{seconds:.1f} s on {device}"
        )
