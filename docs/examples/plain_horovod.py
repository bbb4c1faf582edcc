"""Tells ten overlapping clouds of points apart. Run: mpirun -np 4 python SCRIPT --output FOLDER"""

import argparse
from pathlib import Path

import horovod.torch as hvd
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

CLOUDS, DIMENSIONS = 10, 64


def clouds(examples: int, seed: int) -> TensorDataset:
    """Returns points, and the number of the cloud that each belongs to."""
    centres = torch.randn(CLOUDS, DIMENSIONS, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLOUDS, (examples,), generator=generator)
    noise = torch.randn(examples, DIMENSIONS, generator=generator)
    return TensorDataset(0.3 * centres[labels] + noise, labels)


def build_model() -> nn.Module:
    """Returns a network with batch normalisation, large enough to memorise the noise."""
    layers = [nn.Linear(DIMENSIONS, 256), nn.BatchNorm1d(256), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, CLOUDS))


@torch.no_grad()
def validate(model: nn.Module, data: TensorDataset, device: torch.device) -> float:
    """Returns the mean loss over the validation data, of which every rank takes a share."""
    model.eval()
    points, labels = (tensor[hvd.rank() :: hvd.size()].to(device) for tensor in data.tensors)
    loss = F.cross_entropy(model(points), labels)
    model.train()
    return hvd.allreduce(loss, name="validation").item()


def main() -> None:
    """Trains, validates after every epoch and saves the model."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", default="runs/clouds")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    hvd.init()
    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        torch.cuda.set_device(hvd.local_rank())
    output = Path(args.output)

    train, validation = clouds(4096, seed=11), clouds(4096, seed=12)
    sampler = DistributedSampler(train, num_replicas=hvd.size(), rank=hvd.rank())
    loader = DataLoader(train, args.batch_size, sampler=sampler)

    model = build_model().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    optimizer = hvd.DistributedOptimizer(optimizer, model.named_parameters())
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)

    for epoch in range(args.epochs):
        sampler.set_epoch(epoch)
        for points, labels in loader:
            points, labels = points.to(device), labels.to(device)
            optimizer.zero_grad()
            logits = model(points)
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
        validation_loss = validate(model, validation, device)
        if hvd.rank() == 0:
            print(f"{output}: epoch {epoch + 1}: validation loss {validation_loss:.4f}", flush=True)

    if hvd.rank() == 0:
        output.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), output / "model.pt")


if __name__ == "__main__":
    main()
