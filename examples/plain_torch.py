"""Train a PyTorch model on the dataset that plain_keras.py stored: no TensorFlow.

python examples/plain_torch.py localhost:9092
"""

import sys

import torch
from torch.utils.data import DataLoader

import deeptool

servers = sys.argv[1] if len(sys.argv) > 1 else "localhost:9092"
data = deeptool.open(servers, "plain_keras", split="train")
batches = data.torch(batch_size=64, shuffle=True, seed=1)
loader = DataLoader(batches, batch_size=None, num_workers=2)

model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for _epoch in range(5):
    for images, labels in loader:
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

right = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in data.torch())
print(f"accuracy on the {len(data)} samples: {right / len(data):.3f}")
