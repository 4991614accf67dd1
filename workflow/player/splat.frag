#version 300 es
// Premultiplied colour of one gaussian in one pixel. Nothing is drawn under 1/255, where gsplat stops too.
precision highp float;

in vec2 place;
flat in vec4 tint;

out vec4 result;

const float SMALLEST = -7.994353436858858;  // log2(1 / 255)

void main() {
  float power = tint.w - dot(place, place);
  if (power < SMALLEST) discard;
  float alpha = exp2(power);
  result = vec4(tint.rgb * alpha, alpha);
}
