"""What other programs read of a TFLite file: standard metadata, labels, the type of its input, any batch size."""

import io
import zipfile

import numpy as np
import pytest
import torch

pytest.importorskip("ai_edge_quantizer", reason="pip install 'once-for-all[tflite]'")

from flatbuffers import encode, number_types
from flatbuffers.table import Table

from ofa.export.graph import onnx_graph
from ofa.export.runtimes import litert
from ofa.export.tflite.export import export_tflite, read_tflite_metadata, tflite_bytes
from ofa.export.tflite.flatbuffer import text, unpack
from ofa.export.tflite.metadata import standard_metadata, usable_labels
from ofa.supernet.calibration import calibrate
from ofa.supernet.image_batches import Normalisation
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet

torch.set_num_threads(1)  # tests run beside each other

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)
CLASSES = ["Käse", "b c", "<d>"]
METADATA = {"mean": MEAN, "std": STD, "classes": CLASSES}
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 3, 5, 5)).repeat(4, 2).repeat(4, 3)
IMAGES = ((PIXELS / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    space = SearchSpace.preset("tiny_mbv3")
    torch.manual_seed(0)
    return calibrate(Supernet(space, num_classes=3).extract(space.smallest), IMAGES)


# -- metadata ---------------------------------------------------------------------------------------------------------


class Read:
    """A flatbuffer by field numbers: what a reader with Google's schema sees."""

    def __init__(self, table):
        self.table = table

    @classmethod
    def root(cls, content):
        assert content[4:8] == b"M001"
        return cls(Table(content, encode.Get(number_types.UOffsetTFlags.packer_type, content, 0)))

    def at(self, field):
        return self.table.Offset(4 + 2 * field)

    def string(self, field):
        return self.table.String(self.table.Pos + self.at(field)).decode()

    def number(self, field, flags=number_types.Int8Flags):
        return self.table.Get(flags, self.table.Pos + self.at(field)) if self.at(field) else 0

    def child(self, field):
        return Read(Table(self.table.Bytes, self.table.Indirect(self.table.Pos + self.at(field))))

    def children(self, field):
        if not self.at(field):
            return []
        start = self.table.Vector(self.at(field))
        places = [start + 4 * index for index in range(self.table.VectorLen(self.at(field)))]
        return [Read(Table(self.table.Bytes, self.table.Indirect(place))) for place in places]

    def floats(self, field):
        start, count = self.table.Vector(self.at(field)), self.table.VectorLen(self.at(field))
        return np.frombuffer(self.table.Bytes, "<f4", count, start).tolist()


def standard(content):
    """The input's and the output's table of the model's standard metadata."""
    model = unpack(content)
    (entry,) = [entry for entry in model.metadata if text(entry.name) == "TFLITE_METADATA"]
    root = Read.root(bytes(model.buffers[entry.buffer].data))
    assert root.string(7) == "1.0.0"
    (graph,) = root.children(3)
    (given,), (wanted,) = graph.children(2), graph.children(3)
    return given, wanted


@pytest.mark.parametrize("channels", [1, 3])
def test_the_input_tells_size_colours_and_normalisation(channels):
    given = Normalisation(MEAN[:channels], STD[:channels])
    content = standard_metadata(size=96, channels=channels, normalisation=given, labels=True)
    (graph,) = Read.root(content).children(3)
    (image,), (logits,) = graph.children(2), graph.children(3)
    assert (image.string(0), logits.string(0)) == ("input", "logits")
    properties = image.child(3).child(1)
    size = properties.child(1)
    assert image.child(3).number(0, number_types.Uint8Flags) == 2  # ImageProperties
    assert properties.number(0) == {1: 2, 3: 1}[channels]
    assert [size.number(side, number_types.Uint32Flags) for side in (0, 1)] == [96, 96]
    (unit,) = image.children(4)
    assert unit.number(0, number_types.Uint8Flags) == 1  # NormalizationOptions, in units of pixels
    assert unit.child(1).floats(0) == pytest.approx([255 * value for value in MEAN[:channels]])
    assert unit.child(1).floats(1) == pytest.approx([255 * value for value in STD[:channels]])
    (labels,) = logits.children(6)
    assert (labels.string(0), labels.number(2)) == ("labels.txt", 2)


def labels_of(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["labels.txt"]
        return archive.read("labels.txt").decode()


@pytest.mark.parametrize("int8", [False, True])
def test_files_for_phones_hold_it_and_the_labels(int8, model, tmp_path):
    data = {"int8_data": IMAGES} if int8 else {}
    path = export_tflite(model, tmp_path / "a.tflite", resolution=20, metadata=METADATA, **data)
    content = path.read_bytes()
    assert labels_of(content) == "Käse\nb c\n<d>\n"
    image, logits = standard(content)
    assert image.children(4)[0].child(1).floats(0) == pytest.approx([127.5, 102, 76.5])
    assert logits.children(6)
    assert read_tflite_metadata(path) == {"resolution": 20, "mean": list(MEAN), "std": list(STD), "classes": CLASSES}
    again = export_tflite(model, tmp_path / "b.tflite", resolution=20, metadata=METADATA, **data)
    assert again.read_bytes() == content


def test_files_for_microcontrollers_have_no_standard_metadata(model, tmp_path):
    """Their flash is counted in bytes."""
    path = export_tflite(model, tmp_path / "a.tflite", resolution=20, metadata=METADATA, xnnpack=False)
    assert {text(entry.name) for entry in unpack(path.read_bytes()).metadata} == {
        f"ofa.{key}" for key in ("resolution", *METADATA)
    }
    assert not zipfile.is_zipfile(path)


@pytest.mark.parametrize(
    "classes", [None, "abc", ["a", "b"], ["a\nb", "c", "d"], ["a\u2028b", "c", "d"], ["", "a\r", "b"], 3]
)
def test_labels_that_are_not_one_line_a_class_are_left_out(classes, model, tmp_path):
    assert usable_labels({"classes": classes}, 3) is None
    path = export_tflite(model, tmp_path / "a.tflite", resolution=20, metadata={"classes": classes})
    assert not zipfile.is_zipfile(path) and not standard(path.read_bytes())[1].children(6)


def test_unknown_values_are_left_out(model, tmp_path):
    model.pretrained_cfg = None
    image, logits = standard(export_tflite(model, tmp_path / "a.tflite", resolution=20).read_bytes())
    assert not image.children(4) and not logits.children(6)


# -- input types ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "int8, kind, types",
    [
        (False, None, ("float32", "float32")),
        (False, "float32", ("float32", "float32")),
        (False, "uint8", ("uint8", "float32")),
        (True, None, ("int8", "int8")),
        (True, "int8", ("int8", "int8")),
        (True, "float32", ("float32", "float32")),
        (True, "uint8", ("uint8", "float32")),
    ],
)
@torch.no_grad()
def test_every_input_type_gives_the_networks_answers(int8, kind, types, model, tmp_path):
    options = {"metadata": METADATA, "input_type": kind, **({"int8_data": IMAGES} if int8 else {})}
    path = export_tflite(model, tmp_path / "a.tflite", resolution=20, **options)
    session = litert.load(path)
    assert (session.input.dtype.name, session.output.dtype.name) == types
    expected, got = model(torch.from_numpy(IMAGES)).numpy(), litert.run(session, IMAGES)
    assert np.abs(got - expected).max() < (0.1 if int8 else 1e-5) * np.ptp(expected)
    runner = session.interpreter.get_signature_runner("serving_default")
    if kind == "uint8":  # nothing but the pixels
        pixels = PIXELS[:1].transpose(0, 2, 3, 1).astype(np.uint8)
        assert np.array_equal(runner(input=pixels)["logits"], got[:1])
        assert not standard(path.read_bytes())[0].children(4)
    names = [text(tensor.name) for tensor in unpack(path.read_bytes()).subgraphs[0].tensors]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("xnnpack", [True, False])
@torch.no_grad()
def test_black_borders_are_black(xnnpack, tmp_path):
    """Folded into the first convolution, which pads with zeros, the mean would darken the border."""
    space = SearchSpace.preset("tiny_mbv3")
    net = Supernet(space, num_classes=3, in_chans=1).extract(space.smallest)
    metadata = {"mean": [0.9], "std": [0.05]}
    path = export_tflite(
        net, tmp_path / "a.tflite", resolution=20, metadata=metadata, input_type="uint8", xnnpack=xnnpack
    )
    images = ((PIXELS[:, :1] / 255 - 0.9) / 0.05).astype(np.float32)
    expected = net(torch.from_numpy(images)).numpy()
    assert np.abs(litert.run(litert.load(path), images) - expected).max() < 1e-5 * np.ptp(expected)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"input_type": "uint16"}, "input_type is 'uint16'; it must be one of float32, int8, uint8"),
        ({"input_type": "int8"}, "a float32 network takes float32 or uint8"),
        ({"input_type": "uint8", "metadata": {}}, "the metadata must tell mean and std"),
        (
            {"input_type": "uint8", "metadata": {"mean": MEAN[:2], "std": STD[:2]}},
            r"mean and std have \[2\] values; the model has 3 channels",
        ),
    ],
)
def test_invalid_input_types(options, words, model, tmp_path):
    model.pretrained_cfg = None
    with pytest.raises(ValueError, match=words):
        export_tflite(model, tmp_path / "a.tflite", resolution=20, **{"metadata": METADATA, **options})
    assert not list(tmp_path.iterdir())


# -- batches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [None, "uint8"])
@pytest.mark.parametrize("int8", [False, True])
def test_the_input_can_be_resized_to_any_batch(int8, kind, model, tmp_path):
    """A constant batch in its RESHAPE ended in an error, or in one answer for all."""
    options = {"metadata": METADATA, "input_type": kind, **({"int8_data": IMAGES} if int8 else {})}
    session = litert.load(export_tflite(model, tmp_path / "a.tflite", resolution=20, **options))
    alone = litert.run(session, IMAGES)
    details = session.interpreter.get_input_details()[0]
    assert list(details["shape_signature"]) == [-1, 20, 20, 3] and list(details["shape"]) == [1, 20, 20, 3]
    for count in (5, 1, 24):
        session.interpreter.resize_tensor_input(session.input.index, [count, 20, 20, 3], strict=True)
        session.interpreter.allocate_tensors()
        data = session.input.encode(IMAGES[:count].transpose(0, 2, 3, 1))
        session.interpreter.set_tensor(session.input.index, data)
        session.interpreter.invoke()
        got = session.output.decode(session.interpreter.get_tensor(session.output.index))
        assert got.shape == (count, 3)
        assert np.abs(got - alone[:count]).max() <= (1.5 * session.output.scale or 1e-5 * np.ptp(alone))


def test_graphs_for_microcontrollers_keep_their_one_image(model):
    graph = onnx_graph(model, (3, 20, 20))
    fixed, resizable = (unpack(tflite_bytes(graph, resizable=each)).subgraphs[0] for each in (False, True))
    assert all(tensor.shapeSignature is None for tensor in fixed.tensors)
    assert any(tensor.shapeSignature is not None for tensor in resizable.tensors)
    assert len(fixed.operators) == len(resizable.operators)
