"""The Kotlin of a model's card: from an Android ``Bitmap`` to a label, with the product's own resizing."""

from __future__ import annotations

from typing import Any

from ofa.report.escape import kotlin_string

_RUNTIME_IMPORTS = {
    "onnx": ("ai.onnxruntime.OnnxTensor", "ai.onnxruntime.OrtEnvironment", "java.nio.FloatBuffer"),
    "tflite": (
        "java.nio.ByteBuffer",
        "java.nio.ByteOrder",
        "org.tensorflow.lite.DataType",
        "org.tensorflow.lite.Interpreter",
    ),
}
_IMPORTS = (
    "android.content.Context",
    "android.graphics.Bitmap",
    "kotlin.math.abs",
    "kotlin.math.floor",
    "kotlin.math.max",
    "kotlin.math.min",
    "kotlin.math.round",
)
_PACKAGE = {
    "onnx": "com.microsoft.onnxruntime:onnxruntime-android:1.20.0",
    "tflite": "com.google.ai.edge.litert:litert:1.4.2",
}

_CLASSIFIER = """
class Classifier(context: Context) : AutoCloseable {{
    private val labels = context.assets.open("labels.txt").bufferedReader().use {{ it.readLines() }}
{fields}

    /** Of an image that is upright: BitmapFactory does not turn a photo as its EXIF says, ImageDecoder does. */
    fun classify(image: Bitmap): String {{
        val scores = scores(middle(image))
        var best = 0
        for (label in labels.indices) if (scores[label] > scores[best]) best = label
        return labels[best]
    }}
{scores}
}}
"""

_FIELDS = {
    "onnx": """    private val environment = OrtEnvironment.getEnvironment()
    private val session = environment.createSession(context.assets.open({file}).use {{ it.readBytes() }})""",
    "tflite": """    private val bytes = context.assets.open({file}).use {{ it.readBytes() }}
    private val interpreter = Interpreter(direct(bytes))""",
}

_SCORES = {
    "onnx": """
    private fun scores(pixels: Array<IntArray>): FloatArray {{
        val values = FloatArray(CHANNELS * SIZE * SIZE)
        for (channel in 0 until CHANNELS) for (place in 0 until SIZE * SIZE) {{
            values[channel * SIZE * SIZE + place] = normalised(pixels, channel, place)
        }}
        val shape = longArrayOf(1, CHANNELS.toLong(), SIZE.toLong(), SIZE.toLong())
        OnnxTensor.createTensor(environment, FloatBuffer.wrap(values), shape).use {{ input ->
            session.run(mapOf("input" to input)).use {{ result ->
                val logits = (result[0] as OnnxTensor).floatBuffer
                return FloatArray(labels.size) {{ logits[it] }}
            }}
        }}
    }}

    override fun close() = session.close()
""",
    "tflite": """
    private fun scores(pixels: Array<IntArray>): FloatArray {{
        val given = interpreter.getInputTensor(0)
        val input = ByteBuffer.allocateDirect(given.numBytes()).order(ByteOrder.nativeOrder())
        val scale = given.quantizationParams().scale
        val zero = given.quantizationParams().zeroPoint
        for (place in 0 until SIZE * SIZE) for (channel in 0 until CHANNELS) when (given.dataType()) {{
            DataType.FLOAT32 -> input.putFloat(normalised(pixels, channel, place))
            DataType.UINT8 -> input.put(pixels[channel][place].toByte())
            else -> {{
                val level = round(normalised(pixels, channel, place) / scale) + zero
                input.put(level.toInt().coerceIn(-128, 127).toByte())
            }}
        }}
        val wanted = interpreter.getOutputTensor(0)
        val output = ByteBuffer.allocateDirect(wanted.numBytes()).order(ByteOrder.nativeOrder())
        input.rewind()
        interpreter.run(input, output)
        return FloatArray(labels.size) {{
            when (wanted.dataType()) {{
                DataType.FLOAT32 -> output.getFloat(4 * it)
                DataType.UINT8 -> (output.get(it).toInt() and 255).toFloat()
                else -> output.get(it).toFloat()
            }}
        }}
    }}

    private fun direct(bytes: ByteArray): ByteBuffer {{
        val buffer = ByteBuffer.allocateDirect(bytes.size).order(ByteOrder.nativeOrder())
        buffer.put(bytes)
        buffer.rewind()
        return buffer
    }}

    override fun close() = interpreter.close()
""",
}

# Pillow's way of resizing: Android's own takes single pixels when it shrinks, and a network was not trained on those.
_PREPARE = """
private const val SIZE = {resolution}
private const val CHANNELS = {channels}
private const val SHORTER_SIDE = {shorter} // floor({resolution} / {crop_pct})
private val MEAN = floatArrayOf({mean})
private val STD = floatArrayOf({std})

private fun normalised(pixels: Array<IntArray>, channel: Int, place: Int): Float =
    (pixels[channel][place] / 255f - MEAN[channel]) / STD[channel]

/** The square in the middle, a channel after the other, row by row, 0 to 255. */
private fun middle(image: Bitmap): Array<IntArray> {{
    val short = min(image.width, image.height)
    val columns = Resized(image.width, short)
    val rows = Resized(image.height, short)
    val line = IntArray(image.width)
    val narrow = Array(CHANNELS) {{ IntArray(image.height * SIZE) }}
    for (y in 0 until image.height) {{
        image.getPixels(line, 0, image.width, 0, y, image.width, 1)
        for (channel in 0 until CHANNELS) {{
            val values = IntArray(image.width) {{ level(line[it], channel) }}
            for (x in 0 until SIZE) narrow[channel][y * SIZE + x] = columns.value(x, values, 0, 1)
        }}
    }}
    return Array(CHANNELS) {{ channel ->
        IntArray(SIZE * SIZE) {{ rows.value(it / SIZE, narrow[channel], it % SIZE, SIZE) }}
    }}
}}

/** One side: which pixels each of the middle ones is made of, and their weights; as Pillow's bilinear filter. */
private class Resized(length: Int, short: Int) {{
    private val cut = max(0, length / short / 4 - 1) * 2 * short // the far ends of strips of 8:1 and longer
    private val kept = length - 2 * cut
    private val side = (SHORTER_SIDE.toLong() * kept / short).toInt()
    private val start = round((side - SIZE) / 2.0).toInt()
    private val scale = kept.toDouble() / side
    private val reach = max(scale, 1.0)
    private val first = IntArray(SIZE) {{ max(floor(centre(it) - reach + 0.5).toInt(), 0) }}
    private val weights = Array(SIZE) {{ place ->
        val last = min((centre(place) + reach + 0.5).toInt(), kept)
        val away = first[place] + 0.5 - centre(place)
        val near = DoubleArray(last - first[place]) {{ max(1 - abs((away + it) / reach), 0.0) }}
        val total = near.sum()
        DoubleArray(near.size) {{ near[it] / total }}
    }}

    private fun centre(place: Int): Double = (start + place + 0.5) * scale

    fun value(place: Int, values: IntArray, offset: Int, stride: Int): Int {{
        var at = offset + (cut + first[place]) * stride
        var sum = 0.5
        for (weight in weights[place]) {{
            sum += weight * values[at]
            at += stride
        }}
        return sum.toInt()
    }}
}}

/** A channel of a pixel, on white where it is transparent. */
private fun level(pixel: Int, channel: Int): Int {{
    fun seen(shift: Int): Int {{
        val opaque = pixel ushr 24
        return ((pixel ushr shift and 255) * opaque + 255 * (255 - opaque) + 127) / 255
    }}
    if (CHANNELS == 3) return seen(16 - 8 * channel)
    return (19595 * seen(16) + 38470 * seen(8) + 7471 * seen(0) + 32768) shr 16
}}
"""


def kotlin(file: str, preprocessing: dict[str, Any]) -> str:
    """A file that classifies a ``Bitmap`` by the model ``file``, ``.onnx`` or ``.tflite``, from an app's assets.

    ``preprocessing`` has ``resolution``, ``channels``, ``mean``, ``std`` and ``crop_pct``. The type of a TFLite
    model's input is asked of the model: normalised floats, their int8 levels, or the pixels themselves as uint8.
    """
    kind = file.rpartition(".")[2]
    imports = sorted([*_IMPORTS, *_RUNTIME_IMPORTS[kind]])
    fields = _FIELDS[kind].format(file=kotlin_string(file))
    values = {
        **preprocessing,
        "shorter": int(preprocessing["resolution"] / preprocessing["crop_pct"]),
        "mean": ", ".join(f"{value!r}f" for value in preprocessing["mean"]),
        "std": ", ".join(f"{value!r}f" for value in preprocessing["std"]),
    }
    head = f'// build.gradle.kts: implementation("{_PACKAGE[kind]}"); {file} and labels.txt lie in src/main/assets\n'
    return (
        head
        + "".join(f"import {name}\n" for name in imports)
        + _CLASSIFIER.format(fields=fields, scores=_SCORES[kind].format().rstrip("\n"))
        + _PREPARE.format(**values)
    )
