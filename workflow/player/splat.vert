#version 300 es
// Four vertices a gaussian, back to front: the corners of a quad that just holds its part with alpha of at least 1/255.
// Conventions of stages/lib/raster: camera x right, y down, z forward; gsplat's classic projection (EWA splatting).
precision highp float;
precision highp sampler2D;
precision highp usampler2D;

// Gaussians in the order they are drawn.
uniform usampler2D order;
// Three texels a gaussian: mean and opacity; covariance xx xy xz yy; covariance yz zz.
uniform sampler2D gaussians;
// K texels a gaussian.
uniform sampler2D sh;
uniform int bases;
uniform mat3 rotation;
uniform vec3 position;
uniform vec2 focal;
uniform vec2 size;
// Of the optical axis from the middle of the picture, in normalised device coordinates.
uniform vec2 shift;

// Place in the quad in standard deviations, so scaled that alpha = 2^(tint.w - dot(place, place)).
out vec2 place;
// Colour, and the logarithm of opacity to base 2.
flat out vec4 tint;

// Added to both variances, pixels squared: a gaussian never falls between pixels.
const float DILATION = 0.3;
// The Jacobian's slopes are clamped this far outside the field of view.
const float MARGIN = 1.3;

const float LARGEST_ALPHA = 0.999;
// sqrt(2 ln 2): exp(-sigmas^2 / 2) = 2^(-place^2).
const float SIGMAS = 1.1774100225154747;

// Textures are 2048 wide (renderer.js): shifts, since software renderers divide integers one by one.
ivec2 spot(int at) {
  return ivec2(at & 2047, at >> 11);
}

vec4 texel(sampler2D data, int at) {
  return texelFetch(data, spot(at), 0);
}

// Real spherical harmonics in INRIA's order and signs.
vec3 shade(int at, vec3 d) {
  vec3 c = 0.28209479177387814 * texel(sh, at).rgb;
  if (bases > 1)
    c += 0.4886025119029199 * (d.z * texel(sh, at + 2).rgb - d.y * texel(sh, at + 1).rgb - d.x * texel(sh, at + 3).rgb);
  if (bases > 4) {
    vec3 s = d * d;
    c += 1.0925484305920792 * (d.x * d.y * texel(sh, at + 4).rgb - d.y * d.z * texel(sh, at + 5).rgb);
    c += 0.31539156525252005 * (2.0 * s.z - s.x - s.y) * texel(sh, at + 6).rgb;
    c -= 1.0925484305920792 * d.x * d.z * texel(sh, at + 7).rgb;
    c += 0.5462742152960396 * (s.x - s.y) * texel(sh, at + 8).rgb;
    if (bases > 9) {
      c -= 0.5900435899266435 * d.y * (3.0 * s.x - s.y) * texel(sh, at + 9).rgb;
      c += 2.890611442640554 * d.x * d.y * d.z * texel(sh, at + 10).rgb;
      c -= 0.4570457994644658 * d.y * (4.0 * s.z - s.x - s.y) * texel(sh, at + 11).rgb;
      c += 0.3731763325901154 * d.z * (2.0 * s.z - 3.0 * s.x - 3.0 * s.y) * texel(sh, at + 12).rgb;
      c -= 0.4570457994644658 * d.x * (4.0 * s.z - s.x - s.y) * texel(sh, at + 13).rgb;
      c += 1.445305721320277 * d.z * (s.x - s.y) * texel(sh, at + 14).rgb;
      c -= 0.5900435899266435 * d.x * (s.x - 3.0 * s.y) * texel(sh, at + 15).rgb;
    }
  }
  return max(c + 0.5, 0.0);
}

void main() {
  int at = int(texelFetch(order, spot(gl_VertexID >> 2), 0).r);
  vec4 mean = texel(gaussians, 3 * at);
  vec4 first = texel(gaussians, 3 * at + 1);
  vec4 second = texel(gaussians, 3 * at + 2);
  vec3 away = mean.xyz - position;
  vec3 seen = rotation * away;
  vec2 limit = MARGIN * 0.5 * size / focal;
  vec2 slope = clamp(seen.xy / seen.z, -limit, limit);
  // Rows of Jacobian times rotation.
  mat3 turned = transpose(rotation);
  vec3 u = focal.x / seen.z * (turned[0] - slope.x * turned[2]);
  vec3 v = focal.y / seen.z * (turned[1] - slope.y * turned[2]);
  mat3 covariance = mat3(first.x, first.y, first.z, first.y, first.w, second.x, first.z, second.x, second.y);
  vec3 spread = covariance * u;
  float xx = dot(u, spread) + DILATION;
  float xy = dot(v, spread);
  float yy = dot(v, covariance * v) + DILATION;
  // Cholesky: the unit circle becomes the one-sigma ellipse; any root of the covariance would do.
  float root = sqrt(xx);
  float shear = xy / root;
  float height = sqrt(max(yy - shear * shear, 0.0));
  vec2 corner = vec2(gl_VertexID & 1, (gl_VertexID >> 1) & 1) * 2.0 - 1.0;
  place = corner * sqrt(log2(255.0 * mean.w));
  vec2 sigmas = SIGMAS * place;
  vec2 pixels = seen.xy / seen.z * focal + vec2(root * sigmas.x, shear * sigmas.x + height * sigmas.y);
  gl_Position = vec4(pixels * vec2(2.0, -2.0) / size + shift, 0.0, 1.0);
  tint = vec4(shade(at * bases, normalize(away)), log2(min(mean.w, LARGEST_ALPHA)));
}
