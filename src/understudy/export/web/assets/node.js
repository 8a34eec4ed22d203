/* Runs a student without a browser: node node.js FOLDER < pixels > probabilities.

   FOLDER has kernels.js, model.json and weights.bin. Pixels are uint8 [N, C, H, W], probabilities
   fp32 [N, K]. */
'use strict';
const fs = require('node:fs');
const path = require('node:path');
const folder = path.resolve(process.argv[2]);
require(path.join(folder, 'kernels.js'));

const model = JSON.parse(fs.readFileSync(path.join(folder, 'model.json'), 'utf8'));
const file = fs.readFileSync(path.join(folder, 'weights.bin'));
const weights = file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength);
const student = globalThis.understudyKernels.build(model, weights, Buffer.from(model.wasm, 'base64'));

const pixels = fs.readFileSync(0);
const size = model.image[0] * model.image[1] * model.image[2];
const count = pixels.length / size;
const classes = model.layers[model.layers.length - 1].shape[0];
const result = new Float32Array(count * classes);
for (let i = 0; i < count; i++) {
  result.set(student(pixels.subarray(i * size, (i + 1) * size)), i * classes);
}
fs.writeSync(1, new Uint8Array(result.buffer));
