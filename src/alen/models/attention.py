"""Channel attention and the non-local operation.

Channel attention: "Squeeze-and-Excitation Networks", https://arxiv.org/abs/1709.01507. The non-local operation and
block: "Non-local Neural Networks", https://arxiv.org/abs/1711.07971; y_i = 1/C(x) Σ_j f(x_i, x_j) g(x_j). What we add:
queries and keys may be pooled, as in "Attention-based network for low-light image enhancement"
(https://arxiv.org/abs/2005.09829), the keys also to a grid that is the same for every frame size, and the pairwise
functions that are softmaxes run through the fused kernel, which never builds the N × N matrix.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alen.errors import SettingsError

Pairwise = Literal["gaussian", "embedded_gaussian", "dot_product", "concatenation"]
Normalization = Literal["sum", "count"]
Subsample = Literal["max", "average"]


class ChannelGate(nn.Module):
    """Squeeze and excitation: every channel times a gate computed from the means of all channels.

    x · s·sigmoid(W₂ ReLU(W₁ mean(x))), with s = ``scale``. With ``scale=2`` the last layer starts at zero, so that the
    gate starts as the identity; with ``scale=1`` it is the published gate, which starts near ½. With ``limit`` L the
    logits z are bounded, L·tanh(z/L): a gate that has run to 0 has no gradient that could open it again, and what lies
    behind it is lost to the training.
    """

    def __init__(self, channels: int, *, reduction: int = 1, scale: float = 1.0, limit: float | None = None) -> None:
        super().__init__()
        if channels % reduction:
            raise SettingsError(f"{channels} channels cannot be reduced {reduction} times.")
        self.scale = scale
        self.limit = limit
        self.squeeze = nn.Linear(channels, channels // reduction)
        self.excite = nn.Linear(channels // reduction, channels)
        if scale != 1.0:
            nn.init.zeros_(self.excite.weight)
            nn.init.zeros_(self.excite.bias)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gates (N, C) of features (N, C, H, W); each lies in (0, ``scale``)."""
        # sums as a matrix product: it adds in float32 whatever x is, and its gradient keeps x's type and layout
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2)  # (N, HW, C), a view in channels_last
        means = (x.new_ones(1, pixels.shape[1]) @ pixels).squeeze(1) / pixels.shape[1]  # (N, C)
        logits: Tensor = self.excite(F.relu(self.squeeze(means)))
        if self.limit is not None:
            logits = self.limit * torch.tanh(logits / self.limit)
        return self.scale * torch.sigmoid(logits)

    def forward(self, x: Tensor) -> Tensor:
        """Return gated features, (N, C, H, W) → (N, C, H, W)."""
        return x * self.gate(x)[:, :, None, None]


class NonLocal(nn.Module):
    """The non-local operation: at every position a weighted sum over all positions.

    y_i = W · 1/C Σ_j f(x_i, x_j) g(x_j), with g a 1 × 1 convolution to ``inner_channels`` and W one back to
    ``channels``.

    | pairwise            | f(x_i, x_j)              | normalizations |
    |---------------------|--------------------------|----------------|
    | "gaussian"          | exp(x_iᵀ x_j)            | "sum", "count" |
    | "embedded_gaussian" | exp(θ(x_i)ᵀ φ(x_j))      | "sum", "count" |
    | "dot_product"       | θ(x_i)ᵀ φ(x_j)           | "count"        |
    | "concatenation"     | ReLU(wᵀ[θ(x_i), φ(x_j)]) | "sum", "count" |

    C is Σ_j f ("sum": for the Gaussian pair a softmax over the keys j) or the number of keys N ("count"). The default
    is the paper's: "sum" for the Gaussian pair, "count" for the others. There is no factor 1/√d.
    With "count" the exponents of the Gaussian pair are bounded at half of what the type's exp can hold (44 in float32):
    a sum of greater ones overflows. Beyond, positions are told apart no more, and no gradient flows: prefer "sum".

    With ``limit`` L the embedded Gaussian compares directions alone, f = exp(L · cos(θ(x_i), φ(x_j))): free products
    grow in training until every position sees one key alone, and where a softmax has hardened it has no gradient left.

    With ``query_pool`` > 1 the input is averaged before everything and the result repeated to the input's size
    (nearest); ``key_pool`` reduces keys and values further; ``key_grid`` averages them to a fixed number of cells
    instead, so that a small crop and a whole frame meet the same number of keys.

    Raises:
        SettingsError: An argument is none of the words or out of its range, or two of them exclude each other; on use:
            the features are not (N, C, H, W).
    """

    def __init__(
        self,
        channels: int,
        inner_channels: int | None = None,
        *,
        pairwise: Pairwise = "embedded_gaussian",
        normalization: Normalization | None = None,
        query_pool: int = 1,
        key_pool: int = 1,
        key_grid: int | None = None,
        subsample: Subsample = "max",
        limit: float | None = None,
    ) -> None:
        super().__init__()
        _check_word("pairwise", pairwise, get_args(Pairwise))
        _check_word("subsample", subsample, get_args(Subsample))
        if normalization is not None:
            _check_word("normalization", normalization, get_args(Normalization))
        counts = {
            "inner_channels": inner_channels,
            "query_pool": query_pool,
            "key_pool": key_pool,
            "key_grid": key_grid,
        }
        for name, count in counts.items():
            if count is not None and count < 1:
                raise SettingsError(f"{name} is at least 1; got {count}.")
        if limit is not None and not 0 < limit < math.inf:
            raise SettingsError(f"limit is a positive number; got {limit}.")
        if normalization is None:
            normalization = "sum" if pairwise in ("gaussian", "embedded_gaussian") else "count"
        if pairwise == "dot_product" and normalization == "sum":
            raise SettingsError("The dot product may sum to zero; normalize it by 'count'.")
        if key_grid is not None and key_pool != 1:
            raise SettingsError("Keys are reduced by key_pool or to a key_grid, not by both.")
        if limit is not None and pairwise != "embedded_gaussian":
            raise SettingsError("Only the products of the embedded Gaussian are limited.")
        inner = inner_channels if inner_channels is not None else max(channels // 2, 1)
        self.pairwise = pairwise
        self.normalization = normalization
        self.query_pool = query_pool
        self.key_pool = key_pool
        self.key_grid = key_grid
        self.subsample = subsample
        self.limit = limit
        self.value = nn.Conv2d(channels, inner, 1)
        self.project = nn.Conv2d(inner, channels, 1)
        if pairwise != "gaussian":
            self.query = nn.Conv2d(channels, inner, 1)
            self.key = nn.Conv2d(channels, inner, 1)
        if pairwise == "concatenation":
            self.weigh = nn.Linear(2 * inner, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the non-local features of x, (N, C, H, W) → (N, C, H, W)."""
        pooled = self._pooled(x)  # (N, C, h, w)
        query, key, value = self.project_inputs(pooled)
        y = self.attend(query, key, value)  # (N, hw, D)
        y = torch.unflatten(y.transpose(1, 2), 2, pooled.shape[2:])  # (N, D, h, w)
        projected: Tensor = self.project(y)
        if self.query_pool == 1:
            return projected
        # to whole cells and cut off: scaled to x's size directly, the cells would not be those that were averaged
        cells = [self.query_pool * side for side in projected.shape[2:]]
        return F.interpolate(projected, size=cells, mode="nearest-exact")[:, :, : x.shape[2], : x.shape[3]]

    def project_inputs(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (N, P, D), keys (N, M, D) and values (N, M, D) of pooled features (N, C, h, w)."""
        if self.pairwise == "gaussian":
            query, key = x, self._reduce(x)
        else:
            query, key = self.query(x), self._reduce(self.key(x))
        value = self._reduce(self.value(x))
        return query.flatten(2).transpose(1, 2), key.flatten(2).transpose(1, 2), value.flatten(2).transpose(1, 2)

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return 1/C Σ_j f(query_i, key_j) value_j, (N, P, D)."""
        query, key = self._limited(query, key)
        if self.pairwise in ("gaussian", "embedded_gaussian") and self.normalization == "sum":
            # subtracts a row's largest score before exp: raw features do not overflow. The fused kernel takes rows that
            # lie together in memory alone; given transposed ones, torch builds the matrix without a word
            query, key, value = (x[:, None].contiguous() for x in (query, key, value))  # (N, 1, P or M, D)
            fused = F.scaled_dot_product_attention(query, key, value, scale=1.0)
            return fused[:, 0]
        if self.pairwise == "dot_product":  # θ_i Σ_j φ_j g_j / N: without exp or ReLU no matrix of all pairs is needed
            return query @ (key.transpose(1, 2) @ (value / key.shape[1]))  # (N, P, D) @ (N, D, D)
        weights = self.pairwise_weights(query, key)  # (N, P, M)
        if self.normalization == "sum":
            return weights @ value / weights.sum(dim=2, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
        return weights @ value / key.shape[1]

    def pairwise_weights(self, query: Tensor, key: Tensor) -> Tensor:
        """Return f(query_i, key_j) before normalization, (N, P, M), of queries and keys as they are compared.

        Of the Gaussian pair the exponent is bounded, as it is for the normalization "count".
        """
        if self.pairwise == "concatenation":
            left, right = self.weigh.weight.chunk(2, dim=1)  # wᵀ[θ, φ] = w₁ᵀθ + w₂ᵀφ: no concatenation is built
            return F.relu(query @ left.T + (key @ right.T).transpose(1, 2))
        product = query @ key.transpose(1, 2)
        if self.pairwise == "dot_product":
            return product
        # at most the root of the type's largest number, which leaves room for the sum over the keys, and for values
        return product.clamp_max(0.5 * math.log(torch.finfo(product.dtype).max)).exp()

    def attention(self, x: Tensor) -> Tensor:
        """Return the normalized weights (N, P, M) with which position i of x sees key j, for looking at them."""
        query, key, _ = self.project_inputs(self._pooled(x))
        query, key = self._limited(query, key)
        if self.pairwise in ("gaussian", "embedded_gaussian") and self.normalization == "sum":
            return torch.softmax(query @ key.transpose(1, 2), dim=2)
        weights = self.pairwise_weights(query, key)
        if self.normalization == "sum":
            return weights / weights.sum(dim=2, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
        return weights / key.shape[1]

    def _pooled(self, x: Tensor) -> Tensor:
        """Return the features the queries are made of, (N, C, h, w)."""
        if x.ndim != 4:
            raise SettingsError(f"Features are (N, C, H, W); got {tuple(x.shape)}. Add the batch's axis: x[None].")
        return F.avg_pool2d(x, self.query_pool, ceil_mode=True) if self.query_pool > 1 else x

    def _limited(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Return queries and keys whose products lie within ± `limit`."""
        if self.limit is None:
            return query, key
        return self.limit * F.normalize(query, dim=2), F.normalize(key, dim=2)

    def _reduce(self, x: Tensor) -> Tensor:
        """Return keys or values on fewer positions."""
        if self.key_grid is not None:
            return F.adaptive_avg_pool2d(x, self.key_grid)
        if self.key_pool == 1:
            return x
        pool = F.max_pool2d if self.subsample == "max" else F.avg_pool2d
        return pool(x, self.key_pool, ceil_mode=True)


class NonLocalBlock(nn.Module):
    """The non-local operation as a residual block, z = x + W y, to be put into any network.

    W starts at zero, so that a pretrained network does not change when the block is inserted. The arguments
    ``pairwise``, ``normalization`` and ``key_pool`` are those of `NonLocal`, the others stay as they are by default
    there; ``key_pool=2`` is the subsampling trick of the paper.
    """

    def __init__(
        self,
        channels: int,
        inner_channels: int | None = None,
        *,
        pairwise: Pairwise = "embedded_gaussian",
        normalization: Normalization | None = None,
        key_pool: int = 1,
    ) -> None:
        super().__init__()
        self.nonlocal_operation = NonLocal(
            channels, inner_channels, pairwise=pairwise, normalization=normalization, key_pool=key_pool
        )
        nn.init.zeros_(self.nonlocal_operation.project.weight)
        if self.nonlocal_operation.project.bias is not None:
            nn.init.zeros_(self.nonlocal_operation.project.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return x + W y, (N, C, H, W) → (N, C, H, W)."""
        result: Tensor = x + self.nonlocal_operation(x)
        return result


def _check_word(name: str, word: str, words: tuple[str, ...]) -> None:
    """Raise SettingsError unless a word is one of those an argument takes."""
    if word not in words:
        raise SettingsError(f"{name} is one of {', '.join(words)}; got {word!r}.")
