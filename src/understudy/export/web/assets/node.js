/* Runs a student without a browser: node node.js FOLDER PIXELS PROBABILITIES

   FOLDER has kernels.js, model.json and weights.bin. PIXELS is a file of uint8 [N, C, H, W],
   PROBABILITIES becomes one of fp32 [N, K]. */
'use strict';
const fs = require('node:fs');
const path = require('node:path');

const [folder, input, output] = process.argv.slice(2).map((name) => path.resolve(name));
require(path.join(folder, 'kernels.js'));
const model = JSON.parse(fs.readFileSync(path.join(folder, 'model.json'), 'utf8'));
const weights = new Uint8Array(fs.readFileSync(path.join(folder, 'weights.bin'))).buffer;
const code = Buffer.from(model.wasm, 'base64');
const student = globalThis.understudyKernels.build(model, weights, code);

const pixels = fs.readFileSync(input);
const size = model.image.reduce((a, b) => a * b, 1);
const rows = [];
for (let start = 0; start < pixels.length; start += size) {
  rows.push(Float32Array.from(student(pixels.subarray(start, start + size))));
}
fs.writeFileSync(output, Buffer.concat(rows.map((row) => new Uint8Array(row.buffer))));
