"""What free text says about price, in any script: hashed n-grams, a ridge effect (out of fold) and a few latent directions.

Character n-grams within words work for "2.0 TDI quattro" as for "舒适型" without a tokenizer of any language.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import Ridge
from sklearn.utils.extmath import randomized_svd

BUCKETS = 2**15
DIRECTIONS = 16
CACHE = 50_000
"""Distinct texts whose encodings are kept."""

_hash = HashingVectorizer(n_features=BUCKETS, analyzer="char_wb", ngram_range=(1, 4), alternate_sign=True, norm="l2", dtype=np.float32)


def vectors(texts: list[str]) -> csr_matrix:
    """Hashed n-gram vectors, shape (n, BUCKETS), unit length."""
    return _hash.transform(texts)


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """Linear maps on hashed n-grams: `weights` (BUCKETS,) to a log-price effect, `basis` (BUCKETS, DIRECTIONS) to latent directions."""

    weights: np.ndarray
    intercept: float
    basis: np.ndarray
    known: dict[str, np.ndarray] = field(default_factory=dict, compare=False)
    """Encodings of texts seen lately, at most CACHE."""

    def encode(self, texts: list[str]) -> np.ndarray:
        """Effect and latent directions, shape (n, 1 + directions); each distinct text is hashed once."""
        fresh = [text for text in dict.fromkeys(texts) if text not in self.known]
        if fresh:
            if len(self.known) + len(fresh) > CACHE:
                self.known.clear()
                fresh = list(dict.fromkeys(texts))
            matrix = vectors(fresh)
            rows = np.column_stack([matrix @ self.weights + self.intercept, matrix @ self.basis]).astype(np.float32)
            self.known.update(zip(fresh, rows, strict=True))
        return np.stack([self.known[text] for text in texts]) if texts else np.zeros((0, 1 + self.basis.shape[1]), np.float32)


def fit_text(texts: list[str], target: np.ndarray, fold: np.ndarray, seed: int) -> tuple[TextEncoder, np.ndarray]:
    """Fit on all rows, and the out-of-fold encoding of these same rows, shape (n, 1 + DIRECTIONS).

    `target` (n,) is the log price with age and distance taken out; `fold` (n,) a fold number per row.
    """
    distinct, code = np.unique(np.array(texts, object), return_inverse=True)
    matrix = vectors(distinct.tolist())
    weight = np.bincount(code, minlength=len(distinct)).astype(float)
    weighted = matrix.multiply(np.sqrt(weight)[:, None]).tocsr()
    _, scale, basis_t = randomized_svd(weighted, n_components=min(DIRECTIONS, len(distinct) - 1), n_iter=4, random_state=seed)
    spread = scale / np.sqrt(weight.sum())  # directions that hardly vary would only amplify noise
    basis = (basis_t.T * np.where(spread > 1e-3 * spread[0], 1 / np.maximum(spread, 1e-9), 0.0)).astype(np.float32)
    full = _ridge(matrix, code, target, weight)
    encoder = TextEncoder(full.coef_.astype(np.float32), float(full.intercept_), basis)
    encoded = encoder.encode(distinct.tolist())[code]
    for part in np.unique(fold):
        rows = fold != part
        inner = np.bincount(code[rows], minlength=len(distinct)).astype(float)
        model = _ridge(matrix, code[rows], target[rows], inner)
        held = ~rows
        encoded[held, 0] = model.predict(matrix)[code[held]]
    return encoder, encoded


def _ridge(matrix: csr_matrix, code: np.ndarray, target: np.ndarray, weight: np.ndarray) -> Ridge:
    """Ridge on the mean target of each distinct text, weighted by its rows (a mean of m rows carries less noise)."""
    used = weight > 0
    mean = np.bincount(code, target, minlength=len(weight))[used] / weight[used]
    return Ridge(alpha=1.0, solver="sparse_cg", tol=1e-3, max_iter=200).fit(matrix[used], mean, sample_weight=weight[used])
