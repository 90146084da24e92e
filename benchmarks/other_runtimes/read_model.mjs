// Runs one ONNX file with onnxruntime-web in Node: node read_model.mjs MODULES MODEL SHAPE INPUTS.f32 OUTPUTS.f32
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const [modules, model, shape, inputs, outputs] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const ort = require('onnxruntime-web');
ort.env.wasm.numThreads = 1;
const [count, ...sizes] = shape.split(',').map(Number);
const session = await ort.InferenceSession.create(readFileSync(model), { executionProviders: ['wasm'] });
const bytes = readFileSync(inputs);
const images = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
const size = images.length / count;
const rows = [];
for (let index = 0; index < count; ++index) {
  const data = images.slice(index * size, (index + 1) * size);
  const found = await session.run({ input: new ort.Tensor('float32', data, [1, ...sizes]) });
  rows.push(...found.logits.data);
}
writeFileSync(outputs, Buffer.from(new Float32Array(rows).buffer));
console.log(`version ${JSON.parse(readFileSync(`${modules}/node_modules/onnxruntime-web/package.json`)).version}`);
