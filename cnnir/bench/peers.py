"""The engines a latency can be measured against: names, precisions, and the packages they need."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec

from cnnir.errors import CnnirError, UnknownNameError


@dataclass(frozen=True, slots=True)
class PeerKind:
    """What there is to know of a peer without importing it."""

    package: str
    precisions: tuple[str, ...]
    extra: str


PEERS: dict[str, PeerKind] = {
    "onnxruntime": PeerKind("onnxruntime", ("fp32",), ""),
    "openvino": PeerKind("openvino", ("fp32", "bf16"), "bench"),
    "torch": PeerKind("torch", ("fp32", "bf16"), "torch"),
    "inductor": PeerKind("torch", ("fp32", "bf16"), "torch"),
}


@dataclass(frozen=True, slots=True)
class Peer:
    """One engine to measure against."""

    name: str
    precision: str = "fp32"

    def __str__(self) -> str:
        return self.name if self.precision == "fp32" else f"{self.name}:{self.precision}"

    def require(self) -> str:
        """The version of the peer's package; `CnnirError` naming the extra when it is not installed."""
        kind = PEERS[self.name]
        if find_spec(kind.package) is None:
            wanted = f"cnnir[{kind.extra}]" if kind.extra else kind.package
            raise CnnirError(
                f"Peer '{self.name}' needs the package '{kind.package}', which is not installed.",
                hints=[f"Install it with: pip install '{wanted}'"],
            )
        return metadata.version(kind.package)


def parse_peers(text: str) -> tuple[Peer, ...]:
    """Reads `--against`: peers separated by commas, each with an optional `:precision` (default `fp32`).

    Raises:
        UnknownNameError: a peer that does not exist.
        CnnirError: a precision that the peer does not have, a peer named twice, an empty name.
    """
    peers: list[Peer] = []
    for part in text.split(","):
        name, colon, precision = part.strip().partition(":")
        if not name:
            raise CnnirError(f"Expected peers separated by commas, got '{text}'.")
        if name not in PEERS:
            raise UnknownNameError("peer", name, PEERS)
        if colon and precision not in PEERS[name].precisions:
            raise CnnirError(
                f"Peer '{name}' has no precision '{precision}'.",
                hints=[f"It has: {', '.join(PEERS[name].precisions)}."],
            )
        peer = Peer(name, precision or "fp32")
        if peer in peers:
            raise CnnirError(f"Peer '{peer}' is named twice.")
        peers.append(peer)
    return tuple(peers)
