// Orbit camera with the conventions of stages/lib/cameras.py: world y up; azimuth 0 on +z, positive towards +x;
// elevation positive towards +y; camera x right, y down, z forward. Angles in degrees.

const RADIANS = Math.PI / 180;
// At the poles the picture would turn over under the pointer.
const HIGHEST_ELEVATION = 89.9;

class OrbitCamera {
  constructor({ azimuth, elevation, radius, fovy }) {
    Object.assign(this, { azimuth, elevation, radius, fovy, target: [0, 0, 0] });
  }

  copy() {
    return Object.assign(new OrbitCamera(this), { target: [...this.target] });
  }

  // Rows right, down, forward, and the unit vector from the target to the camera.
  get axes() {
    const a = this.azimuth * RADIANS;
    const e = this.elevation * RADIANS;
    const outward = [Math.cos(e) * Math.sin(a), Math.sin(e), Math.cos(e) * Math.cos(a)];
    const right = [Math.cos(a), 0, -Math.sin(a)];
    const down = [Math.sin(e) * Math.sin(a), -Math.cos(e), Math.sin(e) * Math.cos(a)];
    return { right, down, forward: outward.map((x) => -x), outward };
  }

  get position() {
    const { outward } = this.axes;
    return this.target.map((x, i) => x + this.radius * outward[i]);
  }

  // Pixels; the field of view is that of the shorter side, so that a tall window shows the object too.
  focal(width, height) {
    return (0.5 * Math.min(width, height)) / Math.tan(0.5 * this.fovy * RADIANS);
  }

  orbit(azimuth, elevation) {
    this.azimuth = (this.azimuth + azimuth) % 360;
    this.elevation = Math.max(-HIGHEST_ELEVATION, Math.min(HIGHEST_ELEVATION, this.elevation + elevation));
  }

  zoom(factor, reference) {
    this.radius = Math.max(0.05 * reference, Math.min(20 * reference, this.radius * factor));
  }

  // Move with the pointer: dx, dy in pixels on the plane through the target.
  pan(dx, dy, focal) {
    const { right, down } = this.axes;
    const scale = this.radius / focal;
    this.target = this.target.map((x, i) => x - scale * (dx * right[i] + dy * down[i]));
  }

  // Between two cameras, the short way round; at in [0, 1].
  static between(from, to, at) {
    const turn = ((((to.azimuth - from.azimuth) % 360) + 540) % 360) - 180;
    const mix = (a, b) => a + (b - a) * at;
    const camera = to.copy();
    camera.azimuth = from.azimuth + turn * at;
    camera.elevation = mix(from.elevation, to.elevation);
    camera.radius = mix(from.radius, to.radius);
    camera.target = to.target.map((x, i) => mix(from.target[i], x));
    return camera;
  }
}
