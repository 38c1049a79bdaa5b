"""TF-IDF over words: which texts are nearest to which."""

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

_WORD = re.compile(r"[a-z]+|\d+")


def words(text: str) -> list[str]:
    """Lower-case words and numbers; `calcArea_of2` is four words."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return _WORD.findall(apart.lower())


class TfIdf:
    """Unit vectors of word counts, each weighed by how rare the word is (smoothed as scikit-learn does)."""

    def __init__(self, texts: Sequence[str]) -> None:
        counted = [Counter(words(text)) for text in texts]
        self._column = {word: at for at, word in enumerate(sorted({word for each in counted for word in each}))}
        frequency = Counter(word for each in counted for word in each)
        self._weight = np.array([math.log((1 + len(texts)) / (1 + frequency[word])) + 1 for word in self._column])
        self.vectors = np.stack([self._vector(each) for each in counted])

    def likeness(self, text: str) -> np.ndarray:
        """Cosine with each of the texts [texts]; words that none of them has count for nothing."""
        found: np.ndarray = self.vectors @ self._vector(Counter(words(text)))
        return found

    def _vector(self, counted: Counter[str]) -> np.ndarray:
        vector = np.zeros(len(self._column))
        for word, times in counted.items():
            if word in self._column:
                vector[self._column[word]] = times * self._weight[self._column[word]]
        length = float(np.linalg.norm(vector))
        return vector / length if length else vector
