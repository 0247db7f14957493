"""Backpropagation through time of a BiLSTM (Hochreiter and Schmidhuber, 1997), for ONNX.

The loop over time is exported as an operator of our own, which `as_scans` writes as ONNX's Scan:
its body exists once, so that ONNX Runtime lays the recurrent weights out once, and reads them from
the core's own cache at every step.
"""

from collections.abc import Iterable
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

_DOMAIN = "hisbundle"
_STEP = """step (
    float[K, H] cell, float[K, G] gates,
    float[K, H] d_out, float[G] slope, float[H] to_cell, float[H] forget
) => (float[K, H] d_cell_before, float[K, G] d_gates, float[K, G] found) {
    d_h = Gemm(gates, w_rec, d_out)
    through_h = Mul(d_h, to_cell)
    d_cell = Add(cell, through_h)
    parts = Concat <axis = 1> (d_cell, d_cell, d_cell, d_h)
    d_gates = Mul(parts, slope)
    found = Identity(d_gates)
    d_cell_before = Mul(d_cell, forget)
}"""


def lstm_back(lstm: nn.LSTM, x: Tensor, h: Tensor, upstream: Tensor) -> Tensor:
    """Gradient at the output of a one-layer BiLSTM to gradient at its input.

    Args:
        lstm: of width H.
        x: its input `(S, n_in)`.
        h: its output `(S, 2 H)`.
        upstream: K gradients at the output, `(K, S, 2 H)`.

    Returns:
        K gradients at the input, `(K, S, n_in)`.
    """
    n, (onward, backward) = lstm.hidden_size, lstm.all_weights
    d_onward = _direction_back(onward, x, h[:, :n], upstream[:, :, :n], 1)
    return d_onward + _direction_back(backward, x, h[:, n:], upstream[:, :, n:], -1)


def as_scans(graph: bytes) -> bytes:
    """Write the loops of an exported graph in ONNX's own operators."""
    model = onnx.load_model_from_string(graph)
    for place, node in enumerate(model.graph.node):
        if node.domain == _DOMAIN:
            model.graph.node[place].CopyFrom(_scan(node))
    standard = [opset for opset in model.opset_import if opset.domain != _DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(standard)
    written: bytes = model.SerializeToString(deterministic=True)
    return written


def _direction_back(
    weights: Iterable[Tensor], x: Tensor, h: Tensor, upstream: Tensor, onward: int
) -> Tensor:
    """`lstm_back` of one direction, which reads a step `onward` (1 or -1) of the last one."""
    w_in, w_rec, b_in, b_rec = weights
    gates = functional.linear(x, w_in, b_in + b_rec)
    gates = gates + functional.linear(_delayed(h, onward), w_rec)
    i, f, g, o = gates.chunk(4, dim=1)
    i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
    cell = _running(f, i * g, onward)
    before, bounded = _delayed(cell, onward), torch.tanh(cell)
    slopes = [g * i * (1 - i), before * f * (1 - f), i * (1 - g * g), bounded * o * (1 - o)]
    to_cell = o * (1 - bounded * bounded)
    start = torch.zeros_like(upstream[:, 0])
    d_gates: Tensor = _ThroughTime.apply(  # type: ignore[no-untyped-call]
        start, torch.cat([start] * 4, dim=1), upstream, torch.cat(slopes, dim=1), to_cell, f,
        w_rec, onward,
    )  # fmt: skip
    return d_gates @ w_in


class _ThroughTime(torch.autograd.Function):
    """The loop: K gradients at the gates' sums, `(K, S, 4 H)`."""

    @staticmethod
    def forward(  # noqa: PLR0917 (an operator's inputs have no names)
        _: object,
        d_cell: Tensor,
        d_gates: Tensor,
        d_out: Tensor,
        slopes: Tensor,
        to_cell: Tensor,
        forget: Tensor,
        w_rec: Tensor,
        onward: int,
    ) -> Tensor:
        """Take what follows the last step, `(K, H)` and `(K, 4 H)`, and each step's own.

        These are `(K, S, H)` at the output, `(S, 4 H)`, `(S, H)` and `(S, H)`; last the recurrent
        weights `(4 H, H)` and the direction.
        """
        found = torch.empty(*d_out.shape[:2], slopes.shape[1])
        for t in range(len(slopes))[::-onward]:
            d_h = d_out[:, t] + d_gates @ w_rec
            d_cell = d_cell + d_h * to_cell[t]
            d_gates = torch.cat([d_cell, d_cell, d_cell, d_h], dim=1) * slopes[t]
            d_cell = d_cell * forget[t]
            found[:, t] = d_gates
        return found

    @staticmethod
    def symbolic(g: Any, *arguments: Any) -> Any:  # noqa: ANN401 (torch gives them no types)
        """Write one operator, whose name and attribute `_scan` reads."""
        *tensors, onward = arguments
        weights = tensors[-1].type()
        loop = g.op(f"{_DOMAIN}::ThroughTime", *tensors, onward_i=onward)
        return loop.setType(weights.with_sizes([None, None, weights.sizes()[0]]))


def _scan(loop: onnx.NodeProto) -> onnx.NodeProto:
    """Return Scan over the steps, from the last that was read to the first."""
    *inputs, w_rec = loop.input
    body = onnx.parser.parse_graph(_STEP)
    body.node[0].input[1] = w_rec  # of the graph around it
    latest_first = int(loop.attribute[0].i > 0)
    return onnx.helper.make_node(
        "Scan",
        inputs,
        [f"{loop.output[0]}_cell", f"{loop.output[0]}_gates", loop.output[0]],
        name=loop.name,
        body=body,
        num_scan_inputs=4,
        scan_input_axes=[1, 0, 0, 0],
        scan_input_directions=[latest_first] * 4,
        scan_output_axes=[1],
        scan_output_directions=[latest_first],
    )


def _delayed(x: Tensor, by: int) -> Tensor:
    """`(S, n)` moved by so many steps, forward or back; zeros take the empty places."""
    return functional.pad(x, (0, 0, by, -by))


def _running(kept: Tensor, new: Tensor, onward: int) -> Tensor:
    """`c[t] = kept[t] * c[t - onward] + new[t]` of `(S, n)`, by doubling (Hillis, Steele, 1986)."""
    reach = onward
    while abs(reach) < len(new):
        new, kept = new + kept * _delayed(new, reach), kept * _delayed(kept, reach)
        reach *= 2
    return new
