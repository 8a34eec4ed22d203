/* The page: takes an image, runs the student on it and shows what it makes of it. Every text from
   outside goes into the page as text, never as markup. */
(function () {
  'use strict';

  const { Refusal, decode, fit } = globalThis.understudyPreprocess;
  const TOP = 5;
  const TIMED = 9; // runs whose median is shown, within TIME milliseconds
  const TIME = 60;
  const MOST_CHIPS = 20; // classes that are listed at the top

  const $ = (id) => document.getElementById(id);
  const percent = (p, digits = 1) => // with a space that does not break
    p > 0 && p < 0.0005 ? '<\u00a00.1\u00a0%' : `${(100 * p).toFixed(digits)}\u00a0%`;
  const number = (value) => value.toLocaleString('en');
  const milliseconds = (value) => `${value.toFixed(value < 10 ? 1 : 0)}\u00a0ms`;

  /* An element with a class, and text or children. */
  function element(tag, className, ...content) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...content.filter((part) => part !== ''));
    return made;
  }

  // -- the files: scripts in this page, or files in its folder ------------------------------------

  const isSingle = $('data-model') !== null;

  async function fetched(name) {
    const response = await fetch(name);
    if (!response.ok) throw new Refusal(`The file ${name} is missing.`);
    return response;
  }

  async function json(name) {
    return isSingle ? JSON.parse($(`data-${name}`).textContent) : (await fetched(`${name}.json`)).json();
  }

  function fromBase64(text) {
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
  }

  async function inflated(text) {
    const stream = new Blob([fromBase64(text)]).stream();
    return new Response(stream.pipeThrough(new DecompressionStream('deflate'))).arrayBuffer();
  }

  /* The bytes of a file. In this page they are compressed, and those of the weights sorted: all first
     bytes of the numbers, then all second ones, and so on. */
  async function content(name) {
    if (!isSingle) return (await fetched(name)).arrayBuffer();
    const buffer = await inflated(JSON.parse($(`data-${name}`).textContent));
    if (name !== 'weights.bin') return buffer;
    const planes = new Uint8Array(buffer), bytes = new Uint8Array(planes.length);
    const count = planes.length / 4;
    for (let plane = 0, from = 0; plane < 4; plane++) {
      for (let i = plane; from < (plane + 1) * count; i += 4) bytes[i] = planes[from++];
    }
    return bytes.buffer;
  }

  /* A function from uint8 pixels [3, H, W] to the probabilities of the classes. */
  async function openStudent(model) {
    if (model.runtime === 'kernels') {
      const weights = await content('weights.bin');
      const run = globalThis.understudyKernels.build(model, weights, fromBase64(model.wasm));
      return async (pixels) => run(pixels);
    }
    const script = isSingle
      ? URL.createObjectURL(new Blob([await content(model.library)], { type: 'text/javascript' }))
      : new URL(model.library, document.baseURI).href;
    const ort = await import(script);
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmBinary = await content(model.code);
    const bytes = new Uint8Array(await content(model.network));
    const session = await ort.InferenceSession.create(bytes, { executionProviders: ['wasm'] });
    const [input] = session.inputNames, [output] = session.outputNames;
    return async (pixels) => {
      const images = new ort.Tensor('uint8', pixels, [1, ...model.image]);
      return (await session.run({ [input]: images }))[output].data;
    };
  }

  // -- one image ----------------------------------------------------------------------------------

  let card, model, student;
  let latest = 0; // number of the last image: an older one that ends later is not shown
  let probabilities = null;
  let showsAll = false;

  /* A problem, or what happens now; the result is in the page, so it is only read out. */
  function show(problem, status, isResult = false) {
    $('status').classList.toggle('unseen', isResult);
    $('problem').textContent = problem;
    $('problem').hidden = !problem;
    $('status').textContent = status;
  }

  /* A file as the network's input. */
  async function prepare(blob, name) {
    const { image: { height, width }, resize, max_pixels: maxPixels } = card.preprocessing;
    return fit(await decode(blob, maxPixels, name), width, height, resize);
  }

  async function classify(blob, name) {
    const turn = ++latest;
    const main = document.querySelector('main');
    main.setAttribute('aria-busy', 'true');
    show('', 'Working…');
    await new Promise((resolve) => setTimeout(resolve)); // lets the browser draw that
    try {
      const start = performance.now();
      const pixels = await prepare(blob, name);
      const prepared = performance.now() - start;
      const found = Float32Array.from(await student(pixels));
      const times = await timed(pixels);
      if (turn !== latest) return;
      probabilities = found;
      showPictures(blob, pixels);
      showClasses();
      $('time').textContent =
        `${milliseconds(times)} per image in this browser, and ${milliseconds(prepared)} to open and resize it.`;
      show('', spoken(), true);
    } catch (error) {
      if (turn !== latest) return;
      if (!(error instanceof Refusal)) console.error(error);
      show(error instanceof Refusal ? error.message : `This image does not work: ${error.message}`, '');
    } finally {
      if (turn === latest) main.removeAttribute('aria-busy');
    }
  }

  /* The median time of a few runs. */
  async function timed(pixels) {
    const times = [];
    const end = performance.now() + TIME;
    do {
      const start = performance.now();
      await student(pixels);
      times.push(performance.now() - start);
    } while (times.length < TIMED && performance.now() < end);
    return times.sort((a, b) => a - b)[times.length >> 1];
  }

  const ranked = () => [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);

  function spoken() {
    const [first, second] = ranked();
    const rest = second === undefined ? '' : `, then ${card.classes[second]}, ${percent(probabilities[second])}`;
    return `${card.classes[first]}, ${percent(probabilities[first])}${rest}`;
  }

  function showPictures(blob, pixels) {
    const [, height, width] = model.image;
    URL.revokeObjectURL($('picture').src);
    $('picture').src = URL.createObjectURL(blob);
    const canvas = $('seen'), area = width * height;
    Object.assign(canvas, { width, height });
    canvas.setAttribute('aria-label', `The image at ${width} by ${height} pixels`);
    const drawn = new ImageData(width, height);
    for (let i = 0; i < area; i++) {
      drawn.data.set([pixels[i], pixels[area + i], pixels[2 * area + i], 255], 4 * i);
    }
    canvas.getContext('2d').putImageData(drawn, 0, 0);
    $('result').hidden = false;
  }

  function bar(name, value, share, isFirst) {
    const fill = element('span', 'fill');
    fill.style.width = `${100 * share}%`;
    const track = element('span', 'track', fill);
    track.setAttribute('aria-hidden', 'true');
    return element('li', isFirst ? 'bar first' : 'bar',
      element('span', 'name', name), element('span', 'value', value), track);
  }

  function showClasses() {
    const order = ranked();
    $('top-class').textContent = card.classes[order[0]];
    const shown = showsAll ? order : order.slice(0, TOP);
    $('bars').replaceChildren(...shown.map((k, place) =>
      bar(card.classes[k], percent(probabilities[k]), probabilities[k], place === 0)));
    const button = $('all');
    button.hidden = order.length <= TOP;
    button.textContent = showsAll ? `Show the top ${TOP}` : `Show all ${order.length} classes`;
    button.setAttribute('aria-expanded', String(showsAll));
  }

  // -- what the page is about ---------------------------------------------------------------------

  const sentence = (...parts) => parts.filter(Boolean).join(' ');

  function describe() {
    const { origin, classes } = card;
    const listed = classes.length <= MOST_CHIPS ? `: ${classes.join(', ')}` : '';
    $('about').textContent = sentence(
      `A small neural network tells ${number(classes.length)} classes apart${listed}.`,
      'It runs in this page.',
    );
    describeSize(origin);
    describeAccuracy();
    describeSteps();
    const facts = [
      ['Network', origin.model], ['Trained on', origin.data], ['Run', origin.run],
      ['Training', sentence(origin.arm, origin.seed === null ? '' : `seed ${origin.seed}`)],
      ['Weights', model.bytes ? `${kilobytes(model.bytes)}, ${card.dtype}` : ''],
      ['SHA-256', origin.weights_sha256], ['Written by', origin.understudy && `understudy ${origin.understudy}`],
    ];
    for (const [name, value] of facts) {
      if (value) $('facts').append(element('dt', '', name), element('dd', '', value));
    }
  }

  const kilobytes = (bytes) =>
    bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

  function describeSize({ parameters, teacher_parameters: teacher }) {
    const ratio = teacher / parameters;
    $('size').textContent = sentence(
      `${kilobytes(model.bytes)} of weights.`,
      teacher && ratio > 1 &&
        `${ratio < 10 ? ratio.toFixed(1) : Math.round(ratio)} times smaller than the teacher.`,
    );
    if (!parameters) return;
    const most = Math.max(parameters, teacher || 0);
    $('sizes').append(bar('Student', `${number(parameters)} parameters`, parameters / most, true));
    if (teacher) $('sizes').append(bar('Teacher', `${number(teacher)} parameters`, teacher / most, false));
  }

  function describeAccuracy() {
    const measured = card.measured.find(({ split }) => split === 'test') || card.measured[0];
    if (!measured) return;
    const { accuracy, low, high, count, split } = measured;
    const name = split === 'test' ? 'test' : 'validation';
    $('accuracy').textContent =
      `Right on ${percent(accuracy)} of ${number(count)} ${name} images ` +
      `(95 % interval ${percent(low)} to ${percent(high)}).`;
  }

  function describeSteps() {
    const { image: { height, width }, resize } = card.preprocessing;
    const size = `${width} by ${height} pixels`;
    const rules = {
      crop: `Cut to the largest part in its middle of these proportions, and resized to ${size}.`,
      pad: `Resized to fit into ${size}, with black borders.`,
      squash: `Resized to ${size}, whatever its proportions.`,
    };
    const steps = [
      'Turned upright as the camera noted. Colours are those in the file, transparent parts are white.',
      rules[resize],
      'Scaled to the range of numbers that the network was trained with.',
    ];
    $('steps').append(...steps.map((step) => element('li', '', step)));
  }

  function listSamples(samples) {
    const { classes } = card;
    const line = (who, index, probability, label) =>
      element('span', index === label ? 'right' : '',
        `${who}: ${classes[index]}, ${percent(probability, 0)}${index === label ? '\u00a0✓' : ''}`);
    for (const sample of samples) {
      const picture = element('img');
      picture.src = sample.image;
      picture.alt = '';
      const button = element('button', 'sample', picture,
        element('span', '',
          element('span', '', `Label: ${classes[sample.label]}`),
          line('Student', sample.student, sample.student_probability, sample.label),
          line('Teacher', sample.teacher, sample.teacher_probability, sample.label)));
      button.type = 'button';
      button.addEventListener('click', () => {
        const [head, body] = sample.image.split(',');
        const type = head.slice(5).split(';')[0];
        classify(new Blob([fromBase64(body)], { type }), 'The sample').then(() =>
          $('result').scrollIntoView({ block: 'nearest' }));
      });
      $('sample-list').append(element('li', '', button));
    }
    $('samples').hidden = !samples.length;
  }

  // -- ways in ------------------------------------------------------------------------------------

  const take = (files) => {
    const file = [...(files || [])][0];
    if (file) classify(file, file.name || 'The image');
    return Boolean(file);
  };

  function connect() {
    for (const id of ['file', 'capture']) {
      $(id).addEventListener('change', ({ target }) => {
        take(target.files);
        target.value = ''; // so that the same file can be chosen again
      });
    }
    $('choose-file').addEventListener('click', () => $('file').click());
    $('take-photo').addEventListener('click', openCamera);
    $('shoot').addEventListener('click', shoot);
    $('close-camera').addEventListener('click', () => $('camera').close());
    $('camera').addEventListener('close', closeCamera);
    $('all').addEventListener('click', () => {
      showsAll = !showsAll;
      showClasses();
    });
    addEventListener('paste', (event) => {
      if (take(event.clipboardData?.files)) event.preventDefault();
    });
    addEventListener('dragover', (event) => {
      event.preventDefault();
      $('choose').classList.add('over');
    });
    addEventListener('dragleave', (event) => {
      if (!event.relatedTarget) $('choose').classList.remove('over');
    });
    addEventListener('drop', (event) => {
      event.preventDefault();
      $('choose').classList.remove('over');
      take(event.dataTransfer?.files);
    });
    for (const id of ['choose-file', 'take-photo']) $(id).disabled = false;
  }

  /* On a phone its own camera program, elsewhere a view of the camera in the page. */
  async function openCamera() {
    const devices = navigator.mediaDevices;
    if (matchMedia('(pointer: coarse)').matches || !devices) {
      $('capture').click();
      return;
    }
    try {
      $('video').srcObject = await devices.getUserMedia({ video: { facingMode: 'environment' } });
      $('camera').showModal();
    } catch {
      show('The camera cannot be used: there is none, or this page is not allowed to.', '');
    }
  }

  function closeCamera() {
    for (const track of $('video').srcObject?.getTracks() || []) track.stop();
    $('video').srcObject = null;
  }

  function shoot() {
    const video = $('video'), canvas = document.createElement('canvas');
    Object.assign(canvas, { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext('2d').drawImage(video, 0, 0);
    $('camera').close();
    canvas.toBlob((blob) => blob && classify(blob, 'The photo'));
  }

  async function start() {
    [card, model] = await Promise.all([json('card'), json('model')]);
    student = await openStudent(model);
    describe();
    listSamples(await json('samples'));
    // The first runs compile the kernels; nobody waits for them yet.
    const [channels, height, width] = model.image;
    await timed(new Uint8Array(channels * height * width));
    connect();
    show('', 'Ready');
  }

  // For programs that drive the page.
  const ready = start().catch((error) => {
    show(`The network cannot be opened: ${error.message}`, '');
    throw error;
  });
  globalThis.understudy = {
    ready,
    run: async (pixels) => [...(await student(pixels))],
    pixels: prepare,
  };
})();
