"""5-fold cross validation with scikit-learn on the dataset that plain_keras.py stored.

python examples/cross_validation.py localhost:9092
"""

import sys

import numpy as np
from sklearn.linear_model import SGDClassifier

import deeptool

servers = sys.argv[1] if len(sys.argv) > 1 else "localhost:9092"
data = deeptool.open(servers, "plain_keras", split="train")

scores = []
for k in range(5):
    train = data.select(fold=(k, 5), stratify="y")
    test = data.select(fold=(k, 5), stratify="y", held_out=True)
    classifier = SGDClassifier(random_state=0)
    for images, labels in train.numpy(batch_size=64, shuffle=True, seed=1, repeat=5):
        classifier.partial_fit(images, labels, classes=range(10))
    scores.append(classifier.score(*test[:]))
print(f"accuracy in 5 folds of {len(data)} samples: {np.mean(scores):.3f} +/- {np.std(scores):.3f}")
