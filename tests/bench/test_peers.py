"""What `--against` takes."""

from __future__ import annotations

import pytest

from cnnir.bench import peers
from cnnir.bench.peers import Peer, PeerKind, parse_peers
from cnnir.errors import CnnirError


def test_list_with_precisions() -> None:
    assert parse_peers("onnxruntime, openvino:bf16,torch:fp32,openvino") == (
        Peer("onnxruntime"),
        Peer("openvino", "bf16"),
        Peer("torch"),
        Peer("openvino"),
    )
    assert str(Peer("openvino", "bf16")) == "openvino:bf16" and str(Peer("torch")) == "torch"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("onxruntime", "Unknown peer 'onxruntime'. Did you mean 'onnxruntime'?"),
        ("onnxruntime:bf16", "Peer 'onnxruntime' has no precision 'bf16'. It has: fp32."),
        ("openvino:", "Peer 'openvino' has no precision ''. It has: fp32, bf16."),
        ("torch,,openvino", "Expected peers separated by commas, got 'torch,,openvino'."),
        ("torch,torch:fp32", "Peer 'torch' is named twice."),
        ("", "Expected peers separated by commas, got ''."),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(CnnirError) as caught:
        parse_peers(text)
    assert str(caught.value) == message


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(peers.PEERS, "openvino", PeerKind("no_such_package_here", ("fp32",), "bench"))
    with pytest.raises(CnnirError, match=r"'no_such_package_here', which is not installed.*'cnnir\[bench\]'"):
        Peer("openvino").require()
