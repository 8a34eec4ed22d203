/* From the bytes of an image file to uint8 RGB [3, H, W], as understudy/data/preprocess.py defines
   it. Files of PNG are decoded here, because browsers round 16 bits and transparent colours in their
   own ways; other formats are decoded by the browser. No browser decodes a JPEG file at a part of
   its size: a draft is nearly the mean of each block of pixels, which is computed here. */
(function () {
  'use strict';

  const STRIP = 1 << 22; // pixels of a canvas; some phones allow no more than four times as many
  const DECODED = {
    jpeg: 'image/jpeg', webp: 'image/webp', bmp: 'image/bmp', gif: 'image/gif', png: 'image/png',
  };
  const NAMES = { tiff: 'TIFF', pnm: 'PPM', heif: 'HEIC or AVIF', svg: 'SVG' };

  /* What a person can do something about; its message is shown. */
  class Refusal extends Error {}

  const text = (bytes, start, end) => String.fromCharCode(...bytes.subarray(start, end));

  /* The format, by the first bytes; '' if it is unknown. */
  function formatOf(bytes) {
    const head = text(bytes, 0, 12);
    if (head.startsWith('\x89PNG\r\n\x1a\n')) return 'png';
    if (head.startsWith('\xff\xd8\xff')) return 'jpeg';
    if (head.startsWith('GIF8')) return 'gif';
    if (head.startsWith('RIFF') && head.endsWith('WEBP')) return 'webp';
    if (head.startsWith('BM')) return 'bmp';
    if (head.startsWith('II*\0') || head.startsWith('MM\0*')) return 'tiff';
    if (/^P[1-7]\s/.test(head)) return 'pnm';
    if (head.slice(4, 8) === 'ftyp') return 'heif';
    if (/^\s*<(\?xml|svg)/.test(head)) return 'svg';
    return '';
  }

  const damaged = (name) =>
    new Refusal(`${name} is damaged or incomplete. Choose another file, or save it again.`);

  const refuseLarge = (width, height, maxPixels, name) => {
    if (width * height <= maxPixels) return;
    const count = (width * height).toLocaleString('en');
    throw new Refusal(`${name} has ${count} pixels, too many to open. Make it smaller first.`);
  };

  /* A file as upright RGB: {width, height, data}, 3 bytes a pixel, and for JPEG files `stored`, the
     orientation in which they are.

     blob: with the content; maxPixels: more are refused; name: what to call it in messages. Throws a
     Refusal. */
  async function decode(blob, maxPixels, name) {
    const bytes = new Uint8Array(await blob.arrayBuffer());
    const format = formatOf(bytes);
    if (!(format in DECODED)) {
      const known = NAMES[format];
      throw new Refusal(
        known
          ? `This page cannot open ${known} files. Save ${name} as PNG or JPEG first.`
          : `${name} is not an image that this page can open. Choose a PNG, JPEG, WebP, GIF or BMP.`,
      );
    }
    if (format === 'png') return turned(await decodePng(bytes, maxPixels, name));
    if (!isComplete(bytes, format)) throw damaged(name);
    const orientation = format === 'webp' ? orientationOf(takeExif(bytes)) : 1;
    let bitmap;
    try {
      bitmap = await createImageBitmap(new Blob([bytes], { type: DECODED[format] }), {
        imageOrientation: 'from-image', // upright
        colorSpaceConversion: 'none',
        premultiplyAlpha: 'none', // the canvas below rounds as Python does; decoders truncate
      });
    } catch {
      throw damaged(name);
    }
    try {
      refuseLarge(bitmap.width, bitmap.height, maxPixels, name);
      const image = turned({ ...pixelsOf(bitmap), orientation });
      return format === 'jpeg' ? { ...image, stored: orientationOf(exifOf(bytes)) } : image;
    } finally {
      bitmap.close();
    }
  }

  /* Browsers show what they have of a file that breaks off; Python refuses it. */
  function isComplete(bytes, format) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (format === 'webp') return view.getUint32(4, true) + 8 <= bytes.length;
    if (format === 'gif') return bytes.lastIndexOf(0x3b) > bytes.length - 64;
    if (format === 'bmp') return bytes.length >= bmpSize(view);
    let at = 2; // JPEG: the end must follow the last segment with a length
    while (at + 4 <= bytes.length && bytes[at] === 0xff) {
      if (bytes[at + 1] === 0xda) break;
      at += bytes[at + 1] === 0xff ? 1 : 2 + view.getUint16(at + 2);
    }
    for (; at + 1 < bytes.length; at++) if (bytes[at] === 0xff && bytes[at + 1] === 0xd9) return true;
    return false;
  }

  /* The EXIF data of a WebP file. They are renamed there: only some browsers use them. */
  function takeExif(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 12; at + 8 <= bytes.length; ) {
      const length = view.getUint32(at + 4, true);
      if (text(bytes, at, at + 4) === 'EXIF') {
        bytes.set([0x4a, 0x55, 0x4e, 0x4b], at);
        return bytes.subarray(at + 8, at + 8 + length);
      }
      at += 8 + length + (length & 1);
    }
    return undefined;
  }

  /* The EXIF data of a JPEG file, which browsers use. */
  function exifOf(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 2; at + 10 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda; ) {
      if (bytes[at + 1] === 0xff) {
        at += 1;
        continue;
      }
      const end = at + 2 + view.getUint16(at + 2);
      const isExif = bytes[at + 1] === 0xe1 && text(bytes, at + 4, at + 10) === 'Exif\0\0';
      if (isExif) return bytes.subarray(at + 4, end);
      at = end;
    }
    return undefined;
  }

  function bmpSize(view) {
    if (view.byteLength < 38) return Infinity;
    const compressed = ![0, 3].includes(view.getUint32(30, true));
    const width = view.getInt32(18, true), height = Math.abs(view.getInt32(22, true));
    const row = Math.ceil((width * view.getUint16(28, true)) / 32) * 4;
    return compressed ? 0 : view.getUint32(10, true) + row * height;
  }

  /* The pixels of a bitmap over white, in strips. */
  function pixelsOf(bitmap) {
    const { width, height } = bitmap;
    const data = new Uint8Array(3 * width * height);
    const canvas = document.createElement('canvas');
    canvas.width = width;
    canvas.height = Math.max(1, Math.min(height, Math.floor(STRIP / width)));
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.fillStyle = '#fff';
    for (let top = 0, to = 0; top < height; top += canvas.height) {
      const count = Math.min(canvas.height, height - top);
      context.fillRect(0, 0, width, canvas.height);
      context.drawImage(bitmap, 0, -top);
      const strip = context.getImageData(0, 0, width, count).data;
      for (let i = 0; i < strip.length; i += 4) {
        data[to++] = strip[i];
        data[to++] = strip[i + 1];
        data[to++] = strip[i + 2];
      }
    }
    return { width, height, data };
  }

  /* The stored image of a PNG file over white: as `decode`, and its EXIF `orientation`. */
  async function decodePng(bytes, maxPixels, name) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const chunks = { IDAT: [] };
    let at = 8, type = '';
    while (type !== 'IEND') {
      if (at + 12 > bytes.length) throw damaged(name);
      const length = view.getUint32(at);
      type = text(bytes, at + 4, at + 8);
      const content = bytes.subarray(at + 8, at + 8 + length);
      if (at + 12 + length > bytes.length) throw damaged(name);
      if (type === 'IDAT') chunks.IDAT.push(content);
      else chunks[type] = content;
      at += 12 + length;
    }
    if (!chunks.IHDR || chunks.IHDR.length < 13) throw damaged(name);
    const header = new DataView(chunks.IHDR.buffer, chunks.IHDR.byteOffset);
    const image = {
      width: header.getUint32(0), height: header.getUint32(4),
      depth: chunks.IHDR[8], kind: chunks.IHDR[9],
      palette: chunks.PLTE || new Uint8Array(), transparent: chunks.tRNS,
    };
    image.channels = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }[image.kind];
    if (!image.channels || !image.width || !image.height) throw damaged(name);
    refuseLarge(image.width, image.height, maxPixels, name);
    let raw;
    try {
      const stream = new Blob(chunks.IDAT).stream();
      const inflated = stream.pipeThrough(new DecompressionStream('deflate'));
      raw = new Uint8Array(await new Response(inflated).arrayBuffer());
    } catch {
      throw damaged(name);
    }
    const { width, height } = image;
    const data = new Uint8Array(3 * width * height);
    let from = 0;
    for (const [left, top, right, down] of chunks.IHDR[12] ? PASSES : [[0, 0, 1, 1]]) {
      const columns = Math.ceil((width - left) / right), rows = Math.ceil((height - top) / down);
      if (columns <= 0 || rows <= 0) continue;
      const line = Math.ceil((columns * image.channels * image.depth) / 8);
      if (from + rows * (line + 1) > raw.length) throw damaged(name);
      unfilter(raw, from, line, rows, Math.max(1, (image.channels * image.depth) >> 3));
      for (let y = 0; y < rows; y++, from += line + 1) {
        const to = 3 * ((top + y * down) * width + left);
        writeLine(image, raw, from + 1, columns, data, to, 3 * right);
      }
    }
    return { width, height, data, orientation: orientationOf(chunks.eXIf) };
  }

  const PASSES = [ // of an interlaced image: first column and line, steps
    [0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2],
  ];

  /* Undo the prediction of each byte from those at its left, above, and above left. */
  function unfilter(raw, start, line, rows, step) {
    for (let y = 0; y < rows; y++) {
      const first = start + y * (line + 1) + 1;
      const kind = raw[first - 1], above = y ? line + 1 : 0;
      for (let i = first; i < first + line; i++) {
        const a = i - first >= step ? raw[i - step] : 0;
        const b = above ? raw[i - above] : 0;
        if (kind === 1) raw[i] += a;
        else if (kind === 2) raw[i] += b;
        else if (kind === 3) raw[i] += (a + b) >> 1;
        else if (kind === 4) {
          const c = above && i - first >= step ? raw[i - above - step] : 0;
          const pa = Math.abs(b - c), pb = Math.abs(a - c), pc = Math.abs(a + b - 2 * c);
          raw[i] += pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
        }
      }
    }
  }

  /* One line of `columns` pixels as RGB over white, `step` bytes apart. */
  function writeLine(image, raw, from, columns, data, to, step) {
    const { channels, depth, kind, palette, transparent } = image;
    const most = (1 << depth) - 1;
    const sample = (i) => {
      if (depth === 8) return raw[from + i];
      if (depth === 16) return (raw[from + 2 * i] << 8) | raw[from + 2 * i + 1];
      const bit = i * depth;
      return (raw[from + (bit >> 3)] >> (8 - depth - (bit & 7))) & most;
    };
    const upper = (value) => (depth === 16 ? value >> 8 : (value * 255) / most);
    const isKey = (value, i) =>
      transparent && value === ((transparent[2 * i] << 8) | transparent[2 * i + 1]);
    for (let x = 0; x < columns; x++, to += step) {
      const i = x * channels;
      let alpha = 255, red, green, blue;
      const first = sample(i);
      if (kind === 3) {
        [red, green, blue] = palette.subarray(3 * first, 3 * first + 3);
        if (transparent && first < transparent.length) alpha = transparent[first];
      } else if (channels < 3) {
        red = green = blue = upper(first);
        if (channels === 2) alpha = upper(sample(i + 1));
        else if (isKey(first, 0)) alpha = 0;
      } else {
        const second = sample(i + 1), third = sample(i + 2);
        red = upper(first);
        green = upper(second);
        blue = upper(third);
        if (channels === 4) alpha = upper(sample(i + 3));
        else if (isKey(first, 0) && isKey(second, 1) && isKey(third, 2)) alpha = 0;
      }
      data[to] = overWhite(red, alpha);
      data[to + 1] = overWhite(green, alpha);
      data[to + 2] = overWhite(blue, alpha);
    }
  }

  const overWhite = (value, alpha) =>
    alpha === 255 ? value : Math.floor((value * alpha + 255 * (255 - alpha) + 127) / 255);

  /* The orientation in EXIF data; 1, upright, without. */
  function orientationOf(exif) {
    if (!exif || exif.length < 8) return 1;
    if (text(exif, 0, 6) === 'Exif\0\0') exif = exif.subarray(6);
    const view = new DataView(exif.buffer, exif.byteOffset, exif.byteLength);
    const order = text(exif, 0, 2), little = order === 'II';
    if (!little && order !== 'MM') return 1;
    try {
      const start = view.getUint32(4, little);
      for (let i = 0; i < view.getUint16(start, little); i++) {
        const entry = start + 2 + 12 * i;
        if (view.getUint16(entry, little) !== 0x0112) continue;
        return view.getUint16(entry + 2, little) === 3 ? view.getUint16(entry + 8, little) : 1;
      }
    } catch (error) {
      if (!(error instanceof RangeError)) throw error; // shorter than it claims to be
    }
    return 1;
  }

  /* The image turned upright. */
  function turned({ width, height, data, orientation }) {
    if (orientation < 2 || orientation > 8) return { width, height, data };
    const swaps = orientation > 4;
    const [wide, tall] = swaps ? [height, width] : [width, height];
    const mirrorsX = [2, 3, 7, 8].includes(orientation), mirrorsY = [3, 4, 6, 7].includes(orientation);
    const result = new Uint8Array(data.length);
    for (let y = 0, to = 0; y < tall; y++) {
      for (let x = 0; x < wide; x++) {
        let [column, row] = swaps ? [y, x] : [x, y];
        if (mirrorsX) column = width - 1 - column;
        if (mirrorsY) row = height - 1 - row;
        const from = 3 * (row * width + column);
        for (let c = 0; c < 3; c++) result[to++] = data[from + c];
      }
    }
    return { width: wide, height: tall, data: result };
  }

  const roundHalfEven = (x) => {
    const up = Math.round(x);
    return up - x === 0.5 && up % 2 ? up - 1 : up;
  };

  /* The largest [width, height] of the proportions of `own` that fits inside `size`. */
  function inside(own, size) {
    return own.width * size.height <= own.height * size.width
      ? [Math.max(1, roundHalfEven((own.width * size.height) / own.height)), size.height]
      : [size.width, Math.max(1, roundHalfEven((own.height * size.width) / own.width))];
  }

  /* An image at a size by the rule 'crop', 'pad' or 'squash', as uint8 [3, height, width]. */
  function fit(image, width, height, rule) {
    const size = { width, height };
    const [wide, tall] = rule === 'pad' ? inside(image, size) : [width, height];
    const seen = rule === 'crop' ? inside(size, image) : [image.width, image.height];
    const x = Math.floor((image.width - seen[0]) / 2), y = Math.floor((image.height - seen[1]) / 2);
    const reduction = Math.min(seen[0] / wide, seen[1] / tall);
    const scale = (image.stored && [8, 4, 2].find((scale) => 4 * reduction >= 5 * scale)) || 1;
    const source = scale > 1 ? draft(image, scale) : { ...image, x: 0, y: 0 };
    const { data } = resized(
      source, source.x + x / scale, source.y + y / scale, seen[0] / scale, seen[1] / scale, wide, tall,
    );
    const left = Math.floor((width - wide) / 2), top = Math.floor((height - tall) / 2);
    const result = new Uint8Array(3 * width * height);
    for (let row = 0, from = 0; row < tall; row++) {
      for (let column = 0; column < wide; column++) {
        const to = (row + top) * width + column + left;
        for (let c = 0; c < 3; c++) result[c * width * height + to] = data[from++];
      }
    }
    return result;
  }

  /* The means of blocks of `scale` x `scale` pixels, counted from where the file's first pixel is
     now; {x, y} is where the image begins in it, inside a block that is not full. */
  function draft({ width, height, data, stored }, scale) {
    const wide = Math.ceil(width / scale), tall = Math.ceil(height / scale);
    const x = [2, 3, 6, 7].includes(stored) ? wide - width / scale : 0;
    const y = [3, 4, 7, 8].includes(stored) ? tall - height / scale : 0;
    const sums = new Uint32Array(3 * wide * tall), counts = new Uint32Array(wide * tall);
    for (let row = 0, from = 0; row < height; row++) {
      const line = wide * Math.floor(y + row / scale);
      for (let column = 0; column < width; column++) {
        const block = line + Math.floor(x + column / scale);
        counts[block]++;
        for (let c = 0; c < 3; c++) sums[3 * block + c] += data[from++];
      }
    }
    const means = Uint8Array.from(sums, (sum, i) => sum / counts[Math.floor(i / 3)] + 0.5);
    return { width: wide, height: tall, data: means, x, y };
  }

  /* A part of an image, cut out at whole pixels and resized. Columns come first only where that
     keeps a thin image small. */
  function resized(image, x, y, wide, tall, width, height) {
    const left = Math.floor(x), top = Math.floor(y);
    const part = cut(image, left, top, Math.ceil(x + wide), Math.ceil(y + tall));
    const across = taps(part.width, x - left, wide, width), down = taps(part.height, y - top, tall, height);
    if (width > wide && height < tall) return resizeAcross(resizeDown(part, down), across);
    return resizeDown(resizeAcross(part, across), down);
  }

  function cut(image, left, top, right, bottom) {
    const width = right - left, height = bottom - top;
    const data = new Uint8Array(3 * width * height);
    for (let y = 0; y < height; y++) {
      const from = 3 * ((y + top) * image.width + left);
      data.set(image.data.subarray(from, from + 3 * width), 3 * y * width);
    }
    return { width, height, data };
  }

  /* For each of the outputs, which share `length` of the inputs from `begin`, the first input and
     the end of the inputs, and their weights in units of 2^-22. */
  function taps(inputs, begin, length, outputs) {
    const scale = length / outputs, support = Math.max(scale, 1);
    const found = [];
    for (let i = 0; i < outputs; i++) {
      const centre = begin + (i + 0.5) * scale;
      const start = Math.max(0, Math.trunc(centre - support + 0.5));
      const stop = Math.min(inputs, Math.trunc(centre + support + 0.5));
      const weights = new Float64Array(stop - start);
      let sum = 0;
      for (let j = start; j < stop; j++) {
        const distance = Math.abs((j - centre + 0.5) * (1 / support));
        weights[j - start] = distance < 1 ? 1 - distance : 0;
        sum += weights[j - start];
      }
      found.push({ start, stop, weights: Int32Array.from(weights, (w) => 0.5 + (w / sum) * (1 << 22)) });
    }
    return found;
  }

  function resizeAcross(image, across) {
    const width = across.length;
    const result = new Uint8Array(3 * width * image.height);
    for (let y = 0, to = 0; y < image.height; y++) {
      for (const { start, stop, weights } of across) {
        let red = 1 << 21, green = 1 << 21, blue = 1 << 21;
        for (let x = start, i = 3 * (y * image.width + start); x < stop; x++, i += 3) {
          const w = weights[x - start];
          red += image.data[i] * w;
          green += image.data[i + 1] * w;
          blue += image.data[i + 2] * w;
        }
        result[to++] = Math.min(255, red >> 22);
        result[to++] = Math.min(255, green >> 22);
        result[to++] = Math.min(255, blue >> 22);
      }
    }
    return { width, height: image.height, data: result };
  }

  function resizeDown(image, down) {
    const height = down.length, line = 3 * image.width;
    const result = new Uint8Array(line * height);
    let to = 0;
    for (const { start, stop, weights } of down) {
      for (let x = 0; x < line; x++) {
        let sum = 1 << 21;
        for (let y = start; y < stop; y++) sum += image.data[y * line + x] * weights[y - start];
        result[to++] = Math.min(255, sum >> 22);
      }
    }
    return { width: image.width, height, data: result };
  }

  globalThis.understudyPreprocess = { Refusal, decode, decodePng, fit, turned };
})();
