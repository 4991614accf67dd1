// Draws gaussians with WebGL2. Every draw sorts by depth on this thread (a counting sort: 1.3 ms for 50,000), so the order
// is that of the very camera drawn; then one call draws a quad a gaussian, blended back to front. The quads are not
// instances: software renderers (SwiftShader) treat each instance as a draw call of its own, which cost a third.

const NEAR_PLANE = 0.01;
const SMALLEST_ALPHA = 1 / 255;
// As in splat.vert.
const TEXTURE_WIDTH = 2048;
const DEPTH_LEVELS = 65536;

class Renderer {
  // Throws an Error if WebGL2 is missing.
  constructor(canvas, shaders) {
    const options = { alpha: true, premultipliedAlpha: true, antialias: false, depth: false, stencil: false };
    this.canvas = canvas;
    this.gl = canvas.getContext("webgl2", { ...options, powerPreference: "high-performance" });
    if (!this.gl) throw new Error("WebGL2 is missing");
    this.splatting = this.program(shaders["splat.vert"], shaders["splat.frag"]);
    this.corners = this.gl.createBuffer();
    this.capacity = 0;
  }

  program(vertex, fragment) {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, source] of [
      [gl.VERTEX_SHADER, vertex],
      [gl.FRAGMENT_SHADER, fragment],
    ]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source.trim());
      gl.compileShader(shader);
      gl.attachShader(program, shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost())
        throw new Error(`A shader does not compile: ${gl.getShaderInfoLog(shader)}`);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost())
      throw new Error(`A shader does not link: ${gl.getProgramInfoLog(program)}`);
    const uniforms = {};
    for (let i = 0; i < gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS); i++) {
      const { name } = gl.getActiveUniform(program, i);
      uniforms[name] = gl.getUniformLocation(program, name);
    }
    return { program, uniforms };
  }

  texture() {
    const { gl } = this;
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    for (const side of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, side, gl.NEAREST);
    return texture;
  }

  // A Float32Array long enough for `texels`, a whole number of rows.
  static rows(texels) {
    return new Float32Array(4 * TEXTURE_WIDTH * Math.max(1, Math.ceil(texels / TEXTURE_WIDTH)));
  }

  fill(texture, data) {
    const { gl } = this;
    const height = data.length / (4 * TEXTURE_WIDTH);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32F, TEXTURE_WIDTH, height, 0, gl.RGBA, gl.FLOAT, data);
  }

  // Everything one sequence needs; `frame` is what its textures hold.
  add(sequence) {
    const { gl } = this;
    const textures = { gaussians: this.texture(), sh: this.texture(), order: this.texture() };
    const item = { sequence, frame: -1, textures };
    item.data = Renderer.rows(3 * sequence.count);
    const sh = Renderer.rows(sequence.bases * sequence.count);
    for (let i = 0; i < sequence.bases * sequence.count; i++)
      for (let c = 0; c < 3; c++) sh[4 * i + c] = sequence.sh[3 * i + c];
    this.fill(textures.sh, sh);
    // What an integer of the file stands for after activation: exp and sigmoid are looked up.
    const table = (name, component, activate) => {
      const { low, step, bits } = sequence.grids[name];
      return Float32Array.from({ length: 1 << bits }, (_, i) => activate(low[component] + step[component] * i));
    };
    item.scales = [0, 1, 2].map((component) => table("log_scales", component, Math.exp));
    item.opacities = table("opacity_logits", 0, (logit) => 1 / (1 + Math.exp(-logit)));
    item.alive = new Uint32Array(sequence.count);
    // Whole rows of its texture.
    item.order = new Uint32Array(TEXTURE_WIDTH * Math.max(1, Math.ceil(sequence.count / TEXTURE_WIDTH)));
    item.keys = new Uint16Array(sequence.count);
    gl.bindTexture(gl.TEXTURE_2D, item.textures.order);
    const height = item.order.length / TEXTURE_WIDTH;
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.R32UI, TEXTURE_WIDTH, height, 0, gl.RED_INTEGER, gl.UNSIGNED_INT, null);
    this.reserve(sequence.count);
    return item;
  }

  // Two triangles a quad, for as many quads as the largest sequence has gaussians.
  reserve(count) {
    if (count <= this.capacity) return;
    const { gl } = this;
    const corners = new Uint32Array(6 * count);
    for (let n = 0; n < count; n++) corners.set([4 * n, 4 * n + 1, 4 * n + 2, 4 * n + 2, 4 * n + 1, 4 * n + 3], 6 * n);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.corners);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, corners, gl.STATIC_DRAW);
    this.capacity = count;
  }

  // Put one frame into the item's textures: means, opacities and covariances.
  show(item, frame) {
    if (item.frame === frame) return;
    const { sequence, data } = item;
    const count = sequence.count;
    const means = sequence.integers.means;
    const quats = sequence.integers.quats;
    const scales = sequence.integers.log_scales;
    const logits = sequence.integers.opacity_logits;
    const { low, step } = sequence.grids.means;
    const turn = sequence.grids.quats;
    const present = frame * count;
    let alive = 0;
    for (let n = 0; n < count; n++) {
      const opacity = item.opacities[logits[present + n]];
      if (!sequence.present[present + n] || opacity < SMALLEST_ALPHA) continue;
      item.alive[alive++] = n;
      const q = 4 * present + n, m = 3 * present + n;
      let w = turn.low[0] + turn.step[0] * quats[q], x = turn.low[1] + turn.step[1] * quats[q + count];
      let y = turn.low[2] + turn.step[2] * quats[q + 2 * count], z = turn.low[3] + turn.step[3] * quats[q + 3 * count];
      const inverse = 1 / (Math.sqrt(w * w + x * x + y * y + z * z) || 1);
      w *= inverse; x *= inverse; y *= inverse; z *= inverse;
      const sx = item.scales[0][scales[m]], sy = item.scales[1][scales[m + count]];
      const sz = item.scales[2][scales[m + 2 * count]];
      // Rotation times scale; the covariance is this times its transpose.
      const m00 = sx * (1 - 2 * (y * y + z * z)), m01 = sy * 2 * (x * y - w * z), m02 = sz * 2 * (x * z + w * y);
      const m10 = sx * 2 * (x * y + w * z), m11 = sy * (1 - 2 * (x * x + z * z)), m12 = sz * 2 * (y * z - w * x);
      const m20 = sx * 2 * (x * z - w * y), m21 = sy * 2 * (y * z + w * x), m22 = sz * (1 - 2 * (x * x + y * y));
      const at = 12 * n;
      data[at] = low[0] + step[0] * means[m];
      data[at + 1] = low[1] + step[1] * means[m + count];
      data[at + 2] = low[2] + step[2] * means[m + 2 * count];
      data[at + 3] = opacity;
      data[at + 4] = m00 * m00 + m01 * m01 + m02 * m02;
      data[at + 5] = m00 * m10 + m01 * m11 + m02 * m12;
      data[at + 6] = m00 * m20 + m01 * m21 + m02 * m22;
      data[at + 7] = m10 * m10 + m11 * m11 + m12 * m12;
      data[at + 8] = m10 * m20 + m11 * m21 + m12 * m22;
      data[at + 9] = m20 * m20 + m21 * m21 + m22 * m22;
    }
    item.frame = frame;
    item.count = alive;
    this.fill(item.textures.gaussians, data);
  }

  // Indices of the drawable gaussians into item.order, farthest first; returns how many.
  static sort(item, axis, position) {
    const { data, alive, order, keys } = item;
    const depths = (item.depths ??= new Float32Array(alive.length));
    const offset = axis[0] * position[0] + axis[1] * position[1] + axis[2] * position[2];
    let near = Infinity, far = -Infinity;
    for (let i = 0; i < item.count; i++) {
      const at = 12 * alive[i];
      const depth = axis[0] * data[at] + axis[1] * data[at + 1] + axis[2] * data[at + 2] - offset;
      depths[i] = depth;
      if (depth > NEAR_PLANE) {
        if (depth < near) near = depth;
        if (depth > far) far = depth;
      }
    }
    if (far === -Infinity) return 0;
    const starts = (item.starts ??= new Uint32Array(DEPTH_LEVELS + 1)).fill(0);
    const scale = far > near ? (DEPTH_LEVELS - 1) / (far - near) : 0;
    for (let i = 0; i < item.count; i++)
      if (depths[i] > NEAR_PLANE) {
        keys[i] = (far - depths[i]) * scale;
        starts[keys[i] + 1]++;
      }
    for (let level = 0; level < DEPTH_LEVELS; level++) starts[level + 1] += starts[level];
    const total = starts[DEPTH_LEVELS];
    for (let i = 0; i < item.count; i++) if (depths[i] > NEAR_PLANE) order[starts[keys[i]]++] = alive[i];
    return total;
  }

  // Returns whether the size changed, which empties the canvas.
  resize(width, height) {
    if (this.canvas.width === width && this.canvas.height === height) return false;
    Object.assign(this.canvas, { width, height });
    return true;
  }

  clear() {
    const { gl } = this;
    gl.disable(gl.SCISSOR_TEST);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
  }

  // Draw one frame. view, cut, free are [left, bottom, width, height] in pixels: the picture's plane, what of it is
  // shown, and the part of it that nothing covers, whose middle and size the camera's middle and field of view fill.
  draw(item, frame, camera, view, cut = view, free = view) {
    const { gl } = this;
    this.show(item, frame);
    const { right, down, forward } = camera.axes;
    const { position } = camera;
    const count = Renderer.sort(item, forward, position);
    if (count === 0) return;
    gl.bindTexture(gl.TEXTURE_2D, item.textures.order);
    const rows = Math.ceil(count / TEXTURE_WIDTH);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, TEXTURE_WIDTH, rows, gl.RED_INTEGER, gl.UNSIGNED_INT, item.order);

    const { program, uniforms } = this.splatting;
    const focal = camera.focal(free[2], free[3]);
    const middle = (axis) => 2 * (free[axis] - view[axis]) + free[axis + 2] - view[axis + 2];
    gl.useProgram(program);
    for (const [unit, name] of ["gaussians", "sh", "order"].entries()) {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, item.textures[name]);
      gl.uniform1i(uniforms[name], unit);
    }
    gl.activeTexture(gl.TEXTURE0);
    gl.uniform1i(uniforms.bases, item.sequence.bases);
    gl.uniformMatrix3fv(uniforms.rotation, true, [...right, ...down, ...forward]);
    gl.uniform3fv(uniforms.position, position);
    gl.uniform2f(uniforms.focal, focal, focal);
    gl.uniform2f(uniforms.size, view[2], view[3]);
    gl.uniform2f(uniforms.shift, middle(0) / view[2], middle(1) / view[3]);
    gl.viewport(...view);
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(...cut);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.corners);
    gl.drawElements(gl.TRIANGLES, 6 * count, gl.UNSIGNED_INT, 0);
  }

  // What was drawn last in this task: rows from the top, premultiplied RGBA.
  pixels() {
    const { gl } = this;
    const { width, height } = this.canvas;
    const found = new Uint8Array(4 * width * height);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, found);
    const turned = new Uint8Array(found.length);
    for (let row = 0; row < height; row++)
      turned.set(found.subarray(4 * width * row, 4 * width * (row + 1)), 4 * width * (height - 1 - row));
    return turned;
  }
}
