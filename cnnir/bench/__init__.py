"""Latency: an artifact alone, or interleaved with peers in one run."""

from cnnir.bench.latency import BenchResult, Contender, PeerResult, Plan, bench, measure
from cnnir.bench.peers import PEERS, Peer, parse_peers
from cnnir.bench.stats import Ratio, Summary, Verdict, ratio, summarize

__all__ = [
    "PEERS",
    "BenchResult",
    "Contender",
    "Peer",
    "PeerResult",
    "Plan",
    "Ratio",
    "Summary",
    "Verdict",
    "bench",
    "measure",
    "parse_peers",
    "ratio",
    "summarize",
]
