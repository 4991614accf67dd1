// Reader of the compact file; stages/lib/compact.md is its layout and stages/lib/compact.py its twin.
// A sequence keeps its integers: 18 bytes a gaussian and frame. `frame` turns one frame into numbers.

const CHANNELS = { means: 3, quats: 4, log_scales: 3, opacity_logits: 1 };
const VERSION = 1;

// The bytes of base64 text, slice by slice, so that a long text is never doubled as a string.
function fromBase64(text) {
  const clean = text.trim();
  const padding = clean.endsWith("==") ? 2 : clean.endsWith("=") ? 1 : 0;
  const bytes = new Uint8Array((clean.length / 4) * 3 - padding);
  const slice = 1 << 16;
  for (let at = 0, out = 0; at < clean.length; at += slice) {
    const part = atob(clean.substring(at, at + slice));
    for (let i = 0; i < part.length; i++) bytes[out++] = part.charCodeAt(i);
  }
  return bytes;
}

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

class CompactSequence {
  // Decode bytes; `progress` is called with a fraction after every group. Throws an Error that can be shown.
  static async read(bytes, progress) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length < 12 || String.fromCharCode(...bytes.subarray(0, 4)) !== "4DGS")
      throw new Error("The embedded data is not a compact sequence.");
    if (view.getUint32(4, true) !== VERSION)
      throw new Error(`The sequence has layout version ${view.getUint32(4, true)}; this player reads ${VERSION}.`);
    let at = 12 + view.getUint32(8, true);
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(12, at)));
    const chunk = async () => {
      if (at + 4 > bytes.length || at + 4 + view.getUint32(at, true) > bytes.length)
        throw new Error("The embedded sequence is truncated.");
      const from = at + 4;
      at = from + view.getUint32(at, true);
      return inflate(bytes.subarray(from, at));
    };
    const sequence = new CompactSequence(header, await chunk());
    for (let first = 0; first < header.frames; first += header.group) {
      sequence.append(await chunk(), first, Math.min(header.group, header.frames - first));
      progress((first + header.group) / header.frames);
    }
    return sequence;
  }

  constructor(header, base) {
    this.frames = header.frames;
    this.count = header.gaussians;
    this.bases = header.bases;
    this.times = header.times;
    this.grids = header.grids;
    const count = this.count;
    this.integers = {};
    this.state = {};
    let at = 0;
    const take = (size, bits) => {
      const codes = new Uint16Array(size * count);
      for (let i = 0; i < codes.length; i++) codes[i] = base[at + i];
      at += codes.length;
      if (bits > 8) {
        for (let i = 0; i < codes.length; i++) codes[i] |= base[at + i] << 8;
        at += codes.length;
      }
      return codes;
    };
    for (const [name, size] of Object.entries(CHANNELS)) {
      const bits = this.grids[name].bits;
      this.state[name] = take(size, bits);
      this.integers[name] = new (bits > 8 ? Uint16Array : Uint8Array)(this.frames * size * count);
    }
    // Coefficients gaussian by gaussian: (N, K, 3).
    const numbers = 3 * this.bases;
    const sh = take(numbers, this.grids.sh.bits);
    this.sh = new Float32Array(count * numbers);
    for (let c = 0; c < numbers; c++)
      for (let n = 0; n < count; n++)
        this.sh[n * numbers + c] = this.grids.sh.low[c] + this.grids.sh.step[c] * sh[c * count + n];
    this.present = new Uint8Array(this.frames * count);
    this.shown = new Uint32Array(this.frames);
  }

  append(data, first, frames) {
    const count = this.count;
    let at = 0;
    for (let f = first; f < first + frames; f++) {
      const row = f * count;
      for (let n = 0; n < count; n++) {
        const changed = (data[at + (n >> 3)] >> (7 - (n & 7))) & 1;
        const present = changed ^ (f > 0 ? this.present[row - count + n] : 0);
        this.present[row + n] = present;
        this.shown[f] += present;
      }
      at += (count + 7) >> 3;
    }
    for (const [name, size] of Object.entries(CHANNELS)) {
      const { bits } = this.grids[name];
      const mask = (1 << bits) - 1;
      const state = this.state[name];
      const out = this.integers[name];
      const high = bits > 8 ? size * frames * count : 0;
      for (let c = 0; c < size; c++)
        for (let f = 0; f < frames; f++) {
          const into = ((first + f) * size + c) * count;
          for (let n = 0; n < count; n++, at++) {
            const code = high ? data[at] | (data[at + high] << 8) : data[at];
            state[c * count + n] = (state[c * count + n] + ((code >> 1) ^ -(code & 1))) & mask;
            out[into + n] = state[c * count + n];
          }
        }
      at += high;
    }
  }

  // Numbers of one channel in one frame, component by component: Float32Array (C, N).
  values(name, frame) {
    const { low, step } = this.grids[name];
    const size = CHANNELS[name];
    const from = frame * size * this.count;
    const found = new Float32Array(size * this.count);
    for (let c = 0, i = 0; c < size; c++)
      for (let n = 0; n < this.count; n++, i++) found[i] = low[c] + step[c] * this.integers[name][from + i];
    return found;
  }

  // The frame whose time is nearest to `time` in [0, 1].
  nearest(time) {
    let best = 0;
    for (let f = 1; f < this.frames; f++)
      if (Math.abs(this.times[f] - time) < Math.abs(this.times[best] - time)) best = f;
    return best;
  }
}
