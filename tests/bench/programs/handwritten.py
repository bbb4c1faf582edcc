"""The shortest Horovod loop that trains the same model on the same data; prints seconds a step.

Arguments: data, embedding, hidden, layers, batch size, steps, and how many steps count as one.
"""

import statistics
import sys
import time
from pathlib import Path

import horovod.torch as hvd
import torch
from torch.nn import functional as F

from hvcod.tasks.commoncrawl.lstm import LayerNormLSTM
from hvcod.tasks.commoncrawl.model import LanguageModel
from hvcod.tasks.commoncrawl.tokens.dataset import TokenDataset
from hvcod.tasks.commoncrawl.tokens.stream import TokenStream
from hvcod.tasks.shuffle import Share

data = Path(sys.argv[1])
embedding, hidden, layers, rows, steps, count = map(int, sys.argv[2:])
hvd.init()
torch.manual_seed(1)
torch.set_num_threads(1)
dataset = TokenDataset(data)
model = LanguageModel(dataset.vocabulary_size, embedding, LayerNormLSTM(embedding, hidden, layers))
adam = torch.optim.Adam(model.parameters(), lr=1e-3)
optimizer = hvd.DistributedOptimizer(adam, named_parameters=model.named_parameters())
hvd.broadcast_parameters(model.state_dict(), root_rank=0)
lanes = range(hvd.rank() * rows, (hvd.rank() + 1) * rows)
stream = TokenStream(dataset, Share(1), lanes=lanes, lane_count=hvd.size() * rows)
state, times = None, []
for _ in range(steps):
    begun = time.perf_counter()
    batch = stream.next()
    inputs, targets = batch.inputs, batch.targets
    optimizer.zero_grad()
    logits, state = model(inputs, state)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    loss.backward()
    optimizer.synchronize()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    with optimizer.skip_synchronize():
        optimizer.step()
    times.append(time.perf_counter() - begun)
if hvd.rank() == 0:
    # As hvcod logs them: the mean of so many steps.
    means = [statistics.mean(times[start : start + count]) for start in range(0, steps, count)]
    print(statistics.median(means[len(means) // 4 :]))
