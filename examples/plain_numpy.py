"""Train scikit-learn's linear classifier on the dataset that plain_keras.py stored: no TensorFlow.

python examples/plain_numpy.py localhost:9092
"""

import sys

from sklearn.linear_model import SGDClassifier

import deeptool

servers = sys.argv[1] if len(sys.argv) > 1 else "localhost:9092"
data = deeptool.open(servers, "plain_keras", split="train")

classifier = SGDClassifier()
for images, labels in data.numpy(batch_size=64, shuffle=True, seed=1, repeat=5):
    classifier.partial_fit(images, labels, classes=range(10))

right = sum(classifier.score(images, labels) * len(labels) for images, labels in data.numpy())
print(f"accuracy on the {len(data)} samples: {right / len(data):.3f}")
