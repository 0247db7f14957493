import io

import onnx
import onnxruntime
import pytest
import torch

from model.export import OPSET
from model.through_time import as_scans, lstm_back

SIZES = pytest.mark.parametrize(("steps", "n_in", "width"), [(1, 3, 2), (2, 1, 1), (9, 5, 4)])


class Back(torch.nn.Module):
    def __init__(self, lstm):
        super().__init__()
        self.lstm = lstm

    def forward(self, x, h, upstream):
        return lstm_back(self.lstm, x, h, upstream)


def example(steps, n_in, width):
    """A BiLSTM, its input, its output, two gradients there and what autograd makes of them."""
    torch.manual_seed(steps)
    lstm = torch.nn.LSTM(n_in, width, batch_first=True, bidirectional=True)
    x, upstream = torch.randn(steps, n_in, requires_grad=True), torch.randn(2, steps, 2 * width)
    h = lstm(x[None])[0][0]
    expected = [torch.autograd.grad(h, x, u, retain_graph=True)[0] for u in upstream]
    return lstm, (x.detach(), h.detach(), upstream), torch.stack(expected)


def exported(lstm, inputs):
    content = io.BytesIO()
    torch.onnx.export(
        Back(lstm),
        inputs,
        content,
        input_names=["x", "h", "upstream"],
        output_names=["slope"],
        dynamic_axes={"upstream": {0: "k"}, "slope": {0: "k"}},
        opset_version=OPSET,
        do_constant_folding=False,
        dynamo=False,
    )
    return as_scans(content.getvalue())


@SIZES
@torch.no_grad()
def test_backpropagation_through_time_is_autograds(steps, n_in, width):
    with torch.enable_grad():
        lstm, inputs, expected = example(steps, n_in, width)
    torch.testing.assert_close(lstm_back(lstm, *inputs), expected, atol=1e-5, rtol=1e-4)


@SIZES
@pytest.mark.filterwarnings("ignore")  # the tracing exporter's, as in model.export
@torch.no_grad()
def test_the_exported_loop_gives_the_same_for_any_number_of_gradients(steps, n_in, width):
    with torch.enable_grad():
        lstm, (x, h, upstream), expected = example(steps, n_in, width)
    graph = exported(lstm, (x, h, upstream[:1]))
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    feeds = {"x": x.numpy(), "h": h.numpy(), "upstream": upstream.numpy()}
    found = torch.from_numpy(session.run(None, feeds)[0])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
@torch.no_grad()
def test_a_graph_holds_onnxs_operators_alone_and_a_loop_a_direction():
    with torch.enable_grad():
        lstm, inputs, _ = example(9, 5, 4)
    model = onnx.load_model_from_string(exported(lstm, inputs))
    assert [opset.domain for opset in model.opset_import] == [""]
    assert sum(node.op_type == "Scan" for node in model.graph.node) == 2
    onnx.checker.check_model(model)
