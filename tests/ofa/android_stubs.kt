// What a card's Kotlin uses of Android, ONNX Runtime and LiteRT, as their documentation has it: enough to compile it, and
// to see what a model is given. A "model" writes its input to standard output, and its logits are the first values.
//// android/Context.kt
package android.content
class Assets { fun open(name: String): java.io.InputStream = java.io.FileInputStream(name) }
class Context { val assets = Assets() }
//// android/Bitmap.kt
package android.graphics
class Bitmap(val width: Int, val height: Int, private val argb: IntArray) {
    fun getPixels(pixels: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int) {
        for (row in 0 until height) for (column in 0 until width) {
            pixels[offset + row * stride + column] = argb[(y + row) * this.width + x + column]
        }
    }
}
//// ort/OnnxRuntime.kt
package ai.onnxruntime
import java.nio.FloatBuffer
interface OnnxValue : AutoCloseable
class OnnxTensor(val floatBuffer: FloatBuffer) : OnnxValue {
    override fun close() {}
    companion object {
        @JvmStatic fun createTensor(environment: OrtEnvironment, data: FloatBuffer, shape: LongArray): OnnxTensor {
            println(shape.joinToString(" "))
            return OnnxTensor(data)
        }
    }
}
class OrtEnvironment {
    fun createSession(model: ByteArray): OrtSession = OrtSession()
    companion object { @JvmStatic fun getEnvironment(): OrtEnvironment = OrtEnvironment() }
}
class OrtSession : AutoCloseable {
    class Result(private val values: List<OnnxValue>) : AutoCloseable {
        operator fun get(index: Int): OnnxValue = values[index]
        override fun close() {}
    }
    fun run(inputs: Map<String, OnnxTensor>): Result {
        val given = inputs.getValue("input")
        val data = given.floatBuffer
        println((0 until data.capacity()).joinToString(" ") { data[it].toString() })
        return Result(listOf(given))
    }
    override fun close() {}
}
//// lite/Lite.kt
package org.tensorflow.lite
import java.nio.ByteBuffer
enum class DataType { FLOAT32, INT8, UINT8 }
class Tensor(private val type: DataType, private val bytes: Int) {
    class QuantizationParams(val scale: Float, val zeroPoint: Int)
    fun dataType(): DataType = type
    fun numBytes(): Int = bytes
    fun quantizationParams(): QuantizationParams = QuantizationParams(0.02f, -3)
}
class Interpreter(model: ByteBuffer) : AutoCloseable {
    private val type = DataType.valueOf(System.getProperty("input"))
    private val values = System.getProperty("values").toInt()
    private val size = if (type == DataType.FLOAT32) 4 else 1
    fun getInputTensor(index: Int): Tensor = Tensor(type, values * size)
    fun getOutputTensor(index: Int): Tensor = Tensor(type, 10 * size)
    fun run(input: Any, output: Any) {
        val given = input as ByteBuffer
        println((0 until values).joinToString(" ") {
            if (type == DataType.FLOAT32) given.getFloat(4 * it).toString() else given.get(it).toString()
        })
        for (place in 0 until 10 * size) (output as ByteBuffer).put(place, given.get(place))
    }
    override fun close() {}
}
//// Main.kt
import android.content.Context
import android.graphics.Bitmap
import java.io.DataInputStream
import java.io.FileInputStream
fun main(arguments: Array<String>) {
    for (name in arguments) {
        val file = DataInputStream(FileInputStream(name).buffered())
        val width = file.readInt()
        val height = file.readInt()
        val image = Bitmap(width, height, IntArray(width * height) { file.readInt() })
        Classifier(Context()).use { println(it.classify(image)) }
    }
}
