/* The student's layers: one image at a time, fp32, no allocation after `build`.

   All numbers lie in one memory. A convolution copies the windows of a few output positions into
   rows (im2col) and multiplies them with the rows of its weights: `dots`, in WebAssembly where the
   browser has its SIMD instructions, else in JavaScript on the same memory. */
(function () {
  'use strict';

  const TILE = 64; // output positions whose windows are copied at once; even
  const up = (count, step) => Math.ceil(count / step) * step;
  const product = (shape) => shape.reduce((a, b) => a * b, 1);
  const asMap = (shape) => (shape.length === 3 ? shape : [shape[0], 1, 1]);

  /* Places in a memory that is made when all of them are known. */
  class Arena {
    constructor() {
      this.length = 0;
      this.free = new Map();
      this.shared = new Map();
    }

    /* Offset of `count` floats, zero at first, at a multiple of 16 bytes. */
    reserve(count) {
      const size = up(count, 4);
      const start = this.length;
      this.length += size;
      return start;
    }

    /* A place for an output: one that is no longer read, if it has the size. */
    take(count) {
      const places = this.free.get(up(count, 4));
      return places && places.length ? places.pop() : this.reserve(count);
    }

    release(start, count) {
      const size = up(count, 4);
      if (!this.free.has(size)) this.free.set(size, []);
      this.free.get(size).push(start);
    }

    /* One place for all that use it in the same way. */
    share(key, count) {
      if (!this.shared.has(key)) this.shared.set(key, this.reserve(count));
      return this.shared.get(key);
    }
  }

  /* out[r][p] = bias[r] + rows[r] . windows[p], for `count` > 1 windows and a multiple of 4 rows of
     `length` (a multiple of 4) floats; `stride` is that of out's rows. Arguments are offsets. */
  function plainDots(f, rows, windows, bias, out, number, count, length, stride) {
    for (let r = 0; r < number; r += 4) {
      const w0 = rows + r * length, w1 = w0 + length, w2 = w1 + length, w3 = w2 + length;
      for (let pair = 0; pair < count; pair += 2) {
        const p = Math.min(pair, count - 2); // an odd count computes one position twice
        const x0 = windows + p * length, x1 = x0 + length;
        let a0 = 0, a1 = 0, b0 = 0, b1 = 0, c0 = 0, c1 = 0, d0 = 0, d1 = 0;
        for (let i = 0; i < length; i++) {
          const u = f[x0 + i], v = f[x1 + i];
          let w = f[w0 + i];
          a0 += w * u; a1 += w * v;
          w = f[w1 + i];
          b0 += w * u; b1 += w * v;
          w = f[w2 + i];
          c0 += w * u; c1 += w * v;
          w = f[w3 + i];
          d0 += w * u; d1 += w * v;
        }
        let to = out + r * stride + p;
        f[to] = a0 + f[bias + r]; f[to + 1] = a1 + f[bias + r];
        to += stride;
        f[to] = b0 + f[bias + r + 1]; f[to + 1] = b1 + f[bias + r + 1];
        to += stride;
        f[to] = c0 + f[bias + r + 2]; f[to + 1] = c1 + f[bias + r + 2];
        to += stride;
        f[to] = d0 + f[bias + r + 3]; f[to + 1] = d1 + f[bias + r + 3];
      }
    }
  }

  /* The memory and its `dots`. */
  function open(length, code) {
    if (code && typeof WebAssembly === 'object') {
      try {
        const memory = new WebAssembly.Memory({ initial: Math.ceil(length / 16384) });
        const instance = new WebAssembly.Instance(new WebAssembly.Module(code), { env: { memory } });
        const f = new Float32Array(memory.buffer);
        const { dots } = instance.exports;
        return [f, (rows, windows, bias, out, number, count, size, stride) =>
          dots(rows * 4, windows * 4, bias * 4, out * 4, number, count, size * 4, stride * 4)];
      } catch (error) {
        if (error instanceof RangeError) throw error; // not enough memory
      }
    }
    const f = new Float32Array(length);
    return [f, (...places) => plainDots(f, ...places)];
  }

  // Each function below plans one layer: it reserves its places and returns a function that, given
  // the memory, writes the weights into it and returns what runs for each image.

  function convolution(layer, [source], out, arena, weights) {
    const [channels, height, width] = asMap(source.shape);
    const [filters, outHeight, outWidth] = asMap(layer.shape);
    const { kernel: [kh, kw], stride: [sy, sx], padding: [py, px], dilation: [dy, dx] } = layer;
    const groups = layer.groups;
    const padded = pad(source, py, px, arena);
    const plane = (height + 2 * py) * (width + 2 * px), row = width + 2 * px;
    const positions = outHeight * outWidth;
    const window = (channels / groups) * kh * kw;
    const weight = weights(layer.weight, filters * window), bias = weights(layer.bias, filters);

    if (channels === groups) {
      const each = filters / groups;
      return (f) => () => {
        padded.run(f);
        for (let o = 0; o < filters; o++) {
          const to = out + o * positions, from = padded.at + Math.floor(o / each) * plane;
          f.fill(bias[o], to, to + positions);
          for (let ky = 0; ky < kh; ky++) {
            for (let kx = 0; kx < kw; kx++) {
              const w = weight[(o * kh + ky) * kw + kx], corner = from + ky * dy * row + kx * dx;
              addScaled(f, to, corner, outHeight, outWidth, sy * row, sx, w);
            }
          }
        }
      };
    }

    const length = up(window, 4), each = filters / groups, number = up(each, 4);
    const tile = Math.min(TILE, positions);
    const rows = arena.reserve(groups * number * length);
    const biases = arena.reserve(groups * number);
    // Two windows at least: `dots` takes pairs.
    const windows = arena.share('windows' + Math.max(2, tile) * length, Math.max(2, tile) * length);
    // The rows that fill up a multiple of 4 are written behind the output, or into the next group's
    // place before its own numbers.
    const single = positions === 1 ? arena.share('single' + number, 2 * number) : -1;
    const offsets = new Int32Array(window); // of a window's numbers from its corner
    for (let i = 0; i < window; i++) {
      const c = Math.floor(i / (kh * kw)), ky = Math.floor(i / kw) % kh;
      offsets[i] = c * plane + ky * dy * row + (i % kw) * dx;
    }
    return (f, dots) => {
      for (let o = 0; o < filters; o++) {
        const at = Math.floor(o / each) * number + (o % each);
        f.set(weight.subarray(o * window, (o + 1) * window), rows + at * length);
        f[biases + at] = bias[o];
      }
      return () => {
        padded.run(f);
        for (let g = 0; g < groups; g++) {
          const from = padded.at + g * (channels / groups) * plane;
          for (let start = 0; start < positions; start += tile) {
            const first = Math.min(start, positions - tile);
            copyWindows(f, from, windows, first, tile, outWidth, sy * row, sx, offsets, length);
            const w = rows + g * number * length, b = biases + g * number;
            if (positions > 1) {
              dots(w, windows, b, out + g * each * positions + first, number, tile, length, positions);
            } else {
              dots(w, windows, b, single, number, 2, length, 2);
              for (let o = 0; o < each; o++) f[out + g * each + o] = f[single + 2 * o];
            }
          }
        }
      };
    };
  }

  function addScaled(f, to, from, height, width, stepDown, stepRight, factor) {
    for (let y = 0; y < height; y++, from += stepDown) {
      for (let x = 0, i = from; x < width; x++, i += stepRight) f[to++] += factor * f[i];
    }
  }

  /* The numbers under the window at each of `tile` output positions: rows of `length`. */
  function copyWindows(f, from, to, first, tile, outWidth, stepDown, stepRight, offsets, length) {
    const window = offsets.length;
    for (let p = first; p < first + tile; p++, to += length) {
      const y = Math.floor(p / outWidth);
      const corner = from + y * stepDown + (p - y * outWidth) * stepRight;
      for (let i = 0; i < window; i++) f[to + i] = f[corner + offsets[i]];
      for (let i = window; i < length; i++) f[to + i] = 0;
    }
  }

  /* A copy of a map with zeros around it; the map itself without padding. */
  function pad(source, py, px, arena) {
    const [channels, height, width] = asMap(source.shape);
    if (!py && !px) return { at: source.at, run() {} };
    const row = width + 2 * px, plane = (height + 2 * py) * row;
    const at = arena.share(['padded', channels, height, width, py, px].join(), channels * plane);
    return {
      at,
      run(f) {
        for (let c = 0; c < channels; c++) {
          let from = source.at + c * height * width, to = at + c * plane + py * row + px;
          for (let y = 0; y < height; y++, from += width, to += row) {
            f.copyWithin(to, from, from + width);
          }
        }
      },
    };
  }

  function linear(layer, [source], out, arena, weights) {
    const inputs = product(source.shape), outputs = layer.shape[0];
    const weight = weights(layer.weight, inputs * outputs), bias = weights(layer.bias, outputs);
    return (f) => () => timesVector(f, weight, bias, source.at, inputs, out, outputs);
  }

  function timesVector(f, weight, bias, from, inputs, out, outputs) {
    for (let o = 0, w = 0; o < outputs; o++, w += inputs) {
      let a = bias[o], b = 0, c = 0, d = 0; // four sums: an addition waits for the one before it
      let i = 0;
      for (; i + 3 < inputs; i += 4) {
        a += weight[w + i] * f[from + i];
        b += weight[w + i + 1] * f[from + i + 1];
        c += weight[w + i + 2] * f[from + i + 2];
        d += weight[w + i + 3] * f[from + i + 3];
      }
      for (; i < inputs; i++) a += weight[w + i] * f[from + i];
      f[out + o] = a + b + c + d;
    }
  }

  function pool(layer, [source], out) {
    const [channels, height, width] = source.shape;
    const [, outHeight, outWidth] = layer.shape;
    const { kernel: [kh, kw], stride: [sy, sx], padding: [py, px] } = layer;
    const max = layer.kind === 'max';
    return (f) => () => {
      for (let oy = 0; oy < outHeight; oy++) {
        const top = Math.max(0, oy * sy - py), bottom = Math.min(height, oy * sy - py + kh);
        for (let ox = 0; ox < outWidth; ox++) {
          const left = Math.max(0, ox * sx - px), right = Math.min(width, ox * sx - px + kw);
          const area = layer.counts_padding ? kh * kw : (bottom - top) * (right - left);
          let from = source.at, to = out + oy * outWidth + ox;
          for (let c = 0; c < channels; c++, from += height * width, to += outHeight * outWidth) {
            f[to] = max
              ? greatest(f, from, width, top, bottom, left, right)
              : total(f, from, width, top, bottom, left, right) / area;
          }
        }
      }
    };
  }

  function greatest(f, from, width, top, bottom, left, right) {
    let value = -Infinity;
    for (let y = top; y < bottom; y++) {
      for (let i = from + y * width + left, end = i + right - left; i < end; i++) {
        if (f[i] > value) value = f[i];
      }
    }
    return value;
  }

  function total(f, from, width, top, bottom, left, right) {
    let value = 0;
    for (let y = top; y < bottom; y++) {
      for (let i = from + y * width + left, end = i + right - left; i < end; i++) value += f[i];
    }
    return value;
  }

  function globalPool(layer, [source], out) {
    const channels = source.shape[0], area = product(source.shape) / channels;
    return (f) => () => {
      for (let c = 0; c < channels; c++) {
        const from = source.at + c * area;
        f[out + c] = layer.kind === 'max'
          ? greatest(f, from, 0, 0, 1, 0, area)
          : total(f, from, 0, 0, 1, 0, area) / area;
      }
    };
  }

  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  const hardsigmoid = (x) => Math.min(Math.max(x / 6 + 0.5, 0), 1);
  const FUNCTIONS = {
    relu6: (x) => Math.min(Math.max(x, 0), 6),
    hardsigmoid,
    hardswish: (x) => x * hardsigmoid(x),
    sigmoid,
    silu: (x) => x * sigmoid(x),
  };

  function activation(layer, [source], out) {
    const count = product(layer.shape), from = source.at - out;
    if (layer.kind === 'relu') {
      return (f) => () => {
        for (let i = out; i < out + count; i++) {
          const x = f[i + from];
          f[i] = x > 0 ? x : 0;
        }
      };
    }
    const apply = FUNCTIONS[layer.kind];
    return (f) => () => {
      for (let i = out; i < out + count; i++) f[i] = apply(f[i + from]);
    };
  }

  function add(layer, [left, right], out) {
    const count = product(layer.shape);
    return (f) => () => {
      for (let i = 0; i < count; i++) f[out + i] = f[left.at + i] + f[right.at + i];
    };
  }

  function multiply(layer, [map, factor], out) {
    const count = product(layer.shape), each = count / product(factor.shape);
    return (f) => () => {
      for (let i = 0; i < count; ) {
        const by = f[factor.at + i / each];
        for (const end = i + each; i < end; i++) f[out + i] = f[map.at + i] * by;
      }
    };
  }

  const PLANS = {
    conv: convolution, linear, pool, global_pool: globalPool, activation, add, multiply,
  };

  /* The student as a function from uint8 pixels [C, H, W] to the probabilities of the classes.

     model: what model.json holds; data: the ArrayBuffer of weights.bin, fp32 little endian; code:
     WebAssembly with `dots`, or null. The result is overwritten by the next call. */
  function build(model, data, code) {
    const weights = (start, count) => new Float32Array(data, start * 4, count);
    const arena = new Arena();
    const image = { shape: model.image, at: arena.reserve(product(model.image)) };
    const values = [image]; // of inputs: 0 is the image, i + 1 the i-th layer
    const last = new Map(); // value -> the last layer that reads it
    model.layers.forEach((layer, i) => layer.inputs.forEach((input) => last.set(input, i)));
    const plans = model.layers.map((layer, i) => {
      const count = product(layer.shape);
      const room = layer.op === 'conv' ? count + 3 * (count / layer.shape[0]) : count;
      const out = arena.take(room);
      const inputs = layer.inputs.map((input) => values[input]);
      const plan = PLANS[layer.op](layer, inputs, out, arena, weights);
      values.push({ shape: layer.shape, at: out, room });
      for (const input of new Set(layer.inputs)) {
        if (input && last.get(input) === i) arena.release(values[input].at, values[input].room);
      }
      return plan;
    });
    const [f, dots] = open(arena.length, code);
    const steps = plans.map((plan) => plan(f, dots));
    const output = values[values.length - 1];
    const probabilities = new Float32Array(output.shape[0]);
    const area = model.image[1] * model.image[2];

    return function run(pixels) {
      for (let c = 0, i = 0; c < model.image[0]; c++) {
        const scale = model.scale[c], shift = model.shift[c];
        for (const end = i + area; i < end; i++) f[image.at + i] = pixels[i] * scale + shift;
      }
      for (const step of steps) step();
      let most = -Infinity, sum = 0;
      for (let k = 0; k < probabilities.length; k++) most = Math.max(most, f[output.at + k]);
      for (let k = 0; k < probabilities.length; k++) sum += Math.exp(f[output.at + k] - most);
      for (let k = 0; k < probabilities.length; k++) {
        probabilities[k] = Math.exp(f[output.at + k] - most) / sum;
      }
      return probabilities;
    };
  }

  globalThis.understudyKernels = { build };
})();
